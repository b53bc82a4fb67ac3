"""Statistics of states and actions over the very frames that are trained on, and how those of a data set differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lohovla.data import dataset_layout
from lohovla.data.check_statistics import is_quantile
from lohovla.data.dataset_files import read_dataset_json
from lohovla.data.features import STATISTICS
from lohovla.data.statistics import QUANTILES, of_values
from lohovla.errors import UserError

_CLOSE, _CLOSE_QUANTILE = 1e-3, 0.01  # of the range
_ROUNDING = 1e-6  # of the largest value, or of 1


def exact_statistics(values: np.ndarray) -> dict[str, list[float]]:
    """Statistics (:data:`lohovla.data.features.STATISTICS`) of all of (N, n) values: a number for each dimension."""
    return {name: numbers.tolist() for name, numbers in of_values(values).items() if name in STATISTICS}


def compare_stated(root: Path, feature: str, names: Sequence[str], values: np.ndarray) -> Iterator[str]:
    """Yield a line for each statistic of ``meta/stats.json`` that is not that of the values.

    Args:
        root: the data set's folder.
        feature: its feature.
        names: of the feature's numbers.
        values: all of the set's, (N, n).
    """
    path = root / dataset_layout.STATS
    if not path.exists():
        return
    try:
        stated = read_dataset_json(root, path).get(feature)
    except UserError as error:
        yield f"{error.cause}; statistics are computed from the data"
        return
    if not isinstance(stated, Mapping):
        yield f"{dataset_layout.STATS} says nothing of {feature}; its statistics are computed from the data"
        return
    found = of_values(values)
    span = np.ptp(values.astype(np.float64), axis=0)
    rounding = _ROUNDING * np.maximum(np.abs(values).max(axis=0), 1.0)
    for statistic in (name for name in STATISTICS if name in stated and name != "count"):
        told = _numbers(stated[statistic])
        if told.shape != span.shape:
            yield f"{dataset_layout.STATS}: the {statistic} of {feature} has {told.size} numbers, not {len(span)}"
            continue
        close = _CLOSE_QUANTILE if statistic in QUANTILES else _CLOSE
        wrong = ~(np.abs(told - found[statistic]) <= close * span + rounding)
        if statistic in QUANTILES:  # between two values that are far apart, any is the quantile
            wrong &= ~np.array(
                [is_quantile(value, statistic, of) for value, of in zip(told, found.spread or (), strict=True)]
            )
        if wrong.any():
            at = int(np.argmax(wrong))
            yield (
                f"{dataset_layout.STATS}: the {statistic} of {feature} is {told[at]:.5g} in dimension {at}"
                f" ({names[at]}), but {found[statistic][at]:.5g} in the data, which counts"
            )


def _numbers(value: Any) -> np.ndarray:
    try:
        return np.asarray(value, np.float64).reshape(-1)
    except (TypeError, ValueError):
        return np.zeros(0)


def unvaried(kind: str, names: Sequence[str], statistics: Mapping[str, Sequence[float]]) -> str | None:
    """A line for the dimensions that never change; None if all do."""
    same = [name for name, std in zip(names, statistics["std"], strict=True) if std < 1e-8]
    return f"{kind}: {', '.join(same)} never changes: its deviation is 0" if same else None
