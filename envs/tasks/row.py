"""The goal "these rows": blocks side by side from left to right, 16 cm from middle to middle."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lohovla.envs.tasks.beside import clear_of_others
from lohovla.envs.tasks.entities import APART, RELATIVE_OFFSET, Scene, rests_on_table
from lohovla.envs.tasks.goals import Goal, Subtask, put_aside, uncovered
from lohovla.envs.tasks.put_one import beside, put_beside
from lohovla.envs.tasks.scene_sampler import SceneSampler

LONGEST = 5  # blocks that fit beside one another on the table
_MARGIN = 0.04  # m from the table's border, at least


@dataclass(frozen=True)
class Row(Goal):
    """Blocks in rows. The score is the part of the moves whose block lies right, from the left end on.

    Attributes:
        rows: for each row which blocks may lie at each place, from the left; one of each is used.
    """

    rows: tuple[tuple[frozenset[str], ...], ...]

    @property
    def moves(self) -> int:
        return sum(len(row) - 1 for row in self.rows)

    def score(self, scene: Scene) -> float:
        return sum(max(0, len(self._laid(scene, row)) - 1) for row in self.rows) / self.moves

    def next(self, scene: Scene) -> Subtask | None:
        for row in self.rows:
            laid = self._laid(scene, row)
            if len(laid) < len(row):
                return self._extend(scene, row, laid)
        return None

    def _laid(self, scene: Scene, row: tuple[frozenset[str], ...]) -> list[str]:
        """The longest right part of a row, from its left end on."""
        best: list[str] = []
        for end in sorted(row[0], key=lambda block: (-self._room(scene, block, len(row)), block)):
            laid = [end] if rests_on_table(scene, end) else []
            while laid and len(laid) < len(row):
                point = beside(*scene.centre(laid[-1])[:2], "right")
                following = [
                    block
                    for block in sorted(row[len(laid)])
                    if block not in laid
                    and rests_on_table(scene, block)
                    and math.dist(scene.centre(block)[:2], point) <= APART
                ]
                if not following:
                    break
                laid.append(following[0])
            best = max(best, laid, key=len)
        return best

    def _extend(self, scene: Scene, row: tuple[frozenset[str], ...], laid: list[str]) -> Subtask | None:
        if not laid or self._room(scene, laid[0], len(row)) < len(row):
            return self._begin(scene, row)
        point = beside(*scene.centre(laid[-1])[:2], "right")
        waiting = [block for block in row[len(laid)] if block not in laid]
        block = min(waiting, key=lambda b: (math.dist(scene.centre(b)[:2], point), b))
        first = uncovered(scene, block)
        if first != block:
            return put_aside(scene, first)
        if not clear_of_others(scene, block, *point):
            return self._clear(scene, block, point, laid)
        return put_beside(scene, block, laid[-1], "right")

    def _begin(self, scene: Scene, row: tuple[frozenset[str], ...]) -> Subtask | None:
        """No block can be the left end where it lies: put one down where a row fits."""
        block = min(row[0], key=lambda b: (scene.centre(b)[1], b))
        return put_aside(
            scene, uncovered(scene, block), within=lambda x, y: _fitting(scene, x, y, len(row)) == len(row)
        )

    @staticmethod
    def _clear(scene: Scene, block: str, point: tuple[float, float], laid: list[str]) -> Subtask | None:
        """Move what lies where a block shall go out of the way."""
        reach = scene.blocks[block].radius + 0.012
        others = [name for name in scene.blocks if name != block and name not in laid]
        in_the_way = [n for n in others if math.dist(scene.centre(n)[:2], point) <= reach + scene.blocks[n].radius]
        if not in_the_way:
            return None
        x, y, _ = scene.centre(laid[0])
        return put_aside(scene, uncovered(scene, in_the_way[0]), within=lambda u, v: abs(u - x) > 0.1 or v < y - 0.1)

    @staticmethod
    def _room(scene: Scene, block: str, length: int) -> int:
        """How many places of a row that begins with a block fit on the table, beside bowls and zones."""
        return _fitting(scene, *scene.centre(block)[:2], length)


def _fitting(scene: Scene, x: float, y: float, length: int) -> int:
    """How many places of a row that begins at a point fit on the table, none on a bowl or a zone."""
    for place in range(length):
        at = (x, y + place * RELATIVE_OFFSET)
        things = zip(scene.fixtures.values(), scene.fixture_poses.values(), strict=True)
        taken = any(math.dist(at, (pose.x, pose.y)) < thing.radius + 0.055 for thing, pose in things)
        if taken or not SceneSampler.on_table(*at, _MARGIN):
            return place
    return length
