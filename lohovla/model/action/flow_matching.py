"""Flow matching of action chunks: the noise levels of training, and the integral of the velocity when acting.

Noise and data are joined by straight lines (Lipman et al., 2210.02747) with t = 1 noise and t = 0 data:
x_t = t e + (1 - t) a. The action expert learns the velocity e - a.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lohovla.model.action.euler_sampling import euler_sample, noise_level


def sinusoidal_embedding(t: Tensor) -> Tensor:
    """Embedding (..., 64) of noise levels in [0, 1]."""
    scale = torch.exp(torch.arange(32, device=t.device) * (-math.log(1000.0) / 31)) * 100
    angle = t[..., None].float() * scale
    return torch.cat([angle.sin(), angle.cos()], -1).to(t.dtype)


def sample_time(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Noise levels for training, more often high: 0.999 Beta(1.5, 1) + 0.001 (Black et al., pi0, 2410.24164)."""
    return 0.999 * torch.rand(shape, device=device).pow(1 / 1.5) + 0.001


class ActionVelocity:
    """The velocity field of a chunk, and its integral from noise to actions.

    Args:
        expert: the head of an action space, an :class:`~lohovla.model.action.action_expert.ActionExpert`.
        condition: as the expert wants it.
        cache: of the decoder.
        valid: which cached positions may be seen.
        anchors: as the expert wants them.
    """

    def __init__(
        self,
        expert: nn.Module,
        condition: Tensor,
        cache: list[tuple[Tensor, Tensor]],
        valid: Tensor,
        anchors: Tensor | None = None,
    ):
        self._anchors = anchors
        self._expert = expert
        self._condition, self._cache, self._valid = condition, cache, valid

    def velocity(self, x: Tensor, t: Tensor) -> Tensor:
        """The velocity (B, H, A) of a chunk at noise levels (B, H); differentiable in ``x``."""
        return self._expert(x, t, self._condition, self._cache, self._valid, self._anchors)

    def run(self, noise: Tensor, steps: int, prefix: Tensor | None = None) -> Tensor:
        """Denoise ``noise`` (B, H, A) in ``steps`` equal steps; a ``prefix`` (B, d, A) stands as the first actions."""
        count = 0 if prefix is None else prefix.shape[1]
        fixed, clean = None, None
        if prefix is not None and count:
            fixed = (torch.arange(noise.shape[1], device=noise.device) < count)[:, None]
            clean = F.pad(prefix, (0, 0, 0, noise.shape[1] - count))

        def velocity(x: Tensor, step: int) -> Tensor:
            t = x.new_full(x.shape[:2], noise_level(step, steps))
            t[:, :count] = 0  # what is given is no noise
            return self.velocity(x, t)

        return euler_sample(velocity, noise, steps, clean, fixed)
