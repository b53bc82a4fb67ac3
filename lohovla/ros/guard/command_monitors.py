"""The guard's kinds of commands: what is wrong with one, where the arm goes by it, and how it comes to rest from there.

Here are those of the tool; ``joint_monitors`` has those of the joints. Checks look at speeds and places,
not at accelerations: those of single messages are noise. Brakes keep all limits, begin with the speed that the arm
really has, and end where it is found to have stopped by itself: no brake makes an arm move that stands.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lohovla.control.motion_limits import AxisLimiter
from lohovla.control.poses import nearest
from lohovla.ros.guard.following import FollowingCheck
from lohovla.ros.guard.speed_estimator import MeasuredSpeed
from lohovla.ros.robot.pose_conversion import (
    BadPose,
    inverse_offset,
    joints_of,
    offset_of,
    pose_at_offset,
    pose_of,
)
from lohovla.ros.transport.message_types import Message

INSIDE = 0.002  # m or rad that a command may be outside by rounding
SLACK = 0.004  # m or rad between commands beside what the speed allows: stamps and rounding
RESTING = 1e-3  # m/s or rad/s that count as rest in commands
BEGINS_WITHIN = 0.15  # s in which an arm may have reached the speed of the first command
_STILL = np.array([0.005] * 3 + [0.02] * 3)  # m/s, rad/s that count as rest in measurements
_NEAR = np.array([0.02] * 3 + [0.1] * 3)  # m, rad that an arm at rest may be from where it was sent
_HALTED = 4.0  # times the speed that counts as rest; a faster command that the arm does not follow: it has halted
LATE = 0.15  # s that an arm may follow late, as in the bridge (lohovla.ros.session.motion_interlock)
_OFF = np.array([0.1] * 3 + [0.5] * 3)  # m, rad that it may be off beside that: soft arms sag
_RESTS_WITHIN = 1.0  # s that an arm which is told nothing more is given to come to rest


class CommandMonitor:
    """What the kinds have in common: the arm's state, axes to brake with, and the last command.

    Attributes:
        holds: whether an arm that is told nothing more stops by itself, at the last place that it was told. One that
            is driven by velocities does not: it must be told them again and again, and told to stop.
        stamped: whether messages to the controller carry the moment at which they are sent.
    """

    holds, stamped = True, True

    def __init__(self, settings: Any):
        self._settings = settings
        self._offset = offset_of(settings.offset)
        self._moved = self._offset if settings.moved is None else offset_of(settings.moved)
        self._back = inverse_offset(self._moved)
        limits, dt = settings.limits, 1.0 / settings.hz
        self._low, self._high = np.array(limits["low"], float), np.array(limits["high"], float)
        self._most = np.array([limits["velocity"]] * 3 + [limits["turn_velocity"]] * 3)
        hard = settings.brake
        moves = limits["velocity"], hard * limits["acceleration"], hard * limits["jerk"], dt
        turns = limits["turn_velocity"], hard * limits["turn_acceleration"], hard * limits["turn_jerk"], dt
        self._axes = [AxisLimiter(-math.inf, math.inf, *(moves if k < 3 else turns)) for k in range(6)]
        self._still, self._near = _STILL, _NEAR
        self._following = FollowingCheck(LATE, _OFF, self._way)
        self._tip: np.ndarray | None = None
        self._joints: np.ndarray | None = None
        self._heard = {"tool": -math.inf, "joints": -math.inf}
        self._tip_speed = MeasuredSpeed(self._way)
        self._joint_speed = MeasuredSpeed()
        self._last: np.ndarray | None = None  # what the last command wanted, in the coordinates of the axes
        self._velocity = np.zeros(6)
        self._when = self._came = 0.0
        self._message_again: Message | None = None
        self._left_alone = False  # whether the arm comes to rest by itself, and must not be told anything
        self._stopped, self._began = False, 0.0

    def _way(self, new: np.ndarray, old: np.ndarray) -> np.ndarray:
        """The way from one place to another, in the coordinates of the axes."""
        return np.concatenate([new[:3] - old[:3], nearest(new[3:], old[3:]) - old[3:]])

    # -- what it hears -------------------------------------------------------------------------------------

    def hear_tool(self, message: Message, now: float) -> None:
        """A pose of the tool."""
        try:
            self._tip = pose_at_offset(pose_of(message["pose"]), self._offset)
        except BadPose:
            return
        self._heard["tool"] = now
        self._tip_speed.hear(self._tip, now)

    def hear_joints(self, message: Message, now: float) -> None:
        """Joint states."""
        joints = joints_of(message, self._settings.names)
        if joints is not None:
            self._joints, self._heard["joints"] = joints, now
            self._joint_speed.hear(joints, now)

    def state_age(self, now: float) -> float:
        """How old what the path needs of the arm's state is, s."""
        return now - self._heard[self._state]

    @property
    def _state(self) -> str:
        return "tool"

    @property
    def _speed(self) -> MeasuredSpeed:
        return self._tip_speed

    @property
    def _measured(self) -> np.ndarray | None:
        """The arm's place in the coordinates of the axes."""
        return self._tip

    def outside(self) -> str:
        """Why no command may pass while the arm is where it is, or ""."""
        return ""

    def tracking_error(self) -> str:
        """Why the arm is not where it was sent, or a little before that, or ""."""
        if not self.holds or self._measured is None:
            return ""
        off = self._following.lag(self._measured, self._heard[self._state])
        return self._far_off(off) if off.any() else ""

    def _far_off(self, off: np.ndarray) -> str:
        if off[:3].any():
            return f"the arm does not follow: it is {1000 * np.linalg.norm(off[:3]):.0f} mm off its way"
        return f"the arm does not follow: it is {np.linalg.norm(off[3:]):.2f} rad off its way"

    # -- what passes ---------------------------------------------------------------------------------------

    def fault(self, message: Message, now: float) -> str:
        """Why a command must not pass, or ""."""
        raise NotImplementedError

    def accept(self, message: Message, now: float) -> None:
        """Take it for what the arm does."""
        raise NotImplementedError

    def command_to_repeat(self) -> Message | None:
        """The command to be said again while it counts; None where the controller keeps it."""
        return None if self.holds else self._message_again

    @property
    def resting(self) -> bool:
        """Whether the arm was last told to stand still."""
        return bool(np.abs(self._velocity).max() < RESTING)

    @property
    def at_rest(self) -> bool:
        """Whether the brake is over: nothing more is to be told."""
        return self._stopped if self._left_alone else self.resting

    def forget(self) -> None:
        """The arm rests: the next command begins anew."""
        self._last, self._velocity = None, np.zeros(len(self._axes))
        self._following.forget()

    # -- the brake -----------------------------------------------------------------------------------------

    def begin_brake(self, now: float, silent: bool, halted: bool) -> None:
        """From here on, brake.

        Args:
            now: s.
            silent: whether nothing has come for a while.
            halted: whether the controller has stopped the arm, as it was told nothing for so long.
        """
        assert self._last is not None
        astray = bool(self.tracking_error())
        self._began, self._left_alone, self._stopped = now, self.holds and silent and not astray, False
        speed = np.zeros_like(self._velocity) if halted else self._speed.bound(self._velocity)
        place = self._measured if astray and self._measured is not None else self._last
        if halted or self._stands(now):
            place, speed = self._stay(place), np.zeros_like(speed)
        for axis, at, v in zip(self._axes, place, speed):
            axis.p, axis.v, axis.a = float(at), float(np.clip(v, -axis.V, axis.V)), 0.0
        self._velocity = np.array([axis.v for axis in self._axes])

    def brake(self, now: float, halted: bool = False) -> Message | None:
        """One step nearer to rest; None where the arm comes to rest by itself, which nothing may disturb."""
        if self._left_alone:
            self._stopped = self._stands(now) or now - self._began > _RESTS_WITHIN
            return None
        slow = (np.abs(self._velocity) < _HALTED * self._still).all()
        if halted or (not slow and self._stands(now)):
            for axis, at in zip(self._axes, self._stay(self._place())):
                axis.p, axis.v, axis.a = float(at), 0.0, 0.0
        for axis in self._axes:
            axis.brake()
        self._velocity = np.array([axis.v for axis in self._axes])
        return self._message()

    def rest(self, now: float) -> Message | None:
        """What keeps the arm at rest."""
        return None if self._left_alone else self._message()

    def _stands(self, now: float) -> bool:
        """Whether the arm is measured to stand still now."""
        speed = self._speed.value
        return self._speed.fresh(now) and speed is not None and bool((np.abs(speed) < self._still).all())

    def _stay(self, place: np.ndarray) -> np.ndarray:
        """Where an arm that stands is to stay: where it was sent, or where it is if it never got there."""
        at = self._measured
        return place if at is None or (np.abs(self._way(place, at)) < self._near).all() else at

    def _leaps_off(self, velocity: np.ndarray) -> str:
        """Why a velocity (n,) must not be the first: no arm can have got so fast unnoticed."""
        if self._last is not None:
            return ""
        measured = self._speed.value
        known = np.zeros_like(velocity) if measured is None else measured
        gained = np.array([BEGINS_WITHIN * axis.A for axis in self._axes]) / self._settings.brake + 5.0 * self._still
        return "it begins faster than the arm goes" if (np.abs(velocity - known) > gained).any() else ""

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
        return f"it leads {1000 * out:.0f} mm outside the workspace" if out > INSIDE else ""


def brake_times(axes: list[AxisLimiter], velocity: np.ndarray) -> np.ndarray:
    """The time at full speed in which an axis goes as far as while it brakes, s (n,)."""
    return np.array([axis.A / axis.J + abs(v) / (2.0 * axis.A) for axis, v in zip(axes, velocity)])
