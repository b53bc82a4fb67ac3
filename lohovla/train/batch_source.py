"""Where a stage's batches come from: scenes drawn from the simulator while training runs."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from torch.utils.data import DataLoader

from lohovla.collect.ee_trajectories import PlayedMotions
from lohovla.collect.rendered_scenes import LabelledScenes
from lohovla.collect.symbolic_scenes import TableScenes
from lohovla.data.replay_buffer import ReplayBuffer
from lohovla.data.samples import Sample, collate
from lohovla.train.training_stages import Stage

_FAR = 2_000_000  # between the seeds of parts of a run that must not meet


@dataclass(frozen=True)
class BatchSource:
    """Where samples come from.

    Attributes:
        tasks: names of training tasks.
        weights: how often each is drawn, relative to 1.
        composed: share of the samples whose goals the grammar composed.
        word_noise: share of symbolic goals with a slip of typing or an unknown word.
        seed: even.
        noise: largest camera noise.
        workers: processes that draw scenes; 0 draws them between steps.
        replay_buffer_size: samples kept to be drawn again.
        overfit: draw this many samples and no others, in a fixed order; 0 never stops drawing.
    """

    tasks: tuple[str, ...]
    weights: Mapping[str, float] | None = None
    composed: float = 0.0
    word_noise: float = 0.0
    seed: int = 0
    noise: Mapping[str, float] = field(default_factory=dict)
    workers: int = 1
    replay_buffer_size: int = 4000
    overfit: int = 0

    def batches(self, stage: Stage, start: int, rank: int, world: int) -> Iterator[dict[str, Any]]:
        """Endless batches; ``start`` is the step to go on from. Symbolic scenes are the item ``symbolic``."""
        own = self._batches(stage, start, rank, world)
        if not stage.symbolic_batch:
            return own
        tables = self._batches(
            Stage("symbolic", stage.steps, stage.symbolic_batch, new_sample_fraction=1.0), start, rank, world
        )
        return ({**batch, "symbolic": read} for batch, read in zip(own, tables, strict=True))

    def settings(self) -> dict[str, Any]:
        """What samples are drawn from, by the names that people type."""
        names = ("tasks", "composed", "word_noise", "seed", "replay_buffer_size", "overfit")
        told: dict[str, Any] = {f"data.{name}": getattr(self, name) for name in names}
        told |= {f"data.weights.{name}": weight for name, weight in (self.weights or {}).items()}
        return told | {f"data.noise.{name}": size for name, size in self.noise.items()}

    def _batches(self, stage: Stage, start: int, rank: int, world: int) -> Iterator[dict[str, Any]]:
        if self.overfit:
            kept = list(islice(iter(self.samples(stage, 0, rank, world)), self.overfit))
            step = start
            while True:
                yield collate([kept[(step * stage.batch + k) % len(kept)] for k in range(stage.batch)])
                step += 1
        samples: Iterable[Sample] = self.samples(stage, start, rank, world)
        if self.workers:
            samples = DataLoader(
                samples,  # type: ignore[arg-type]
                batch_size=None,
                collate_fn=_as_it_is,  # type: ignore[arg-type]
                num_workers=self.workers,
                multiprocessing_context="spawn",
                prefetch_factor=4 * stage.batch,
                worker_init_fn=exit_worker,
            )
        yield from ReplayBuffer(
            samples, stage.batch, stage.new_sample_fraction, self.replay_buffer_size, seed=self.seed + start
        )

    def samples(self, stage: Stage, start: int, rank: int, world: int) -> Any:
        """The endless samples of a stage."""
        if stage.name == "action":
            return PlayedMotions(self.tasks, self.seed + _FAR * (start * world + rank + 1), noise=self.noise, others=0)
        draw: dict[str, Any] = {
            "weights": self.weights,
            "composed": self.composed,
            "rank": rank,
            "world": world,
            "skip": start,
        }
        if self.overfit:
            draw["pool"] = 1
        if stage.name == "symbolic":
            return TableScenes(self.tasks, self.seed, word_noise=self.word_noise, **draw)
        return LabelledScenes(self.tasks, self.seed, self.noise, others=2 if stage.name == "planning" else 0, **draw)


def _as_it_is(sample: Sample) -> Sample:
    return sample


def exit_worker(worker: int) -> None:
    """Let a worker end without tearing down its libraries, whose threads abort when they are still at work."""
    atexit.register(os._exit, 0)
