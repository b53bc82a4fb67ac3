"""The block states of discrete diffusion forcing, as pure functions over arrays.

A *canvas* holds the answers of several sequences as blocks of masks that fill up. Every step the caller runs

    grow -> (a forward over the blocks not yet cached) -> accept -> retire

and nothing here knows a model, so that the whole can be tested by hand. Arrays are torch's, so that the state can live
on the device, or NumPy's, in which so many small operations cost a fraction. The rules are those of Discrete Diffusion
Forcing (arXiv 2508.09192).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from lohovla.errors import UserError

Array: TypeAlias = Any  # a torch Tensor or a NumPy array, all of a canvas of one kind


@dataclass(frozen=True)
class Thresholds:
    """The three thresholds of the pipeline.

    Attributes:
        accept: a masked position is filled when its confidence is above this (strictly).
        add: the next block is appended when the last one's progress is at least this.
        activate: a block is fully activated, and so never stands still, when the progress of the block before it is
            at least this.
    """

    accept: float = 0.9
    add: float = 0.1
    activate: float = 0.95

    def __post_init__(self) -> None:
        for name in ("add", "activate"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UserError(f"threshold {name} cannot be {getattr(self, name)}", "it lies between 0 and 1")
        if self.accept < 0.0:
            raise UserError(
                f"threshold accept cannot be {self.accept}",
                "it is 0 or more; from 1 on, one token is accepted at a time",
            )


class ThresholdValues(Protocol):
    """Thresholds as the rules read them: numbers, or arrays with a value for each sequence.

    Attributes:
        accept: a number or (n, 1).
        add: a number or (n,).
        activate: a number or (n, 1).
    """

    @property
    def accept(self) -> float | Array: ...
    @property
    def add(self) -> float | Array: ...
    @property
    def activate(self) -> float | Array: ...


@dataclass(frozen=True)
class DecodeState:
    """Answers in the making: ``n`` sequences of at most ``blocks * size`` tokens.

    Attributes:
        tokens: (n, length) token ids; ``mask_id`` where nothing is decided yet.
        size: tokens a block.
        mask_id: the token that means "not decided".
        eos_ids: (e,) tokens that end an answer.
        given: (n, blocks) tokens of each block that were there from the start (a prompt's tail); they count as no
            progress.
        limit: (n,) blocks a sequence may have.
        open: (n,) blocks appended so far.
        full: (n, blocks) blocks that are fully activated; once so, they stay so.
        retired: (n,) leading blocks without a mask, ready for the cache.
        ended: (n,) an end token was accepted: nothing more is appended.
        early: stop at the first end token whose left side is complete, and drop the blocks behind it. The text is
            the same, since a block never sees a later one, and what is filled never changes.
        most_open: blocks that may be open (appended, and not yet ready for the cache) at once; None is any number.
    """

    tokens: Array
    size: int
    mask_id: int
    eos_ids: Array
    given: Array
    limit: Array
    open: Array
    full: Array
    retired: Array
    ended: Array
    early: bool = True
    most_open: int | None = None

    # What follows from the state is computed once: a canvas never changes, and small operations add up.

    @cached_property
    def masked(self) -> Array:
        """(n, length) bool: positions that are not decided."""
        return self.tokens == self.mask_id

    @property
    def blocks(self) -> int:
        """How many blocks the canvas has room for."""
        return self.tokens.shape[1] // self.size

    @property
    def shape(self) -> tuple[int, int, int]:
        """Sequences, blocks, tokens a block."""
        return len(self.tokens), self.blocks, self.size

    @cached_property
    def opened(self) -> Array:
        """(n, length) bool: positions of appended blocks."""
        return _prefix_mask(self.open * self.size, self.tokens.shape[1])

    @cached_property
    def end(self) -> Array:
        """(n,) position of the first end token that was decided, or the length of the canvas."""
        found = self.ends(self.tokens) & self.opened
        return _first_true(found & (_arange_like(found) >= self.given[:, :1]) if self.blocks else found)

    @cached_property
    def gap(self) -> Array:
        """(n,) position of the first undecided token, or the length of the canvas."""
        return _first_true(self.masked)

    @cached_property
    def done(self) -> Array:
        """(n,) bool: sequences with nothing left to decide; ask after :func:`append_block`."""
        done = ~(self.masked & self.opened).any(1)
        return done | (self.end < self.gap) if self.early else done

    def ends(self, tokens: Array) -> Array:
        """Which of ``tokens`` end an answer."""
        return tokens == self.eos_ids if len(self.eos_ids) == 1 else array_namespace(tokens).isin(tokens, self.eos_ids)

    def progress(self) -> Array:
        """(n, blocks) float: the decided share of each block's masks, 1 for a block that never had one."""
        lib, total = array_namespace(self.tokens), self.size - self.given
        left = self.masked.reshape(self.shape).sum(-1)
        return lib.where(total > 0, (total - left) / (total + (total == 0)), 1.0)

    def select(self, rows: Array) -> DecodeState:
        """The sequences ``rows`` (indices or bool), in that order; repeats give copies."""
        return replace(self, **{name: getattr(self, name)[rows] for name in PER_ROW})

    def on_host(self) -> DecodeState:
        """The same in NumPy's arrays."""
        return replace(self, **{name: getattr(self, name).numpy(force=True) for name in (*PER_ROW, "eos_ids")})


PER_ROW = ("tokens", "given", "limit", "open", "full", "retired", "ended")


def empty_state(
    rows: int,
    max_tokens: int | Tensor,
    size: int,
    mask_id: int,
    eos_ids: tuple[int, ...],
    given: list[Tensor] | None = None,
    early: bool = True,
    device: torch.device | str = "cpu",
) -> DecodeState:
    """An empty canvas.

    Args:
        rows: how many sequences.
        max_tokens: tokens at most, one number or (rows,); whole blocks count, as published: 100 with blocks of 32
            is 96.
        size: tokens a block.
        mask_id: the mask token.
        eos_ids: tokens that end an answer.
        given: for each sequence the tokens its first block begins with (models whose blocks are aligned to the
            whole sequence's start); they take room of ``max_tokens``.
        early: see :class:`DecodeState`.
        device: where the state lives.
    """
    if size < 1:
        raise UserError(f"block_size cannot be {size}", "it is at least 1")
    limit = torch.as_tensor(max_tokens, device=device).expand(rows) // size
    blocks = int(limit.max()) if rows else 0
    tokens = torch.full((rows, blocks * size), mask_id, dtype=torch.long, device=device)
    count = torch.zeros(rows, blocks, dtype=torch.long, device=device)
    for row, head in enumerate(given or []):
        if len(head) >= size:
            raise ValueError("a prompt's tail is shorter than a block")
        if blocks:
            tokens[row, : len(head)] = head
            count[row, 0] = len(head)
    zero = torch.zeros(rows, dtype=torch.long, device=device)
    return DecodeState(
        tokens,
        size,
        mask_id,
        torch.tensor(eos_ids, device=device),
        count,
        limit.clone(),
        zero,
        torch.zeros(rows, blocks, dtype=torch.bool, device=device),
        zero,
        torch.zeros(rows, dtype=torch.bool, device=device),
        early,
    )


def append_block(canvas: DecodeState, thresholds: ThresholdValues) -> DecodeState:
    """Append at most one block to each sequence, then activate the blocks whose predecessor is far enough.

    What stands before the first block (the prompt) counts as complete.
    """
    if not canvas.blocks:
        return canvas
    lib, progress = array_namespace(canvas.tokens), canvas.progress()
    before = lib.concatenate([lib.ones_like(progress[:, :1]), progress], 1)  # (n, blocks + 1): of the block before each
    last = before[_arange_like(canvas.open[None]), canvas.open]
    more = (last >= thresholds.add) & ~canvas.ended & (canvas.open < canvas.limit)
    if canvas.most_open is not None:
        more = more & (canvas.open - canvas.retired < canvas.most_open)
    opened = canvas.open + more
    full = canvas.full | ((before[:, :-1] >= thresholds.activate) & _prefix_mask(opened, canvas.blocks))
    return replace(canvas, open=opened, full=full)


def unmask(
    canvas: DecodeState, tokens: Array, confidence: Array, thresholds: ThresholdValues
) -> tuple[DecodeState, Array]:
    """Fill the masked positions that are sure enough.

    Args:
        canvas: the state that the forward saw.
        tokens: (n, length) proposed tokens; read at masked positions of open blocks only.
        confidence: (n, length) their confidence, in [0, 1].
        thresholds: the limits.

    Returns:
        The new canvas, and (n, length) bool: what was filled. A fully activated block in which nothing passes gets
        its most confident position (the first of equals), so that a step always gets on.
    """
    lib, shape = array_namespace(canvas.tokens), canvas.shape
    wanted = canvas.masked & canvas.opened & ~canvas.done[:, None]
    sure = wanted & (confidence > thresholds.accept)
    ranked = lib.where(wanted, confidence, -1.0).reshape(shape)
    best = _arange_like(ranked) == ranked.argmax(-1)[..., None]
    stuck = canvas.full & ~sure.reshape(shape).any(-1) & wanted.reshape(shape).any(-1)
    filled = sure | (best & stuck[..., None]).reshape(sure.shape)
    ended = canvas.ended | (filled & canvas.ends(tokens)).any(1)
    return replace(canvas, tokens=lib.where(filled, tokens, canvas.tokens), ended=ended), filled


def commit_blocks(canvas: DecodeState) -> DecodeState:
    """Mark the leading blocks without a mask as ready for the cache, and drop what stands behind an end."""
    if not canvas.blocks:
        return canvas
    lib, opened, tokens = array_namespace(canvas.tokens), canvas.open, canvas.tokens
    if canvas.early:
        opened = lib.minimum(opened, canvas.end // canvas.size + 1)
        tokens = lib.where(_prefix_mask(opened * canvas.size, tokens.shape[1]), tokens, canvas.mask_id)
    open_ = ~_prefix_mask(opened, canvas.blocks) | (tokens == canvas.mask_id).reshape(canvas.shape).any(-1)
    return replace(canvas, tokens=tokens, open=opened, retired=lib.maximum(canvas.retired, _first_true(open_)))


def array_namespace(array: Array) -> Any:
    """``torch`` or ``numpy``, whose array it is."""
    return np if isinstance(array, np.ndarray) else torch


def _arange_like(array: Array) -> Array:
    """0, 1, ... along the last axis."""
    return array_namespace(array).arange(array.shape[-1], device=array.device)


def _first_true(found: Array) -> Array:
    """(n,) the first place that is true, or the length."""
    lib, length = array_namespace(found), found.shape[1]
    return lib.amin(lib.where(found, _arange_like(found), length), 1) if length else found.sum(1)


def _prefix_mask(count: Array, length: int) -> Array:
    """(n, length) bool: the first ``count`` of each row."""
    return array_namespace(count).arange(length, device=count.device) < count[:, None]
