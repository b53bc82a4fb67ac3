"""The relation "beside": where a block counts as beside a thing, and how it is put there."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lohovla.envs.tasks.entities import APART, DIRECTIONS, RELATIVE_OFFSET, Scene, Zone, rests_on_table
from lohovla.envs.tasks.goals import Goal, Subtask, farthest, put_aside, uncovered
from lohovla.envs.tasks.put_one import beside, put_beside
from lohovla.envs.tasks.scene_sampler import SceneSampler

_NEAR = RELATIVE_OFFSET + APART  # m between the middles of a thing and of what counts as beside it, at most
_GAP = 0.012  # m between neighbours where a block is put
_MARGIN = 0.04  # m from the table's border, at least


@dataclass(frozen=True)
class Beside:
    """Beside a block, a bowl or a zone: on the table, at most 21 cm from middle to middle, and not on the thing itself.

    Attributes:
        reference: name of the thing.
        relation: left, right, top, bottom, or ``near`` for any side; a side is the quarter turn about its direction.
    """

    reference: str
    relation: str = "near"

    def holds(self, scene: Scene, block: str) -> bool:
        """Whether a block lies there, released."""
        return block != self.reference and rests_on_table(scene, block) and self._there(scene, *scene.centre(block)[:2])

    def middle(self, scene: Scene) -> tuple[float, float]:
        """Where the thing is."""
        if self.reference in scene.blocks:
            return scene.centre(self.reference)[:2]
        pose = scene.fixture_poses[self.reference]
        return pose.x, pose.y

    def put(self, scene: Scene, pick: str) -> Subtask | None:
        """Put a block there; None if there is no room.

        Beside a block it goes 16 cm to one side, which is said; else to the nearest free place, "on the table".
        """
        if self.reference in scene.blocks:
            sides = DIRECTIONS if self.relation == "near" else (self.relation,)
            points = {side: beside(*self.middle(scene), side) for side in sides}
            free = [
                side
                for side, point in points.items()
                if SceneSampler.on_table(*point, _MARGIN) and clear_of_others(scene, pick, *point)
            ]
            if free:
                side = min(free, key=lambda side: math.dist(points[side], scene.centre(pick)[:2]))
                return put_beside(scene, pick, self.reference, side)
        return put_aside(scene, pick, within=lambda x, y: self._there(scene, x, y))

    def _there(self, scene: Scene, x: float, y: float) -> bool:
        u, v = self.middle(scene)
        away = math.dist((x, y), (u, v))
        thing = scene.fixtures.get(self.reference)
        if away > _NEAR or (isinstance(thing, Zone) and away <= thing.edge / 2):
            return False
        if self.relation == "near":
            return True
        dx, dy = DIRECTIONS[self.relation]
        along, across = dx * (x - u) + dy * (y - v), dx * (y - v) - dy * (x - u)
        return along >= abs(across)


@dataclass(frozen=True)
class PutAllBeside(Goal):
    """Every one of ``blocks`` beside a thing."""

    blocks: tuple[str, ...]
    where: Beside

    @property
    def moves(self) -> int:
        return len(self.blocks)

    def score(self, scene: Scene) -> float:
        return sum(self.where.holds(scene, block) for block in self.blocks) / len(self.blocks)

    def next(self, scene: Scene) -> Subtask | None:
        waiting = [block for block in self.blocks if not self.where.holds(scene, block)]
        block = farthest(scene, [(block, self.where.middle(scene)) for block in waiting])
        if block is None:
            return None
        first = uncovered(scene, block)
        return self.where.put(scene, first) if first in waiting else put_aside(scene, first)


def clear_of_others(scene: Scene, pick: str, x: float, y: float) -> bool:
    """Whether a block fits at a point of the table."""
    radius = scene.blocks[pick].radius
    others = [(scene.centre(name)[:2], block.radius) for name, block in scene.blocks.items() if name != pick]
    others += [((pose.x, pose.y), scene.fixtures[name].radius) for name, pose in scene.fixture_poses.items()]
    return all(math.dist((x, y), at) > radius + other + _GAP for at, other in others)
