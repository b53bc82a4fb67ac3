"""States and actions to numbers of about one, and back, by the statistics of the training data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

_CONSTANT = 1e-6  # a number that varies by less than this share of its size, or of one, never changes


class Normalizer:
    """An affine map of each number of a vector.

    ``mean_std`` gives mean 0 and deviation 1, ``quantiles`` puts q01 and q99 at -1 and 1, ``min_max`` the smallest and
    the largest. A number that never changes is shifted and not scaled.

    Args:
        statistics: ``mean``, ``std``, ``min``, ``max``, ``q01``, ``q99``: a number each.
        mode: one of :data:`lohovla.model.configuration.NORMALIZATIONS`.
    """

    def __init__(self, statistics: Mapping[str, Sequence[float]], mode: str):
        values = {name: np.asarray(numbers, np.float64) for name, numbers in statistics.items() if name != "count"}
        if mode == "mean_std":
            centre, scale = values["mean"], values["std"]
        else:
            low, high = ("q01", "q99") if mode == "quantiles" else ("min", "max")
            centre, scale = (values[high] + values[low]) / 2, (values[high] - values[low]) / 2
        self.constant = scale < _CONSTANT * np.maximum(1.0, np.abs(centre))
        self._centre = torch.from_numpy(centre.astype(np.float32))
        self._scale = torch.from_numpy(np.where(self.constant, 1.0, scale).astype(np.float32))

    def __call__(self, values: Tensor) -> Tensor:
        """Normalised values (..., n)."""
        return (values - self._centre.to(values.device)) / self._scale.to(values.device)

    def inverse(self, values: Tensor) -> Tensor:
        """Values in their own units (..., n)."""
        return values * self._scale.to(values.device) + self._centre.to(values.device)
