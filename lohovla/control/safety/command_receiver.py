"""The receiving side of a robot's driver: it executes commands within the limits, and brakes when they cease."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lohovla.control.event_log import EventLog
from lohovla.control.motion_limits import MotionLimiter, MotionLimits
from lohovla.control.poses import POSE

BRAKING = ("emergency", "released")  # modes in which the receiver brakes by itself, whatever the pose


@dataclass(frozen=True)
class Command:
    """One command to the arm.

    Attributes:
        number: counts up; an older one than the last is refused.
        time: s, the moment that the pose is meant for.
        pose: tool position (m) and rotation vector (rad) in the base frame (6,).
        velocity: of the pose (6,).
        acceleration: of the pose (6,).
        gripper: 0 open to 1 closed.
        mode: what the loop is doing: run, hold, stop, released, emergency.
    """

    number: int
    time: float
    pose: np.ndarray
    velocity: np.ndarray
    acceleration: np.ndarray
    gripper: float
    mode: str


class CommandReceiver:
    """Takes commands at whatever rate they come, gives targets at the robot's own, and enforces the limits again.

    It keeps the limits itself, refuses what is not finite or out of order, and brakes when no command came
    for ``watchdog`` seconds. When they come again it goes on within the limits.

    Args:
        limits: what the tool may do.
        dt: seconds between the robot's own targets.
        watchdog: s.
        log: where its events go.
    """

    def __init__(self, limits: MotionLimits, dt: float, watchdog: float, log: EventLog):
        self.limiter, self._dt, self._watchdog, self._log = MotionLimiter(limits, dt), dt, watchdog, log
        self._command: Command | None = None
        self._heard = 0.0
        self.gripper = 0.0

    def start(self, pose: np.ndarray, gripper: float, now: float) -> None:
        """Begin at rest at ``pose`` (6,)."""
        self.limiter.reset(pose)
        self.gripper, self._command, self._heard = gripper, None, now

    def receive(self, command: Command, now: float) -> None:
        """Take a command in."""
        values = (command.pose, command.velocity, command.acceleration, np.array([command.gripper]))
        sound = all(np.asarray(v).shape in ((POSE,), (1,)) and np.isfinite(v).all() for v in values)
        if not sound:
            self._log.add(now, "refused command", f"command {command.number} is not finite or has a wrong shape")
        elif self._command is not None and command.number <= self._command.number:
            self._log.add(now, "refused command", f"command {command.number} after {self._command.number}")
        else:
            self._command, self._heard = command, now

    def shift(self, seconds: float) -> None:
        """The sender's clock was set by ``seconds``, the robot's was not."""
        self._heard += seconds

    def target(self, now: float) -> np.ndarray:
        """The robot's next target (6,); call once every ``dt`` seconds of the robot's time."""
        silent = now - self._heard > self._watchdog
        self._log.set_condition(now, "watchdog", silent, f"no command for {self._watchdog:g} s")
        command = self._command
        if silent or command is None or command.mode in BRAKING:
            self.limiter.brake()
        else:
            ahead = min(max(now + self._dt - command.time, 0.0), self._dt)  # the command may be a little old
            pose = command.pose + ahead * command.velocity
            self.limiter.follow(pose, command.velocity, command.acceleration)
            self.gripper = command.gripper
        return self.limiter.pose
