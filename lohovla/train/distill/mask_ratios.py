"""How much of each answer block is masked in training."""

from __future__ import annotations

import torch
from torch import Tensor

from lohovla.errors import UserError

SCHEDULES = ("monotone", "chain-uniform", "random")


def ratios(schedule: str, rows: int, blocks: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """(rows, blocks) mask ratios in [low, high].

    Args:
        schedule: ``monotone``, the published one: the first block's ratio is uniform, each later one adds a uniform
            share of what is left, so that later blocks are noisier, as they are in decoding; ``chain-uniform``:
            each is uniform between the one before it and ``high``; ``random``: each by itself.
        rows: sequences.
        blocks: blocks of each.
        low: lowest ratio, above 0: losses are divided by it.
        high: highest ratio, at most 1.
        generator: source of chance.
    """
    if schedule not in SCHEDULES:
        raise UserError(f"there is no noise schedule {schedule!r}", f"choose one of {', '.join(SCHEDULES)}")
    if not 0.0 < low <= high <= 1.0:
        raise UserError(f"mask ratios cannot go from {low} to {high}", "choose 0 < low <= high <= 1")
    chance = torch.rand(rows, blocks, generator=generator)
    if schedule == "random":
        return low + chance * (high - low)
    first = low + chance[:, :1] * (high - low)
    if schedule == "monotone":
        steps = chance[:, 1:] * (high - first) / max(blocks - 1, 1)
        return torch.cat([first, first + steps.cumsum(1)], 1)
    # The gap to `high` shrinks by a uniform factor from block to block.
    return high - (high - first) * torch.cat([torch.ones_like(first), 1 - chance[:, 1:]], 1).cumprod(1)


def corrupt(
    tokens: Tensor, answer: Tensor, ratio: Tensor, mask_id: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mask answer tokens.

    Args:
        tokens: (n, length) clean sequences.
        answer: (n, length) bool, what may be masked.
        ratio: (n, length) chance of each token.
        mask_id: the mask token.
        generator: source of chance.

    Returns:
        The noisy tokens, and (n, length) bool where they are masked: at least one place in each row that has any.
    """
    chance = torch.rand(tokens.shape, generator=generator)
    masked = answer & (chance < ratio)
    lucky = torch.nn.functional.one_hot(chance.masked_fill(~answer, 2.0).argmin(1), tokens.shape[1]).bool()
    masked |= lucky & answer & ~masked.any(1, keepdim=True)
    return tokens.masked_fill(masked, mask_id), masked
