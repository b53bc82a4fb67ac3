"""From the words of a sub-task, or a picture of its end, to its two points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from lohovla.model.core import LoHoVLA, Prefix
from lohovla.model.layout import Kind, Layout, expert_sees
from lohovla.model.pointer import to_points
from lohovla.model.stem import Objects, Seen


@dataclass
class Words:
    """Sub-tasks in tokens, partly in the cache.

    Attributes:
        tokens: of each sequence, without start and end.
        waiting: those that the decoder has not seen yet, the start included.
        layout: of the cache.
        cache: a copy that belongs to these words.
        forwards: decoder passes that it took.
    """

    tokens: list[list[int]]
    waiting: list[list[int]]
    layout: Layout
    cache: DynamicCache
    forwards: int


@dataclass
class Pointed:
    """A sub-task in numbers, and what the action expert reads.

    Attributes:
        points: pick and place (B, 2, 5): x, y, z (m), yaw (rad), edge (m).
        confidence: of the cells pointed at (B, 2).
        cache: keys and values for the expert.
        valid: which cached positions it may see (B, L).
        layout: of the whole cache.
        full: the whole cache.
    """

    points: Tensor
    confidence: Tensor
    cache: list[tuple[Tensor, Tensor]]
    valid: Tensor
    layout: Layout
    full: DynamicCache

    def row(self, number: int) -> Pointed:
        """One of the batch, as a batch of one; ``full`` stays that of all."""
        at = slice(number, number + 1)
        cache = [(keys[at], values[at]) for keys, values in self.cache]
        return Pointed(
            self.points[at], self.confidence[at], cache, self.valid[at], self.layout.row(number), self.full
        )  # fmt: skip


def copy_cache(cache: Any, model: LoHoVLA, rows: slice | Sequence[int] = slice(None)) -> DynamicCache:
    """A cache, of all rows or some, that can grow apart from the one it was made from; what both hold is shared."""
    copied = DynamicCache(config=model.decoder.config)
    for number, layer in enumerate(cache.layers):
        copied.update(layer.keys[rows], layer.values[rows], number)
    return copied


def some(model: LoHoVLA, prefix: Prefix, rows: Sequence[int]) -> Prefix:
    """Some rows of an encoded batch."""
    return Prefix(
        prefix.seen.rows(rows), prefix.objects.rows(rows), prefix.tokens[rows], prefix.layout.rows(rows),
        copy_cache(prefix.cache, model, rows), prefix.state[rows],
    )  # fmt: skip


def given(model: LoHoVLA, prefix: Prefix, tokens: Sequence[Sequence[int]], start: int) -> Words:
    """Sub-tasks that are known already."""
    rows = [list(row) for row in tokens]
    return Words(rows, [[start, *row] for row in rows], prefix.layout, copy_cache(prefix.cache, model), 0)


def in_rows(waiting: list[list[int]], fed: list[int], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Words side by side (B, w), which are real, and their places in the text; rows are padded on the right."""
    width = max(1, *map(len, waiting))
    tokens = torch.tensor([row + [0] * (width - len(row)) for row in waiting], device=device)
    valid = torch.tensor([[k < len(row) for k in range(width)] for row in waiting], device=device)
    return tokens, valid, torch.tensor(fed, device=device)[:, None] + torch.arange(width, device=device)


def embedded(model: LoHoVLA, tokens: Tensor, valid: Tensor, order: Tensor) -> tuple[Tensor, Layout, Tensor]:
    """Words of :func:`in_rows`, embedded, with their layout and their position numbers."""
    return model.words(tokens, Kind.TEXT), Layout.part(Kind.TEXT, valid, 0, order), model.places.text + order


@torch.no_grad()
def shown(model: LoHoVLA, words: Words, subgoal: Tensor) -> Words:
    """The words with a sub-goal picture behind them, both seen by the decoder: what is pointed at follows from both.

    Args:
        model: the core.
        words: of the sub-tasks; empty ones leave all to the picture.
        subgoal: tokens of :class:`lohovla.model.subgoal.SubgoalEntry` (B, n, hidden).
    """
    rows, count, _ = subgoal.shape
    tokens, part, places = embedded(model, *in_rows(words.waiting, words_fed(words), subgoal.device))
    always = torch.ones(rows, count, dtype=torch.bool, device=subgoal.device)
    layout = Layout.join([words.layout, part, Layout.part(Kind.SUBGOAL, always, 0)])
    places = torch.cat([places, torch.full_like(always, model.places.subgoal, dtype=places.dtype)], 1)
    model.run(torch.cat([tokens, subgoal], 1), layout, places, words.cache)
    return replace(words, waiting=[[] for _ in words.tokens], layout=layout)


@torch.no_grad()
def point(model: LoHoVLA, prefix: Prefix, words: Words) -> Pointed:
    """Where to pick and where to place: two more passes, the first of which also runs the waiting words."""
    given = in_rows(words.waiting, words_fed(words), prefix.state.device)
    points, sure, layout = point_by(
        model, prefix.seen, prefix.objects, prefix.tokens, embedded(model, *given), words.layout,
        lambda tokens, layout, places: model.run(tokens, layout, places, words.cache),
    )  # fmt: skip
    return Pointed(points, sure, model.expert_cache(words.cache), expert_sees(layout, 0), layout, words.cache)


def words_fed(words: Words) -> list[int]:
    """How many words of each row the decoder has seen, the start included."""
    return [len(row) + 1 - len(left) for row, left in zip(words.tokens, words.waiting, strict=True)]


def point_by(
    model: LoHoVLA, seen: Seen, objects: Objects, states: Tensor, words: tuple[Tensor, Layout, Tensor], layout: Layout,
    run: Callable[[Tensor, Layout, Tensor], Tensor],
) -> tuple[Tensor, Tensor, Layout]:  # fmt: skip
    """Points (B, 2, 5), the confidence of each (B, 2), and the layout of all that was run.

    Args:
        model: the core.
        seen: of the stem.
        objects: the cells that are tokens.
        states: the decoder's of those tokens (B, K, hidden).
        words: those that the decoder has not seen, see :func:`embedded`.
        layout: of what it has seen.
        run: the decoder's pass: of tokens, the layout up to them, and their positions; it keeps the cache.
    """
    tokens, part, places = words
    rows, device = tokens.shape[0], tokens.device
    keys = model.pointer.keys(seen)
    always = torch.ones(rows, 1, dtype=torch.bool, device=device)
    cells, said, sure = [], [], []
    for which in range(2):
        token = model.point_tokens(seen, cells[0] if which else None, rows)
        own = Layout.part(Kind.POINT, always, 0, torch.full((1,), which, device=device))
        place = torch.full((rows, 1), model.places.point + which, device=device)
        if which:
            tokens, part, places = token, own, place
        else:
            tokens, places = torch.cat([tokens, token], 1), torch.cat([places, place], 1)
            part = Layout.join([part, own])
        layout = Layout.join([layout, part])
        hidden = run(tokens, layout, places)[:, -1:]
        logits = model.pointer.score(hidden, keys, objects, states).float()
        chance, cell = logits.softmax(-1).max(-1)
        cells.append(cell)
        sure.append(chance)
        said.append(model.pointer.read(seen, cell, hidden))
    cell, readout = torch.cat(cells, 1), torch.cat(said, 1)
    return to_points(readout, cell, model.config), torch.cat(sure, 1), layout
