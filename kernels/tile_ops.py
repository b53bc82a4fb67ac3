"""What kernels are made of: a matrix product, and a step of attention."""

from __future__ import annotations

import os

from lohovla.kernels.runtime import jit, tl

# Triton's interpreter multiplies bfloat16 as the integers that it stores them in.
_INTERPRETED = None if tl is None else tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")


@jit
def dot(a, b, total):
    """``total + a b``, summed in float32; products of float32 are not rounded to TF32."""
    if _INTERPRETED:
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, total, input_precision="ieee")


@jit
def rows_times(x, weight, row, column, R, K, N, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    """A tile (BM, BN) of ``x`` (R, K) times ``weight`` (N, K) transposed; weights take the type of ``x``."""
    k = tl.arange(0, BK)
    total = tl.zeros((BM, BN), tl.float32)
    source = x + row.to(tl.int64)[:, None] * K
    lower = weight + column.to(tl.int64)[None, :] * K
    for start in range(0, K, BK):
        at = start + k
        part = tl.load(source + at[None, :], mask=(row < R)[:, None] & (at < K)[None, :], other=0.0)
        other = tl.load(lower + at[:, None], mask=(column < N)[None, :] & (at < K)[:, None], other=0.0)
        if other.dtype != part.dtype:  # eight-bit types become others by way of float32
            other = other.to(tl.float32).to(part.dtype)
        total = dot(part, other, total)
    return total


@jit
def attention_step(q, keys, values, allowed, scale, top, total, mixed):
    """A step of attention with a running maximum and sum (Milakov and Gimelshein, 1805.02867).

    Takes a tile of ``keys`` (d, n) and ``values`` (n, d) into what ``q`` (m, d) has seen; ``allowed`` is (m, n).

    ``scale`` is in units of log2. ``top`` stays finite, so that a row that sees nothing of a tile is no exception.
    """
    scores = dot(q, keys, tl.zeros((q.shape[0], keys.shape[1]), tl.float32)) * scale
    scores = tl.where(allowed, scores, -float("inf"))
    highest = tl.maximum(top, tl.max(scores, 1))
    shrink = tl.exp2(top - highest)
    chance = tl.exp2(scores - highest[:, None])
    total = total * shrink + tl.sum(chance, 1)
    return highest, total, dot(chance.to(values.dtype), values, mixed * shrink[:, None])
