"""The Euler sampler of flow matching: equal steps from noise (t = 1) to data (t = 0)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def noise_level(step: int, steps: int) -> float:
    """The t at which a step begins: 1, 1 - 1 / steps, ..., 1 / steps."""
    return 1.0 - step / steps


def euler_sample(
    velocity: Callable[[Tensor, int], Tensor],
    noise: Tensor,
    steps: int,
    clean: Tensor | None = None,
    fixed: Tensor | None = None,
) -> Tensor:
    """Integrate a velocity field, noise - data, from noise to data.

    Args:
        velocity: the field at x and the beginning of a step, by its number; see :func:`noise_level`.
        noise: x at t = 1 (..., A).
        steps: how many.
        clean: x whose ``fixed`` part is given and stands at every step, in the shape of ``noise``.
        fixed: where, bool, to be broadcast over ``noise``.

    Returns:
        x at t = 0, in the shape of ``noise``.
    """
    given = None if clean is None or fixed is None else (clean, fixed)
    x = noise
    for step in range(steps):
        if given is not None:
            x = torch.where(given[1], given[0], x)
        x = x - velocity(x, step) / steps
    return x if given is None else torch.where(given[1], given[0], x)
