"""RMSNorm, gated perceptron and residual: two passes, between which only the gated rows reach memory.

Gate and value share the loads of their input; the norm's scale is applied to the sums (its gain is folded into the
weights, :func:`lohovla.kernels.qkv.fold`), and the second pass adds the residual as it writes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lohovla.kernels.products import dot
from lohovla.kernels.runtime import Compiled, Cost, blocks, chosen, jit, size, tl, triton


def reference(x: Tensor, up: Tensor, down: Tensor, eps: float, gelu: bool) -> Tensor:
    """See :func:`gated_mlp`."""
    wide = x.double() if x.dtype == torch.float64 else x.float()
    normed = (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).to(x.dtype)
    gate, value = (normed @ up.t()).chunk(2, -1)
    gate = F.gelu(gate, approximate="tanh") if gelu else F.silu(gate)
    return x + (gate * value) @ down.t()


@jit
def _gate_up(x, weight, out, R, D, N, eps, GELU: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    row = tl.program_id(0) * BM + tl.arange(0, BM)
    column = tl.program_id(1) * BN + tl.arange(0, BN)
    k = tl.arange(0, BK)
    gate = tl.zeros((BM, BN), tl.float32)
    value = tl.zeros((BM, BN), tl.float32)
    square = tl.zeros((BM,), tl.float32)
    lower = weight + column.to(tl.int64)[None, :] * D
    upper = lower + N.to(tl.int64) * D
    for start in range(0, D, BK):
        at = start + k
        part = tl.load(x + row[:, None] * D + at[None, :], mask=(row < R)[:, None] & (at < D)[None, :], other=0.0)
        there = (column < N)[None, :] & (at < D)[:, None]
        gate = dot(part, tl.load(lower + at[:, None], mask=there, other=0.0), gate)
        value = dot(part, tl.load(upper + at[:, None], mask=there, other=0.0), value)
        wide = part.to(tl.float32)
        square += tl.sum(wide * wide, 1)
    scale = tl.rsqrt(square / D + eps)[:, None]
    gate, value = gate * scale, value * scale
    if GELU:  # tanh(y) = 2 sigmoid(2 y) - 1
        gate = gate * tl.sigmoid(1.5957691216057308 * (gate + 0.044715 * gate * gate * gate))
    else:
        gate = gate * tl.sigmoid(gate)
    inside = (row < R)[:, None] & (column < N)[None, :]
    tl.store(out + row[:, None] * N + column[None, :], (gate * value).to(out.dtype.element_ty), mask=inside)


@jit
def _down(x, weight, residual, out, R, K, N, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    row = tl.program_id(0) * BM + tl.arange(0, BM)
    column = tl.program_id(1) * BN + tl.arange(0, BN)
    k = tl.arange(0, BK)
    total = tl.zeros((BM, BN), tl.float32)
    lower = weight + column.to(tl.int64)[None, :] * K
    for start in range(0, K, BK):
        at = start + k
        part = tl.load(x + row[:, None] * K + at[None, :], mask=(row < R)[:, None] & (at < K)[None, :], other=0.0)
        there = (column < N)[None, :] & (at < K)[:, None]
        total = dot(part, tl.load(lower + at[:, None], mask=there, other=0.0), total)
    inside = (row < R)[:, None] & (column < N)[None, :]
    at = row[:, None] * N + column[None, :]
    total += tl.load(residual + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + at, total.to(out.dtype.element_ty), mask=inside)


def gated_mlp(x: Tensor, up: Tensor, down: Tensor, eps: float, gelu: bool, implementation: str = "auto") -> Tensor:
    """``x + (act(n(x) G) * (n(x) U)) D`` of rows (R, D), ``n`` the RMSNorm without gain.

    Args:
        x: hidden states before the norm (R, D).
        up: gate's weights and below them the value's (2 F, D), the norm's gain folded in.
        down: (D, F).
        eps: of the norm.
        gelu: GELU by tanh (Gemma) instead of SiLU.
        implementation: see :func:`lohovla.kernels.runtime.chosen`.
    """
    if not chosen(x, implementation):
        return reference(x, up, down, eps, gelu)
    x = x.contiguous()
    (rows, width), inner = x.shape, down.shape[1]
    gated = x.new_empty(rows, inner)
    how = blocks("gate_up", x.device)
    grid = (triton.cdiv(rows, how["BM"]), triton.cdiv(inner, how["BN"]))
    _gate_up[grid](x, up, gated, rows, width, inner, eps, GELU=gelu, **how)
    return add_linear(gated, down, x, "triton")


def add_linear(x: Tensor, weight: Tensor, residual: Tensor, implementation: str = "auto") -> Tensor:
    """``residual + x weight^T`` (R, N), of rows (R, K) and weights (N, K): also an attention's output projection."""
    if not chosen(x, implementation):
        return residual + x @ weight.t()
    (rows, inner), n = x.shape, weight.shape[0]
    out = x.new_empty(rows, n)
    how = blocks("down", x.device)
    grid = (triton.cdiv(rows, how["BM"]), triton.cdiv(n, how["BN"]))
    _down[grid](x.contiguous(), weight, residual.contiguous(), out, rows, inner, n, **how)
    return out


def cost(x: Tensor, up: Tensor, down: Tensor, eps: float, gelu: bool) -> Cost:
    """Of one call; the gated rows count, as they must not be recomputed."""
    gated = x.shape[0] * down.shape[1] * x.element_size()
    return Cost(size(x, up, down) + 2.0 * gated + 2.0 * size(x), 2.0 * x.shape[0] * (up.numel() + down.numel()))


def saved(x: Tensor, up: Tensor, down: Tensor, eps: float, gelu: bool) -> float:
    """Bytes that separate passes move besides: normed rows, gate and value, the activated gate, the sum."""
    gated = x.shape[0] * down.shape[1] * x.element_size()
    return 2.0 * size(x) + 6.0 * gated + 2.0 * size(x)


def ahead() -> list[Compiled]:
    """Both passes, in bfloat16."""
    made = []
    for name, kernel, types, more in (
        ("gate_up", _gate_up, {"x": "*bf16", "weight": "*bf16", "out": "*bf16", "eps": "fp32"}, {"GELU": True}),
        ("down", _down, {"x": "*bf16", "weight": "*bf16", "residual": "*bf16", "out": "*bf16", "K": "i32"}, {}),
    ):
        how = blocks(name, "sm_90")
        launch = {key: how.pop(key) for key in ("num_warps", "num_stages")}
        types = types | {"R": "i32", "N": "i32"} | ({"D": "i32"} if name == "gate_up" else {})
        made.append(Compiled(kernel, types, {**how, **more}, launch))
    return made
