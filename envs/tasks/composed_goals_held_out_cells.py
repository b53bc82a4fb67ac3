"""Goals composed by the grammar, of cells that are never trained."""

from __future__ import annotations

from lohovla.envs.tasks.composed_goals import ComposedGoals, cells_where
from lohovla.envs.tasks.entities import Scene
from lohovla.envs.tasks.goals import Goal
from lohovla.envs.tasks.grammar.cells import is_published_unseen


class ComposedGoalsHeldOutCells(ComposedGoals):
    """Goals of the cells that are held out by rule, in words that may be trained; F-K have rows of their own."""

    name = "composed-goals-held-out-cells"

    def cells_of(self, what: str) -> tuple[str, ...]:
        return tuple(cell for cell in cells_where(what, out=True) if not is_published_unseen(cell))

    def belongs(self, goal: Goal, scene: Scene) -> bool:
        return True


TASK = ComposedGoalsHeldOutCells
