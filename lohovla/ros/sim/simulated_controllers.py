"""The controllers of the simulated robot: what each kind of command does to the arm, and what silence does.

They are as dangerous as real ones: a pose that was asked for is kept, and a velocity goes on until another comes,
or until the time-out of the controller, where it has one, as MoveIt Servo has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lohovla.control.poses import compose_rotations, shortest_rotation
from lohovla.ros.robot.ur5e_tool_pose import tool_of_joints
from lohovla.ros.transport.message_types import Message, seconds_of

_SAME = 1e-6  # rad/s that count as rest


class _Point(NamedTuple):
    time: float  # s since the trajectory began
    positions: np.ndarray
    velocities: np.ndarray | None


class SimulatedController:
    """Turns commands into the place where the tool is to be.

    Args:
        joints: tells where the joints are (6,), rad.
        names: of the joints.
        tool_length: m beyond the flange.
        timeout: s after which a velocity counts no more; the arm is halted at once. 0: it goes on for ever.
        moving_ends: whether a trajectory may end in motion, as older joint trajectory controllers allow.
        from_desired: whether a new trajectory begins where the one before had the joints be (ros2_control's
            ``interpolate_from_desired_state``), not where they are measured, which is that controller's default.

    Attributes:
        target: where the tool is to be (6,).
    """

    def __init__(
        self,
        joints: Callable[[], np.ndarray],
        names: tuple[str, ...],
        tool_length: float,
        timeout: float = 0.1,
        moving_ends: bool = False,
        from_desired: bool = True,
    ):
        self._where, self._names, self._length = joints, names, tool_length
        self._timeout, self._moving_ends, self._from_desired = timeout, moving_ends, from_desired
        self.target = np.zeros(6)
        self._joints: np.ndarray | None = None  # where they are to be, while they are what is commanded
        self._speed = np.zeros(6)  # of them, at the last step
        self._step: Callable[[float, float], None] = self._keep
        self._heard = 0.0
        self._velocity = np.zeros(6)
        self._points: list[_Point] = []
        self._waiting: list[_Point] = []  # of a trajectory that no step has begun yet
        self._elapsed = 0.0  # s since the trajectory began
        self._measured: np.ndarray | None = None  # the joints at the last step, where trajectories begin there

    def reset(self, pose: np.ndarray) -> None:
        """Stay at ``pose`` (6,) until something comes."""
        self.target, self._joints, self._step = np.array(pose, float), None, self._keep

    def take_pose(self, pose: np.ndarray) -> None:
        """Be at ``pose`` (6,)."""
        self.reset(pose)

    def take_twist(self, twist: np.ndarray, now: float) -> None:
        """Go with ``twist`` (6,), m/s and rad/s in the base frame."""
        self._velocity, self._heard, self._joints, self._step = np.array(twist, float), now, None, self._drift

    def take_joints(self, positions: list[float]) -> str:
        """Have the joints at ``positions``, rad; returns why not, or ""."""
        if len(positions) != len(self._names):
            return f"{len(positions)} numbers for {len(self._names)} joints"
        self._joints, self._step = np.array(positions, float), self._keep
        self._speed = np.zeros(len(self._names))
        self.target = tool_of_joints(self._joints, self._length)
        return ""

    def take_joint_speeds(self, velocities: list[float], now: float) -> str:
        """Have the joints go with ``velocities``, rad/s; returns why not, or ""."""
        if len(velocities) != len(self._names):
            return f"{len(velocities)} numbers for {len(self._names)} joints"
        self._begin_joints()
        self._velocity, self._heard, self._step = np.array(velocities, float), now, self._turn
        return ""

    def take_trajectory(self, message: Message) -> str:
        """Follow a ``JointTrajectory`` from the next step on; returns why not, or ""."""
        if not message["points"] or set(message["joint_names"]) != set(self._names):
            return f"a trajectory of {len(message['points'])} points of {sorted(message['joint_names'])}"
        order = [message["joint_names"].index(name) for name in self._names]
        points = [self._point(point, order) for point in message["points"]]
        last = points[-1].velocities
        if not self._moving_ends and last is not None and np.abs(last).max() > _SAME:
            return "the last point of the trajectory moves"
        self._begin_joints()
        self._waiting, self._step = points, self._follow
        return ""

    def _point(self, point: Any, order: list[int]) -> _Point:
        given = point["velocities"]
        velocities = np.array(given, float)[order] if len(given) else None
        return _Point(seconds_of(point["time_from_start"]), np.array(point["positions"], float)[order], velocities)

    def _begin_joints(self) -> None:
        if self._joints is None:
            self._joints, self._speed = np.array(self._where(), float), np.zeros(len(self._names))

    # -- steps ---------------------------------------------------------------------------------------------

    def step(self, now: float, seconds: float) -> np.ndarray:
        """Where the tool is to be (6,) after another ``seconds``."""
        before = self._joints
        self._step(now, seconds)
        if not self._from_desired:
            self._measured = np.array(self._where(), float)
        if self._joints is not None and before is not None:
            if self._step != self._follow:  # which knows its speed
                self._speed = (self._joints - before) / seconds
            self.target = tool_of_joints(self._joints, self._length)
        return self.target

    @property
    def _halted_by(self) -> float:
        return self._heard + self._timeout if self._timeout > 0.0 else np.inf

    def _keep(self, now: float, seconds: float) -> None:
        pass

    def _drift(self, now: float, seconds: float) -> None:
        if now <= self._halted_by:
            self.target = np.concatenate(
                [
                    self.target[:3] + self._velocity[:3] * seconds,
                    shortest_rotation(compose_rotations(self._velocity[3:] * seconds, self.target[3:])),
                ]
            )

    def _turn(self, now: float, seconds: float) -> None:
        if now <= self._halted_by and self._joints is not None:
            self._joints = self._joints + self._velocity * seconds

    def _follow(self, now: float, seconds: float) -> None:
        """Along the trajectory: cubic where both ends have velocities, else straight.

        The trajectory begins at a step, with the state of that moment, as that of ros2_control does: a state of the
        step before with the moment when the message came would take away a part of every period.
        """
        if self._waiting:
            self._points, self._waiting, self._elapsed = [self._begin(seconds), *self._waiting], [], 0.0
        self._elapsed += seconds
        following = next((k for k, point in enumerate(self._points) if point.time > self._elapsed), None)
        if following is None:
            self._joints, self._speed = self._points[-1].positions, np.zeros(len(self._names))
            return
        a, b = self._points[following - 1], self._points[following]
        length = b.time - a.time
        u = (self._elapsed - a.time) / length
        if a.velocities is None or b.velocities is None:
            self._joints = a.positions + u * (b.positions - a.positions)
            self._speed = (b.positions - a.positions) / length
            return
        way = b.positions - a.positions
        self._joints = (
            a.positions
            + u * length * a.velocities
            + u * u * (3 * way - length * (2 * a.velocities + b.velocities))
            + u * u * u * (length * (a.velocities + b.velocities) - 2 * way)
        )
        self._speed = (
            a.velocities
            + 2 * u * (3 * way / length - 2 * a.velocities - b.velocities)
            + 3 * u * u * (a.velocities + b.velocities - 2 * way / length)
        )

    def _begin(self, seconds: float) -> _Point:
        """Where a new trajectory begins; ``seconds`` since the last step."""
        assert self._joints is not None
        if self._from_desired:
            return _Point(0.0, self._joints, self._speed)
        at = np.array(self._where(), float)
        return _Point(0.0, at, np.zeros(len(at)) if self._measured is None else (at - self._measured) / seconds)
