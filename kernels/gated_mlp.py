"""RMSNorm, gated perceptron and residual: two passes, between which only the gated rows reach memory.

Gate and value share the loads of their input; the norm's scale is applied to the sums (its gain is folded into the
weights, :func:`lohovla.kernels.qkv.fold`), and the second pass adds the residual as it writes.
"""

from __future__ import annotations

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
    tensor_bytes,
    tl,
    triton,
    use_triton,
)
from lohovla.kernels.tile_ops import dot, rows_times


def reference(x: Tensor, up: Tensor, down: Tensor, eps: float, gelu: bool) -> Tensor:
    """See :func:`gated_mlp`."""
    return x + gate_up(x, up, eps, gelu) @ down.t()


def gate_up(x: Tensor, up: Tensor, eps: float, gelu: bool) -> Tensor:
    """The first pass's reference: gated rows (R, F)."""
    wide = x.double() if x.dtype == torch.float64 else x.float()
    normed = (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).to(x.dtype)
    gate, value = (normed @ up.t()).chunk(2, -1)
    gate = F.gelu(gate, approximate="tanh") if gelu else F.silu(gate)
    return gate * value


@jit
def _gate_up(x, weight, out, R, D, N, eps, GELU: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    row = tl.program_id(0) * BM + tl.arange(0, BM)
    column = tl.program_id(1) * BN + tl.arange(0, BN)
    k = tl.arange(0, BK)
    gate = tl.zeros((BM, BN), tl.float32)
    value = tl.zeros((BM, BN), tl.float32)
    square = tl.zeros((BM,), tl.float32)
    source = x + row.to(tl.int64)[:, None] * D
    lower = weight + column.to(tl.int64)[None, :] * D
    upper = weight + (column.to(tl.int64) + N)[None, :] * D
    for start in range(0, D, BK):
        at = start + k
        part = tl.load(source + at[None, :], mask=(row < R)[:, None] & (at < D)[None, :], other=0.0)
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
    to = row.to(tl.int64)[:, None] * N + column[None, :]
    tl.store(out + to, (gate * value).to(out.dtype.element_ty), mask=inside)


@jit
def _down(x, weight, residual, out, R, K, N, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    row = tl.program_id(0) * BM + tl.arange(0, BM)
    column = tl.program_id(1) * BN + tl.arange(0, BN)
    total = rows_times(x, weight, row, column, R, K, N, BM, BN, BK)
    inside = (row < R)[:, None] & (column < N)[None, :]
    at = row.to(tl.int64)[:, None] * N + column[None, :]
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
        implementation: see :func:`lohovla.kernels.runtime.use_triton`.
    """
    if not use_triton(x, implementation):
        return reference(x, up, down, eps, gelu)
    x = x.contiguous()
    how = block_config("gate_up", x, implementation, len(x))
    gated = gate_up(x, up, eps, gelu) if how is None else _gated(x, up, eps, gelu, how)
    return add_linear(gated, down, x, implementation)


def _gated(x: Tensor, up: Tensor, eps: float, gelu: bool, how: dict[str, int]) -> Tensor:
    (rows, width), inner = x.shape, up.shape[0] // 2
    out = x.new_empty(rows, inner)
    grid = (triton.cdiv(rows, how["BM"]), triton.cdiv(inner, how["BN"]))
    _gate_up[grid](x, up, out, rows, width, inner, eps, GELU=gelu, **how)
    return out


def add_linear(x: Tensor, weight: Tensor, residual: Tensor, implementation: str = "auto") -> Tensor:
    """``residual + x weight^T`` (R, N), of rows (R, K) and weights (N, K): also an attention's output projection."""
    how = block_config("down", x, implementation, len(x))
    if how is None:
        return residual + x @ weight.t()
    (rows, inner), n = x.shape, weight.shape[0]
    out = x.new_empty(rows, n)
    grid = (triton.cdiv(rows, how["BM"]), triton.cdiv(n, how["BN"]))
    _down[grid](x.contiguous(), weight, residual.contiguous(), out, rows, inner, n, **how)
    return out


def cost(x: Tensor, up: Tensor, down: Tensor, eps: float, gelu: bool) -> Cost:
    """Of one call; the gated rows count, as they must not be recomputed."""
    gated = x.shape[0] * down.shape[1] * x.element_size()
    return Cost(
        tensor_bytes(x, up, down) + 2.0 * gated + 2.0 * tensor_bytes(x), 2.0 * x.shape[0] * (up.numel() + down.numel())
    )


def saved(x: Tensor, up: Tensor, down: Tensor, eps: float, gelu: bool) -> float:
    """Bytes that separate passes move besides: normed rows, gate and value, the activated gate, the sum."""
    gated = x.shape[0] * down.shape[1] * x.element_size()
    return 2.0 * tensor_bytes(x) + 6.0 * gated + 2.0 * tensor_bytes(x)


def aot_specs() -> list[AotSpec]:
    """Both passes, in bfloat16, with many rows and with few."""
    made = []
    for rows in (None, 51):
        for name, kernel, types, more in (
            ("gate_up", _gate_up, {"x": "*bf16", "weight": "*bf16", "out": "*bf16", "eps": "fp32"}, {"GELU": True}),
            ("down", _down, {"x": "*bf16", "weight": "*bf16", "residual": "*bf16", "out": "*bf16", "K": "i32"}, {}),
        ):
            how = block_sizes(name, "sm_90", rows)
            launch = {key: how.pop(key) for key in LAUNCH}
            types = types | {"R": "i32", "N": "i32"} | ({"D": "i32"} if name == "gate_up" else {})
            made.append(AotSpec(kernel, types, {**how, **more}, launch))
    return made
