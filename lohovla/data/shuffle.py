"""The order in which training reads frames: a shuffle that follows from a seed and keeps few episodes in use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RUN = 16  # frames read in one go: they cost one opening of their files


class RankShard(NamedTuple):
    """What one rank reads of an epoch: frame numbers in order, and the number of the run that each is part of."""

    frames: np.ndarray
    runs: np.ndarray


class Shuffle:
    """A shuffle of each epoch's frames within a window, cut into equal shares.

    Episodes are cut into runs of up to 16 frames, and the runs are put in random order. Then each frame is moved
    back by a random distance below ``window``, so that the frames of a run lie scattered over that many. Whoever
    reads in this order can fetch a run whole when its first frame is due, and never holds more than ``window``
    frames, about half of it on average. Frames further apart than the window meet as often as in a full shuffle;
    within one, the frames of a run meet more often.

    Args:
        lengths: frames of each episode.
        window: the longest way a frame is moved; the number of frames or more shuffles all of them freely.
        seed: of the shuffle; the same on every rank.
        rank: this process.
        world: how many processes.

    Raises:
        ValueError: there are fewer frames than processes.
    """

    def __init__(self, lengths: Sequence[int], window: int = 1024, seed: int = 0, rank: int = 0, world: int = 1):
        self.total = int(sum(lengths))
        self.share = self.total // world
        if not self.share:
            raise ValueError(f"{self.total} frames cannot be shared by {world} processes")
        self._window, self._seed, self._rank = window, seed, rank
        ends = np.cumsum(lengths, dtype=np.int64)
        starts = [np.arange(end - length, end, RUN) for end, length in zip(ends, lengths, strict=True)]
        self._firsts = np.concatenate(starts)
        self._sizes = np.diff(self._firsts, append=self.total)

    def epoch(self, number: int) -> RankShard:
        """The rank's share of an epoch; the last few frames, for which equal shares have no room, are left out.

        A run's number is its place in the epoch's order, so that runs with neighbouring numbers are due together.
        """
        rng = np.random.default_rng([self._seed, number])
        order = rng.permutation(len(self._firsts))
        firsts, sizes = self._firsts[order], self._sizes[order]
        begins = np.cumsum(sizes) - sizes
        frames = np.repeat(firsts - begins, sizes) + np.arange(self.total)
        due = np.repeat(begins, sizes) + self._window * rng.random(self.total)
        mine = np.argsort(due, kind="stable")[self._rank * self.share : (self._rank + 1) * self.share]
        return RankShard(frames[mine], np.repeat(np.arange(len(order)), sizes)[mine])
