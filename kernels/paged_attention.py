"""Attention of D2F windows over committed pages, for many requests at once.

Each request has a window of tokens that are not committed yet; they see all of the request's committed tokens, which
lie in pages that a block table names, and in the window those of their own block and of blocks before it. Windows of
different length lie one after the other, without padding; no mask and no gathered cache reaches memory.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lohovla.kernels.runtime import (
    LAUNCH,
    AotSpec,
    Cost,
    block_config,
    block_sizes,
    jit,
    next_pow2,
    tensor_bytes,
    tl,
    triton,
)
from lohovla.kernels.tile_ops import attention_step

_LOG2E = 1.4426950408889634


def reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    order: Tensor,
    starts: Tensor,
    pages: tuple[Tensor, Tensor],
    table: Tensor,
    lengths: Tensor,
) -> Tensor:
    """See :func:`paged_attention`."""
    out, group = torch.empty_like(q), q.shape[1] // k.shape[1]
    for row in range(len(lengths)):
        mine, length = slice(int(starts[row]), int(starts[row + 1])), int(lengths[row])
        if mine.start == mine.stop:
            continue
        used = table[row, : math.ceil(length / pages[0].shape[1])].long()
        past = [page[used].flatten(0, 1)[:length] for page in pages]
        keys = torch.cat([past[0], k[mine]]).repeat_interleave(group, 1)
        values = torch.cat([past[1], v[mine]]).repeat_interleave(group, 1)
        sees = order[mine][None, :] <= order[mine][:, None]
        sees = torch.cat([sees.new_ones(len(sees), length), sees], 1)
        scores = torch.einsum("qhd,khd->hqk", q[mine], keys) / math.sqrt(q.shape[2])
        chance = scores.masked_fill(~sees, -torch.inf).softmax(-1)
        out[mine] = torch.einsum("hqk,khd->qhd", chance, values)
    return out


@jit
def _kernel(
    q,
    k,
    v,
    order,
    starts,
    page_k,
    page_v,
    table,
    lengths,
    out,
    scale,
    table_width,
    HEADS: tl.constexpr,
    KV: tl.constexpr,
    D: tl.constexpr,
    PAGE: tl.constexpr,
    BD: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
):
    # A program's rows are the queries of one key head: the window's tokens times the heads that share it.
    GROUP: tl.constexpr = HEADS // KV
    request, head = tl.program_id(0), tl.program_id(1)
    begin = tl.load(starts + request)
    window = tl.load(starts + request + 1) - begin
    row = tl.program_id(2) * BM + tl.arange(0, BM)
    token, here = row // GROUP, row < window * GROUP
    d, n = tl.arange(0, BD), tl.arange(0, BN)
    place = (begin + token).to(tl.int64)[:, None] * (HEADS * D) + (head * GROUP + row % GROUP)[:, None] * D + d[None, :]
    mine = here[:, None] & (d < D)[None, :]
    query = tl.load(q + place, mask=mine, other=0.0)
    top = tl.full((BM,), -1e30, tl.float32)
    total = tl.zeros((BM,), tl.float32)
    mixed = tl.zeros((BM, BD), tl.float32)
    if tl.program_id(2) * BM < window * GROUP:
        length = tl.load(lengths + request)
        for at in range(0, length, BN):
            position = at + n
            known = position < length
            page = tl.load(table + request * table_width + position // PAGE, mask=known, other=0).to(tl.int64)
            there = (page * PAGE + position % PAGE) * (KV * D) + head * D
            keys = tl.load(page_k + there[None, :] + d[:, None], mask=known[None, :] & (d < D)[:, None], other=0.0)
            values = tl.load(page_v + there[:, None] + d[None, :], mask=known[:, None] & (d < D)[None, :], other=0.0)
            top, total, mixed = attention_step(query, keys, values, known[None, :], scale, top, total, mixed)
        block = tl.load(order + begin + token, mask=here, other=0)
        for at in range(0, window, BN):
            position = at + n
            known = position < window
            there = (begin + position).to(tl.int64) * (KV * D) + head * D
            keys = tl.load(k + there[None, :] + d[:, None], mask=known[None, :] & (d < D)[:, None], other=0.0)
            values = tl.load(v + there[:, None] + d[None, :], mask=known[:, None] & (d < D)[None, :], other=0.0)
            seen = tl.load(order + begin + position, mask=known, other=2147483647)
            allowed = (seen[None, :] <= block[:, None]) & known[None, :]
            top, total, mixed = attention_step(query, keys, values, allowed, scale, top, total, mixed)
        mixed = mixed / tl.where(here, total, 1.0)[:, None]
        tl.store(out + place, mixed.to(out.dtype.element_ty), mask=mine)


def paged_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    order: Tensor,
    starts: Tensor,
    pages: tuple[Tensor, Tensor],
    table: Tensor,
    lengths: Tensor,
    implementation: str = "auto",
    longest: int | None = None,
) -> Tensor:
    """What the windows' queries see (T, heads, d).

    Args:
        q: of all windows, one after the other (T, heads, d).
        k: of the same tokens (T, key heads, d).
        v: likewise.
        order: number of each token's block within its request, int32 (T,).
        starts: where each request's window begins, and where the last one ends, int32 (requests + 1,).
        pages: committed keys and values (pages, page size, key heads, d).
        table: pages of each request, int32 (requests, most pages).
        lengths: committed tokens of each request, int32 (requests,).
        implementation: see :func:`lohovla.kernels.runtime.use_triton`.
        longest: tokens of the longest window; None reads it from ``starts``, which waits for the device.
    """
    how = block_config("paged_attention", q, implementation)
    if how is None:
        return reference(q, k, v, order, starts, pages, table, lengths)
    if longest is None:
        longest = int((starts[1:] - starts[:-1]).max()) if len(lengths) else 0
    (_, heads, d), kv = q.shape, k.shape[1]
    out = torch.empty_like(q)
    if not longest:
        return out
    grid = (len(lengths), kv, triton.cdiv(longest * heads // kv, how["BM"]))
    _kernel[grid](
        q.contiguous(),
        k.contiguous(),
        v.contiguous(),
        order,
        starts,
        *pages,
        table,
        lengths,
        out,
        _LOG2E / math.sqrt(d),
        table.shape[1],
        HEADS=heads,
        KV=kv,
        D=d,
        PAGE=pages[0].shape[1],
        BD=next_pow2(d),
        **how,
    )
    return out


def cost(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    order: Tensor,
    starts: Tensor,
    pages: tuple[Tensor, Tensor],
    table: Tensor,
    lengths: Tensor,
) -> Cost:
    """Of one call, at the lengths of this batch; block-causal scores that are not needed are not counted."""
    token = pages[0][0, 0].numel() * pages[0].element_size()
    moved = tensor_bytes(q, k, v, order, starts, lengths) + tensor_bytes(q) + 2.0 * token * float(lengths.sum())
    pairs = 0.0
    for row in range(len(lengths)):
        own = order[int(starts[row]) : int(starts[row + 1])]
        pairs += len(own) * float(lengths[row]) + float((own[None, :] <= own[:, None]).sum())
    return Cost(moved, 4.0 * pairs * q.shape[1] * q.shape[2])


def saved(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    order: Tensor,
    starts: Tensor,
    pages: tuple[Tensor, Tensor],
    table: Tensor,
    lengths: Tensor,
) -> float:
    """Bytes that a padded call moves besides: the gathered cache, written and read, and the additive mask."""
    token = pages[0][0, 0].numel() * pages[0].element_size()
    windows = (starts[1:] - starts[:-1]).float()
    columns = float(lengths.max()) + float(windows.max())
    return len(lengths) * columns * (4.0 * token + 2.0 * float(windows.max()) * q.element_size())


def aot_specs() -> list[AotSpec]:
    """LLaDA's (32 heads of 128, each with keys of its own) and Dream's (7 queries to a key)."""
    how = block_sizes("paged_attention", "sm_90")
    launch = {key: how.pop(key) for key in LAUNCH}
    types = {name: "*bf16" for name in ("q", "k", "v", "page_k", "page_v", "out")}
    types |= {name: "*i32" for name in ("order", "starts", "table", "lengths")}
    types |= {"scale": "fp32", "table_width": "i32"}
    return [
        AotSpec(_kernel, types, {"HEADS": heads, "KV": kv, "D": 128, "PAGE": 32, "BD": 128, **how}, launch)
        for heads, kv in ((32, 32), (28, 4))
    ]
