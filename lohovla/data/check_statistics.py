"""Comparing the statistics that a data set states with those of its values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from lohovla.data import dataset_layout
from lohovla.data.histogram import ValueHistogram
from lohovla.data.statistics import NAMES, QUANTILES, Stats

# Numbers that other programs deal out anew without renewing their statistics, which nobody scales by.
COUNTERS = (*dataset_layout.AUTOMATIC, "subtask_index")
_CLOSE = 1e-4  # relative, for statistics that were written as text
_EXACT = tuple(name for name in NAMES if name not in QUANTILES)


def compare_episode(stated: Mapping[str, np.ndarray], found: Stats, say: str, feature: str) -> Iterator[str]:
    """Yield a line for each statistic of an episode's feature that is not that of its values."""
    wrong = [key for key in _EXACT if key in stated and not _close(stated[key], found[key])]
    wrong += [key for key in QUANTILES if key in stated and not _is_quantile(stated[key], key, found)]
    for key in wrong:
        yield f"{say}the {key} of {feature} is not what its statistics say"


def compare_set(stated: Mapping[str, Any], found: Mapping[str, Stats]) -> Iterator[str]:
    """Yield a line for each statistic of ``meta/stats.json`` that is missing or not that of all episodes."""
    has_quantiles = any(isinstance(entry, dict) and QUANTILES.keys() & entry.keys() for entry in stated.values())
    found = {feature: stats for feature, stats in found.items() if feature not in COUNTERS}
    if absent := [feature for feature in found if not isinstance(stated.get(feature), dict)]:
        others = f" and {len(absent) - 3} others" if len(absent) > 3 else ""
        yield f"meta/stats.json: nothing is said of {', '.join(absent[:3])}{others}"
    for feature, stats in found.items():
        if feature in absent:
            continue
        entry = stated[feature]
        wanted = _EXACT + tuple(QUANTILES) * has_quantiles
        if lost := [key for key in wanted if key in stats and key not in entry]:
            yield f"meta/stats.json: {feature} has no {', '.join(lost)}"
        for key in stats:
            if key not in entry:
                continue
            right = _is_quantile(entry[key], key, stats) if key in QUANTILES else _close(entry[key], stats[key])
            if not right:
                yield f"meta/stats.json: the {key} of {feature} does not match the episodes"


def _numbers(value: Any) -> np.ndarray:
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError):
        return np.array(np.nan)


def _close(stated: Any, found: np.ndarray) -> bool:
    stated = _numbers(stated)
    return stated.shape == found.shape and np.allclose(stated, found, rtol=_CLOSE, atol=_CLOSE)


def _is_quantile(stated: Any, key: str, found: Stats) -> bool:
    """Whether every stated number is a quantile of the values, to within a hundredth of their range."""
    stated = _numbers(stated)
    if stated.shape != found["mean"].shape:
        return False
    if found.spread is None:
        return True
    return all(is_quantile(value, key, spread) for value, spread in zip(stated.ravel(), found.spread, strict=True))


def is_quantile(value: float, key: str, spread: ValueHistogram) -> bool:
    """Whether a number is the quantile ``key`` of values, to within a hundredth of their range."""
    return spread.admits(QUANTILES[key], float(value), spread.tolerance + 1e-6 * abs(float(value)))
