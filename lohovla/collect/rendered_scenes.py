"""Labelled scenes without playing: blocks are set down where the oracle would put them, and physics settles.

A played pick and place costs three simulated seconds; setting a block down costs a third of one, so that a core
gives about 150 labelled observations a second. The states are those between the actions of an episode, with the
arm at home, mistakes included.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lohovla.collect.privileged_labels import any_subtasks, objects_of, points_of
from lohovla.collect.training_stream import PARAPHRASED, FailureInjection, TrainingStream
from lohovla.data.samples import Sample
from lohovla.envs.env import BlocksEnv
from lohovla.envs.language import goal_sentence, vocabulary
from lohovla.envs.render.noise import CameraNoise
from lohovla.envs.tasks.entities import Scene, free_blocks
from lohovla.envs.tasks.goals import Subtask
from lohovla.mujoco_import import mujoco

_SETTLE, _LONGEST_SETTLE = 60, 300  # physics steps after a block is set down
_MOST_STEPS = 16
_PRIMITIVE = "pick-and-place-primitive"
_RELATION = "to the "  # how places begin that no training primitive names
_EXECUTION = 0.002  # m, standard deviation of where a block is really put


class LabelledScenes(TrainingStream):
    """Endless labelled observations of training tasks, in random order, by worker processes.

    A sample maps ``images.top``, ``depth.top``, ``state``, ``instruction`` as the environment gives them, and

    - ``subtask``: the sentence of the oracle's next sub-task ("Done." at the goal), and ``points`` (2, 5), its pick
      and place as x, y, z (m), yaw (rad), edge (m); NaN at the goal;
    - ``objects`` (40, 10): see :func:`lohovla.collect.privileged_labels.objects_of`;
    - ``other.subtasks``, ``other.points`` (n, 2, 5): sub-tasks drawn at random, for grounding;
    - ``next.images.top``, ``next.depth.top``: after the move, ``next.reached``: whether it succeeded.

    Args:
        tasks: names of tasks, drawn at random.
        seed: even; with the worker's number it decides the stream.
        noise: largest camera noise; each episode draws its share of it.
        others: random sub-tasks a sample.
        mistakes: chances of mistakes.
        direct: share of observations whose goal is a primitive: any sub-task of the scene, as an instruction.
        draw: the rest of :class:`lohovla.collect.training_stream.TrainingStream`.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        seed: int = 0,
        noise: Mapping[str, float] | None = None,
        others: int = 3,
        mistakes: FailureInjection | None = None,
        direct: float = 0.25,
        **draw: Any,
    ):
        super().__init__(tasks, seed, **draw)
        self._noise, self._others = dict(noise or {}), others
        self._mistakes, self._direct = mistakes or FailureInjection(), direct

    def __iter__(self) -> Iterator[Sample]:
        self._environments: dict[str, BlocksEnv] = {}
        return super().__iter__()

    def episode(self, task: str, seed: int, rng: np.random.Generator) -> Iterator[Sample]:
        if task not in self._environments:
            self._environments[task] = scene_env(task)
        env = self._environments[task]
        env.paraphrase = bool(rng.random() < PARAPHRASED)
        amount = max(0.0, float(rng.uniform(-0.5, 1.0)))
        env.sensors.noise = CameraNoise.from_settings({name: amount * size for name, size in self._noise.items()})
        for frame in rollout_states(env, seed, rng, self._others, self._mistakes):
            yield to_single_step_goal(frame, rng) if rng.random() < self._direct else frame


def scene_env(task: str, control: str = "pick_place") -> BlocksEnv:
    """An environment that sees what the model sees: the table from above, in colour and depth."""
    top = {"width": 320, "height": 160, "depth": True}
    return BlocksEnv(task=task, control=control, cameras={"top": top})


def rollout_states(
    env: BlocksEnv, seed: int, rng: np.random.Generator, others: int = 0, mistakes: FailureInjection | None = None
) -> Iterator[Sample]:
    """The labelled states of one episode, each with what it looks like after the move."""
    observation, _ = env.reset(seed=seed)
    mistakes = mistakes or FailureInjection()
    for _ in range(_MOST_STEPS):
        scene = env.scene()
        subtask = env.problem.goal.next(scene)
        frame = label(observation, scene, subtask, rng, others)
        if subtask is not None:
            reached = teleport_block(env, scene, subtask, rng, mistakes)
            observation = env.observe()
            frame["next.images.top"], frame["next.depth.top"] = observation["images.top"], observation["depth.top"]
            frame["next.reached"] = np.float32(reached)
        else:
            frame["next.images.top"], frame["next.depth.top"] = frame["images.top"], frame["depth.top"]
            frame["next.reached"] = np.float32(1.0)
        yield frame
        if subtask is None:
            return


def label(
    observation: Mapping[str, Any], scene: Scene, subtask: Subtask | None, rng: np.random.Generator, others: int
) -> Sample:
    """An observation with its labels."""
    drawn = [found for found, _ in zip(any_subtasks(scene, rng), range(others), strict=False)]
    while len(drawn) < others:  # nothing in this scene can be named: the sub-task itself, or an empty one
        drawn.append(subtask)  # type: ignore[arg-type]
    done = vocabulary()["done"]
    return {
        **{key: observation[key] for key in ("images.top", "depth.top", "state", "instruction")},
        "subtask": subtask.text if subtask else done,
        "points": points_of(scene, subtask),
        "objects": objects_of(scene),
        "other.subtasks": [found.text if found else done for found in drawn],
        "other.points": np.stack([points_of(scene, found) for found in drawn]) if others else np.zeros((0, 2, 5), "f4"),
    }


def to_single_step_goal(frame: Sample, rng: np.random.Generator) -> Sample:
    """The same observation with one of its random sub-tasks as the goal; nothing has been done about it yet."""
    for number, text in enumerate(frame["other.subtasks"]):
        if goal := primitive_goal(text, rng):
            still = {f"next.{key}": frame[key] for key in ("images.top", "depth.top")}
            return {
                **frame,
                **still,
                "instruction": goal,
                "subtask": text,
                "points": frame["other.points"][number],
                "next.reached": np.float32(0.0),
            }
    return frame


def primitive_goal(subtask: str, rng: np.random.Generator) -> str | None:
    """A sub-task's sentence as the goal of a primitive; None where no training primitive says such a thing."""
    pick, _, place = subtask.removesuffix(".").removeprefix("Pick up the ").partition(" and place it ")
    if not place or place.startswith(_RELATION):
        return None
    variants = len(vocabulary()["goals"][_PRIMITIVE])
    variant = int(rng.integers(variants)) if rng.random() < 0.3 else 0
    return goal_sentence(_PRIMITIVE, variant, pick=pick, place=place)


def teleport_block(
    env: BlocksEnv, scene: Scene, subtask: Subtask, rng: np.random.Generator, mistakes: FailureInjection
) -> bool:
    """Move the sub-task's block to its place, or make a mistake; returns whether it lies where it should."""
    pick, place = subtask.pick, subtask.place
    x, y, z = place.x, place.y, place.z
    yaw = place.yaw + rng.normal(0, 0.02)
    fate = rng.random()
    if fate < mistakes.astray:
        x, y, z = float(rng.uniform(0.29, 0.71)), float(rng.uniform(-0.46, 0.46)), 0.12
    elif fate < mistakes.astray + mistakes.sloppy:
        x, y = x + rng.normal(0, 0.02), y + rng.normal(0, 0.02)
    elif fate < mistakes.astray + mistakes.sloppy + mistakes.other:
        free = [name for name in free_blocks(scene) if name != subtask.target]
        pick = free[rng.integers(len(free))]
    x, y = x + rng.normal(0, _EXECUTION), y + rng.normal(0, _EXECUTION)
    simulation = env.simulation
    model, data = simulation.model, simulation.data
    start = int(model.jnt_qposadr[model.body(pick).jntadr[0]])
    height = z + scene.blocks[pick].edge / 2 + 5e-4
    data.qpos[start : start + 7] = [x, y, height, np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)]
    mujoco.mj_forward(model, data)
    mujoco.mj_step(model, data, _SETTLE)
    waited = _SETTLE
    while not simulation.at_rest() and waited < _LONGEST_SETTLE:
        mujoco.mj_step(model, data, _SETTLE)
        waited += _SETTLE
    after = env.scene().centre(subtask.pick)
    wanted = place.z + scene.blocks[subtask.pick].edge / 2
    return bool(np.hypot(after[0] - place.x, after[1] - place.y) < 0.012 and abs(after[2] - wanted) < 0.012)
