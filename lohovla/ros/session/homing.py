"""The way to the home pose: slow, straight, and stopped by whatever stops the policy."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from lohovla.control.motion_limits import MotionLimiter
from lohovla.control.poses import nearest
from lohovla.control.safety.command_receiver import Command
from lohovla.control.settings import LoopSettings
from lohovla.ros.session.stop_reasons import MotionPermit

_AT_HOME, _AT_HOME_TURN = 0.01, 0.05  # m, rad
_MEASURED = 2.0  # times as much for the arm itself, which follows a little behind
_ARRIVES_WITHIN = 5.0  # s from the last command to the arm


class Homing:
    """Commands the arm to its home pose, one command at a time.

    Args:
        robot: a :class:`~lohovla.ros.session.ros_robot.RosRobot`, whose pose is known.
        settings: of the control loop.
    """

    def __init__(self, robot: Any, settings: LoopSettings):
        self._robot, self._period = robot, settings.period
        self._goal, self._limiter = np.array(robot.profile.home), MotionLimiter(settings.limits, settings.period)
        self._limiter.reset(robot.pose())
        self._limiter.set_speed(min(max(robot.profile.start.speed / settings.limits.velocity, 0.01), 1.0))
        self._number, self._commanded_since = 0, None
        self._commanded_since: float | None

    @property
    def pose(self) -> np.ndarray:
        """The last command (6,)."""
        return self._limiter.pose

    def step(self, now: float, verdict: MotionPermit) -> Command:
        """One command: nearer to home if the arm may move, else nearer to rest."""
        limiter = self._limiter
        if limiter.resting and not (verdict and self._is_home(limiter.pose)):
            self._begin()
        if verdict:
            goal = np.concatenate([self._goal[:3], nearest(self._goal[3:], limiter.pose[3:])])
            limiter.follow(goal, np.zeros(6), np.zeros(6))
        else:
            limiter.brake()
        command = self._send(now, "run")
        there = limiter.resting and self._is_home(limiter.pose)
        self._commanded_since = (self._commanded_since or now) if there else None
        return command

    def _begin(self) -> None:
        """Take the arm to be where it is measured: it may have been moved, or never have followed."""
        measured = self._robot.measured()
        if measured is not None and not self._robot.dry:
            self._limiter.reset(measured)

    def _send(self, now: float, mode: str) -> Command:
        limiter = self._limiter
        self._number += 1
        command = Command(
            self._number,
            now + self._period,
            limiter.pose,
            limiter.velocity,
            limiter.acceleration,
            self._robot.gripper(),
            mode,
        )
        self._robot.command(command, now)
        return command

    @property
    def arrived(self) -> bool:
        """Whether the arm is there, and not only told to be."""
        return self._commanded_since is not None and (self._robot.dry or self._is_home(self._robot.pose(), _MEASURED))

    def failed(self, now: float) -> bool:
        """Whether the arm should long have been there."""
        return self._commanded_since is not None and now - self._commanded_since > _ARRIVES_WITHIN

    def _is_home(self, pose: np.ndarray, slack: float = 1.0) -> bool:
        turn = float(np.linalg.norm(nearest(pose[3:], self._goal[3:]) - self._goal[3:]))
        way = float(np.linalg.norm(pose[:3] - self._goal[:3]))
        return way < slack * _AT_HOME and turn < slack * _AT_HOME_TURN

    def brake(self, sleep_until: Callable[[float], None]) -> None:
        """Come to rest; returns when the arm was told to stand still."""
        due = time.monotonic()
        while not self._limiter.resting:
            self._limiter.brake()
            self._send(due, "stop")
            due += self._period
            sleep_until(due)
