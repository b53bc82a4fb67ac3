"""Batches in a fixed order, whatever the number of workers: every rank its share of a seeded shuffle.

Opening an episode's files costs as much as decoding a few of its frames. So a worker has runs of frames to itself:
it opens their files once, decodes them in order, and keeps the samples until they are due. Every worker hands in
its part of each batch, and the parts are put together here.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from lohovla.data.reader import LeRobotDatasetReader
from lohovla.data.samples import Sample, collate
from lohovla.data.shuffle import RankShard, Shuffle
from lohovla.errors import UserError

Batch = dict[str, Any]


class BatchPart(NamedTuple):
    """A worker's samples of a batch, collated, and their places in it; or why there are none."""

    places: list[int]
    samples: Batch
    error: UserError | None = None


class _Parts(IterableDataset[BatchPart]):
    """Endless parts of batches, one of each batch from each worker."""

    def __init__(self, data: LeRobotDatasetReader, shuffle: Shuffle, batch: int, start: int):
        self._data, self._shuffle, self._batch, self._start = data, shuffle, batch, start

    def __iter__(self) -> Iterator[BatchPart]:
        try:
            yield from self._made()
        except UserError as error:  # as a value: raised here, it would come out of the worker as a traceback in text
            yield BatchPart([], {}, error)

    def _made(self) -> Iterator[BatchPart]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        epoch, skip = divmod(self._start * self._batch, self._shuffle.share)
        places: list[int] = []
        samples: list[Sample] = []
        place = 0
        while True:
            share = self._shuffle.epoch(epoch)
            read = _ContiguousReader(self._data, share, skip)
            mine = share.runs % workers == worker
            for at in range(skip, len(mine)):
                if mine[at]:
                    places.append(place)
                    samples.append(read(at))
                place += 1
                if place == self._batch:
                    yield BatchPart(places, collate(samples))
                    places, samples, place = [], [], 0
            epoch, skip = epoch + 1, 0


class _ContiguousReader:
    """Samples of a share by their place in it, asked for in order and once each; reads a run at a time.

    Args:
        data: where from.
        share: an epoch's order.
        skip: places that nobody will ask for at the beginning.
    """

    def __init__(self, data: LeRobotDatasetReader, share: RankShard, skip: int):
        self._data, self._frames = data, share.frames
        by_run = skip + np.argsort(share.runs[skip:], kind="stable")
        cuts = np.flatnonzero(np.diff(share.runs[by_run])) + 1
        self._places = {int(share.runs[places[0]]): places for places in np.split(by_run, cuts)}
        self._runs = share.runs
        self._ready: dict[int, Sample] = {}

    def __call__(self, at: int) -> Sample:
        if at not in self._ready:
            places = self._places.pop(int(self._runs[at]))
            places = places[np.argsort(self._frames[places])]
            samples = self._data.samples(self._frames[places].tolist())
            self._ready.update(zip(places.tolist(), samples, strict=True))
        return self._ready.pop(at)


class _Batches(Iterable[Batch]):
    """Whole batches, from the parts that ``workers`` hand in by turns."""

    def __init__(self, parts: DataLoader[BatchPart], batch: int, workers: int):
        self._parts, self._batch, self._workers = parts, batch, workers

    def __iter__(self) -> Iterator[Batch]:
        parts = iter(self._parts)
        while True:
            due = [next(parts) for _ in range(self._workers)]
            for part in due:
                if part.error is not None:
                    raise part.error
            yield merge_parts(due, self._batch)


def merge_parts(parts: list[BatchPart], batch: int) -> Batch:
    """A batch of its parts, each sample in its place."""
    parts = [part for part in parts if part.places]
    if len(parts) == 1:
        return parts[0].samples
    whole: Batch = {}
    for key, first in parts[0].samples.items():
        is_tensor = isinstance(first, torch.Tensor)
        whole[key] = torch.empty((batch, *first.shape[1:]), dtype=first.dtype) if is_tensor else [None] * batch
        target = whole[key].numpy() if is_tensor else whole[key]
        for part in parts:
            values = part.samples[key].numpy() if is_tensor else part.samples[key]
            for place, value in zip(part.places, values, strict=True):
                target[place] = value
    return whole


def make_loader(
    data: LeRobotDatasetReader | IterableDataset[Any],
    batch: int,
    workers: int = 2,
    seed: int = 0,
    rank: int = 0,
    world: int = 1,
    start: int = 0,
    window: int = 1024,
) -> Iterable[Batch]:
    """An endless loader of batches over a data set on disk, or over one drawn online.

    The last three concern a data set on disk only.

    Args:
        data: :class:`lohovla.data.reader.LeRobotDatasetReader`, or an iterable data set of samples that shards itself.
        batch: samples in a batch.
        workers: processes that make samples; 0 makes them here.
        seed: of the order.
        rank: this training process.
        world: how many there are.
        start: batches to leave out at first, to go on where a run was stopped.
        window: frames that are shuffled together (:class:`lohovla.data.shuffle.Shuffle`); about half of them are
            held in memory, all workers taken together.

    Raises:
        ValueError: there are fewer frames than processes.
        UserError: while batches are drawn: a picture's file is missing or damaged.
    """
    options: dict[str, Any] = {"num_workers": workers}
    if workers:
        # OpenGL and open videos do not survive a fork.
        options.update(multiprocessing_context="spawn", persistent_workers=True, prefetch_factor=4)
        options["worker_init_fn"] = exit_worker
    if isinstance(data, IterableDataset):
        return DataLoader(data, batch_size=batch, collate_fn=collate, **options)
    parts = _Parts(data, Shuffle(data.lengths, window, seed, rank, world), batch, start)
    return _Batches(DataLoader(parts, batch_size=None, collate_fn=_as_it_is, **options), batch, max(1, workers))


def _as_it_is(part: Any) -> Any:
    return part


def exit_worker(worker: int) -> None:
    """Let a worker end without tearing down its libraries, whose threads abort when they are still at work."""
    atexit.register(os._exit, 0)
