"""The goal "nothing lies on these blocks"."""

from __future__ import annotations

from dataclasses import dataclass

from lohovla.envs.tasks.entities import Scene, resting_above
from lohovla.envs.tasks.goals import Goal, Subtask, put_aside


@dataclass(frozen=True)
class Uncover(Goal):
    """Nothing on top of any of ``blocks``, where ``covering`` blocks lay over them at first."""

    blocks: tuple[str, ...]
    covering: int

    @property
    def moves(self) -> int:
        return self.covering

    def score(self, scene: Scene) -> float:
        return 1.0 - min(1.0, len(self._above(scene)) / max(1, self.covering))

    def next(self, scene: Scene) -> Subtask | None:
        above = self._above(scene)
        highest = max(above, key=lambda block: (scene.centre(block)[2], block), default=None)
        return put_aside(scene, highest) if highest else None

    def _above(self, scene: Scene) -> set[str]:
        return {other for block in self.blocks for other in resting_above(scene, block)}
