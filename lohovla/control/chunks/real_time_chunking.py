"""Real-time chunking: a chunk is denoised so that it continues the one being carried out.

After Black, Galliker and Levine, "Real-Time Execution of Action Chunking Flow Policies" (arXiv 2506.07339): the
velocity field of a flow-matching model is guided towards what remains of the old chunk, through the Jacobian of
the model's estimate of the clean chunk (Song et al., "Pseudoinverse-Guided Diffusion Models", 2023).
The paper writes tau for the time from noise (0) to data (1); here t = 1 - tau, as everywhere in the project.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from lohovla.model.action.euler_sampling import euler_sample, noise_level
from lohovla.policies.base import Context, Decision
from lohovla.policies.realtime_policy import Denoiser, SubtaskPlan

BETA = 5.0  # the largest weight of the guidance


def soft_mask(horizon: int, inference_delay: int, overlap: int) -> np.ndarray:
    """How much each action of a new chunk is held to the old one, float64 (horizon,) in [0, 1].

    Args:
        horizon: H, actions in a chunk.
        inference_delay: d, actions that will have been carried out when the chunk arrives: weight 1.
        overlap: H - s, actions that the old chunk still has; from there on the weight is 0. Between the two it
            falls as c (e^c - 1) / (e - 1), with c = (H - s - i) / (H - s - d + 1).
    """
    index = np.arange(horizon)
    c = (overlap - index) / (overlap - inference_delay + 1.0)
    falling = c * np.expm1(c) / math.expm1(1.0)
    return np.where(index < inference_delay, 1.0, np.where(index < overlap, falling, 0.0))


def guidance_weight(t: float, beta: float) -> float:
    """The weight of the guidance at time ``t``: min(beta, (1-tau)/tau (tau^2 + (1-tau)^2) / (1-tau)^2)."""
    tau = 1.0 - t
    if tau <= 0.0 or t <= 0.0:
        return beta
    return min(beta, (tau * tau + t * t) / (tau * t))


def denoise_guided(
    velocity: Callable[[torch.Tensor, float], torch.Tensor],
    noise: torch.Tensor,
    steps: int,
    prefix: torch.Tensor | None = None,
    inference_delay: int = 0,
    beta: float = BETA,
) -> torch.Tensor:
    """Integrate a velocity field from noise to data by Euler's method, guided where there is a prefix.

    Args:
        velocity: the field, noise - data, at (x, t); differentiable in x.
        noise: x at t=1 (H, D).
        steps: how many.
        prefix: what the old chunk still has, in the model's space (n, D); None for no guidance.
        inference_delay: how many of its actions will have been carried out.
        beta: the largest weight of the guidance.

    Returns:
        x at t=0 (H, D).
    """
    noise = noise.detach()
    if prefix is None:
        with torch.no_grad():
            return euler_sample(lambda x, step: velocity(x, noise_level(step, steps)), noise, steps)
    overlap = min(len(prefix), len(noise))
    mask = torch.as_tensor(soft_mask(len(noise), min(inference_delay, overlap), overlap)).to(noise)[:, None]
    target = torch.zeros_like(noise)
    target[:overlap] = prefix[:overlap]

    def guided(x: torch.Tensor, step: int) -> torch.Tensor:
        t = noise_level(step, steps)
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            field = velocity(x, t)
            clean = x - t * field  # the model's estimate of the data
            error = (mask * (target - clean)).detach()
            (correction,) = torch.autograd.grad(clean, x, error)
        return field.detach() - guidance_weight(t, beta) * correction

    return euler_sample(guided, noise, steps)


def guided_chunk(
    denoiser: Denoiser,
    observation: Any,
    context: Context,
    plan: SubtaskPlan,
    prefix: np.ndarray | None,
    inference_delay: int,
    seed: int,
    beta: float = BETA,
) -> Decision:
    """A chunk of a :class:`~lohovla.policies.realtime_policy.Denoiser` that continues ``prefix``.

    See :func:`denoise_guided`. The noise follows from ``seed`` alone.
    """
    encoding = denoiser.encode(observation, context, plan)
    action = np.zeros((denoiser.spec.horizon, *denoiser.spec.action_shape), np.float32)
    like = denoiser.normalize(action, encoding)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(like.shape, generator=generator).to(like)
    kept = None if prefix is None or not len(prefix) else denoiser.normalize(prefix.astype(np.float32), encoding)

    def velocity(x: torch.Tensor, t: float) -> torch.Tensor:
        return denoiser.velocity(x, t, encoding)

    return denoiser.finish(denoise_guided(velocity, noise, denoiser.flow_steps, kept, inference_delay, beta), encoding)
