"""An endless, repeatable stream of batches of the text tasks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lohovla.collect.text_tasks import text_task
from lohovla.errors import UserError

_POOL = 16  # batches drawn at once and sorted by length, so that little is padding


@dataclass(frozen=True)
class TextBatch:
    """Prompts with their answers; answers are padded with end tokens to whole blocks, and those are trained on.

    Attributes:
        tokens: (n, length) ids.
        prompt: (n,) prompt lengths.
        answer: (n,) answer lengths with the first end token.
        end: (n,) lengths with the padding that counts.
        block: (n, length) answer block of each token; -1 in the prompt, and beyond ``end``.
    """

    tokens: Tensor
    prompt: Tensor
    answer: Tensor
    end: Tensor
    block: Tensor

    @property
    def places(self) -> Tensor:
        """(length,) positions."""
        return torch.arange(self.tokens.shape[1], device=self.tokens.device)

    @property
    def inside(self) -> Tensor:
        """(n, length) bool: what counts at all."""
        return self.places < self.end[:, None]


@dataclass(frozen=True)
class Mixture:
    """What the stream draws.

    Attributes:
        tasks: share of each text task.
        batch: sequences a batch.
        block: answer tokens a block.
        padding: chance that a batch gets further blocks of end tokens, up to ``room``.
        room: answer tokens that padding may reach.
        examples: pairs of prompt and answer to draw from instead of the tasks.
    """

    tasks: dict[str, float]
    batch: int
    block: int
    padding: float = 0.25
    room: int = 192
    examples: tuple[tuple[str, str], ...] | None = None

    def __post_init__(self) -> None:
        if not self.tasks or min(self.tasks.values()) < 0 or sum(self.tasks.values()) <= 0:
            raise UserError("the shares of the tasks add up to 0", "for example tasks.plan=0.6 tasks.arithmetic=0.4")
        if self.batch < 1 or self.block < 1:
            raise UserError("batch and block are at least 1", "batch=16 block=16 are usual")


def stream(tokenizer, mixture: Mixture, start: int = 0) -> Iterator[TextBatch]:
    """Batches from number ``start`` on; the same number is always the same batch. Only training seeds (even)."""
    pool, skip = divmod(start, _POOL)
    while True:
        yield from _pool(tokenizer, mixture, pool)[skip:]
        pool, skip = pool + 1, 0


def _pool(tokenizer, mixture: Mixture, number: int) -> list[TextBatch]:
    rng = np.random.default_rng([number, 2])
    count = _POOL * mixture.batch
    rows = []
    for pair in _drawn(mixture, rng, number * count, count):
        prompt, answer = tokenizer(list(pair), add_special_tokens=False)["input_ids"]
        rows.append((prompt, [*answer, tokenizer.eos_token_id]))
    rows.sort(key=lambda row: len(row[0]) + len(row[1]))
    groups = [rows[k : k + mixture.batch] for k in range(0, count, mixture.batch)]
    return [_pad(groups[k], mixture, rng, tokenizer.eos_token_id) for k in rng.permutation(len(groups))]


def _drawn(mixture: Mixture, rng: np.random.Generator, first: int, count: int) -> Iterator[tuple[str, str]]:
    """Pairs of prompt and answer number ``first`` and on."""
    if mixture.examples is not None:
        yield from (mixture.examples[k] for k in rng.integers(len(mixture.examples), size=count))
        return
    names = list(mixture.tasks)
    shares = np.array([mixture.tasks[name] for name in names], float)
    for index, which in enumerate(rng.choice(len(names), count, p=shares / shares.sum())):
        example = text_task(names[which]).draw_problem(2 * (first + index))
        yield example.prompt, example.answer


def _pad(rows: list[tuple[list[int], list[int]]], mixture: Mixture, rng: np.random.Generator, eos: int) -> TextBatch:
    size = mixture.block
    extra = int(rng.integers(1, mixture.room // size + 1)) if rng.random() < mixture.padding else 0
    blocks = [-(-len(answer) // size) for _, answer in rows]
    blocks = [max(b, min(b + extra, mixture.room // size)) for b in blocks]
    ends = [len(prompt) + b * size for (prompt, _), b in zip(rows, blocks, strict=True)]
    tokens = torch.full((len(rows), max(ends)), eos)
    for row, (prompt, answer) in enumerate(rows):
        tokens[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
    lengths = torch.tensor([len(prompt) for prompt, _ in rows])
    end = torch.tensor(ends)
    places = torch.arange(tokens.shape[1])
    block = torch.div(places - lengths[:, None], size, rounding_mode="floor").clamp(min=-1)
    block = block.masked_fill(places >= end[:, None], -1)
    return TextBatch(tokens, lengths, torch.tensor([len(answer) for _, answer in rows]), end, block)
