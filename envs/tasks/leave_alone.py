"""The goal of a problem in which nothing can be done: everything is to stay where it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from lohovla.envs.tasks.entities import Scene
from lohovla.envs.tasks.goals import Goal, Subtask

_STAYS = 0.02  # m


@dataclass(frozen=True)
class LeaveAlone(Goal):
    """No block is moved. The score is the part of the blocks within 2 cm of where they were; 1 on an empty table.

    Attributes:
        where: each block's first position, m.
        sentence: why nothing can be done: "There is no purple bowl."
    """

    where: Mapping[str, tuple[float, float, float]]
    sentence: str

    @property
    def moves(self) -> int:
        return 0

    @property
    def ending(self) -> str:
        return self.sentence

    def score(self, scene: Scene) -> float:
        stay = [
            block != scene.held and math.dist(scene.centre(block), at) <= _STAYS for block, at in self.where.items()
        ]
        return sum(stay) / len(stay) if stay else 1.0

    def next(self, scene: Scene) -> Subtask | None:
        return None
