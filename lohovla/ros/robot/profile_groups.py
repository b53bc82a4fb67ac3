"""The groups of a robot profile: cameras, the first motion, ages, the guard; and which settings each of them has."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lohovla.errors import UserError
from lohovla.settings.renamed_settings import refuse_unknown

_INTRINSICS = ("size", "focal", "centre", "distortion", "distortion_model")
# Of the groups that are kept as they are given.
GROUPS = {
    "joints": ("topic", "names"),
    "tool": ("topic", "length", "check", "offset"),
    "gripper_state": ("kind", "topic", "open", "closed"),
    "command": ("kind", "topic", "offset", "gain", "lookahead", "end", "timeout"),
    "gripper": ("kind", "topic", "open", "closed", "effort"),
}


@dataclass(frozen=True)
class CameraTopics:
    """A camera: where its pictures come from, and its calibration.

    Attributes:
        image: topic of the colour picture.
        compressed: whether that is a ``CompressedImage``.
        info: topic of its ``CameraInfo``, or "".
        depth: topic of depth aligned to colour, or "".
        depth_unit: m a step of 16-bit depth.
        position: of the optical frame in the base frame, m; None is not calibrated.
        rotation: its rotation vector, rad.
        tf: whether ``/tf_static`` and ``/tf`` tell where the camera is, in place of ``position`` and ``rotation``.
        frame: its optical frame; "" takes the one in its pictures' headers. Pictures with another are refused.
        intrinsics: ``{size: [w, h], focal: [fx, fy], centre: [cx, cy], distortion: [...], distortion_model:
            plumb_bob}``; None takes ``info``.
    """

    image: str
    compressed: bool = False
    info: str = ""
    depth: str = ""
    depth_unit: float = 0.001
    position: tuple[float, float, float] | None = None
    rotation: tuple[float, float, float] | None = None
    tf: bool = False
    frame: str = ""
    intrinsics: Mapping[str, Any] | None = None

    @classmethod
    def from_settings(cls, name: str, given: Mapping[str, Any]) -> CameraTopics:
        """From a camera's settings.

        Raises:
            UserError: one is unknown or missing.
        """
        refuse_unknown(name, given, fields_of(cls))
        if not given.get("image"):
            raise UserError(f"{name} has no image", "give the topic of its colour pictures")
        inner = given.get("intrinsics")
        if inner is not None:
            refuse_unknown(f"{name}.intrinsics", inner, _INTRINSICS)
            if missing := [key for key in _INTRINSICS[:3] if key not in inner]:
                raise UserError(f"{name}.intrinsics has no {missing[0]}", "it needs size, focal and centre, or is null")
        return cls(**given)


@dataclass(frozen=True)
class StartSettings:
    """The first motion.

    Attributes:
        speed: m/s of the way to the home pose.
        initial_speed_fraction: of the limits of speed, with which the policy begins after every rest.
        ramp_time: s of motion until it has all of them.
    """

    speed: float = 0.05
    initial_speed_fraction: float = 0.25
    ramp_time: float = 3.0


@dataclass(frozen=True)
class MaxAges:
    """How old what comes from the robot may be, s, before the arm is stopped.

    Attributes:
        state: joint states and tool pose.
        gripper: the gripper's own joint, where it tells one.
        camera: pictures.
        enable: the operator's enable, which must be said again and again.
        guard: the word of the guard on the robot's side, where there is one.
        observation: a picture older than this is never shown to the policy.
    """

    state: float = 0.2
    gripper: float = 1.0
    camera: float = 0.5
    enable: float = 0.5
    guard: float = 0.5
    observation: float = 0.1


@dataclass(frozen=True)
class GuardProfile:
    """Whether commands go through ``lohovla ros-guard`` on the robot's side, and what it allows.

    Attributes:
        use: whether they do.
        ttl: s that a command counts; no longer than ``command.timeout``, after which the controller halts the arm.
        speed_tolerance: how many times the limits of speed a command may have.
        brake: how many times the limits of acceleration and jerk it brakes with.
        joint_limits: for commands of joints: velocity (rad/s), acceleration, jerk, low and high (rad).
    """

    use: bool = False
    ttl: float = 0.2
    speed_tolerance: float = 1.25
    brake: float = 1.0
    joint_limits: Mapping[str, float] = field(default_factory=dict)


def fields_of(kind: type) -> list[str]:
    """Names of a group's settings."""
    return [f.name for f in dataclasses.fields(kind)]
