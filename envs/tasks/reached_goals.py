"""Goals that are reached from the start."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lohovla.envs.tasks.composed_goals import ComposedGoals
from lohovla.envs.tasks.entities import Pose
from lohovla.envs.tasks.grammar.scenes import oracle_plan
from lohovla.envs.tasks.registry import TaskInstance, initial_scene


class ReachedGoals(ComposedGoals):
    """A goal that may be trained, on a table as the oracle leaves it.

    Right is to change nothing and to say that it is done.
    """

    name = "reached-goals"

    def sample(self, rng: np.random.Generator, colors: str | None = None, paraphrase: bool = False) -> TaskInstance:
        problem = super().sample(rng, colors)
        *_, (scene, _) = oracle_plan(problem.goal, initial_scene(problem.layout), problem.max_steps)
        for name, block in scene.blocks.items():
            x, y, z = scene.centre(name)
            problem.layout.poses[name] = Pose(x, y, max(z, block.edge / 2), scene.yaw(name))
        return replace(problem, max_steps=self.spare)


TASK = ReachedGoals
