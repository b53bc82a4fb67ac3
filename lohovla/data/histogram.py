"""Histograms that add up: of the values of an episode, and of a data set from those of its episodes.

Quantiles of a set do not follow from those of its episodes; they follow from how the values are spread. So a
histogram is kept with each episode. Bins are ``[i * 2**exponent, (i + 1) * 2**exponent)``: the bins of a finer
histogram lie whole within those of a coarser one, so that adding two loses nothing but the finer width, and the sum
is the same in whatever order episodes come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_MOST = 512  # bins between the least and the largest value, at least half of them where values differ
_OF_ZEROS = -1000  # exponent where all values are zero: finer than any other, so that it does not count in sums
_DIGITS = 40  # binary digits of a value that a bin can tell; far fewer than float64 has


@dataclass(frozen=True)
class ValueHistogram:
    """How many of some numbers lie where.

    Attributes:
        low: the least of them.
        high: the largest.
        exponent: a bin is ``2**exponent`` wide.
        bins: numbers of the bins that are not empty, int64, rising.
        counts: how many values lie in each, int64.
    """

    low: float
    high: float
    exponent: int
    bins: np.ndarray
    counts: np.ndarray

    @classmethod
    def from_values(cls, values: np.ndarray) -> ValueHistogram:
        """Of finite values (N,), N > 0."""
        values = np.asarray(values, np.float64)
        low, high = float(values.min()), float(values.max())
        exponent = _exponent(low, high)
        bins, counts = np.unique(np.floor(np.ldexp(values, -exponent)).astype(np.int64), return_counts=True)
        return cls(low, high, exponent, bins, counts)

    def __add__(self, other: ValueHistogram) -> ValueHistogram:
        low, high = min(self.low, other.low), max(self.high, other.high)
        exponent = max(_exponent(low, high), self.exponent, other.exponent)
        shifted = [one.bins >> min(exponent - one.exponent, 63) for one in (self, other)]
        bins, place = np.unique(np.concatenate(shifted), return_inverse=True)
        counts = np.zeros(len(bins), np.int64)
        np.add.at(counts, place, np.concatenate([self.counts, other.counts]))
        return ValueHistogram(low, high, exponent, bins, counts)

    @property
    def tolerance(self) -> float:
        """A hundredth of the range: how far a quantile may be off."""
        return 0.01 * (self.high - self.low)

    def quantile(self, share: float) -> float:
        """The value below which ``share`` of the values lie, to within a bin: 1/256 of the range."""
        below = np.cumsum(self.counts) - self.counts
        rank = share * (self.counts.sum() - 1)
        at = int(np.searchsorted(below, rank, "right")) - 1
        within = (rank - below[at] + 0.5) / self.counts[at]
        return float(np.clip(np.ldexp(self.bins[at] + min(within, 1.0), self.exponent), self.low, self.high))

    def admits(self, share: float, value: float, tolerance: float, slack: float = 0.0) -> bool:
        """Whether ``value`` lies within ``tolerance`` of a quantile, ``slack`` being how far the share may be off.

        Between two values that are far apart, anything is their median: so the ranks are compared, not the values.
        """
        if not np.isfinite(value):
            return False
        count = self.counts.sum()
        slack = slack + 1.0 / count  # the many ways to interpolate
        edge = float(np.ldexp(1.0, self.exponent))
        begins = np.ldexp(self.bins.astype(np.float64), self.exponent)
        at_most = self.counts[begins <= value + tolerance].sum() / count
        below = self.counts[begins + edge <= value - tolerance].sum() / count
        inside = self.low - tolerance <= value <= self.high + tolerance
        return bool(inside and at_most >= share - slack and below <= share + slack)


def _exponent(low: float, high: float) -> int:
    """Of the narrowest bins of which ``_MOST`` reach from ``low`` to ``high``."""
    largest = max(abs(low), abs(high))
    finest = int(np.frexp(largest)[1]) - _DIGITS if largest > 0 else _OF_ZEROS
    exponent = max(finest, int(np.frexp((high - low) / _MOST)[1]) - 1 if high > low else finest)
    while np.floor(np.ldexp(high, -exponent)) - np.floor(np.ldexp(low, -exponent)) >= _MOST:
        exponent += 1
    return exponent


def histogram_lists(histograms: Sequence[ValueHistogram]) -> list[dict[str, Any]]:
    """For JSON; bins as the steps between them, which are short."""
    return [
        {
            "range": [one.low, one.high],
            "exponent": one.exponent,
            "bins": np.diff(one.bins, prepend=0).tolist(),
            "counts": one.counts.tolist(),
        }
        for one in histograms
    ]


def from_lists(rows: Sequence[Mapping[str, Any]]) -> list[ValueHistogram]:
    """From JSON."""
    histograms = []
    for row in rows:
        low, high = row["range"]
        bins, counts = (np.asarray(row[key], np.int64) for key in ("bins", "counts"))
        histograms.append(ValueHistogram(low, high, row["exponent"], np.cumsum(bins), counts))
    return histograms
