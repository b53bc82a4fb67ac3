"""Denoising a chunk with all that does not change between the steps computed once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lohovla.kernels.expert_attention import expert_attention
from lohovla.model.action.action_expert import ActionExpert
from lohovla.model.action.euler_sampling import euler_sample
from lohovla.model.action.flow_matching import sinusoidal_embedding
from lohovla.model.device_constants import constant_like


def denoise_fused(
    expert: Any,
    noise: Tensor,
    steps: int,
    condition: Tensor,
    cache: list[tuple[Tensor, Tensor]],
    valid: Tensor,
    anchors: Tensor | None = None,
    clean: Tensor | None = None,
    fixed: Tensor | None = None,
    implementation: str = "auto",
) -> Tensor:
    """``noise`` (B, H, A) denoised; the same numbers as ``ActionVelocity.run``, up to rounding.

    All actions have the same noise level, so a step's modulation has one row and not one for each action, and the rows
    of all steps are one product; ``ActionVelocity`` computes H times as many rows, step by step.

    Args:
        expert: the head of an action space.
        noise: (B, H, A).
        steps: equal ones.
        condition: as :class:`ActionExpert` wants it.
        cache: of the decoder.
        valid: which cached positions may be seen.
        anchors: as :class:`ActionExpert` wants them.
        clean: the chunk whose ``fixed`` actions are given (B, H, A); they have a noise level of 0 of their own.
        fixed: (B, H) bool.
        implementation: of the attention, see :func:`lohovla.kernels.runtime.use_triton`.
    """
    batch, horizon, _ = noise.shape
    levels = 1 - torch.arange(steps, device=noise.device, dtype=noise.dtype) / steps
    given = expert.condition(condition)[:, None]
    own = None if fixed is None else fixed[..., None]
    times = levels if own is None else F.pad(levels, (0, 1))  # the last is that of given actions
    time = F.silu(expert.time(sinusoidal_embedding(times))[:, None, None] + given)  # (steps, B, 1, width)
    # Shift, scale and gate of each half of a layer; what is learned of scales and gates is their difference from one.
    offsets = constant_like(time, (0.0, 1.0, 1.0, 0.0, 1.0, 1.0))[:, None].expand(-1, time.shape[-1]).flatten()
    modulations = [layer.modulate(time) + offsets for layer in expert.layers]
    standing = expert.place[:horizon] + given

    def velocity(x: Tensor, step: int) -> Tensor:
        if own is None:
            parts, level = [part[step] for part in modulations], levels[step].expand(batch, horizon)
        else:
            parts = [torch.where(own, part[-1], part[step]) for part in modulations]
            level = levels[step].expand(batch, horizon).masked_fill(fixed, 0.0)  # type: ignore[arg-type]
        y = _states(expert, expert.enter(x) + standing, cache, valid, parts, implementation)
        return expert.velocity(expert.norm(y), x, level, anchors)

    return euler_sample(velocity, noise, steps, clean, own)


def _states(
    expert: ActionExpert,
    y: Tensor,
    cache: list[tuple[Tensor, Tensor]],
    valid: Tensor,
    modulations: list[Tensor],
    implementation: str,
) -> Tensor:
    """The expert's layers (B, H, width) on the cache where it lies."""
    batch, horizon, _ = y.shape
    layers: Any = expert.layers
    for layer, (keys, values), modulation in zip(layers, cache, modulations, strict=True):
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.chunk(6, -1)
        z = torch.addcmul(shift1, layer.norm1(y), scale1)
        q, k, v = layer.qkv(z).view(batch, horizon, 3, expert.heads, expert.head_dim).permute(2, 0, 3, 1, 4)
        z = expert_attention(q, k, v, (keys, values), valid, implementation)
        y = torch.addcmul(y, gate1, layer.out(z.transpose(1, 2).reshape(batch, horizon, -1)))
        z = torch.addcmul(shift2, layer.norm2(y), scale2)
        y = torch.addcmul(y, gate2, layer.down(F.silu(layer.up(z))))
    return y
