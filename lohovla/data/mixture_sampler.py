"""The order in which training reads frames: it follows from a seed, and any part of it can be had by itself."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

import numpy as np

_KEPT = 2  # epochs in memory: a batch may lie in two


class MixtureSampler:
    """An endless order of frames of several data sets.

    An epoch has as many samples as there are frames. Each data set gets its share of them by weight: a shuffle of its
    frames, begun anew as often as its share asks for; then all are shuffled together. With one data set an epoch is
    each frame once.

    Args:
        sizes: frames of each data set; they are numbered through.
        weights: share of the samples of each, relative to the others.
        seed: of the shuffles.
    """

    def __init__(self, sizes: Sequence[int], weights: Sequence[float], seed: int):
        self._sizes, self._seed = list(sizes), seed
        self.total = sum(sizes)
        share = np.array(weights, float) / np.sum(weights) * self.total
        edges = np.rint(np.cumsum(share)).astype(int)
        self._shares = np.diff(edges, prepend=0).tolist()
        self._firsts = [0, *np.cumsum(sizes)[:-1].tolist()]
        self._epochs: OrderedDict[int, np.ndarray] = OrderedDict()
        self._lock = Lock()

    def frames(self, begin: int, end: int) -> np.ndarray:
        """The frames of samples ``begin`` to ``end`` of the endless order, (end - begin,)."""
        parts = []
        while begin < end:
            epoch, at = divmod(begin, self.total)
            part = self._epoch(epoch)[at : at + end - begin]
            parts.append(part)
            begin += len(part)
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def _epoch(self, number: int) -> np.ndarray:
        with self._lock:
            if number not in self._epochs:
                self._epochs[number] = self._shuffled(number)
            self._epochs.move_to_end(number)
            while len(self._epochs) > _KEPT:
                self._epochs.popitem(last=False)
            return self._epochs[number]

    def _shuffled(self, number: int) -> np.ndarray:
        rng = np.random.default_rng([self._seed, number])
        drawn = []
        for first, size, share in zip(self._firsts, self._sizes, self._shares, strict=True):
            whole, rest = divmod(share, size)
            drawn += [first + np.tile(np.arange(size), whole), first + rng.permutation(size)[:rest]]
        return rng.permutation(np.concatenate(drawn))
