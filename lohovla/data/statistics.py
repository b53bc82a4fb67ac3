"""Statistics of features, an episode at a time, and of a data set from those of its episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
_PICTURES = 24  # of an episode, evenly spread, for the statistics of its colours

Stats = dict[str, np.ndarray]


def of_values(values: np.ndarray) -> Stats:
    """Statistics over the first axis of (T, ...) values; scalars get the shape (1,)."""
    values = np.asarray(values, np.float64)
    if values.ndim == 1:
        values = values[:, None]
    stats = {"min": values.min(0), "max": values.max(0), "mean": values.mean(0), "std": values.std(0)}
    quantiles = np.quantile(values, list(QUANTILES.values()), axis=0)
    stats.update(zip(QUANTILES, quantiles, strict=True))
    return {**stats, "count": np.array([len(values)])}


def of_pictures(frames: Sequence[np.ndarray]) -> Stats:
    """Statistics of each colour over some of the pictures uint8 (H, W, 3), in [0, 1], shaped (3, 1, 1)."""
    pixels = np.stack([frames[i][::2, ::2] for i in _some(len(frames))]).reshape(-1, 3) / 255.0
    return _of_channels(pixels, len(frames))


def of_depth(pictures: np.ndarray) -> Stats:
    """Statistics over some of the depth pictures (T, H, W), in their own steps, shaped (1, 1, 1)."""
    return _of_channels(pictures[_some(len(pictures)), ::2, ::2].reshape(-1, 1), len(pictures))


def _some(frames: int) -> np.ndarray:
    return np.unique(np.linspace(0, frames - 1, min(_PICTURES, frames)).astype(int))


def _of_channels(pixels: np.ndarray, count: int) -> Stats:
    shaped = {key: value.reshape(-1, 1, 1) for key, value in of_values(pixels).items()}
    return {**shaped, "count": np.array([count])}


def combine(left: Mapping[str, Stats] | None, right: Mapping[str, Stats]) -> dict[str, Stats]:
    """Statistics of two sets taken together; means and deviations are exact, quantiles weighted means."""
    if left is None:
        return dict(right)
    return {name: _combine_one(left[name], right[name]) for name in right}


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
    return {**merged, **{q: a[q] + (b[q] - a[q]) * share for q in QUANTILES}}


def as_lists(stats: Mapping[str, Stats]) -> dict[str, dict[str, Any]]:
    """For JSON."""
    return {name: {key: value.tolist() for key, value in entry.items()} for name, entry in stats.items()}


def as_arrays(stats: Mapping[str, Mapping[str, Any]]) -> dict[str, Stats]:
    """From JSON."""
    return {name: {key: np.asarray(value) for key, value in entry.items()} for name, entry in stats.items()}
