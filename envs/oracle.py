"""An oracle: it sees the true state, plans the next sub-task, and carries it out in either action space."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from lohovla.envs.control.motion import PickPlace, Waypoint
from lohovla.envs.env import BlocksEnv
from lohovla.envs.tasks.entities import Scene
from lohovla.envs.tasks.goals import Subtask, put_in

_CORNERS = ((0.3, -0.45), (0.3, 0.45), (0.7, -0.45), (0.7, 0.45))


def pick_place_action(scene: Scene, subtask: Subtask) -> np.ndarray:
    """The ``pick_place`` action (2, 4) that carries a sub-task out: pick and place as (x, y, z, yaw)."""
    x, y, _ = scene.centre(subtask.pick)
    place = subtask.place
    return np.array(
        [[x, y, scene.top(subtask.pick), scene.yaw(subtask.pick)], [place.x, place.y, place.z, place.yaw]],
        np.float32,
    )


class Oracle:
    """Solves an environment's episodes.

    It plans from the state alone, so a dropped block, a missed grasp or a fallen tower is planned around:
    after each pick and place, finished or not, comes the next sub-task of the state as it then is.

    Args:
        env: the environment to act in; any wrapper is looked through.
    """

    def __init__(self, env: BlocksEnv):
        self.env: BlocksEnv = env.unwrapped  # type: ignore[assignment]
        self.subtask: Subtask | None = None
        self.plans = 0  # sub-tasks begun since the reset
        self._motion: Iterator[Waypoint] | None = None
        self._moved = 0  # disturbances that were planned around

    def reset(self) -> None:
        """Forget the episode before."""
        self.subtask, self.plans, self._motion, self._moved = None, 0, None, 0

    def act(self) -> np.ndarray:
        """The next action for the environment's control mode."""
        if self.env.control == "pick_place":
            return self._next_pick_place()
        moved = self.env.episode.slides
        if moved != self._moved:  # what it goes for is elsewhere now
            self._moved, self._motion = moved, None
        waypoint = next(self._motion, None) if self._motion is not None else None
        if waypoint is None:
            self._motion = self._plan_motion()
            waypoint = next(self._motion)
        return np.array([*waypoint.position, 0.0, 0.0, waypoint.yaw, waypoint.gripper], np.float32)

    def _plan(self) -> tuple[Scene, Subtask | None]:
        scene, before = self.env.scene(), self.subtask
        self.subtask = self.env.problem.goal.next(scene)
        if scene.held is not None and before is not None and before.pick == scene.held and self._moved:
            self.subtask = _still_to_place(scene, before, self.subtask)
        self.plans += self.subtask is not None
        return scene, self.subtask

    def _next_pick_place(self) -> np.ndarray:
        scene, subtask = self._plan()
        if subtask is None:  # nothing left to do, or nothing possible: touch an empty corner
            return np.array([[*_empty_corner(scene), 0.0, 0.0]] * 2, np.float32)
        return pick_place_action(scene, subtask)

    def _plan_motion(self) -> Iterator[Waypoint]:
        scene, subtask = self._plan()
        if subtask is None:
            return self._stay()
        pick, place = pick_place_action(scene, subtask).astype(float)
        edge, holding = scene.blocks[subtask.pick].edge, scene.held == subtask.pick
        return iter(PickPlace(self.env.simulation, pick, place, edge, lowest=0.0, holding=holding))

    def _stay(self) -> Iterator[Waypoint]:
        position, rotation = self.env.simulation.tcp()
        yield Waypoint(position, math.atan2(rotation[1, 0], rotation[0, 0]), 0.0)


def _still_to_place(scene: Scene, before: Subtask, following: Subtask | None) -> Subtask | None:
    """What is left of a sub-task whose block is held, where its bowl or zone is now."""
    if before.target in scene.fixtures:
        return put_in(scene, before.pick, before.target)
    return following


def _empty_corner(scene: Scene) -> tuple[float, float]:
    """The first corner of the table with no block near it, or the one that is farthest from all."""
    centres = [scene.centre(block)[:2] for block in scene.blocks]
    room = {corner: min((math.dist(corner, at) for at in centres), default=1.0) for corner in _CORNERS}
    return next((corner for corner in _CORNERS if room[corner] > 0.1), max(_CORNERS, key=room.__getitem__))
