"""Goals of the primitives: one block, one place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lohovla.envs.language import place_phrase
from lohovla.envs.tasks.entities import DIRECTIONS, RELATIVE_OFFSET, Bowl, Scene, Zone, in_bowl, in_zone, is_on
from lohovla.envs.tasks.goals import Goal, Subtask, put_aside, put_at, put_in, put_on_block, uncovered
from lohovla.envs.tasks.scene_sampler import SceneSampler

_TOLERANCE = 0.05  # metres from the wanted point


def draw_clutter(
    layout: SceneSampler, n_blocks: int, n_bowls: int, n_zones: int, used: Sequence[str] = ()
) -> tuple[list[str], list[str], list[str]]:
    """Zones, bowls and blocks, each kind in colours of its own, blocks in none of ``used``."""
    zones = [layout.zone(color) for color in layout.pick_colors(n_zones)]
    bowls = [layout.bowl(color) for color in layout.pick_colors(n_bowls)]
    free = [color for color in layout.palette if color not in used]
    blocks = [layout.block(color) for color in layout.choose(free, n_blocks)]
    return blocks, bowls, zones


def beside(x: float, y: float, relation: str) -> tuple[float, float]:
    """The point where something lies left, right, top or bottom of (x, y)."""
    dx, dy = DIRECTIONS[relation]
    return x + RELATIVE_OFFSET * dx, y + RELATIVE_OFFSET * dy


def put_beside(scene: Scene, pick: str, reference: str, relation: str) -> Subtask:
    """Put a block to one side of another, named with its size where there are both."""
    block = scene.blocks[reference]
    words = place_phrase(
        "relation", relation=relation, color=block.color, size=block.size if scene.mixed_sizes else None
    )
    return put_at(scene, pick, reference, *beside(*scene.centre(reference)[:2], relation), words=words)


class _One(Goal):
    """A goal that holds or does not."""

    @property
    def moves(self) -> int:
        return 1

    def score(self, scene: Scene) -> float:
        return float(self._holds(scene))

    def next(self, scene: Scene) -> Subtask | None:
        if self._holds(scene):
            return None
        pick = uncovered(scene, self.pick)
        return self._put(scene) if pick == self.pick else put_aside(scene, pick)

    pick: str

    def _holds(self, scene: Scene) -> bool:
        raise NotImplementedError

    def _put(self, scene: Scene) -> Subtask | None:
        raise NotImplementedError


@dataclass(frozen=True)
class PutOne(_One):
    """``pick`` on the block, in the bowl or in the zone ``target``."""

    pick: str
    target: str

    def _holds(self, scene: Scene) -> bool:
        fixture = scene.fixtures.get(self.target)
        if isinstance(fixture, Bowl):
            return in_bowl(scene, self.pick, self.target)
        if isinstance(fixture, Zone):
            return in_zone(scene, self.pick, self.target)
        return is_on(scene, self.pick, self.target, _TOLERANCE)

    def _put(self, scene: Scene) -> Subtask | None:
        if self.target in scene.fixtures:
            return put_in(scene, self.pick, self.target)
        blocker = uncovered(scene, self.target)
        return put_on_block(scene, self.pick, self.target) if blocker == self.target else put_aside(scene, blocker)


@dataclass(frozen=True)
class PutBeside(_One):
    """``pick`` within 5 cm of the point 0.16 m to one side of ``reference``."""

    pick: str
    reference: str
    relation: str

    def _holds(self, scene: Scene) -> bool:
        if self.pick == scene.held:
            return False
        point = beside(*scene.centre(self.reference)[:2], self.relation)
        return math.dist(scene.centre(self.pick)[:2], point) <= _TOLERANCE

    def _put(self, scene: Scene) -> Subtask | None:
        return put_beside(scene, self.pick, self.reference, self.relation)
