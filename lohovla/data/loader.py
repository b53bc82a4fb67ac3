"""Batches in a fixed order, whatever the number of workers: every rank its share of a seeded shuffle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler

from lohovla.data.samples import collate


class ShardedSampler(Sampler[int]):
    """Endless frame numbers: each epoch a permutation from (seed, epoch), every ``world``-th of it for ``rank``.

    Args:
        frames: how many frames there are.
        seed: of the shuffle; the same on every rank.
        rank: this process.
        world: how many processes.
        start: how many numbers to leave out at first, to go on where a run was stopped.
    """

    def __init__(self, frames: int, seed: int = 0, rank: int = 0, world: int = 1, start: int = 0):
        if frames < world:
            raise ValueError(f"{frames} frames cannot be shared by {world} processes")
        self._frames, self._seed, self._rank, self._world, self._start = frames, seed, rank, world, start

    def __iter__(self) -> Iterator[int]:
        share = self._frames // self._world
        epoch, skip = divmod(self._start, share)
        while True:
            order = np.random.default_rng([self._seed, epoch]).permutation(self._frames)
            mine = order[self._rank :: self._world][:share]
            yield from mine[skip:].tolist()
            epoch, skip = epoch + 1, 0


def make_loader(
    data: Dataset, batch: int, workers: int = 2, seed: int = 0, rank: int = 0, world: int = 1, start: int = 0
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
    if isinstance(data, IterableDataset):
        return DataLoader(data, **options)
    sampler = ShardedSampler(len(data), seed, rank, world, start * batch)  # type: ignore[arg-type]
    return DataLoader(data, sampler=sampler, **options)
