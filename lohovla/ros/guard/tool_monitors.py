"""The guard's commands of the tool: poses for a Cartesian controller, twists for MoveIt Servo."""

from __future__ import annotations

import math

import numpy as np

from lohovla.control.poses import compose_rotations, nearest
from lohovla.ros.guard.command_monitors import INSIDE, SLACK, CommandMonitor, brake_times
from lohovla.ros.robot.pose_conversion import (
    BadPose,
    lever_of,
    point_of,
    pose_at_offset,
    pose_message,
    pose_of,
    vector_of,
)
from lohovla.ros.transport.message_types import Message, header, seconds_of

_TURN_LEAP = 0.2  # rad; a first command farther from the arm is refused


class PoseMonitor(CommandMonitor):
    """Poses: ``PoseStamped`` for a Cartesian controller."""

    def fault(self, message: Message, now: float) -> str:
        """Why a command must not pass, or ""."""
        if cause := self._foreign(message):
            return cause
        try:
            tip = pose_at_offset(pose_of(message["pose"]), self._moved)
        except BadPose as error:
            return str(error)
        return self._beyond(tip[:3]) or self._too_far(tip, self._elapsed(message, now))

    def _elapsed(self, message: Message, now: float) -> float:
        """S since the last command, by the stamps where there are any: messages come in bursts.

        A burst was held back no longer than a command counts, so no clock that was set makes a leap seem slow.
        """
        stamp = seconds_of(message["header"]["stamp"])
        here = now - self._came
        return min(stamp - self._when, here + self._settings.ttl) if stamp > 0.0 else here

    def _too_far(self, tip: np.ndarray, elapsed: float) -> str:
        if self._last is None:
            assert self._tip is not None
            way = float(np.linalg.norm(tip[:3] - self._tip[:3]))
            turn = float(np.linalg.norm(nearest(tip[3:], self._tip[3:]) - self._tip[3:]))
            if way > self._settings.max_first_jump or turn > _TURN_LEAP:
                return f"it begins {1000 * way:.0f} mm and {turn:.2f} rad from the arm"
            return ""
        step = np.concatenate([tip[:3], nearest(tip[3:], self._last[3:])]) - self._last
        excess = np.abs(step) - self._settings.speed_tolerance * self._most * max(elapsed, 0.0) - SLACK
        return "it is faster than the limits" if excess.max() > 0.0 else ""

    def accept(self, message: Message, now: float) -> None:
        """Take it for what the arm does."""
        tip = pose_at_offset(pose_of(message["pose"]), self._moved)
        if self._last is not None:
            tip[3:] = nearest(tip[3:], self._last[3:])
            elapsed = self._elapsed(message, now)
            self._velocity = (tip - self._last) / elapsed if elapsed > 1e-4 else self._velocity
        self._last = tip
        self._following.send(tip, now, self._tip)
        self._when, self._came = seconds_of(message["header"]["stamp"]) or now, now

    def _message(self) -> Message:
        pose = pose_message(pose_at_offset(self._place(), self._back))
        return {"header": header(0.0, self._settings.frame), "pose": pose}


class TwistMonitor(CommandMonitor):
    """Velocities: ``TwistStamped`` for MoveIt Servo.

    A message is of the frame that Servo moves; everything here is of the tool's tip.
    """

    holds = False

    def _way(self, new: np.ndarray, old: np.ndarray) -> np.ndarray:
        return np.concatenate([new[:3] - old[:3], compose_rotations(new[3:], -old[3:])])  # as a twist turns

    def fault(self, message: Message, now: float) -> str:
        """Why a command must not pass, or ""."""
        if cause := self._foreign(message):
            return cause
        twist = self._twist(message)
        if not np.isfinite(twist).all():
            return "it is not finite"
        if (np.abs(twist) > self._settings.speed_tolerance * self._most + 1e-6).any():
            return "it is faster than the limits"
        return self._leaps_off(twist) or self._leads_out(twist)

    @property
    def resting(self) -> bool:
        """Whether the arm was last told to stand still: a velocity goes on, however small it is."""
        return not self._velocity.any()

    def _leads_out(self, twist: np.ndarray) -> str:
        """Whether the arm could not be stopped inside the workspace if this were its last command."""
        assert self._tip is not None
        v = twist[:3]
        end = self._tip[:3] + v * (self._settings.ttl + brake_times(self._axes[:3], v))
        out = np.where(v > 0, end - self._high, np.where(v < 0, self._low - end, -math.inf)).max()
        return "it leads outside the workspace" if out > INSIDE else ""

    def _twist(self, message: Message) -> np.ndarray:
        linear, angular = (vector_of(message["twist"][part]) for part in ("linear", "angular"))
        return np.concatenate([linear + np.cross(angular, self._lever()), angular])

    def _lever(self) -> np.ndarray:
        """The way from the frame that Servo moves to the tip (3,), in the base frame, m."""
        assert self._tip is not None
        return lever_of(self._tip, self._back)

    def accept(self, message: Message, now: float) -> None:
        """Take it for what the arm does."""
        self._last, self._velocity = np.zeros(6), self._twist(message)  # only the velocity counts
        self._message_again = message

    def _stay(self, place: np.ndarray) -> np.ndarray:
        return place  # where it is does not matter: rest is a velocity

    def _message(self) -> Message:
        velocity = np.array([axis.v for axis in self._axes])
        linear = velocity[:3] - np.cross(velocity[3:], self._lever())
        twist = {"linear": point_of(linear), "angular": point_of(velocity[3:])}
        return {"header": header(0.0, self._settings.frame), "twist": twist}
