"""From the words of a sub-task, or a picture of its end, to its two points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from lohovla.model.attention_mask import SequenceLayout, TokenType, expert_attention_mask
from lohovla.model.encoders.detector import DetectionMap, Detections
from lohovla.model.keyframes.pick_place_head import to_points
from lohovla.model.model_inputs import EncodedObservation
from lohovla.model.modeling_lohovla import LoHoVLA
from lohovla.model.robot_inputs import EncodedPrefix


@dataclass
class SubtaskTokens:
    """Decoded sub-tasks, some of whose tokens are in the KV cache already.

    Attributes:
        tokens: of each sequence, without start and end.
        waiting: those that the decoder has not seen yet, the start included.
        layout: of the cache.
        cache: a copy that belongs to these words.
        forwards: decoder passes that it took.
    """

    tokens: list[list[int]]
    waiting: list[list[int]]
    layout: SequenceLayout
    cache: DynamicCache
    forwards: int


@dataclass
class PickPlacePrediction:
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
    layout: SequenceLayout
    full: DynamicCache

    def select_row(self, number: int) -> PickPlacePrediction:
        """One of the batch, as a batch of one; ``full`` stays that of all."""
        at = slice(number, number + 1)
        cache = [(keys[at], values[at]) for keys, values in self.cache]
        return PickPlacePrediction(
            self.points[at], self.confidence[at], cache, self.valid[at], self.layout.select_row(number), self.full
        )


def copy_cache(cache: Any, model: LoHoVLA, rows: slice | Sequence[int] = slice(None)) -> DynamicCache:
    """A cache, of all rows or some, that can grow apart from the one it was made from; what both hold is shared."""
    copied = DynamicCache(config=model.decoder.config)
    for number, layer in enumerate(cache.layers):
        copied.update(layer.keys[rows], layer.values[rows], number)
    return copied


def select_rows(model: LoHoVLA, prefix: EncodedObservation, rows: Sequence[int]) -> EncodedObservation:
    """Some rows of an encoded batch."""
    return EncodedObservation(
        prefix.seen.select_rows(rows),
        prefix.objects.select_rows(rows),
        prefix.tokens[rows],
        prefix.layout.select_rows(rows),
        copy_cache(prefix.cache, model, rows),
        prefix.state[rows],
    )


def subtask_from_tokens(
    model: LoHoVLA, prefix: EncodedPrefix, tokens: Sequence[Sequence[int]], start: int
) -> SubtaskTokens:
    """Sub-tasks that are known already."""
    rows = [list(row) for row in tokens]
    return SubtaskTokens(rows, [[start, *row] for row in rows], prefix.layout, copy_cache(prefix.cache, model), 0)


def pad_tokens(waiting: list[list[int]], fed: list[int], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Words side by side (B, w), which are real, and their places in the text; rows are padded on the right."""
    width = max(1, *map(len, waiting))
    tokens = torch.tensor([row + [0] * (width - len(row)) for row in waiting], device=device)
    valid = torch.tensor([[k < len(row) for k in range(width)] for row in waiting], device=device)
    return tokens, valid, torch.tensor(fed, device=device)[:, None] + torch.arange(width, device=device)


def embed_tokens(model: LoHoVLA, tokens: Tensor, valid: Tensor, order: Tensor) -> tuple[Tensor, SequenceLayout, Tensor]:
    """Words of :func:`pad_tokens`, embedded, with their layout and their position numbers."""
    return (
        model.embed_tokens(tokens, TokenType.TEXT),
        SequenceLayout.of_type(TokenType.TEXT, valid, 0, order),
        model.places.text + order,
    )


@torch.no_grad()
def append_subgoal(model: LoHoVLA, words: SubtaskTokens, subgoal: Tensor) -> SubtaskTokens:
    """The words with a sub-goal picture behind them, both seen by the decoder: what is pointed at follows from both.

    Args:
        model: the core.
        words: of the sub-tasks; empty ones leave all to the picture.
        subgoal: tokens of :class:`lohovla.model.encoders.subgoal_encoder.SubgoalEncoder` (B, n, hidden).
    """
    rows, count, _ = subgoal.shape
    tokens, part, places = embed_tokens(model, *pad_tokens(words.waiting, num_cached_tokens(words), subgoal.device))
    always = torch.ones(rows, count, dtype=torch.bool, device=subgoal.device)
    layout = SequenceLayout.concat([words.layout, part, SequenceLayout.of_type(TokenType.SUBGOAL, always, 0)])
    places = torch.cat([places, torch.full_like(always, model.places.subgoal, dtype=places.dtype)], 1)
    model.run(torch.cat([tokens, subgoal], 1), layout, places, words.cache)
    return replace(words, waiting=[[] for _ in words.tokens], layout=layout)


@torch.no_grad()
def predict_pick_place(model: LoHoVLA, prefix: EncodedObservation, words: SubtaskTokens) -> PickPlacePrediction:
    """Where to pick and where to place: two more passes, the first of which also runs the waiting words."""
    given = pad_tokens(words.waiting, num_cached_tokens(words), prefix.state.device)
    points, sure, layout = predict_pick_place_by(
        model,
        prefix.seen,
        prefix.objects,
        prefix.tokens,
        embed_tokens(model, *given),
        words.layout,
        lambda tokens, layout, places: model.run(tokens, layout, places, words.cache),
    )
    return PickPlacePrediction(
        points, sure, model.expert_cache(words.cache), expert_attention_mask(layout, 0), layout, words.cache
    )


def num_cached_tokens(words: SubtaskTokens) -> list[int]:
    """How many words of each row the decoder has seen, the start included."""
    return [len(row) + 1 - len(left) for row, left in zip(words.tokens, words.waiting, strict=True)]


def predict_pick_place_by(
    model: LoHoVLA,
    seen: DetectionMap,
    objects: Detections,
    states: Tensor,
    words: tuple[Tensor, SequenceLayout, Tensor],
    layout: SequenceLayout,
    run: Callable[[Tensor, SequenceLayout, Tensor], Tensor],
) -> tuple[Tensor, Tensor, SequenceLayout]:
    """Points (B, 2, 5), the confidence of each (B, 2), and the layout of all that was run.

    Args:
        model: the core.
        seen: of the stem.
        objects: the cells that are tokens.
        states: the decoder's of those tokens (B, K, hidden).
        words: those that the decoder has not seen, see :func:`embed_tokens`.
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
        own = SequenceLayout.of_type(TokenType.POINT, always, 0, torch.full((1,), which, device=device))
        place = torch.full((rows, 1), model.places.point + which, device=device)
        if which:
            tokens, part, places = token, own, place
        else:
            tokens, places = torch.cat([tokens, token], 1), torch.cat([places, place], 1)
            part = SequenceLayout.concat([part, own])
        layout = SequenceLayout.concat([layout, part])
        hidden = run(tokens, layout, places)[:, -1:]
        logits = model.pointer.score(hidden, keys, objects, states).float()
        chance, cell = logits.softmax(-1).max(-1)
        cells.append(cell)
        sure.append(chance)
        said.append(model.pointer.regress(seen, cell, hidden))
    cell, readout = torch.cat(cells, 1), torch.cat(said, 1)
    return to_points(readout, cell, model.config), torch.cat(sure, 1), layout
