"""One pick and one place as a stream of tool poses: the Ravens primitive, a command at a time.

The same motion serves the ``pick_place`` action, which runs it inside the environment, and the oracle's
``ee`` actions, which send its poses from outside. It rises to a safe height, goes over, comes down slowly
until it touches, grips or lets go, and rises again. Lengths in metres, speeds in m/s.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lohovla.envs.control.simulation import Simulation

SPEED = 1.2
ACCELERATION = 10.0
CONTACT_SPEED = 0.2
APPROACH = 0.02  # where the slow descent starts, above the expected touch
OVERTRAVEL = 0.03  # how far below the expected touch it looks for contact
CLEARANCE = 0.03  # between what is carried and the highest thing below
LOWEST_TRANSIT = 0.10
JAW_DEPTH = 0.018  # how far below a block's top the fingers reach
CAUGHT_UP = 0.003  # how near the tool must be before it goes down


class Waypoint(NamedTuple):
    """A tool pose to send: position (3,), yaw (rad), gripper 0..1."""

    position: np.ndarray
    yaw: float
    gripper: float


class MotionOutcome(enum.Enum):
    """How a pick and place ended."""

    PLACED = "placed"
    MISSED = "nothing was gripped"
    DROPPED = "the block was lost on the way"


class PickPlace:
    """A generator of waypoints from the arm's present pose to after the place.

    Args:
        simulation: what is sensed while moving: contact, what is held, where the tool is.
        pick: (x, y, z, yaw); z is the height of the face to touch.
        place: (x, y, z, yaw); z is the height of the surface that the block is to rest on.
        edge: how much of what is held hangs below the tool, m, if known; sensed by contact in any case.
        lowest: the least height of the tool on its way, m.
        holding: whether the block is already held, so that only the place is left to do.
    """

    def __init__(
        self,
        simulation: Simulation,
        pick: np.ndarray,
        place: np.ndarray,
        edge: float = 0.04,
        lowest: float = LOWEST_TRANSIT,
        holding: bool = False,
    ):
        self._sim = simulation
        self._pick, self._place, self._edge = np.asarray(pick, float), np.asarray(place, float), edge
        self._lowest = lowest
        self._jaw = simulation.composition.gripper == "jaw"
        self.outcome = MotionOutcome.MISSED
        position, rotation = simulation.tcp()
        self._holding = holding
        self._at = Waypoint(position, math.atan2(rotation[1, 0], rotation[0, 0]), float(holding))

    def __iter__(self) -> Iterator[Waypoint]:
        if not self._holding:
            yield from self._approach(self._pick, extra=0.0)
            yield from self._touch(self._pick[2] - (JAW_DEPTH if self._jaw else 0.0), 0.0 if self._jaw else 1.0)
            yield from self._wait(8 if self._jaw else 1, 1.0)
        if self._sim.held is None:
            yield from self._leave(0.0)
            return
        yield from self._carry()
        if self._sim.held is None:
            self.outcome = MotionOutcome.DROPPED
            yield from self._leave(0.0)
            return
        yield from self._touch(self._place[2] + self._hanging(), gripper=1.0)
        yield from self._wait(1, 1.0)
        self.outcome = MotionOutcome.PLACED if self._sim.held is not None else MotionOutcome.DROPPED
        yield from self._wait(3 if self._jaw else 1, 0.0)
        yield from self._leave(0.0)

    def _hanging(self) -> float:
        return self._edge - JAW_DEPTH if self._jaw else self._edge

    def _ceiling(self, extra: float) -> float:
        """The height at which the tool clears everything but what it holds, with ``extra`` hanging below."""
        centres, _ = self._sim.block_poses()
        names = self._sim.block_names
        tops = [
            centre[2] + edge / 2
            for name, centre, (_, edge) in zip(names, centres, self._sim.composition.blocks, strict=True)
            if name != self._sim.held
        ]
        highest = max([*tops, 0.04 if self._sim.composition.bowls else 0.0])
        return max(self._lowest, highest + extra + CLEARANCE)

    def _approach(self, target: np.ndarray, extra: float) -> Iterator[Waypoint]:
        height = max(self._ceiling(extra), target[2] + extra + CLEARANCE)
        if self._at.position[2] < height:
            yield from self._line(np.array([*self._at.position[:2], height]), self._at.yaw)
        else:
            height = self._at.position[2]
        yield from self._line(np.array([*target[:2], height]), target[3])
        yield from self._catch_up()
        yield from self._line(np.array([*target[:2], target[2] + extra + APPROACH]), target[3])
        yield from self._catch_up()

    def _carry(self) -> Iterator[Waypoint]:
        for waypoint in self._approach(self._place, extra=self._hanging()):
            yield waypoint
            if self._sim.held is None:
                return

    def go(self, position: np.ndarray, yaw: float) -> Iterator[Waypoint]:
        """From where the motion ended straight to a pose, the gripper open."""
        self._at = self._at._replace(gripper=0.0)
        yield from self._line(np.asarray(position, float), yaw)

    def _line(self, goal: np.ndarray, yaw: float) -> Iterator[Waypoint]:
        """A straight line with a trapezoid of speed; the yaw turns along with it."""
        start, turn = self._at, (yaw - self._at.yaw + math.pi) % (2 * math.pi) - math.pi
        length = float(np.linalg.norm(goal - start.position))
        effective = max(length, 0.15 * abs(turn))
        if effective < 1e-6:
            return
        ramp = min(SPEED / ACCELERATION, math.sqrt(effective / ACCELERATION))
        peak = ACCELERATION * ramp
        duration = effective / peak + ramp
        ticks = max(1, math.ceil(duration / self._sim.period))
        for tick in range(1, ticks + 1):
            s = _trapezoid(tick / ticks * duration, ramp, peak, duration) / effective
            self._at = Waypoint(start.position + s * (goal - start.position), start.yaw + s * turn, start.gripper)
            yield self._at

    def _touch(self, height: float, gripper: float) -> Iterator[Waypoint]:
        """Down at contact speed until something touches, or a little below where it should have."""
        step = CONTACT_SPEED * self._sim.period
        position = self._at.position.copy()
        while position[2] > height - OVERTRAVEL:
            position = position - [0.0, 0.0, step]
            if self._jaw and self._sim.held is None:
                position[2] = max(position[2], height)
            self._at = Waypoint(position.copy(), self._at.yaw, gripper)
            holding = self._sim.held
            yield self._at
            if self._sim.held != holding or (position[2] < height + step and self._sim.touching()):
                return
            if self._jaw and holding is None and position[2] <= height:
                return

    def _catch_up(self) -> Iterator[Waypoint]:
        """Wait, half a second at most, until the tool is where it was sent, and has slowed down."""
        for _ in range(round(0.5 / self._sim.period)):
            away = float(np.linalg.norm(self._sim.tcp()[0] - self._at.position))
            if away < CAUGHT_UP and np.abs(self._sim.joint_step).max() < 0.02:
                return
            yield self._at

    def _wait(self, ticks: int, gripper: float) -> Iterator[Waypoint]:
        self._at = self._at._replace(gripper=gripper)
        for _ in range(ticks):
            yield self._at

    def _leave(self, gripper: float) -> Iterator[Waypoint]:
        self._at = self._at._replace(gripper=gripper)
        height = max(self._ceiling(0.0), self._at.position[2] + CLEARANCE)
        yield from self._line(np.array([*self._at.position[:2], height]), self._at.yaw)


def _trapezoid(t: float, ramp: float, peak: float, duration: float) -> float:
    """Distance after ``t`` seconds of speeding up for ``ramp``, cruising at ``peak``, slowing down."""
    if t < ramp:
        return peak * t * t / (2 * ramp)
    if t > duration - ramp:
        left = duration - t
        return peak * (duration - ramp) - peak * left * left / (2 * ramp)
    return peak * (t - ramp / 2)
