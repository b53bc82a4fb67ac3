"""A flow model in closed form: chunks scattered about a mean, neighbouring actions alike.

If the clean chunk is normal with mean m and covariance S over its actions, and ``x_t = (1-t) data + t noise``, then

    E[data | x_t] = m + (1-t) S ((1-t)^2 S + t^2 I)^-1 (x_t - (1-t) m)

and the velocity field, the mean of noise - data given x_t, follows from it exactly. It stands in for a trained
action head wherever the mathematics of joining chunks is to be seen apart from learning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lohovla.policies.base import Context, Decision, PolicySpec

if TYPE_CHECKING:
    from lohovla.policies.realtime_policy import SubtaskPlan

# Model units of an `ee` action: 0.1 m, 1 rad, and the gripper as it is.
SCALE = np.array([0.1, 0.1, 0.1, 1.0, 1.0, 1.0, 1.0], np.float32)


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


class GaussianFlowMixin:
    """Makes a policy with a ``chunk`` method look like a flow model: its chunk is the mean of a :class:`GaussianFlow`.

    The subclass has ``spec`` and ``chunk``; what it would do given a prefix plays no part.
    """

    spec: PolicySpec
    flow_steps = 5
    _flow: GaussianFlow | None = None

    def chunk(
        self,
        observation: Mapping[str, Any],
        context: Context,
        plan: SubtaskPlan,
        prefix: np.ndarray | None = None,
        inference_delay: int = 0,
    ) -> Decision:
        """The mean."""
        raise NotImplementedError

    def encode(
        self, observation: Mapping[str, Any], context: Context, plan: SubtaskPlan
    ) -> tuple[Decision, torch.Tensor]:
        """The decision whose chunk is the mean, and the mean in model units (H, 7)."""
        decision = self.chunk(observation, context, plan)
        return decision, self._scaled(decision.actions)

    def velocity(self, x: torch.Tensor, t: float, encoding: tuple[Decision, torch.Tensor]) -> torch.Tensor:
        """The field at ``x`` (H, 7) and ``t``."""
        if self._flow is None:
            self._flow = GaussianFlow(self.spec.horizon)
        return self._flow.velocity(x, t, encoding[1])

    def normalize(self, actions: np.ndarray, encoding: tuple[Decision, torch.Tensor]) -> torch.Tensor:
        """Actions (n, 7) in model units."""
        return self._scaled(actions)

    def _scaled(self, actions: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.asarray(actions, np.float32) / SCALE)

    def finish(self, x: torch.Tensor, encoding: tuple[Decision, torch.Tensor]) -> Decision:
        """The decision with the denoised chunk; the gripper stays the mean's, which knows no half measures."""
        actions = x.numpy() * SCALE
        actions[:, 6] = encoding[0].actions[:, 6]
        return replace(encoding[0], actions=actions)
