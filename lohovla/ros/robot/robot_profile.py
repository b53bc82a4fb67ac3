"""A robot profile (``configs/robot``): topics, types, frames, calibration, rates, limits, home; checked."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lohovla.control.settings import LoopSettings
from lohovla.errors import UserError
from lohovla.ros.robot.arm_status import STATUSES
from lohovla.ros.robot.gripper_commands import GRIPPERS
from lohovla.ros.robot.joint_trajectories import COMMANDS, ENDS
from lohovla.ros.robot.pose_conversion import Offset, offset_of
from lohovla.ros.robot.profile_groups import (
    GROUPS,
    CameraTopics,
    GuardProfile,
    MaxAges,
    StartSettings,
    fields_of,
)
from lohovla.settings.renamed_settings import refuse_unknown

GRIPPER_STATES = {
    "number": "std_msgs/Float64",
    "bool": "std_msgs/Bool",
    "joint": "",  # one of the joint states
}
TOPS = ("direct", "fused")
STAMPS = ("header", "arrival")
_JOINT_LIMITS = ("velocity", "acceleration", "jerk", "low", "high")
JOINT_KINDS = ("trajectory", "joint_position", "joint_velocity")  # of commands, made by this project's kinematics


@dataclass(frozen=True)
class Profile:
    """One robot; see ``configs/robot/sim.yaml`` for what each setting means."""

    name: str
    ros_version: int | None
    frame: str
    cameras: Mapping[str, CameraTopics]
    top_view_source: str
    top_view_cameras: tuple[str, ...]
    top_view_stride: int
    joints: Mapping[str, Any]
    tool: Mapping[str, Any]
    gripper_state: Mapping[str, Any]
    command: Mapping[str, Any]
    gripper: Mapping[str, Any]
    command_hz: float
    image_hz: float
    home: tuple[float, ...]
    loop: Mapping[str, Any]
    stamps: str = "header"
    frozen_camera_frames: int = 0
    world: str = ""
    start: StartSettings = field(default_factory=StartSettings)
    max_age: MaxAges = field(default_factory=MaxAges)
    guard: GuardProfile = field(default_factory=GuardProfile)
    status: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_config(cls, settings: Mapping[str, Any]) -> Profile:
        """From the ``robot`` group of a configuration.

        Raises:
            UserError: a setting is missing, unknown or out of range.
        """
        given = dict(settings)
        refuse_unknown("robot", given, fields_of(cls))
        missing = [f.name for f in dataclasses.fields(cls) if f.name not in given and f.name not in _OPTIONAL]
        if missing:
            raise UserError(f"the robot profile has no {missing[0]!r}", "configs/robot/sim.yaml shows every setting")
        for name, keys in GROUPS.items():
            refuse_unknown(f"robot.{name}", given[name], keys)
        cameras = {}
        for name, topics in (given.pop("cameras") or {}).items():
            if topics is not None:
                cameras[name] = CameraTopics.from_settings(f"robot.cameras.{name}", topics)
        start, max_age, guard = (given.pop(name, {}) for name in ("start", "max_age", "guard"))
        refuse_unknown("robot.start", start, fields_of(StartSettings))
        refuse_unknown("robot.max_age", max_age, fields_of(MaxAges))
        refuse_unknown("robot.guard", guard, fields_of(GuardProfile))
        profile = cls(
            **{
                **given,
                "top_view_cameras": tuple(given["top_view_cameras"]),
                "home": tuple(float(v) for v in given["home"]),
            },
            cameras=cameras,
            start=StartSettings(**start),
            max_age=MaxAges(**max_age),
            guard=GuardProfile(**guard),
        )
        profile._check()
        return profile

    def _check(self) -> None:
        _choose("robot.command.kind", self.command.get("kind"), COMMANDS)
        _choose("robot.gripper.kind", self.gripper.get("kind"), GRIPPERS)
        _choose("robot.gripper_state.kind", self.gripper_state.get("kind"), GRIPPER_STATES)
        _choose("robot.top_view_source", self.top_view_source, TOPS)
        for name in self.status:
            _choose("a setting of robot.status", name, STATUSES)
        _choose("robot.stamps", self.stamps, STAMPS)
        if self.ros_version not in (None, 1, 2):
            raise UserError(f"robot.ros_version cannot be {self.ros_version}", "1, 2, or null to ask the server")
        if len(self.home) != 6 or not all(math.isfinite(v) for v in self.home):
            raise UserError(f"robot.home cannot be {list(self.home)}", "x, y, z in m and a rotation vector in rad")
        for name, camera in self.cameras.items():
            if camera.tf and (camera.position is not None or camera.rotation is not None):
                raise UserError(
                    f"robot.cameras.{name} has a position and tf: true", "leave position and rotation null, or tf false"
                )
        if not self.top_view_cameras:
            raise UserError("robot.top_view_cameras is empty", "name the cameras that the top view comes from")
        for name in self.top_view_cameras:
            if name not in self.cameras:
                raise UserError(
                    f"robot.top_view_cameras names {name!r}", f"the cameras are {', '.join(self.cameras) or 'none'}"
                )
            if self.top_view_source == "fused" and not self.cameras[name].depth:
                raise UserError(f"camera {name} has no depth topic", "a top view is fused from colour and depth")
        if not self.tool.get("topic") and not self.joints.get("topic"):
            raise UserError(
                "the profile gives neither a tool pose nor joint states", "one of them must say where the tool is"
            )
        if (
            not isinstance(self.frozen_camera_frames, int)
            or self.frozen_camera_frames < 0
            or self.frozen_camera_frames == 1
        ):
            raise UserError(
                f"robot.frozen_camera_frames cannot be {self.frozen_camera_frames}",
                "pictures in a row, 2 or more; 0 does not look",
            )
        if not 20.0 <= self.command_hz <= 500.0:
            raise UserError(f"robot.command_hz cannot be {self.command_hz}", "it lies between 20 and 500")
        positive = {"robot.image_hz": self.image_hz, **{f"robot.start.{k}": v for k, v in vars(self.start).items()}}
        positive |= {f"robot.guard.{k}": getattr(self.guard, k) for k in ("ttl", "speed_tolerance", "brake")}
        positive |= {f"robot.max_age.{k}": v for k, v in vars(self.max_age).items()}
        for name, value in positive.items():
            if not 0.0 < value < math.inf:
                raise UserError(f"{name} must be above 0, not {value}", "configs/robot/sim.yaml shows good values")
        self._check_command()
        self._check_joint_limits()
        self._check_workspace()

    def _check_command(self) -> None:
        """The controller's own time-out and the form of trajectories."""
        _choose("robot.command.end", self.command.get("end", ENDS[0]), ENDS)
        timeout = self.command_timeout
        if not 0.0 <= timeout < math.inf:
            raise UserError(f"robot.command.timeout cannot be {timeout}", "seconds, or 0 where the controller has none")
        if 0.0 < timeout < self.guard.ttl:
            raise UserError(
                f"robot.guard.ttl {self.guard.ttl:g} s is longer than the controller waits, robot.command.timeout "
                f"{timeout:g} s: the arm would halt, be driven on, and halt again",
                f"robot.guard.ttl={timeout:g}, or the controller's own time-out in robot.command.timeout",
            )

    def _check_joint_limits(self) -> None:
        """Commands of joints are guarded by them: all of them."""
        given, name = self.guard.joint_limits, "robot.guard.joint_limits"
        if unknown := sorted(set(given) - set(_JOINT_LIMITS)):
            raise UserError(f"{name} has no setting {unknown[0]!r}", f"it has {', '.join(_JOINT_LIMITS)}")
        if self.command["kind"] not in JOINT_KINDS:
            return
        if missing := [key for key in _JOINT_LIMITS if key not in given]:
            raise UserError(f"{name} lacks {', '.join(missing)}", "commands of joints are guarded by all five")
        if not all(math.isfinite(v) for v in given.values()) or min(given[k] for k in _JOINT_LIMITS[:3]) <= 0.0:
            raise UserError(f"{name} cannot be {dict(given)}", "finite numbers, all but low and high above 0")
        if given["low"] >= given["high"]:
            raise UserError(f"{name}.low is not below .high", "they are the joints' least and greatest angle, rad")

    def _check_workspace(self) -> None:
        limits = self.loop.get("limits") or {}
        low, high = limits.get("low", (-math.inf,) * 3), limits.get("high", (math.inf,) * 3)
        if len(low) != 3 or len(high) != 3 or not all(a < b for a, b in zip(low, high, strict=True)):
            raise UserError(f"robot.loop.limits cannot be {list(low)} to {list(high)}", "low x, y, z below high, m")
        if not all(least <= place <= most for least, place, most in zip(low, self.home, high, strict=False)):
            raise UserError(
                f"robot.home {list(self.home[:3])} lies outside the workspace",
                f"robot.loop.limits say {list(low)} to {list(high)} m",
            )

    @property
    def policy_cameras(self) -> list[str]:
        """Cameras whose pictures a policy gets: the view from above, and those that it is not made of."""
        others = [name for name in self.cameras if name not in self.top_view_cameras]
        return ["top", *others] if self.top_view_cameras else others

    @property
    def command_timeout(self) -> float:
        """S without a command after which the controller halts the arm; 0 where it never does, or nobody knows."""
        return float(self.command.get("timeout") or 0.0)

    @property
    def tool_offset(self) -> Offset:
        """The policy's tool frame in the frame that the robot reports."""
        return offset_of(self.tool.get("offset"))

    @property
    def moved_offset(self) -> Offset:
        """The policy's tool frame in the frame that the controller of poses or twists moves."""
        return offset_of(self.command.get("offset") or self.tool.get("offset"))

    def loop_settings(self, extra: Mapping[str, Any]) -> dict[str, Any]:
        """Settings of the control loop on this robot.

        The loop's defaults are the simulator's, so what the profile gives wins over them. What a person changed in
        ``extra`` counts too, but in ``limits`` and ``safety`` only where it is the stricter of the two.

        Args:
            extra: the ``loop`` group of a configuration.
        """
        simulator = dataclasses.asdict(LoopSettings())
        merged: dict[str, Any] = {**extra, **{k: v for k, v in self.loop.items() if extra.get(k) == simulator.get(k)}}
        for part in ("limits", "safety"):
            own, other = self.loop.get(part) or {}, extra.get(part) or {}
            merged[part] = {**other, **_stricter(own, other, simulator[part])}
        merged["safety"] |= {
            "deadman": True,
            "deadman_timeout": 3.0 / self.command_hz,
            "camera_stale": self.max_age.observation,
        }
        return {**merged, "command_hz": self.command_hz}


def _stricter(own: Mapping[str, Any], other: Mapping[str, Any], simulator: Mapping[str, Any]) -> dict[str, Any]:
    """The profile's ``own`` values, each with that of ``other`` where it is stricter and not just the simulator's."""
    kept = {}
    for key, value in own.items():
        usual: Any = simulator.get(key)
        rival: Any = other.get(key, usual)
        if key in ("low", "high"):
            take, rows = max if key == "low" else min, zip(value, rival, usual, strict=True)
            kept[key] = [mine if theirs == his else take(mine, theirs) for mine, theirs, his in rows]
        elif isinstance(value, bool):
            kept[key] = value or bool(rival)
        else:
            kept[key] = value if rival == usual else min(value, rival)
    return kept


_OPTIONAL = {"stamps", "frozen_camera_frames", "world", "start", "max_age", "guard", "status"}


def _choose(name: str, value: Any, choices: Any) -> None:
    if value not in choices:
        raise UserError(f"{name} cannot be {value!r}", f"choose one of {', '.join(choices)}")
