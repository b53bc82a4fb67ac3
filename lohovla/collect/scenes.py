"""Labelled scenes without playing: blocks are set down where the oracle would put them, and physics settles.

A played pick and place costs three simulated seconds; setting a block down costs a third of one, so that a core
gives about 150 labelled observations a second. The states are those between the actions of an episode, with the
arm at home, mistakes included.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from lohovla.collect.labels import any_subtasks, objects_of, points_of
from lohovla.data.samples import Sample
from lohovla.envs.env import BlocksEnv
from lohovla.envs.language import goal_sentence, vocabulary
from lohovla.envs.render.noise import Noise
from lohovla.envs.tasks.entities import Scene, resting_above
from lohovla.envs.tasks.goals import Subtask
from lohovla.envs.tasks.names import TASKS
from lohovla.envs.tasks.registry import Split, get_task
from lohovla.errors import UserError

_SETTLE, _LONGEST_SETTLE = 60, 300  # physics steps after a block is set down
_MOST_STEPS = 16
_PRIMITIVE = "pick-and-place-primitive"
_RELATION = "to the "  # how places begin that no training primitive names
_EXECUTION = 0.002  # m, standard deviation of where a block is really put
TRAINING_SPLITS = (Split.PRIMITIVE, Split.SEEN, Split.ADDITIONAL)
# The published protocol trains on the other primitives; this one it leaves out.
_UNTRAINED = ("pick-and-place-primitive-with-relative-position",)


@dataclass(frozen=True)
class Mistakes:
    """How often a move goes wrong, so that a policy sees how to recover; chances a move.

    Attributes:
        astray: the block ends up anywhere on the table.
        sloppy: it is put down a few centimetres off, and may topple.
        other: another block is moved in its place.
    """

    astray: float = 0.05
    sloppy: float = 0.05
    other: float = 0.03


def training_tasks() -> tuple[str, ...]:
    """The 17 tasks that may be trained on: B-E, the ten additional ones and three primitives."""
    return tuple(name for name in TASKS if get_task(name).split in TRAINING_SPLITS and name not in _UNTRAINED)


def check_training(tasks: Sequence[str], seed: int) -> None:
    """Refuse what evaluation holds out: tasks F-K of the published table, a primitive, and seeds that are not even.

    Raises:
        UserError: naming the task or the seed.
    """
    allowed = training_tasks()
    if not tasks:
        raise UserError("there is no task to train on", f"name some of {', '.join(allowed[:3])}, ...")
    for name in tasks:
        if get_task(name).name not in allowed:
            raise UserError(f"{name} is held out for evaluation", f"train on {', '.join(allowed[:3])}, ...")
    if seed < 0 or seed % 2:
        raise UserError(f"seed {seed} is not even", "training seeds are 0, 2, 4, ...; odd ones are for evaluation")


class LabelledScenes(IterableDataset):
    """Endless labelled observations of training tasks, in random order, by worker processes.

    A sample maps ``images.top``, ``depth.top``, ``state``, ``instruction`` as the environment gives them, and

    - ``subtask``: the sentence of the oracle's next sub-task ("Done." at the goal), and ``points`` (2, 5), its pick
      and place as x, y, z (m), yaw (rad), edge (m); NaN at the goal;
    - ``objects`` (40, 10): see :func:`lohovla.collect.labels.objects_of`;
    - ``other.subtasks``, ``other.points`` (n, 2, 5): sub-tasks drawn at random, for grounding;
    - ``next.images.top``, ``next.depth.top``: after the move, ``next.reached``: whether it succeeded.

    Args:
        tasks: names of tasks, drawn at random.
        seed: even; with the worker's number it decides the stream.
        noise: largest camera noise; each episode draws its share of it.
        others: random sub-tasks a sample.
        mistakes: chances of mistakes.
        weights: how often each task is drawn, relative to 1.
        direct: share of observations whose goal is a primitive: any sub-task of the scene, as an instruction.
        pool: frames kept for shuffling.
        rank: this training process.
        world: how many there are.
        skip: samples of each worker to leave out at first, by moving on to other seeds.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        seed: int = 0,
        noise: Mapping[str, float] | None = None,
        others: int = 3,
        mistakes: Mistakes | None = None,
        weights: Mapping[str, float] | None = None,
        direct: float = 0.25,
        pool: int = 128,
        rank: int = 0,
        world: int = 1,
        skip: int = 0,
    ):
        check_training(tasks, seed)
        self._tasks, self._seed, self._noise, self._others = tuple(tasks), seed, dict(noise or {}), others
        self._mistakes, self._pool, self._direct = mistakes or Mistakes(), pool, direct
        shares = np.array([(weights or {}).get(task, 1.0) for task in tasks])
        self._shares = shares / shares.sum()
        self._rank, self._world, self._skip = rank, world, skip

    def __iter__(self) -> Iterator[Sample]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        mine, all_of_them = self._rank * workers + worker, self._world * workers
        rng = np.random.default_rng([self._seed, mine, self._skip])
        pool: list[Sample] = []
        for frame in self._frames(mine + all_of_them * self._skip, all_of_them, rng):
            if len(pool) < self._pool:
                pool.append(frame)
                continue
            at = int(rng.integers(len(pool)))
            pool[at], frame = frame, pool[at]
            yield frame

    def _frames(self, number: int, stride: int, rng: np.random.Generator) -> Iterator[Sample]:
        environments: dict[str, BlocksEnv] = {}
        while True:
            task = str(rng.choice(self._tasks, p=self._shares))
            if task not in environments:
                environments[task] = scene_env(task)
            env = environments[task]
            env.paraphrase = bool(rng.random() < 0.3)
            amount = max(0.0, float(rng.uniform(-0.5, 1.0)))
            env.sensors.noise = Noise.of({name: amount * size for name, size in self._noise.items()})
            for frame in walk(env, self._seed + 2 * number, rng, self._others, self._mistakes):
                yield as_primitive(frame, rng) if rng.random() < self._direct else frame
            number += stride


def scene_env(task: str, control: str = "pick_place") -> BlocksEnv:
    """An environment that sees what the model sees: the table from above, in colour and depth."""
    top = {"width": 320, "height": 160, "depth": True}
    return BlocksEnv(task=task, control=control, cameras={"top": top})


def walk(
    env: BlocksEnv, seed: int, rng: np.random.Generator, others: int = 0, mistakes: Mistakes | None = None
) -> Iterator[Sample]:
    """The labelled states of one episode, each with what it looks like after the move."""
    observation, _ = env.reset(seed=seed)
    mistakes = mistakes or Mistakes()
    for _ in range(_MOST_STEPS):
        scene = env.scene()
        subtask = env.problem.goal.next(scene)
        frame = label(observation, scene, subtask, rng, others)
        if subtask is not None:
            reached = set_down(env, scene, subtask, rng, mistakes)
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


def as_primitive(frame: Sample, rng: np.random.Generator) -> Sample:
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


def set_down(env: BlocksEnv, scene: Scene, subtask: Subtask, rng: np.random.Generator, mistakes: Mistakes) -> bool:
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
        free = [name for name in scene.blocks if not resting_above(scene, name) and name != subtask.target]
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
