"""Painting with the image head: in which order, and how each token is denoised."""

from __future__ import annotations

import math
from typing import Any

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from lohovla.model.configuration import LoHoVLAConfig
from lohovla.model.subgoal.subgoal_generator import DecodedTokens, GenerationContext, SubgoalGenerator

_TRAINED_STEPS = 1000  # of v-prediction's schedule
_LEAST = 1e-3  # of noise, by which targets are divided


def cosine_sets(count: int, steps: int) -> list[int]:
    """How many tokens each of ``steps`` paints: few first, many last (MAR's cosine schedule); adds up to ``count``."""
    sizes, done = [], 0
    for k in range(steps):
        wanted = count - math.floor(count * math.cos(math.pi / 2 * (k + 1) / steps))
        upto = count if k == steps - 1 else min(count, max(done + 1, wanted))
        sizes.append(upto - done)
        done = upto
    return [size for size in sizes if size]


@torch.no_grad()
def sample_subgoal_tokens(
    painter: SubgoalGenerator,
    scene: GenerationContext,
    steps: int = 8,
    denoise: int = 10,
    order: str = "parallel",
    guidance: float = 1.0,
    without: GenerationContext | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Image tokens (B, N, D).

    Args:
        painter: the head.
        scene: what to paint from.
        steps: passes of the parallel order.
        denoise: denoising steps of each token.
        order: ``parallel`` (a random order, many at once) or ``raster`` (one by one).
        guidance: above 1 the sub-task counts more; needs ``without``.
        without: the scene without the sub-task.
        generator: of the noise and the order.
    """
    batch, count, dim = scene.observed.shape
    device = scene.observed.device
    if order == "raster":
        sizes, ranks = [1] * count, torch.arange(count)
    else:
        sizes, ranks = cosine_sets(count, steps), torch.randperm(count, generator=generator)
    ranks = ranks.to(device).expand(batch, -1)
    known = DecodedTokens(
        scene.observed.new_zeros(batch, 0, dim),
        ranks[:, :0],
        ranks[:, :0],
        ranks[:, :0],
    )
    done = 0
    for number, size in enumerate(sizes):
        where = ranks[:, done : done + size]
        known.query_sets = torch.full_like(where, number)
        hidden = painter.hidden(scene, known, where)
        other, plain = None, None
        if without is not None and guidance != 1.0:
            other, plain = painter.hidden(without, known, where), without.tokens_at(where)
        noise = torch.randn(batch, size, dim, generator=generator).to(hidden)
        new = sample_tokens(painter, noise, hidden, other, scene.tokens_at(where), plain, denoise, guidance)
        known = DecodedTokens(
            torch.cat([known.tokens, new], 1),
            torch.cat([known.where, where], 1),
            torch.cat([known.sets, known.query_sets], 1),
            known.query_sets,
        )
        done += size
    return known.tokens.gather(1, known.where.argsort(1)[..., None].expand(-1, -1, dim))


def sample_tokens(
    painter: SubgoalGenerator,
    x: Tensor,
    hidden: Tensor,
    other: Tensor | None,
    given: tuple[Tensor, Tensor],
    plain: tuple[Tensor, Tensor] | None,
    steps: int,
    guidance: float,
) -> Tensor:
    """Denoise tokens by diffusers' schedulers; guided predictions keep the size of unguided ones.

    Args:
        painter: the head.
        x: noise (B, Q, D).
        hidden: states (B, Q, width).
        other: the same without the sub-task, if there is guidance.
        given: observed and moved tokens (B, Q, D).
        plain: the same without the sub-task.
        steps: denoising steps.
        guidance: 1 is none.
    """
    scheduler = scheduler_of(painter.config)
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        # Left alone, the scheduler's steps end at 0.001, and the last one is wasted on the rest of the way.
        scheduler.set_timesteps(sigmas=[1 - k / steps for k in range(steps)])
    else:
        scheduler.set_timesteps(steps)
    for moment in scheduler.timesteps:  # type: ignore
        t = torch.full(x.shape[:2], float(moment) / _TRAINED_STEPS, device=x.device, dtype=x.dtype)
        said = denoising_target(painter.config, x, painter.head(x, t, hidden, *given), t)
        if other is not None and plain is not None:
            base = denoising_target(painter.config, x, painter.head(x, t, other, *plain), t)
            guided = base + guidance * (said - base)
            # Without this, guided tokens grow from step to step and pictures drift to grey (NextStep-1).
            said = guided * (said.std(-1, keepdim=True) / guided.std(-1, keepdim=True).clamp(min=1e-6))
        x = scheduler.step(said, moment, x).prev_sample  # type: ignore
    return x


def scheduler_of(config: LoHoVLAConfig) -> Any:
    """The scheduler of the image head's target."""
    if config.image_target == "flow":
        return FlowMatchEulerDiscreteScheduler(num_train_timesteps=_TRAINED_STEPS)
    return DDIMScheduler(
        num_train_timesteps=_TRAINED_STEPS,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
    )


def add_noise(config: LoHoVLAConfig, data: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """A noisy version of tokens (..., D) at levels t (...) in [0, 1]."""
    signal, spread = noise_levels(config, t)
    return signal * data + spread * noise


def denoising_target(config: LoHoVLAConfig, x: Tensor, clean: Tensor, t: Tensor) -> Tensor:
    """What the scheduler steps by, where the noisy tokens ``x`` would be ``clean``: noise - data, or v."""
    signal, spread = noise_levels(config, t)
    spread = spread.clamp(min=_LEAST)
    return (x - clean) / spread if config.image_target == "flow" else (signal * x - clean) / spread


def noise_levels(config: LoHoVLAConfig, t: Tensor) -> tuple[Tensor, Tensor]:
    """What data and noise are multiplied by at levels t (...), each (..., 1)."""
    if config.image_target == "flow":
        return 1 - t[..., None], t[..., None]
    kept = scheduler_of(config).alphas_cumprod.to(t)
    step = (t * _TRAINED_STEPS).long().clamp(0, _TRAINED_STEPS - 1)
    return kept[step].sqrt()[..., None], (1 - kept[step]).sqrt()[..., None]
