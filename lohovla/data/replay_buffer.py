"""Batches that mix new samples with ones seen before: drawing a scene costs as much as learning from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from lohovla.data.samples import Sample, collate


class ReplayBuffer:
    """Endless batches of which a share is new and the rest is drawn from the last ``size`` samples.

    Args:
        samples: where new ones come from.
        batch: samples in a batch.
        new_sample_fraction: share of new samples, in (0, 1].
        size: samples kept; at half a megabyte each for labelled scenes.
        seed: of what is drawn again.
    """

    def __init__(
        self, samples: Iterable[Sample], batch: int, new_sample_fraction: float = 0.5, size: int = 4000, seed: int = 0
    ):
        self._new = max(1, round(batch * new_sample_fraction))
        self._samples, self._batch, self._size = samples, batch, size
        self._rng = np.random.default_rng(seed)
        self._kept: list[Sample] = []

    def __iter__(self) -> Iterator[dict[str, object]]:
        new: list[Sample] = []
        for sample in self._samples:
            new.append(sample)
            if len(new) < self._new:
                continue
            self._keep(new)
            again = self._rng.integers(len(self._kept), size=self._batch - len(new))
            yield collate([*new, *(self._kept[i] for i in again)])
            new = []

    def _keep(self, new: list[Sample]) -> None:
        for sample in new:
            if len(self._kept) < self._size:
                self._kept.append(sample)
            else:
                self._kept[int(self._rng.integers(self._size))] = sample
