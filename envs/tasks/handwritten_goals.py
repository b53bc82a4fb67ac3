"""Goals in sentences that were written by hand, none made by the wording grammar."""

from __future__ import annotations

import numpy as np

from lohovla.envs.tasks.composed_goals import ComposedGoals
from lohovla.envs.tasks.entities import Scene
from lohovla.envs.tasks.goals import Goal
from lohovla.envs.tasks.grammar.handwritten import handwritten_goals
from lohovla.envs.tasks.registry import TaskInstance
from lohovla.envs.tasks.scene_sampler import SceneSampler

_DRAWS = 200


class HandwrittenGoals(ComposedGoals):
    """Two hundred sentences as a person would type them, each with its goal; some are of cells that are held out."""

    name = "handwritten-goals"

    def belongs(self, goal: Goal, scene: Scene) -> bool:
        return True

    def sample(self, rng: np.random.Generator, colors: str | None = None, paraphrase: bool = False) -> TaskInstance:
        return self.sample_sentence(int(rng.integers(len(handwritten_goals()))), rng, colors)

    def sample_sentence(self, index: int, rng: np.random.Generator, colors: str | None = None) -> TaskInstance:
        """A problem of one of the sentences, ``index`` counted from 0 and around."""
        sentence, meaning = handwritten_goals()[index % len(handwritten_goals())]
        for _ in range(_DRAWS):
            found = self.problem(meaning, SceneSampler(rng, colors or self.palette), sentence)
            if found is not None:
                return found
        raise RuntimeError(f"no scene for {sentence!r} in {_DRAWS} draws")


TASK = HandwrittenGoals
