"""Labelled scenes as tables, without pictures or physics: hundreds a second, for learning to plan.

Blocks go where the oracle would put them, at once and exactly, and where mistakes would leave them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from lohovla.collect.privileged_labels import any_subtasks, objects_of, points_of, roles_of
from lohovla.collect.rendered_scenes import primitive_goal, scene_env
from lohovla.collect.training_stream import PARAPHRASED, FailureInjection, TrainingStream
from lohovla.data.samples import Sample
from lohovla.envs.tasks.composed_goals import ComposedGoals
from lohovla.envs.tasks.entities import Pose, Scene, block_moved_to, free_blocks
from lohovla.envs.tasks.goals import Subtask, find_spot
from lohovla.envs.tasks.grammar.meaning import canonical
from lohovla.envs.tasks.grammar.word_noise import with_word_noise
from lohovla.envs.tasks.registry import TaskInstance, get_task, initial_scene

_MOST_STEPS = 16
_TWINS = 3  # other goals of a scene that the grammar made, at most
_PLACING = 0.0015  # m, standard deviation of where a block comes to rest


class TableScenes(TrainingStream):
    """Endless planning examples of training tasks, in random order, by worker processes.

    A sample maps ``state`` (13,), ``instruction``, ``subtask``, ``points`` (2, 5) and ``objects`` (40, 10) as those
    of :class:`lohovla.collect.rendered_scenes.LabelledScenes`, ``roles`` (40, 3): see
    :func:`lohovla.collect.privileged_labels.roles_of`, and ``program``, the goal's meaning in the notation of the goal
    grammar ("" where the goal is a primitive that was made of a sub-task). A scene that the grammar made is used for
    several goals that differ in one slot of their meaning.

    Args:
        tasks: names of tasks, drawn at random.
        seed: even; with the worker's number it decides the stream.
        mistakes: chances of mistakes.
        direct: share of examples whose goal is a primitive: any sub-task of the scene, as an instruction.
        word_noise: share of goals with a slip of typing or an unknown word.
        pool: examples kept for shuffling.
        draw: the rest of :class:`lohovla.collect.training_stream.TrainingStream`.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        seed: int = 0,
        mistakes: FailureInjection | None = None,
        direct: float = 0.15,
        word_noise: float = 0.0,
        pool: int = 512,
        **draw: Any,
    ):
        super().__init__(tasks, seed, pool=pool, **draw)
        self._mistakes, self._direct = mistakes or FailureInjection(), direct
        self._word_noise = word_noise

    def __iter__(self) -> Iterator[Sample]:
        self._state = scene_env(self._tasks[0]).reset(seed=self._seed)[0]["state"]  # the arm is always at home
        return super().__iter__()

    def episode(self, task: str, seed: int, rng: np.random.Generator) -> Iterator[Sample]:
        found = get_task(task)
        problem = found.sample(np.random.default_rng([seed, 1]), paraphrase=bool(rng.random() < PARAPHRASED))
        twins = found.twins(problem, rng, _TWINS) if type(found) is ComposedGoals else ()
        for asked in (problem, *twins):
            for scene, subtask in states(asked, rng, self._mistakes):
                yield self._labelled(asked, scene, subtask, rng)

    def _labelled(
        self, problem: TaskInstance, scene: Scene, subtask: Subtask | None, rng: np.random.Generator
    ) -> Sample:
        instruction, future = problem.instruction, None
        if self._word_noise and rng.random() < self._word_noise:
            instruction = with_word_noise(instruction, rng)
        program = str(canonical(problem.meaning)) if problem.meaning else ""
        if rng.random() < self._direct:
            other = next(any_subtasks(scene, rng), None)
            goal = primitive_goal(other.text, rng) if other else None
            if goal and other:
                instruction, subtask, future, program = goal, other, [other], ""
        return {
            "state": self._state,
            "instruction": instruction,
            "program": program,
            "subtask": subtask.text if subtask else problem.goal.ending,
            "points": points_of(scene, subtask),
            "objects": objects_of(scene),
            "roles": roles_of(scene, list(remaining_plan(problem, scene)) if future is None else future),
        }


def states(
    problem: TaskInstance, rng: np.random.Generator, mistakes: FailureInjection
) -> Iterator[tuple[Scene, Subtask | None]]:
    """The states of one episode, the oracle's next sub-task beside each; None at the goal, and then it ends."""
    scene = initial_scene(problem.layout)
    for _ in range(_MOST_STEPS):
        subtask = problem.goal.next(scene)
        yield scene, subtask
        if subtask is None:
            return
        scene = apply_subtask_or_mistake(scene, subtask, rng, mistakes)


def remaining_plan(problem: TaskInstance, scene: Scene) -> Iterator[Subtask]:
    """The oracle's sub-tasks from a state on, each carried out exactly."""
    for _ in range(_MOST_STEPS):
        subtask = problem.goal.next(scene)
        if subtask is None:
            return
        yield subtask
        scene = block_moved_to(scene, subtask.pick, subtask.place)


def apply_subtask_or_mistake(
    scene: Scene, subtask: Subtask, rng: np.random.Generator, mistakes: FailureInjection
) -> Scene:
    """The scene after a sub-task, or after a mistake: the block somewhere else, or another one moved."""
    pick, place, fate = subtask.pick, subtask.place, rng.random()
    if fate < mistakes.astray + mistakes.sloppy:
        spot = find_spot(scene, pick, _anywhere(rng), avoid_fixtures=bool(rng.random() < 0.5))
        return block_moved_to(scene, pick, Pose(*spot, 0.0, rng.uniform(-0.7, 0.7))) if spot else scene
    if fate < mistakes.astray + mistakes.sloppy + mistakes.other:
        free = [name for name in free_blocks(scene) if name != subtask.target]
        pick = free[rng.integers(len(free))]
    x, y = place.x + rng.normal(0, _PLACING), place.y + rng.normal(0, _PLACING)
    return block_moved_to(scene, pick, Pose(x, y, place.z, place.yaw))


def _anywhere(rng: np.random.Generator) -> Any:
    """A random half of the table."""
    x, y, angle = rng.uniform(0.35, 0.65), rng.uniform(-0.35, 0.35), rng.uniform(0, 2 * np.pi)
    return lambda u, v: bool((u - x) * np.cos(angle) + (v - y) * np.sin(angle) > 0)
