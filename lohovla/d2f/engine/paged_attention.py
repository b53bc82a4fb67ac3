"""Attention of flattened windows over paged keys and values: the plain reference, and the hook into transformers.

The rows of a forward are the windows of several texts, one behind the other. Who sees whom needs no mask in memory:
a row sees its text's committed tokens (pages), its window's leading rows up to ``lead_end``, and the rows from
``own_start`` to ``own_end``, its own version of the blocks still open.

On CUDA :func:`lohovla.kernels.paged_attention.paged_attention` reads pages where they lie. There the leading rows go
to their pages first, and every version is a window of its own that sees them in pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from lohovla.kernels.paged_attention import paged_attention

NAME = "lohovla_paged"
TILE = 256  # rows of a window whose mask is in memory at once


@dataclass(frozen=True)
class KernelMetadata:
    """A forward's rows as the kernel takes them: what leads in each text, and each version, is a window of its own.

    Attributes:
        windows: int32 (parts + 1,) first row of each, and the end of the last.
        before: int32 (parts,) tokens in pages that it sees.
        pages: int32 (parts, most pages) that hold them.
        order: int32 (rows,) in its part a row sees those of no higher order.
        longest: rows of the longest part.
    """

    windows: Tensor
    before: Tensor
    pages: Tensor
    order: Tensor
    longest: int


@dataclass(frozen=True)
class AttentionMetadata:
    """Who sees whom, and which rows are kept, for one forward.

    Attributes:
        starts: first row of each text's window, and the end of the last one; rows from there on are padding.
        tables: (pages,) of each text, those that hold its committed tokens.
        cached: committed tokens of each text.
        lead_end: (rows,) the leading rows that a row sees end here (an index of rows).
        own_start: (rows,) the rows of its own version that it sees begin here, and
        own_end: (rows,) end here.
        kept: rows whose keys and values go to pages, and
        slots: where: page * page size + place.
        parts: the same for the kernel; None where pages are not read where they lie.
    """

    starts: list[int]
    tables: list[Tensor]
    cached: list[int]
    lead_end: Tensor
    own_start: Tensor
    own_end: Tensor
    kept: Tensor
    slots: Tensor
    parts: KernelMetadata | None = None

    def visible(self, text: int, first: int = 0, count: int | None = None) -> Tensor:
        """(count, cached + w) bool, on the host: what the rows from ``first`` on of a text's window (w rows) see."""
        begin, stop = self.starts[text], self.starts[text + 1]
        rows = slice(begin + first, stop if count is None else min(stop, begin + first + count))
        lead_end, own_start, own_end = (
            part[rows, None].numpy(force=True) for part in (self.lead_end, self.own_start, self.own_end)
        )
        column = np.arange(begin, stop)
        sees = np.ones((rows.stop - rows.start, self.cached[text] + len(column)), bool)
        sees[:, self.cached[text] :] = (column < lead_end) | ((column >= own_start) & (column < own_end))
        return torch.from_numpy(sees)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    keys: Tensor,
    values: Tensor,
    plan: AttentionMetadata,
    masks: list[Tensor | None],
    scale: float,
) -> Tensor:
    """Attention of one layer, text after text, so that no text's result depends on another.

    Args:
        query: (rows, heads, head size).
        key: (rows, key heads, head size) of the windows.
        value: as ``key``.
        keys: (pages, page size, key heads, head size) of this layer; read only.
        values: as ``keys``.
        plan: who sees whom.
        masks: :func:`added_mask` of each text, the same for all layers; None for a window of more than
            :data:`TILE` rows, whose mask is made tile by tile, so that memory grows with its length and no faster.
        scale: of the scores.

    Returns:
        (rows, heads, head size); zero in padding.
    """
    out = torch.zeros_like(query)
    for text, (table, cached) in enumerate(zip(plan.tables, plan.cached, strict=True)):
        rows = slice(plan.starts[text], plan.starts[text + 1])
        if cached:
            k = torch.cat([keys[table].flatten(0, 1)[:cached], key[rows]])
            v = torch.cat([values[table].flatten(0, 1)[:cached], value[rows]])
        else:
            k, v = key[rows], value[rows]
        k, v = k.transpose(0, 1)[None], v.transpose(0, 1)[None]
        whole = masks[text]
        step = rows.stop - rows.start if whole is not None else TILE
        for first in range(0, rows.stop - rows.start, max(1, step)):
            tile = slice(rows.start + first, min(rows.stop, rows.start + first + step))
            mask = whole if whole is not None else added_mask(plan.visible(text, first, step), query)
            got = nn.functional.scaled_dot_product_attention(
                query[tile].transpose(0, 1)[None],
                k,
                v,
                mask,
                scale=scale,
                enable_gqa=query.shape[1] != key.shape[1],
            )
            out[tile] = got[0].transpose(0, 1)
    return out


def added_mask(visible: Tensor, like: Tensor) -> Tensor:
    """What is added to scores: 0 where ``visible``, else the lowest number of ``like``'s type."""
    hidden = visible.logical_not().to(like.device)
    return like.new_zeros(hidden.shape).masked_fill_(hidden, torch.finfo(like.dtype).min)


@dataclass
class PagedKVCache:
    """Keys and values of all layers, and the plan of the forward that is running.

    ``direct`` reads them where they lie, by the kernel (or, without CUDA, by its reference); else each text's are
    gathered, which on CPU is faster and gives every text the same bits in any company.
    """

    keys: list[Tensor]
    values: list[Tensor]
    direct: bool = False
    plan: AttentionMetadata | None = None
    masks: list[Tensor | None] | None = None

    def begin(self, plan: AttentionMetadata) -> None:
        """Set a forward up."""
        self.plan, self.masks = plan, []
        for text in range(0 if plan.parts is not None else len(plan.tables)):
            long = plan.starts[text + 1] - plan.starts[text] > TILE
            self.masks.append(None if long else added_mask(plan.visible(text), self.keys[0]))

    def layer(self, number: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Attend, then keep what is committed."""
        assert self.plan is not None
        assert self.masks is not None
        plan, keys, values = self.plan, self.keys[number], self.values[number]
        if plan.parts is not None:
            self._keep(number, key, value)
            rows = plan.starts[-1]
            out = torch.zeros_like(query)
            whole = query[:rows] * (scale * query.shape[2] ** 0.5)  # the kernel scales by the head's size itself
            out[:rows] = paged_attention(
                whole,
                key[:rows],
                value[:rows],
                plan.parts.order,
                plan.parts.windows,
                (keys, values),
                plan.parts.pages,
                plan.parts.before,
                longest=plan.parts.longest,
            )
            return out
        out = attend(query, key, value, keys, values, plan, self.masks, scale)
        self._keep(number, key, value)
        return out

    def _keep(self, number: int, key: Tensor, value: Tensor) -> None:
        assert self.plan is not None
        if len(self.plan.kept):
            self.keys[number].flatten(0, 1)[self.plan.slots] = key[self.plan.kept]
            self.values[number].flatten(0, 1)[self.plan.slots] = value[self.plan.kept]


def _hook(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Any,
    *,
    paged: PagedKVCache,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, None]:
    """Called by transformers' attention layers with (1, heads, rows, head size)."""
    out = paged.layer(
        module.layer_idx,  # type: ignore[arg-type]
        query[0].transpose(0, 1),
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        scaling,
    )
    return out[None], None


ALL_ATTENTION_FUNCTIONS.register(NAME, _hook)
