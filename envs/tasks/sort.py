"""The goal "each of these blocks in one of its containers": bowls, zones or an area."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lohovla.envs.tasks.entities import Area, Scene, Zone, in_area, in_bowl, in_zone
from lohovla.envs.tasks.goals import (
    Goal,
    Subtask,
    farthest,
    put_aside,
    put_in,
    put_in_area,
    uncovered,
)

_FORBIDDEN = 1e6


@dataclass(frozen=True)
class Sort(Goal):
    """Every block of ``allowed`` in a container that it lists.

    Attributes:
        allowed: for each block the names of the bowls or zones where it counts.
        exclusive: a container counts one block only.
        extra_moves: blocks that have to be moved out of the way first.
    """

    allowed: Mapping[str, Sequence[str]]
    exclusive: bool = False
    extra_moves: int = 0

    @property
    def moves(self) -> int:
        return len(self.allowed) + self.extra_moves

    def score(self, scene: Scene) -> float:
        return len(self._placed(scene)) / len(self.allowed)

    def next(self, scene: Scene) -> Subtask | None:
        placed = self._placed(scene)
        open_blocks = [block for block in self.allowed if block not in placed]
        goals = self._assign(scene, open_blocks, set(placed.values()) if self.exclusive else set())
        positions = [(block, _middle(scene, target)) for block, target in goals.items()]
        block = farthest(scene, positions)
        if block is None:
            return None
        first = uncovered(scene, block)
        if first != block:
            return put_aside(scene, first)
        intruder = self._intruder(scene, goals[block])
        if intruder is not None:
            return put_aside(scene, uncovered(scene, intruder))
        return put_in(scene, block, goals[block])

    def _placed(self, scene: Scene) -> dict[str, str]:
        """Blocks that count, and where they lie."""
        found: dict[str, str] = {}
        for block, containers in self.allowed.items():
            for container in containers:
                if self.exclusive and container in found.values():
                    continue
                if _inside(scene, block, container):
                    found[block] = container
                    break
        return found

    def _assign(self, scene: Scene, blocks: list[str], full: set[str]) -> dict[str, str]:
        """The nearest container for each block; where containers are exclusive, the shortest way in all."""
        from scipy.optimize import linear_sum_assignment

        targets = sorted({t for block in blocks for t in self.allowed[block]} - full)
        if not blocks or not targets:
            return {}
        cost = np.full((len(blocks), len(targets)), _FORBIDDEN)
        for row, block in enumerate(blocks):
            for column, target in enumerate(targets):
                if target in self.allowed[block]:
                    x, y = _middle(scene, target)
                    cost[row, column] = np.hypot(scene.centre(block)[0] - x, scene.centre(block)[1] - y)
        if not self.exclusive:
            return {block: targets[int(cost[row].argmin())] for row, block in enumerate(blocks)}
        rows, columns = linear_sum_assignment(cost)
        return {blocks[r]: targets[c] for r, c in zip(rows, columns, strict=True) if cost[r, c] < _FORBIDDEN}

    def _intruder(self, scene: Scene, container: str) -> str | None:
        """A block that lies in an exclusive bowl without counting there (dropped, say)."""
        if not self.exclusive:
            return None
        inside = [block for block in scene.blocks if _inside(scene, block, container)]
        return inside[0] if inside else None


@dataclass(frozen=True)
class MoveToArea(Goal):
    """Every one of ``blocks`` in ``area``."""

    blocks: tuple[str, ...]
    area: Area

    @property
    def moves(self) -> int:
        return len(self.blocks)

    def score(self, scene: Scene) -> float:
        return sum(in_area(scene, block, self.area) for block in self.blocks) / len(self.blocks)

    def next(self, scene: Scene) -> Subtask | None:
        x0, x1, y0, y1 = self.area.bounds
        middle = ((x0 + x1) / 2, (y0 + y1) / 2)
        open_blocks = [block for block in self.blocks if not in_area(scene, block, self.area)]
        block = farthest(scene, [(block, middle) for block in open_blocks])
        if block is None:
            return None
        first = uncovered(scene, block)
        if first not in open_blocks:
            return put_aside(scene, first)
        return put_in_area(scene, first, self.area, self.area.inset)


def _inside(scene: Scene, block: str, container: str) -> bool:
    inside = in_zone if isinstance(scene.fixtures[container], Zone) else in_bowl
    return inside(scene, block, container)


def _middle(scene: Scene, container: str) -> tuple[float, float]:
    pose = scene.fixture_poses[container]
    return pose.x, pose.y
