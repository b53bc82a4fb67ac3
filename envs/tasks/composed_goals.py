"""Goals composed by the grammar, of the cells and in the words that may be trained."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from lohovla.envs.tasks.entities import Scene
from lohovla.envs.tasks.goals import Goal
from lohovla.envs.tasks.grammar.cells import all_cells, cell_of, draw_meaning, held_out, reaches_unseen
from lohovla.envs.tasks.grammar.meaning import Meaning
from lohovla.envs.tasks.grammar.resolve import goal_of
from lohovla.envs.tasks.grammar.scenes import draw_scene, is_fair
from lohovla.envs.tasks.grammar.selection import ImpossibleGoal, select_blocks
from lohovla.envs.tasks.grammar.twins import twin_meanings
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
        said = sentence or self.say(meaning, scene, layout.rng)
        return TaskInstance(said, layout, goal, goal.moves + self.spare, meaning)

    def twins(self, problem: TaskInstance, rng: np.random.Generator, most: int) -> Iterator[TaskInstance]:
        """Up to ``most`` other goals in the same scene, each with one slot of the meaning changed.

        They are goals that may be asked here, and say what tells similar sentences apart ("with the bigger ones
        underneath" and "on top"); most cost less than a scene of their own.
        """
        if problem.meaning is None:
            return
        scene = initial_scene(problem.layout)
        for meaning in twin_meanings(problem.meaning, scene, rng):
            if most < 1:
                return
            cell = cell_of(meaning)
            if cell not in self.cells_of(meaning.what):
                continue
            try:
                goal = goal_of(meaning, scene)
                fair = is_fair(meaning, goal, scene, self.spare) and self.belongs(goal, scene)
            except (ImpossibleGoal, NoRoom):
                continue
            if fair:
                most -= 1
                said = self.say(meaning, scene, rng)
                yield TaskInstance(said, problem.layout, goal, goal.moves + self.spare, meaning)

    def say(self, meaning: Meaning, scene: Scene, rng: np.random.Generator) -> str:
        """A sentence for a goal in a scene."""
        return Speaker(rng, self.unseen_words).sentence(meaning, len(select_blocks(meaning.who, scene)) > 1)

    def _draw_cell(self, rng: np.random.Generator) -> str:
        whats = [what for what in self.shares if self.cells_of(what)]
        shares = np.array([self.shares[what] for what in whats])
        return str(rng.choice(self.cells_of(str(rng.choice(whats, p=shares / shares.sum())))))


@functools.cache
def cells_where(what: str, out: bool) -> tuple[str, ...]:
    """The cells of one doing that are held out, or those that are not."""
    return tuple(cell for cell in all_cells() if cell.startswith(f"{what}|") and held_out(cell) == out)


TASK = ComposedGoals
