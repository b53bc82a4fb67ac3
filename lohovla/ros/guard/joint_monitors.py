"""The guard's commands of joints: trajectories, and the bare numbers of ROS 2's forward controllers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lohovla.control.motion_limits import AxisLimiter
from lohovla.ros.guard.command_monitors import INSIDE, LATE, SLACK, CommandMonitor, brake_times
from lohovla.ros.guard.following import FollowingCheck
from lohovla.ros.guard.speed_estimator import MeasuredSpeed
from lohovla.ros.guard.tool_monitors import PoseMonitor, TwistMonitor
from lohovla.ros.robot.joint_trajectories import trajectory
from lohovla.ros.transport.message_types import Message, header, seconds_of

_JOINT_LEAP = 0.1  # rad
_SOONEST = 0.5  # share of the usual time to a point that it may have at least
_STILL, _NEAR = 0.01, 0.03  # rad/s that count as rest; rad that a joint at rest may be from where it was sent


class JointMonitor(CommandMonitor):
    """What the kinds of joints have in common: limits of the joints, and where those are."""

    stamped = False

    def __init__(self, settings: Any):
        super().__init__(settings)
        limits, count = settings.joint_limits, len(settings.names)
        hard = settings.brake
        moves = limits["velocity"], hard * limits["acceleration"], hard * limits["jerk"], 1.0 / settings.hz
        self._axes = [AxisLimiter(-math.inf, math.inf, *moves) for _ in settings.names]
        self._velocity, self._still, self._near = np.zeros(count), np.full(count, _STILL), np.full(count, _NEAR)
        self._fastest = settings.speed_tolerance * limits["velocity"]
        later = settings.lookahead if settings.kind == "trajectory" else 0.0
        self._following = FollowingCheck(LATE + later, self._near, self._way)

    @property
    def _state(self) -> str:
        return "joints"

    def outside(self) -> str:
        """Why no command may pass while the tool is where it is, where the robot tells that."""
        return "" if self._tip is None else self._beyond(self._tip[:3]).replace("it leads", "the tool is", 1)

    def _way(self, new: np.ndarray, old: np.ndarray) -> np.ndarray:
        return new - old

    @property
    def _speed(self) -> MeasuredSpeed:
        return self._joint_speed

    @property
    def _measured(self) -> np.ndarray | None:
        return self._joints

    def _far_off(self, off: np.ndarray) -> str:
        worst = int(np.argmax(off))
        name = self._settings.names[worst]
        return f"the arm does not follow: {name} is {off[worst]:.2f} rad off its way"

    def _off_limits(self, joints: np.ndarray) -> str:
        limits = self._settings.joint_limits
        out = (joints < limits["low"] - INSIDE) | (joints > limits["high"] + INSIDE)
        return "it leads beyond the joints' limits" if out.any() else ""

    def _leaps(self, goal: np.ndarray, now: float) -> str:
        """Whether a place of the joints (n,) is too far from the one before, or from the arm."""
        if self._last is None:
            assert self._joints is not None
            way = float(np.abs(goal - self._joints).max())
            return f"it begins {way:.2f} rad from the arm" if way > _JOINT_LEAP else ""
        allowed = self._fastest * (now - self._came + 2.0 / self._settings.hz) + SLACK
        return "it leaps" if np.abs(goal - self._last).max() > allowed else ""

    def _numbers(self, message: Message) -> np.ndarray | None:
        """The numbers of a message that has one for each joint, in the profile's order."""
        numbers = np.array(message["data"], float)
        return numbers if numbers.shape == self._velocity.shape and np.isfinite(numbers).all() else None


class TrajectoryMonitor(JointMonitor):
    """Joint trajectories of one point, and of another at which the arm is at rest."""

    def fault(self, message: Message, now: float) -> str:
        """Why a command must not pass, or ""."""
        points = self._points(message)
        if points is None:
            return "it is not a point of this arm's joints, or one and its end at rest"
        goal, speed, due = points[0]
        if np.abs(speed).max() > self._fastest:
            return "it is faster than the limits"
        if due < _SOONEST * self._settings.lookahead:
            return f"its point is due in {due:.3f} s"
        if cause := self._off_limits(goal) or self._leaps(goal, now):
            return cause
        for end, left, later in points[1:]:
            if np.abs(left).max() > 0.0:
                return "it does not end at rest"
            if later <= due or np.abs(end - goal).max() > self._fastest * (later - due) + SLACK:
                return "its end is faster than the limits"
            if cause := self._off_limits(end):
                return cause
        return ""

    def _points(self, message: Message) -> list[tuple[np.ndarray, np.ndarray, float]] | None:
        """Positions, velocities and times of its points, in the profile's order of joints; None if it is none."""
        names, points = message["joint_names"], message["points"]
        if len(points) not in (1, 2) or sorted(names) != sorted(self._settings.names):
            return None
        order = [names.index(name) for name in self._settings.names]
        found = []
        for point in points:
            still = [0.0] * len(names) if self._settings.end == "open" else []  # that form names no velocities
            rows = [np.array(row, float) for row in (point["positions"], point.get("velocities") or still)]
            if any(len(row) != len(names) or not np.isfinite(row).all() for row in rows):
                return None
            found.append((rows[0][order], rows[1][order], seconds_of(point["time_from_start"])))
        return found

    def accept(self, message: Message, now: float) -> None:
        """Take it for what the arm does."""
        points = self._points(message)
        assert points is not None
        goal, self._velocity, _ = points[0]
        if self._settings.end == "open":
            self._velocity = step_speed(goal, self._last, now - self._came, self._fastest)
        self._last, self._came = goal, now
        self._following.send(goal, now, self._joints)

    def _message(self) -> Message:
        settings = self._settings
        positions, velocities = self._place(), np.array([axis.v for axis in self._axes])
        slow = settings.brake * settings.joint_limits["acceleration"]
        points = trajectory(positions, velocities, settings.lookahead, settings.end, slow)
        return {"header": header(0.0, settings.frame), "joint_names": list(settings.names), "points": points}


class JointPositionMonitor(JointMonitor):
    """Places of the joints: ``Float64MultiArray`` for a ``forward_position_controller``."""

    def fault(self, message: Message, now: float) -> str:
        """Why a command must not pass, or ""."""
        goal = self._numbers(message)
        if goal is None:
            return "it is not a number for each of this arm's joints"
        return self._off_limits(goal) or self._leaps(goal, now)

    def accept(self, message: Message, now: float) -> None:
        """Take it for what the arm does."""
        goal = self._numbers(message)
        assert goal is not None
        self._velocity = step_speed(goal, self._last, now - self._came, self._fastest)
        self._last, self._came = goal, now
        self._following.send(goal, now, self._joints)

    def _message(self) -> Message:
        return {"data": self._place().tolist()}


class JointVelocityMonitor(JointMonitor):
    """Speeds of the joints: ``Float64MultiArray`` for a ``forward_velocity_controller``."""

    holds = False

    def fault(self, message: Message, now: float) -> str:
        """Why a command must not pass, or ""."""
        velocity = self._numbers(message)
        if velocity is None:
            return "it is not a number for each of this arm's joints"
        if np.abs(velocity).max() > self._fastest:
            return "it is faster than the limits"
        assert self._joints is not None
        end = self._joints + velocity * (self._settings.ttl + brake_times(self._axes, velocity))
        inward = np.sign(velocity) * np.sign(self._joints - self._middle) < 0.0  # one that is outside may come in
        return self._leaps_off(velocity) or self._off_limits(np.where(inward, self._middle, end))

    @property
    def _middle(self) -> float:
        limits = self._settings.joint_limits
        return 0.5 * (limits["low"] + limits["high"])

    @property
    def resting(self) -> bool:
        """Whether the arm was last told to stand still: a velocity goes on, however small it is."""
        return not self._velocity.any()

    def accept(self, message: Message, now: float) -> None:
        """Take it for what the arm does."""
        velocity = self._numbers(message)
        assert velocity is not None
        self._last, self._velocity = np.zeros_like(velocity), velocity
        self._message_again = message

    def _stay(self, place: np.ndarray) -> np.ndarray:
        return place

    def _message(self) -> Message:
        return {"data": [axis.v for axis in self._axes]}


def step_speed(goal: np.ndarray, before: np.ndarray | None, seconds: float, most: float) -> np.ndarray:
    """The speed (n,) of a step between two places, as far as it may be: messages come in bursts."""
    if before is None or seconds < 1e-4:
        return np.zeros_like(goal)
    return np.clip((goal - before) / seconds, -most, most)


# What each kind of a profile's `command` is guarded by.
MONITORS = {
    "pose": PoseMonitor,
    "twist": TwistMonitor,
    "trajectory": TrajectoryMonitor,
    "joint_position": JointPositionMonitor,
    "joint_velocity": JointVelocityMonitor,
}
