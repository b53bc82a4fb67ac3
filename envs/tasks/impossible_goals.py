"""Goals that cannot be met: what they name is not there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lohovla.envs.language import vocabulary
from lohovla.envs.tasks.composed_goals import ComposedGoals
from lohovla.envs.tasks.grammar.meaning import Condition, Meaning, Noun, Place
from lohovla.envs.tasks.grammar.resolve import goal_of
from lohovla.envs.tasks.grammar.selection import ImpossibleGoal
from lohovla.envs.tasks.grammar.wording import Speaker
from lohovla.envs.tasks.leave_alone import LeaveAlone
from lohovla.envs.tasks.registry import TaskInstance, initial_scene
from lohovla.envs.tasks.scene_sampler import SceneSampler

_EMPTY = 0.2  # share of tables without a block
_DRAWS = 60


class ImpossibleGoals(ComposedGoals):
    """A goal that may be trained, but a colour that it names is nowhere on the table, or the table is empty.

    Right is to move nothing and to say so: "There is no purple bowl."
    """

    name = "impossible-goals"

    def sample(self, rng: np.random.Generator, colors: str | None = None, paraphrase: bool = False) -> TaskInstance:
        for _ in range(_DRAWS):
            problem = super().sample(rng, colors)
            assert problem.meaning is not None
            if rng.random() < _EMPTY:
                meaning, layout = problem.meaning, SceneSampler(rng, colors or self.palette)
            else:
                meaning, layout = self._of_other_colors(problem.meaning, problem.layout), problem.layout
            scene = initial_scene(layout)
            try:
                goal_of(meaning, scene)
            except ImpossibleGoal as reason:
                if reason.sentence == vocabulary()["nothing"]:
                    continue  # nothing is missing
                goal = LeaveAlone({name: scene.centre(name) for name in scene.blocks}, reason.sentence)
                return TaskInstance(Speaker(rng).sentence(meaning), layout, goal, self.spare, meaning)
        raise RuntimeError(f"{self.name}: no layout found in {_DRAWS} draws")

    @staticmethod
    def _of_other_colors(meaning: Meaning, layout: SceneSampler) -> Meaning:
        """The same goal with a colour that nothing on the table has in the place of one that it names."""
        absent = layout.other_colors([entity.color for entity in layout.entities.values()])
        if not absent:
            return meaning
        parts = [condition for condition in meaning.who if condition.kind == "color" or condition.relation]
        change: list[Condition | Place] = [*sorted(parts), *([meaning.where] if meaning.where.noun else [])]
        if not change:
            return replace(meaning, who=meaning.who | {Condition("color", absent[0])}, by="", order="")
        part = change[layout.rng.integers(len(change))]
        if isinstance(part, Place):
            return replace(meaning, where=_recolored(part, absent[0]))
        new = absent[0] if part.kind == "color" else str(replace(part.noun, color=absent[0]))
        return replace(meaning, who=meaning.who - {part} | {Condition(part.kind, new)})


def _recolored(place: Place, color: str) -> Place:
    noun = place.noun
    assert noun is not None
    return Place(place.kind, color if place.kind in ("zone", "bowl") else str(Noun(noun.kind, color, noun.size)))


TASK = ImpossibleGoals
