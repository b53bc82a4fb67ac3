"""The guard's kinds of commands: what is wrong with one, where the arm goes by it, and how it comes to rest from there.

Checks look at speeds and places, not at accelerations: those of single messages are noise. Brakes keep all limits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lohovla.control.limits import Axis
from lohovla.control.poses import nearest
from lohovla.ros.frames import (
    BadPose,
    attach,
    inverse,
    joints_of,
    offset_of,
    point_of,
    pose_message,
    pose_of,
    vector_of,
)
from lohovla.ros.messages import Message, header, seconds_of, stamp_of

_INSIDE = 0.002  # m or rad that a command may be outside by rounding
_SLACK = 0.004  # m or rad between commands beside what the speed allows: stamps and rounding
_TURN_LEAP = 0.2  # rad; a first command farther from the arm is refused
_JOINT_LEAP = 0.1  # rad
_RESTING = 1e-3  # m/s or rad/s that count as rest


class _Path:
    """What the kinds have in common: the arm's state, six axes to brake with, and the last command."""

    def __init__(self, settings: Any):
        self._settings = settings
        self._offset = offset_of(settings.offset)
        self._back = inverse(self._offset)
        limits, dt = settings.limits, 1.0 / settings.hz
        self._low, self._high = np.array(limits["low"], float), np.array(limits["high"], float)
        self._most = np.array([limits["velocity"]] * 3 + [limits["turn_velocity"]] * 3)
        moves = limits["velocity"], limits["acceleration"], limits["jerk"], dt
        turns = limits["turn_velocity"], limits["turn_acceleration"], limits["turn_jerk"], dt
        self._axes = [Axis(-math.inf, math.inf, *(moves if k < 3 else turns)) for k in range(6)]
        self._tip: np.ndarray | None = None
        self._joints: np.ndarray | None = None
        self._heard = {"tool": -math.inf, "joints": -math.inf}
        self._last: np.ndarray | None = None  # what the last command wanted, in the coordinates of the axes
        self._velocity = np.zeros(6)
        self._when = 0.0

    def hear_tool(self, message: Message, now: float) -> None:
        try:
            self._tip = attach(pose_of(message["pose"]), self._offset)
        except BadPose:
            return
        self._heard["tool"] = now

    def hear_joints(self, message: Message, now: float) -> None:
        joints = joints_of(message, self._settings.names)
        if joints is not None:
            self._joints, self._heard["joints"] = joints, now

    def state_age(self, now: float) -> float:
        """How old what the path needs of the arm's state is, s."""
        return now - self._heard["tool"]

    def outside(self) -> str:
        """Why no command may pass while the arm is where it is, or ""."""
        return ""

    @property
    def resting(self) -> bool:
        """Whether the arm was last told to stand still."""
        return bool(np.abs(self._velocity).max() < _RESTING)

    def forget(self) -> None:
        """The arm rests: the next command begins anew."""
        self._last, self._velocity = None, np.zeros(6)

    def begin_brake(self) -> None:
        """From here on, brake."""
        assert self._last is not None
        most = [axis.V for axis in self._axes]
        for axis, place, speed, top in zip(self._axes, self._last, self._velocity, most):
            axis.p, axis.v, axis.a = float(place), float(np.clip(speed, -top, top)), 0.0

    def brake(self, now: float) -> Message:
        """One step nearer to rest."""
        for axis in self._axes:
            axis.brake()
        self._velocity = np.array([axis.v for axis in self._axes])
        return self._message()

    def rest(self, now: float) -> Message:
        """What keeps the arm at rest."""
        return self._message()

    def _message(self) -> Message:
        raise NotImplementedError

    def _place(self) -> np.ndarray:
        return np.array([axis.p for axis in self._axes])

    def _foreign(self, message: Message) -> str:
        frame = message["header"]["frame_id"]
        return f"it is in the frame {frame!r}, not {self._settings.frame!r}" if frame != self._settings.frame else ""

    def _beyond(self, tip: np.ndarray) -> str:
        """Whether a place (3,) is outside the workspace."""
        out = np.maximum(self._low - tip, tip - self._high).max()
        return f"it leads {1000 * out:.0f} mm outside the workspace" if out > _INSIDE else ""


class PosePath(_Path):
    """Poses: ``PoseStamped`` for a Cartesian controller."""

    def fault(self, message: Message, now: float) -> str:
        """Why a command must not pass, or ""."""
        if cause := self._foreign(message):
            return cause
        try:
            tip = attach(pose_of(message["pose"]), self._offset)
        except BadPose as error:
            return str(error)
        return self._beyond(tip[:3]) or self._too_far(tip, self._elapsed(message, now))

    def _elapsed(self, message: Message, now: float) -> float:
        """S since the last command, by the stamps where there are any: messages come in bursts."""
        stamp = seconds_of(message["header"]["stamp"])
        return stamp - self._when if stamp > 0.0 else now - self._when

    def _too_far(self, tip: np.ndarray, elapsed: float) -> str:
        if self._last is None:
            assert self._tip is not None
            way = float(np.linalg.norm(tip[:3] - self._tip[:3]))
            turn = float(np.linalg.norm(nearest(tip[3:], self._tip[3:]) - self._tip[3:]))
            if way > self._settings.leap or turn > _TURN_LEAP:
                return f"it begins {1000 * way:.0f} mm and {turn:.2f} rad from the arm"
            return ""
        step = np.concatenate([tip[:3], nearest(tip[3:], self._last[3:])]) - self._last
        excess = np.abs(step) - self._settings.margin * self._most * max(elapsed, 0.0) - _SLACK
        return "it is faster than the limits" if excess.max() > 0.0 else ""

    def accept(self, message: Message, now: float) -> None:
        """Take it for what the arm does."""
        tip = attach(pose_of(message["pose"]), self._offset)
        if self._last is not None:
            tip[3:] = nearest(tip[3:], self._last[3:])
            elapsed = self._elapsed(message, now)
            self._velocity = (tip - self._last) / elapsed if elapsed > 1e-4 else self._velocity
        self._last = tip
        self._when = seconds_of(message["header"]["stamp"]) or now

    def _message(self) -> Message:
        pose = pose_message(attach(self._place(), self._back))
        return {"header": header(0.0, self._settings.frame), "pose": pose}


class TwistPath(_Path):
    """Velocities: ``TwistStamped`` for MoveIt Servo."""

    def fault(self, message: Message, now: float) -> str:
        """Why a command must not pass, or ""."""
        if cause := self._foreign(message):
            return cause
        twist = self._twist(message)
        if not np.isfinite(twist).all():
            return "it is not finite"
        if (np.abs(twist) > self._settings.margin * self._most + 1e-6).any():
            return "it is faster than the limits"
        return self._leads_out(twist)

    @property
    def resting(self) -> bool:
        """Whether the arm was last told to stand still: a velocity goes on, however small it is."""
        return not self._velocity.any()

    def _leads_out(self, twist: np.ndarray) -> str:
        """Whether the arm could not be stopped inside the workspace if this were its last command."""
        assert self._tip is not None
        limits, v = self._settings.limits, twist[:3]
        brake = limits["acceleration"] / limits["jerk"] + np.abs(v) / (2.0 * limits["acceleration"])
        end = self._tip[:3] + v * (self._settings.ttl + brake)
        out = np.where(v > 0, end - self._high, np.where(v < 0, self._low - end, -math.inf)).max()
        return "it leads outside the workspace" if out > _INSIDE else ""

    def _twist(self, message: Message) -> np.ndarray:
        twist = message["twist"]
        return np.concatenate([vector_of(twist["linear"]), vector_of(twist["angular"])])

    def accept(self, message: Message, now: float) -> None:
        """Take it for what the arm does."""
        self._last, self._velocity = np.zeros(6), self._twist(message)  # only the velocity counts

    def _message(self) -> Message:
        velocity = np.array([axis.v for axis in self._axes])
        twist = {"linear": point_of(velocity[:3]), "angular": point_of(velocity[3:])}
        return {"header": header(0.0, self._settings.frame), "twist": twist}


class JointPath(_Path):
    """Joint trajectories of one point, as the bridge sends them."""

    def __init__(self, settings: Any):
        super().__init__(settings)
        limits = settings.joint_limits
        moves = limits["velocity"], limits["acceleration"], limits["jerk"], 1.0 / settings.hz
        self._axes = [Axis(-math.inf, math.inf, *moves) for _ in settings.names]
        self._velocity = np.zeros(len(settings.names))

    def state_age(self, now: float) -> float:
        """How old what the path needs of the arm's state is, s."""
        return now - self._heard["joints"]

    def outside(self) -> str:
        """Why no command may pass while the tool is where it is, where the robot tells that."""
        return "" if self._tip is None else self._beyond(self._tip[:3]).replace("it leads", "the tool is", 1)

    def forget(self) -> None:
        """The arm rests: the next command begins anew."""
        self._last, self._velocity = None, np.zeros(len(self._axes))

    def fault(self, message: Message, now: float) -> str:
        """Why a command must not pass, or ""."""
        goal, speed = self._point(message)
        if goal is None or speed is None:
            return "it is not one point with positions and velocities of this arm's joints"
        limits = self._settings.joint_limits
        if (goal < limits["low"] - _INSIDE).any() or (goal > limits["high"] + _INSIDE).any():
            return "it leads beyond the joints' limits"
        most = self._settings.margin * limits["velocity"]
        if np.abs(speed).max() > most:
            return "it is faster than the limits"
        if self._last is None:
            assert self._joints is not None
            way = float(np.abs(goal - self._joints).max())
            return f"it begins {way:.2f} rad from the arm" if way > _JOINT_LEAP else ""
        allowed = most * (now - self._when + 2.0 / self._settings.hz) + _SLACK
        return "it leaps" if np.abs(goal - self._last).max() > allowed else ""

    def _point(self, message: Message) -> tuple[np.ndarray | None, np.ndarray | None]:
        names, points = message["joint_names"], message["points"]
        if len(points) != 1 or sorted(names) != sorted(self._settings.names):
            return None, None
        order = [names.index(name) for name in self._settings.names]
        rows = [np.array(points[0][key], float) for key in ("positions", "velocities")]
        if any(len(row) != len(names) or not np.isfinite(row).all() for row in rows):
            return None, None
        return rows[0][order], rows[1][order]

    def accept(self, message: Message, now: float) -> None:
        """Take it for what the arm does."""
        self._last, self._velocity = self._point(message)  # type: ignore[assignment]
        self._when = now

    def _message(self) -> Message:
        point = {
            "positions": [axis.p for axis in self._axes], "velocities": [axis.v for axis in self._axes],
            "time_from_start": stamp_of(self._settings.ahead),
        }  # fmt: skip
        zero = header(0.0, self._settings.frame)
        return {"header": zero, "joint_names": list(self._settings.names), "points": [point]}


PATHS = {"pose": PosePath, "twist": TwistPath, "trajectory": JointPath}
