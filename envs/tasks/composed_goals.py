"""Goals composed by the grammar, of the cells and in the words that may be trained."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from lohovla.envs.tasks.entities import Scene
from lohovla.envs.tasks.goals import Goal
from lohovla.envs.tasks.grammar.cells import cells, draw_meaning, held_out, reaches_unseen
from lohovla.envs.tasks.grammar.meaning import Meaning
from lohovla.envs.tasks.grammar.resolve import goal_of
from lohovla.envs.tasks.grammar.scenes import draw_scene, is_fair
from lohovla.envs.tasks.grammar.selection import ImpossibleGoal, select
from lohovla.envs.tasks.grammar.wording import Speaker
from lohovla.envs.tasks.registry import Split, Task, TaskInstance, initial_scene
from lohovla.envs.tasks.scene_sampler import NoRoom, SceneSampler

_CELLS, _SCENES = 50, 12  # drawn before giving up, and of a cell before another is drawn


class ComposedGoals(Task):
    """Goals of the grammar that may be trained: neither their cells nor their words are held out.

    Nor is any, in its scene, one of F-K in other words. A cell is drawn by what is done, at fixed shares, and then
    evenly; the scene, the words and the colours after it.
    """

    name = "composed-goals"
    split = Split.COMPOSED
    shares: ClassVar[Mapping[str, float]] = MappingProxyType(
        {"tower": 0.45, "place": 0.25, "each": 0.12, "row": 0.1, "uncover": 0.08}
    )
    unseen_words: ClassVar[bool] = False

    def cells_of(self, what: str) -> tuple[str, ...]:
        """The cells to draw from where ``what`` is to be done."""
        return cells_where(what, out=False)

    def belongs(self, goal: Goal, scene: Scene) -> bool:
        """Whether a drawn problem may be asked here."""
        return not reaches_unseen(goal, scene)

    def build(self, layout: SceneSampler) -> tuple[Meaning, dict[str, str]]:
        meaning = draw_meaning(self._draw_cell(layout.rng), layout.rng, layout.palette)
        draw_scene(meaning, layout)
        return meaning, {}

    def sample(self, rng: np.random.Generator, colors: str | None = None, paraphrase: bool = False) -> TaskInstance:
        """Draw a problem; its words vary in any case, so that ``paraphrase`` changes nothing."""
        for _ in range(_CELLS):
            cell = self._draw_cell(rng)
            for _ in range(_SCENES):
                layout = SceneSampler(rng, colors or self.palette)
                found = self.problem(draw_meaning(cell, rng, layout.palette), layout)
                if found is not None:
                    return found
        raise RuntimeError(f"{self.name}: no layout found in {_CELLS * _SCENES} draws")

    def problem(self, meaning: Meaning, layout: SceneSampler, sentence: str = "") -> TaskInstance | None:
        """One draw of a scene for a goal, in words of its own if none are given; None where it was not fair."""
        try:
            draw_scene(meaning, layout)
            scene = initial_scene(layout)
            goal = goal_of(meaning, scene)
        except (NoRoom, ImpossibleGoal):
            return None
        if not is_fair(meaning, goal, scene, self.spare) or not self.belongs(goal, scene):
            return None
        # Drawn last: the words must not change what is drawn.
        speaker = Speaker(layout.rng, self.unseen_words)
        said = sentence or speaker.sentence(meaning, len(select(meaning.who, scene)) > 1)
        return TaskInstance(said, layout, goal, goal.moves + self.spare, meaning)

    def _draw_cell(self, rng: np.random.Generator) -> str:
        whats = [what for what in self.shares if self.cells_of(what)]
        shares = np.array([self.shares[what] for what in whats])
        return str(rng.choice(self.cells_of(str(rng.choice(whats, p=shares / shares.sum())))))


@functools.cache
def cells_where(what: str, out: bool) -> tuple[str, ...]:
    """The cells of one doing that are held out, or those that are not."""
    return tuple(cell for cell in cells() if cell.startswith(f"{what}|") and held_out(cell) == out)


TASK = ComposedGoals
