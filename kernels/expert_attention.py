"""Attention of the action expert: a chunk of actions over a fixed cached prefix and over itself.

The prefix does not change from one denoising step to the next. Reading it where it lies saves the concatenation with
the chunk's own keys and values in every layer of every step, the repetition of shared heads, and the additive mask.
Heads may lie beside each other as the product before left them: all is read, and written, by strides.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

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


def reference(q: Tensor, k: Tensor, v: Tensor, past: tuple[Tensor, Tensor], valid: Tensor) -> Tensor:
    """See :func:`expert_attention`."""
    group = q.shape[1] // k.shape[1]
    keys, values = (torch.cat(pair, 2).repeat_interleave(group, 1) for pair in ((past[0], k), (past[1], v)))
    sees = F.pad(valid, (0, k.shape[2]), value=True)[:, None, None]
    return F.scaled_dot_product_attention(q, keys, values, attn_mask=sees)


@jit
def _kernel(
    q,
    k,
    v,
    past_k,
    past_v,
    valid,
    out,
    scale,
    n_own,
    n_past,
    q_batch,
    q_head,
    q_row,
    k_batch,
    k_head,
    k_row,
    past_batch,
    past_head,
    past_row,
    HEADS: tl.constexpr,
    KV: tl.constexpr,
    D: tl.constexpr,
    BD: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
):
    # A program's rows are all queries that share a key head: the actions times the heads of the group.
    GROUP: tl.constexpr = HEADS // KV
    batch, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    row = tl.program_id(2) * BM + tl.arange(0, BM)
    here = row < n_own * GROUP
    d, n = tl.arange(0, BD), tl.arange(0, BN)
    own, asking = row % n_own, head * GROUP + row // n_own
    place = batch * q_batch + (asking * q_head + own * q_row)[:, None] + d[None, :]
    mine = here[:, None] & (d < D)[None, :]
    query = tl.load(q + place, mask=mine, other=0.0)
    top = tl.full((BM,), -1e30, tl.float32)
    total = tl.zeros((BM,), tl.float32)
    mixed = tl.zeros((BM, BD), tl.float32)
    for at in range(0, n_past, BN):
        position = at + n
        known = position < n_past
        there = batch * past_batch + head * past_head + position * past_row
        keys = tl.load(past_k + there[None, :] + d[:, None], mask=known[None, :] & (d < D)[:, None], other=0.0)
        values = tl.load(past_v + there[:, None] + d[None, :], mask=known[:, None] & (d < D)[None, :], other=0.0)
        seen = known & (tl.load(valid + batch * n_past + position, mask=known, other=0) != 0)
        top, total, mixed = attention_step(query, keys, values, seen[None, :], scale, top, total, mixed)
    for at in range(0, n_own, BN):
        position = at + n
        known = position < n_own
        there = batch * k_batch + head * k_head + position * k_row
        keys = tl.load(k + there[None, :] + d[:, None], mask=known[None, :] & (d < D)[:, None], other=0.0)
        values = tl.load(v + there[:, None] + d[None, :], mask=known[:, None] & (d < D)[None, :], other=0.0)
        top, total, mixed = attention_step(query, keys, values, known[None, :], scale, top, total, mixed)
    mixed = mixed / total[:, None]
    place = ((batch * n_own + own) * HEADS + asking)[:, None] * D + d[None, :]
    tl.store(out + place, mixed.to(out.dtype.element_ty), mask=mine)


def expert_attention(
    q: Tensor, k: Tensor, v: Tensor, past: tuple[Tensor, Tensor], valid: Tensor, implementation: str = "auto"
) -> Tensor:
    """What the chunk sees (B, heads, n, d); on CUDA its heads lie side by side in memory, row by row.

    Args:
        q: the chunk's queries (B, heads, n, d).
        k: its keys (B, key heads, n, d).
        v: its values, likewise.
        past: keys and values of the prefix (B, key heads, L, d).
        valid: which of the prefix's positions may be seen, bool (B, L).
        implementation: see :func:`lohovla.kernels.runtime.use_triton`.
    """
    how = block_config("expert_attention", q, implementation)
    if how is None:
        return reference(q, k, v, past, valid)
    (batch, heads, n, d), kv = q.shape, k.shape[1]
    q, (k, v), (past_k, past_v) = _dense(q), _alike(k, v), _alike(*past)
    out = q.new_empty(batch, n, heads, d)
    grid = (batch, kv, triton.cdiv(n * heads // kv, how["BM"]))
    _kernel[grid](
        q,
        k,
        v,
        past_k,
        past_v,
        valid.contiguous().view(torch.uint8),
        out,
        _LOG2E / math.sqrt(d),
        n,
        past_k.shape[2],
        *q.stride()[:3],
        *k.stride()[:3],
        *past_k.stride()[:3],
        HEADS=heads,
        KV=kv,
        D=d,
        BD=next_pow2(d),
        **how,
    )
    return out.transpose(1, 2)


def _dense(x: Tensor) -> Tensor:
    return x if x.stride(3) == 1 else x.contiguous()


def _alike(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Two tensors of the same strides."""
    if one.stride() == other.stride() and one.stride(3) == 1:
        return one, other
    return one.contiguous(), other.contiguous()


def cost(q: Tensor, k: Tensor, v: Tensor, past: tuple[Tensor, Tensor], valid: Tensor) -> Cost:
    """Of one call."""
    seen = past[0].shape[2] + k.shape[2]
    return Cost(tensor_bytes(q, k, v, *past, valid) + tensor_bytes(q), 4.0 * q.numel() * seen)


def saved(q: Tensor, k: Tensor, v: Tensor, past: tuple[Tensor, Tensor], valid: Tensor) -> float:
    """Bytes that a joint call moves besides: keys and values written together and read again, and the mask."""
    group, seen = q.shape[1] // k.shape[1], past[0].shape[2] + k.shape[2]
    joint = 2.0 * k.shape[0] * k.shape[1] * seen * k.shape[3] * k.element_size()
    repeated = group if group > 1 else 0
    mask = 2.0 * k.shape[0] * seen * k.element_size()
    return joint * (1 + 2 * repeated) + mask


def aot_specs() -> list[AotSpec]:
    """pi0's (8 heads of 256 to one key) and nano's (4 of 48)."""
    how = block_sizes("expert_attention", "sm_90")
    launch = {key: how.pop(key) for key in LAUNCH}
    types = {name: "*bf16" for name in ("q", "k", "v", "past_k", "past_v", "out")}
    types |= {"valid": "*u8", "scale": "fp32", "n_own": "i32", "n_past": "i32"}
    types |= {f"{name}_{axis}": "i32" for name in ("q", "k", "past") for axis in ("batch", "head", "row")}
    wide = how["BM"] >= 64  # with fewer rows it is the tensor cores' older instruction, of 16 rows
    return [
        AotSpec(_kernel, types, {"HEADS": heads, "KV": kv, "D": d, "BD": next_pow2(d), **how}, launch, wide)
        for heads, kv, d in ((8, 1, 256), (4, 4, 48))
    ]
