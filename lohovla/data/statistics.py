"""Statistics of features, an episode at a time, and of a data set from those of its episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lohovla.data import histogram
from lohovla.data.histogram import ValueHistogram

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
NAMES = ("min", "max", "mean", "std", "count", *QUANTILES)
_PICTURES = 24  # of an episode, evenly spread, for the statistics of its colours


class Stats(dict[str, np.ndarray]):
    """Statistics of a feature by name (:data:`NAMES`).

    Args:
        values: the statistics.
        spread: a histogram of each number of the feature, without which no quantiles of several parts taken
            together can be told.
    """

    def __init__(self, values: Mapping[str, Any], spread: Sequence[ValueHistogram] | None = None):
        super().__init__({key: np.asarray(value) for key, value in values.items()})
        self.spread = spread


def of_values(values: np.ndarray) -> Stats:
    """Statistics over the first axis of (T, ...) values; scalars get the shape (1,)."""
    values = np.asarray(values, np.float64)
    if values.ndim == 1:
        values = values[:, None]
    stats = {"min": values.min(0), "max": values.max(0), "mean": values.mean(0), "std": values.std(0)}
    quantiles = np.quantile(values, list(QUANTILES.values()), axis=0)
    stats.update(zip(QUANTILES, quantiles, strict=True))
    spread = [ValueHistogram.from_values(column) for column in values.reshape(len(values), -1).T]
    return Stats({**stats, "count": np.array([len(values)])}, spread)


def of_pictures(frames: Sequence[np.ndarray]) -> Stats:
    """Statistics of each colour over some of the pictures uint8 (H, W, 3), in [0, 1], shaped (3, 1, 1)."""
    pixels = np.stack([frames[i][::2, ::2] for i in _some(len(frames))]).reshape(-1, 3) / 255.0
    return _of_channels(pixels, len(frames))


def of_depth(pictures: np.ndarray, unit: float) -> Stats:
    """Statistics over some of the depth pictures (T, H, W), whole steps of ``unit`` metres: in metres, (1,).

    Not (1, 1, 1): LeRobot's tools read that of features that are pictures to them, and of no others.
    """
    stats = of_values(pictures[_some(len(pictures)), ::2, ::2].ravel() * unit)
    return Stats({**stats, "count": np.array([len(pictures)])}, stats.spread)


def _some(frames: int) -> np.ndarray:
    return np.unique(np.linspace(0, frames - 1, min(_PICTURES, frames)).astype(int))


def _of_channels(pixels: np.ndarray, count: int) -> Stats:
    stats = of_values(pixels)
    shaped = {key: value.reshape(-1, 1, 1) for key, value in stats.items()}
    return Stats({**shaped, "count": np.array([count])}, stats.spread)


def combine(left: Mapping[str, Stats] | None, right: Mapping[str, Stats]) -> dict[str, Stats]:
    """Statistics of two sets taken together.

    Means and deviations are exact; quantiles are those of all values, to within a hundredth of their range, and
    missing where a part has no histograms. Only what both have is kept.
    """
    if left is None:
        return dict(right)
    return {name: _combine_one(left[name], right[name]) for name in right if name in left}


def _combine_one(a: Stats, b: Stats) -> Stats:
    n, m = int(a["count"][0]), int(b["count"][0])
    share = m / (n + m)
    mean = a["mean"] + (b["mean"] - a["mean"]) * share
    variance = (1 - share) * a["std"] ** 2 + share * b["std"] ** 2 + share * (1 - share) * (b["mean"] - a["mean"]) ** 2
    merged = {
        "min": np.minimum(a["min"], b["min"]),
        "max": np.maximum(a["max"], b["max"]),
        "mean": mean,
        "std": np.sqrt(variance),
        "count": np.array([n + m]),
    }
    if a.spread is None or b.spread is None:
        return Stats(merged)
    spread = [one + other for one, other in zip(a.spread, b.spread, strict=True)]
    for name, q in QUANTILES.items():
        merged[name] = np.array([one.quantile(q) for one in spread]).reshape(mean.shape)
    return Stats(merged, spread)


def statistics_lists(stats: Mapping[str, Stats]) -> dict[str, dict[str, Any]]:
    """For JSON, without histograms."""
    return {name: {key: value.tolist() for key, value in entry.items()} for name, entry in stats.items()}


def spreads_as_lists(stats: Mapping[str, Stats]) -> dict[str, Any]:
    """The histograms for JSON."""
    return {name: histogram.histogram_lists(entry.spread) for name, entry in stats.items() if entry.spread is not None}


def as_arrays(stats: Mapping[str, Mapping[str, Any]], spreads: Mapping[str, Any] | None = None) -> dict[str, Stats]:
    """From JSON: statistics, and histograms where they are known."""
    return {
        name: Stats(entry, histogram.from_lists(spreads[name]) if spreads and name in spreads else None)
        for name, entry in stats.items()
    }
