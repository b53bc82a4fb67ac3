"""RMSNorm, the product with the joint query, key and value weights, and the rotary embedding, in one pass.

The norm's gain is folded into the weights beforehand (:func:`fold`); its scale, one number a row, commutes with the
product and is applied to the sum. Models that norm each head besides (Qwen3) give the gains of that norm. Neither
the normed rows nor the unrotated heads reach memory.
"""

from __future__ import annotations

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
from lohovla.kernels.tile_ops import dot


def fold(gain: Tensor, *weights: Tensor) -> Tensor:
    """Weights (n, D) of linear layers, one below the other, with the norm's gain (D,) multiplied into them."""
    return torch.cat([(weight.float() * gain.float()).to(weight.dtype) for weight in weights])


def reference(
    x: Tensor, weight: Tensor, cos: Tensor, sin: Tensor, rotated: int, eps: float, gains: Tensor | None = None
) -> Tensor:
    """See :func:`qkv`."""
    wide = x.double() if x.dtype == torch.float64 else x.float()
    normed = (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).to(x.dtype)
    half = cos.shape[1]
    heads = (normed @ weight.t()).unflatten(-1, (-1, 2, half)).to(wide.dtype)
    turning = heads[:, :rotated]
    if gains is not None:
        square = turning.square().mean((2, 3), keepdim=True)
        turning = turning * torch.rsqrt(square + eps) * gains.view(rotated, 2, half).to(wide.dtype)
    first, second = turning.unbind(2)
    c, s = cos[:, None].to(wide.dtype), sin[:, None].to(wide.dtype)
    turned = torch.stack([first * c - second * s, second * c + first * s], 2)
    return torch.cat([turned, heads[:, rotated:]], 1).flatten(1).to(x.dtype)


@jit
def _kernel(
    x,
    weight,
    cos,
    sin,
    gains,
    out,
    R,
    D,
    N,
    eps,
    HALF: tl.constexpr,
    ROTATED: tl.constexpr,
    NORMED: tl.constexpr,
    BM: tl.constexpr,
    BH: tl.constexpr,
    BK: tl.constexpr,
):
    # A program makes BM rows of BH columns of a head's first half, and the same ones of its second: they are rotated
    # together.
    TILES: tl.constexpr = (HALF + BH - 1) // BH
    row = tl.program_id(0) * BM + tl.arange(0, BM)
    head = tl.program_id(1) // TILES
    column, k = (tl.program_id(1) % TILES) * BH + tl.arange(0, BH), tl.arange(0, BK)
    first = tl.zeros((BM, BH), tl.float32)
    second = tl.zeros((BM, BH), tl.float32)
    square = tl.zeros((BM,), tl.float32)
    own = (column < HALF)[None, :]
    source = x + row.to(tl.int64)[:, None] * D
    lower = weight + (head * 2 * HALF + column).to(tl.int64)[None, :] * D
    upper = weight + (head * 2 * HALF + HALF + column).to(tl.int64)[None, :] * D
    for start in range(0, D, BK):
        at = start + k
        part = tl.load(source + at[None, :], mask=(row < R)[:, None] & (at < D)[None, :], other=0.0)
        there = own & (at < D)[:, None]
        first = dot(part, tl.load(lower + at[:, None], mask=there, other=0.0), first)
        second = dot(part, tl.load(upper + at[:, None], mask=there, other=0.0), second)
        wide = part.to(tl.float32)
        square += tl.sum(wide * wide, 1)
    scale = tl.rsqrt(square / D + eps)[:, None]
    first, second = first * scale, second * scale
    inside = (row < R)[:, None] & own
    if head < ROTATED:
        if NORMED:  # a program has the whole head then
            scale = tl.rsqrt((tl.sum(first * first, 1) + tl.sum(second * second, 1)) / (2 * HALF) + eps)[:, None]
            gain = gains + head * 2 * HALF + column
            first = first * scale * tl.load(gain, mask=column < HALF, other=0.0).to(tl.float32)[None, :]
            second = second * scale * tl.load(gain + HALF, mask=column < HALF, other=0.0).to(tl.float32)[None, :]
        turn = row.to(tl.int64)[:, None] * HALF + column[None, :]
        c = tl.load(cos + turn, mask=inside, other=0.0).to(tl.float32)
        s = tl.load(sin + turn, mask=inside, other=0.0).to(tl.float32)
        turned = first * c - second * s
        second = second * c + first * s
        first = turned
    to = out + row.to(tl.int64)[:, None] * N + (head * 2 * HALF + column)[None, :]
    tl.store(to, first.to(out.dtype.element_ty), mask=inside)
    tl.store(to + HALF, second.to(out.dtype.element_ty), mask=inside)


def qkv(
    x: Tensor,
    weight: Tensor,
    cos: Tensor,
    sin: Tensor,
    rotated: int,
    eps: float,
    gains: Tensor | None = None,
    implementation: str = "auto",
) -> Tensor:
    """Queries, keys and values (R, N) of rows (R, D), heads one after the other.

    Args:
        x: hidden states before the norm (R, D).
        weight: (N, D) with the gain folded in, see :func:`fold`.
        cos: of each row's position and frequency (R, head_dim / 2).
        sin: likewise.
        rotated: heads that are rotated, the queries' and the keys'; the rest are values.
        eps: of the norms.
        gains: of a norm of each rotated head (rotated, head_dim), before it turns; None has no such norm.
        implementation: see :func:`lohovla.kernels.runtime.use_triton`.
    """
    how = block_config("qkv", x, implementation, len(x))
    if how is None:
        return reference(x, weight, cos, sin, rotated, eps, gains)
    (rows, width), n, half = x.shape, weight.shape[0], cos.shape[1]
    out = x.new_empty(rows, n)
    how["BH"] = next_pow2(half) if gains is not None else min(how["BH"], next_pow2(half))
    grid = (triton.cdiv(rows, how["BM"]), n // (2 * half) * triton.cdiv(half, how["BH"]))
    _kernel[grid](
        x.contiguous(),
        weight,
        cos.contiguous(),
        sin.contiguous(),
        cos if gains is None else gains.contiguous(),
        out,
        rows,
        width,
        n,
        eps,
        HALF=half,
        ROTATED=rotated,
        NORMED=gains is not None,
        **how,
    )
    return out


def cost(
    x: Tensor, weight: Tensor, cos: Tensor, sin: Tensor, rotated: int, eps: float, gains: Tensor | None = None
) -> Cost:
    """Of one call."""
    written = x.shape[0] * weight.shape[0] * x.element_size()
    return Cost(tensor_bytes(x, weight, cos, sin, gains) + written, 2.0 * x.shape[0] * weight.numel())


def saved(
    x: Tensor, weight: Tensor, cos: Tensor, sin: Tensor, rotated: int, eps: float, gains: Tensor | None = None
) -> float:
    """Bytes that separate passes move besides: normed rows, and rotated (and normed) heads, written and read again."""
    turned = x.shape[0] * rotated * 2 * cos.shape[1] * x.element_size()
    return 2.0 * tensor_bytes(x) + 2.0 * turned * (1 if gains is None else 2)


def aot_specs() -> list[AotSpec]:
    """As served: heads of 256 (Gemma), normed ones of 128 (Qwen3); those of Gemma's expert with few rows."""
    types = {name: "*bf16" for name in ("x", "weight", "gains", "out")} | {"cos": "*fp32", "sin": "*fp32"}
    types |= {"R": "i32", "D": "i32", "N": "i32", "eps": "fp32"}
    made = []
    for half, normed, rows in ((128, False, None), (64, True, None), (128, False, 51)):
        how = block_sizes("qkv", "sm_90", rows)
        launch = {key: how.pop(key) for key in LAUNCH}
        how["BH"] = half if normed else min(how["BH"], half)
        constants = {"HALF": half, "ROTATED": 9, "NORMED": normed, **how}
        made.append(AotSpec(_kernel, types, constants, launch))
    return made
