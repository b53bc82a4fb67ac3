"""Whether the arm may move at this moment, and if not, why: the first reason in an order that a person can follow."""

from __future__ import annotations

from typing import Any

import numpy as np

from lohovla.ros.session.stop_reasons import PERMITTED, MotionPermit, StopReason
from lohovla.ros.transport.namespace import full_name

_BEHIND = 0.10  # m between what is commanded and what is measured that count as not following,
_LAG = 0.15  # s, or as far as the arm may go in that time: it follows late, and what it says is old


class MotionInterlock:
    """Looks at everything that must be right.

    Args:
        robot: a :class:`~lohovla.ros.session.ros_robot.RosRobot`.
        operator: an :class:`~lohovla.ros.session.operator_interface.OperatorInterface`.
        needs_top: whether the policy sees, and so cannot go without the top view.
        peers: other bridges (:class:`~lohovla.ros.session.exclusive_control.ExclusiveControl`).
        warm_up: of the model (:class:`~lohovla.ros.session.warmup.WarmUp`).
    """

    def __init__(self, robot: Any, operator: Any, needs_top: bool, peers: Any, warm_up: Any):
        self.warm_up = warm_up
        self._robot, self._operator, self._needs_top, self._peers = robot, operator, needs_top, peers
        self._fresh = robot.profile.max_age

    def check(self, now: float, commanded: np.ndarray | None = None) -> MotionPermit:
        """The verdict now.

        Args:
            now: s on the loop's clock.
            commanded: the pose (6,) of the last command, while the arm moves.
        """
        robot, operator = self._robot, self._operator
        if operator.emergency:
            return MotionPermit(StopReason.EMERGENCY_STOP, operator.emergency)
        if not robot.transport.connected:
            return MotionPermit(StopReason.BRIDGE_LOST, getattr(robot.transport, "trouble", "no connection"))
        if cause := robot.state_fault(now):
            return MotionPermit(StopReason.STATE_LOST, cause)
        measured = robot.measured()
        if measured is None:  # lost between two looks
            return MotionPermit(StopReason.STATE_LOST, "the tool's pose is not known")
        if cause := robot.status.fault:
            return MotionPermit(StopReason.ROBOT_STOPPED, cause)
        if not (verdict := self._cameras(now)):
            return verdict
        if robot.guard is not None and not robot.dry and not (verdict := self._guard(now)):
            return verdict
        if commanded is not None and not robot.dry:
            behind = float(np.linalg.norm(measured[:3] - commanded[:3]))
            if behind > max(_BEHIND, _LAG * robot.limits.velocity):
                return MotionPermit(
                    StopReason.NOT_FOLLOWING, f"the tool is {1000 * behind:.0f} mm from where it was sent"
                )
        if not robot.dry and (rival := self._peers.other_controller(now)):
            return MotionPermit(StopReason.ANOTHER_BRIDGE, f"{rival} has the arm")
        if not operator.goal:
            return MotionPermit(StopReason.NO_GOAL, f"say one on {full_name(robot.transport, '/lohovla/goal')}")
        if not self.warm_up.done:
            return MotionPermit(StopReason.WARMING_UP, "the model's first answers take a while")
        if not operator.started:
            return MotionPermit(StopReason.NOT_STARTED, f"call {full_name(robot.transport, '/lohovla/start')}")
        if operator.paused:
            return MotionPermit(StopReason.PAUSED, "by the operator")
        if not operator.enabled(now):
            by_turns = "it is held and let go by turns: do two nodes send it?"
            return MotionPermit(StopReason.NOT_ENABLED, by_turns if operator.contradicted else "the enable is not held")
        return PERMITTED

    def _guard(self, now: float) -> MotionPermit:
        """The robot's own side; the arm's state and the enable it judges as this side does."""
        guard = self._robot.guard
        if guard.age(now) > self._fresh.guard:
            return MotionPermit(
                StopReason.GUARD_LOST, f"{guard.topic}: {_age(guard.age(now))}; start lohovla ros-guard on the robot"
            )
        if guard.braking:
            return MotionPermit(StopReason.GUARD_STOPPED, guard.cause)
        if guard.refuses:
            return MotionPermit(StopReason.GUARD_REFUSES, guard.refuses)
        return PERMITTED

    def _cameras(self, now: float) -> MotionPermit:
        name, age = self._robot.eyes.camera_age(now)
        if age > self._fresh.camera:
            return MotionPermit(StopReason.CAMERA_LOST, f"{name}: {_age(age)}")
        if frozen := self._robot.eyes.frozen():
            return MotionPermit(StopReason.CAMERA_LOST, frozen)
        if self._needs_top:
            stamp = self._robot.eyes.sight.stamps.get("images.top")
            if stamp is None or now - stamp > self._fresh.camera:
                trouble = self._robot.eyes.trouble or "it was not made yet"
                return MotionPermit(
                    StopReason.NO_TOP_VIEW, trouble if stamp is None else f"{_age(now - stamp)}; {trouble}"
                )
        return PERMITTED


def _age(age: float) -> str:
    return "nothing has come" if age == float("inf") else f"{age:.2f} s old"
