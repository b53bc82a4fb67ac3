"""The goal "these towers": on a zone, in an area, or wherever one of their blocks stands."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lohovla.envs.tasks.beside import Beside
from lohovla.envs.tasks.entities import STACK_TOLERANCE, Area, Scene, in_area, in_zone, is_on, rests_on_table
from lohovla.envs.tasks.goals import Goal, Subtask, put_aside, put_in_area, put_in_zone, put_on_block, uncovered


@dataclass(frozen=True)
class Column:
    """One tower.

    Attributes:
        layers: which blocks may stand at each height, from the table up; one of each is used.
        zone: the zone where its foot must stand, if any. Then the lowest block has to be put there too.
        area: the area where its foot must stand, if any.
        carried: no block lies in the area yet, so that its foot has to be put there too.
        beside: what its foot must stand beside, if anything. Then the lowest block has to be put there too.
    """

    layers: tuple[frozenset[str], ...]
    zone: str | None = None
    area: Area | None = None
    carried: bool = False
    beside: Beside | None = None

    @property
    def blocks(self) -> frozenset[str]:
        """All blocks of the tower."""
        return frozenset().union(*self.layers)

    @property
    def standing(self) -> int:
        """How many need not be moved: the foot, or none."""
        return int(self.zone is None and self.beside is None and not self.carried)

    @property
    def moves(self) -> int:
        """How many of them have to be moved."""
        return len(self.layers) - self.standing


@dataclass(frozen=True)
class Stack(Goal):
    """All of ``columns``. The score is the part of the moves whose block stands right, from the foot up."""

    columns: tuple[Column, ...]
    tolerance: float = STACK_TOLERANCE

    @property
    def moves(self) -> int:
        return sum(column.moves for column in self.columns)

    def score(self, scene: Scene) -> float:
        done = sum(max(0, len(self._tower(scene, c)) - c.standing) for c in self.columns)
        return done / self.moves

    def next(self, scene: Scene) -> Subtask | None:
        for column in self.columns:
            tower = self._tower(scene, column)
            if len(tower) < len(column.layers):
                return self._extend(scene, column, tower)
        return None

    def _tower(self, scene: Scene, column: Column) -> list[str]:
        """The longest right part of a column, from its foot up."""
        best: list[str] = []
        for foot in self._feet(scene, column):
            tower = [foot]
            while len(tower) < len(column.layers):
                above = [
                    block
                    for block in column.layers[len(tower)]
                    if block not in tower and is_on(scene, block, tower[-1], self.tolerance)
                ]
                if not above:
                    break
                tower.append(above[0])
            best = max(best, tower, key=len)
        return best

    def _feet(self, scene: Scene, column: Column) -> list[str]:
        """Blocks that may be the foot: biggest first, then the nearest to the robot, where reach is highest."""
        feet = [
            block
            for block in column.layers[0]
            if rests_on_table(scene, block)
            and (column.zone is None or in_zone(scene, block, column.zone))
            and (column.area is None or in_area(scene, block, column.area))
            and (column.beside is None or column.beside.holds(scene, block))
        ]
        return sorted(feet, key=lambda b: (-scene.blocks[b].edge, math.hypot(*scene.centre(b)[:2]), b))

    def _extend(self, scene: Scene, column: Column, tower: list[str]) -> Subtask | None:
        candidates = [block for block in column.layers[len(tower)] if block not in tower]
        if tower:
            target = scene.centre(tower[-1])[:2]
        elif column.zone is not None:
            pose = scene.fixture_poses[column.zone]
            target = (pose.x, pose.y)
        elif column.carried or column.beside is not None:
            return self._carry(scene, column, candidates)
        else:
            return self._found(scene, column, candidates)
        intruder = self._intruder(scene, column, tower)
        if intruder is not None:
            return put_aside(scene, uncovered(scene, intruder))
        # Big ones first, for a steady tower; then the nearest, which the wrist could not pick beside a tall one.
        block = min(candidates, key=lambda b: (-scene.blocks[b].edge, math.dist(scene.centre(b)[:2], target), b))
        first = uncovered(scene, block)
        if first != block:
            return put_aside(scene, first)
        if tower:
            return put_on_block(scene, block, tower[-1])
        assert column.zone is not None
        return put_in_zone(scene, block, column.zone)

    def _carry(self, scene: Scene, column: Column, candidates: list[str]) -> Subtask | None:
        """Put the foot into its area, or beside what it must stand beside."""
        block = min(candidates, key=lambda b: (-scene.blocks[b].edge, math.hypot(*scene.centre(b)[:2]), b))
        first = uncovered(scene, block)
        if first != block:
            return put_aside(scene, first)
        if column.beside is not None:
            return column.beside.put(scene, block)
        assert column.area is not None
        return put_in_area(scene, block, column.area, column.area.inset)

    def _found(self, scene: Scene, column: Column, candidates: list[str]) -> Subtask | None:
        """No block can be the foot as it lies (fallen onto others, or out of the area): put one down flat."""
        if not candidates:
            return None
        block = max(candidates, key=lambda b: (scene.blocks[b].edge, b))
        return put_aside(scene, uncovered(scene, block), within=column.area.contains if column.area else None)

    def _intruder(self, scene: Scene, column: Column, tower: list[str]) -> str | None:
        """What lies where the next block should go."""
        if tower:
            above = uncovered(scene, tower[-1])
            return above if above != tower[-1] else None
        assert column.zone is not None
        pose = scene.fixture_poses[column.zone]
        for block, entity in scene.blocks.items():
            x, y, _ = scene.centre(block)
            if block != scene.held and math.hypot(x - pose.x, y - pose.y) < entity.radius + 0.035:
                return block
        return None
