"""A flow model in closed form: chunks scattered about a mean, neighbouring actions alike.

If the clean chunk is normal with mean m and covariance S over its actions, and ``x_t = (1-t) data + t noise``, then

    E[data | x_t] = m + (1-t) S ((1-t)^2 S + t^2 I)^-1 (x_t - (1-t) m)

and the velocity field, the mean of noise - data given x_t, follows from it exactly. It stands in for a trained
action head wherever the mathematics of joining chunks is to be seen apart from learning.
"""

from __future__ import annotations

import torch


class GaussianFlow:
    """The field of normal chunks about a mean that is given with each call.

    Args:
        horizon: actions in a chunk.
        sigma: standard deviation of each action, in the model's units.
        reach: over how many actions neighbours are alike (squared exponential).
    """

    def __init__(self, horizon: int, sigma: float = 0.1, reach: float = 3.0):
        index = torch.arange(horizon, dtype=torch.float64)
        covariance = torch.exp(-0.5 * ((index[:, None] - index) / reach) ** 2) + 1e-3 * torch.eye(horizon)
        self.covariance = sigma**2 * covariance
        values, self._vectors = torch.linalg.eigh(self.covariance)
        self._values = values.clamp_min(0.0)

    def data(self, x: torch.Tensor, t: float, mean: torch.Tensor) -> torch.Tensor:
        """The expected clean chunk at ``x`` (H, D) and ``t``."""
        gain = (1.0 - t) * self._values / ((1.0 - t) ** 2 * self._values + t * t)
        vectors, gain = self._vectors.to(x), gain.to(x)
        return mean + vectors @ (gain[:, None] * (vectors.T @ (x - (1.0 - t) * mean)))

    def velocity(self, x: torch.Tensor, t: float, mean: torch.Tensor) -> torch.Tensor:
        """Expected noise - data at ``x`` (H, D) and ``t`` in (0, 1]."""
        data = self.data(x, t, mean)
        return (x - (1.0 - t) * data) / t - data
