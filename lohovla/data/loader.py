"""Batches in a fixed order, whatever the number of workers: every rank its share of a seeded shuffle."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, IterableDataset, Sampler

from lohovla.data.reader import Demonstrations
from lohovla.data.samples import collate


class ShardedSampler(Sampler[int]):
    """Endless frame numbers: each epoch a shuffle from (seed, epoch), every ``world``-th of it for ``rank``.

    Episodes are shuffled, and then the frames of each ``block`` of them together, so that the files in use at
    a time are few enough to stay open.

    Args:
        lengths: frames of each episode.
        seed: of the shuffle; the same on every rank.
        rank: this process.
        world: how many processes.
        start: how many numbers to leave out at first, to go on where a run was stopped.
        block: episodes shuffled together.
    """

    def __init__(
        self, lengths: Sequence[int], seed: int = 0, rank: int = 0, world: int = 1, start: int = 0, block: int = 64
    ):
        self._lengths, self._block = np.asarray(lengths), block
        self._firsts = np.cumsum(self._lengths) - self._lengths
        self._share = int(self._lengths.sum()) // world
        if not self._share:
            raise ValueError(f"{self._lengths.sum()} frames cannot be shared by {world} processes")
        self._seed, self._rank, self._world, self._start = seed, rank, world, start

    def _order(self, epoch: int) -> np.ndarray:
        """Every frame once."""
        rng = np.random.default_rng([self._seed, epoch])
        episodes = rng.permutation(len(self._lengths))
        blocks = [episodes[at : at + self._block] for at in range(0, len(episodes), self._block)]
        frames = [
            np.concatenate([self._firsts[e] + np.arange(int(self._lengths[e])) for e in block]) for block in blocks
        ]
        return np.concatenate([rng.permutation(block) for block in frames])

    def __iter__(self) -> Iterator[int]:
        epoch, skip = divmod(self._start, self._share)
        while True:
            mine = self._order(epoch)[self._rank :: self._world][: self._share]
            yield from mine[skip:].tolist()
            epoch, skip = epoch + 1, 0


def make_loader(
    data: Demonstrations | IterableDataset[Any],
    batch: int,
    workers: int = 2,
    seed: int = 0,
    rank: int = 0,
    world: int = 1,
    start: int = 0,
) -> DataLoader[Any]:
    """An endless loader of batches over a data set on disk, or over one drawn online.

    Args:
        data: :class:`lohovla.data.reader.Demonstrations`, or an iterable data set of samples that shards itself.
        batch: samples in a batch.
        workers: processes that make samples; 0 makes them here.
        seed: of the order.
        rank: this training process.
        world: how many there are.
        start: batches to leave out at first (a data set on disk only).
    """
    options: dict[str, Any] = {"batch_size": batch, "num_workers": workers, "collate_fn": collate}
    if workers:
        # OpenGL and open videos do not survive a fork.
        options.update(multiprocessing_context="spawn", persistent_workers=True, prefetch_factor=4)
        options["worker_init_fn"] = _end_quietly
    if isinstance(data, IterableDataset):
        return DataLoader(data, **options)
    sampler = ShardedSampler(data.lengths, seed, rank, world, start * batch)
    return DataLoader(data, sampler=sampler, **options)


def _end_quietly(worker: int) -> None:
    """Let a worker end without tearing down its libraries, whose threads abort when they are still at work."""
    atexit.register(os._exit, 0)
