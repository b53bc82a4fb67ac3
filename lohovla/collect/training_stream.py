"""Endless streams of training samples: task after task at random, seed after seed, shuffled, by worker processes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from lohovla.data.samples import Sample
from lohovla.envs.tasks.names import TASKS
from lohovla.envs.tasks.registry import Split, get_task
from lohovla.errors import UserError

PARAPHRASED = 0.3  # share of episodes whose goal is said in other words
TRAINING_SPLITS = (Split.PRIMITIVE, Split.SEEN, Split.ADDITIONAL)
# Goals of the grammar that may be trained beside them; a recipe names them if it wants them.
TRAINING_COMPOSED = ("composed-goals", "impossible-goals", "reached-goals")
# The published protocol trains on the other primitives; this one it leaves out.
_UNTRAINED = ("pick-and-place-primitive-with-relative-position",)


@dataclass(frozen=True)
class FailureInjection:
    """How often a move goes wrong, so that a policy sees how to recover; chances a move.

    Attributes:
        astray: the block ends up anywhere on the table.
        sloppy: it is put down a few centimetres off, and may topple.
        other: another block is moved in its place.
    """

    astray: float = 0.05
    sloppy: float = 0.05
    other: float = 0.03


class TrainingStream(IterableDataset, ABC):
    """Samples of training episodes in random order; subclasses say what an episode gives.

    Args:
        tasks: names of training tasks, drawn at random.
        seed: even; with the worker's number it decides the stream.
        weights: how often each task is drawn, relative to 1.
        composed: share of the samples whose goals the grammar composed (:data:`TRAINING_COMPOSED`), which are drawn
            beside ``tasks``.
        pool: samples kept for shuffling.
        rank: this training process.
        world: how many there are.
        skip: samples of each worker to leave out at first, by moving on to other seeds.

    Raises:
        UserError: a task or the seed is held out for evaluation.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        seed: int = 0,
        weights: Mapping[str, float] | None = None,
        composed: float = 0.0,
        pool: int = 128,
        rank: int = 0,
        world: int = 1,
        skip: int = 0,
    ):
        check_training(tasks, seed)
        self._tasks, self._seed, self._pool = tuple(tasks), seed, pool
        self._composed, self._weights = composed, weights or {}
        self._rank, self._world, self._skip = rank, world, skip

    def __iter__(self) -> Iterator[Sample]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        mine, all_of_them = self._rank * workers + worker, self._world * workers
        rng = np.random.default_rng([self._seed, mine, self._skip])
        pool: list[Sample] = []
        for sample in self._samples(mine + all_of_them * self._skip, all_of_them, rng):
            if len(pool) < self._pool:
                pool.append(sample)
                continue
            at = int(rng.integers(len(pool)))
            pool[at], sample = sample, pool[at]
            yield sample

    def _samples(self, number: int, stride: int, rng: np.random.Generator) -> Iterator[Sample]:
        drawn = {False: 0, True: 0}  # samples, by whether the grammar composed their goals
        while True:
            # Episodes of the two kinds differ in length: whichever is behind its share comes next.
            composed = bool(self._composed) and drawn[True] <= self._composed * (drawn[False] + drawn[True])
            task = self._draw_task(TRAINING_COMPOSED if composed else self._tasks, rng)
            for sample in self.episode(task, self._seed + 2 * number, rng):
                drawn[composed] += 1
                yield sample
            number += stride

    def _draw_task(self, tasks: Sequence[str], rng: np.random.Generator) -> str:
        shares = np.array([self._weights.get(task, 1.0) for task in tasks])
        return str(rng.choice(tasks, p=shares / shares.sum()))

    @abstractmethod
    def episode(self, task: str, seed: int, rng: np.random.Generator) -> Iterator[Sample]:
        """The samples of one episode."""


def training_tasks() -> tuple[str, ...]:
    """The 17 tasks that may be trained on: B-E, the ten additional ones and three primitives."""
    return tuple(name for name in TASKS if get_task(name).split in TRAINING_SPLITS and name not in _UNTRAINED)


def check_training(tasks: Sequence[str], seed: int) -> None:
    """Refuse what evaluation holds out: tasks F-K of the published table, a primitive, and seeds that are not even.

    Raises:
        UserError: naming the task or the seed.
    """
    allowed = (*training_tasks(), *TRAINING_COMPOSED)
    if not tasks:
        raise UserError("there is no task to train on", f"name some of {', '.join(allowed[:3])}, ...")
    for name in tasks:
        if get_task(name).name not in allowed:
            raise UserError(f"{name} is held out for evaluation", f"train on {', '.join(allowed[:3])}, ...")
    if seed < 0 or seed % 2:
        raise UserError(f"seed {seed} is not even", "training seeds are 0, 2, 4, ...; odd ones are for evaluation")
