"""A product with weights of 8 bits, integer or floating: at small batches a linear layer costs its weights' bytes.

Weights are scaled by output channel, rows stay in their precision; the scale is applied to the sum.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lohovla.kernels.runtime import LAUNCH, AotSpec, Cost, block_config, block_sizes, jit, tensor_bytes, tl, triton
from lohovla.kernels.tile_ops import rows_times

LARGEST = {torch.int8: 127.0, torch.float8_e4m3fn: 448.0}


def quantise(weight: Tensor, dtype: torch.dtype = torch.int8) -> tuple[Tensor, Tensor]:
    """Weights (N, K) in ``dtype``, int8 or float8_e4m3fn, and the scale of each row, float32 (N,)."""
    scale = weight.float().abs().amax(1).clamp(min=1e-12) / LARGEST[dtype]
    scaled = weight.float() / scale[:, None]
    return (scaled.round() if dtype is torch.int8 else scaled).to(dtype), scale


def reference(x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """See :func:`linear`."""
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    out = (x.to(wide) @ weight.to(wide).t()) * scale
    return (out if bias is None else out + bias).to(x.dtype)


@jit
def _kernel(
    x,
    weight,
    scale,
    bias,
    out,
    R,
    K,
    N,
    BIAS: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    row = tl.program_id(0) * BM + tl.arange(0, BM)
    column = tl.program_id(1) * BN + tl.arange(0, BN)
    total = rows_times(x, weight, row, column, R, K, N, BM, BN, BK)
    total = total * tl.load(scale + column, mask=column < N, other=0.0)[None, :]
    if BIAS:
        total += tl.load(bias + column, mask=column < N, other=0.0).to(tl.float32)[None, :]
    inside = (row < R)[:, None] & (column < N)[None, :]
    tl.store(out + row.to(tl.int64)[:, None] * N + column[None, :], total.to(out.dtype.element_ty), mask=inside)


def linear(
    x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None = None, implementation: str = "auto"
) -> Tensor:
    """``x (scale weight)^T + bias`` (R, N).

    Args:
        x: rows (R, K).
        weight: int8 or float8_e4m3fn (N, K), see :func:`quantise`.
        scale: of each output, float32 (N,).
        bias: (N,) or None.
        implementation: see :func:`lohovla.kernels.runtime.use_triton`.
    """
    how = block_config("quantised", x, implementation, len(x))
    if how is None:
        return reference(x, weight, scale, bias)
    (rows, inner), n = x.shape, weight.shape[0]
    out = x.new_empty(rows, n)
    grid = (triton.cdiv(rows, how["BM"]), triton.cdiv(n, how["BN"]))
    _kernel[grid](
        x.contiguous(),
        weight,
        scale,
        scale if bias is None else bias,
        out,
        rows,
        inner,
        n,
        BIAS=bias is not None,
        **how,
    )
    return out


def cost(x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None = None) -> Cost:
    """Of one call."""
    written = x.shape[0] * weight.shape[0] * x.element_size()
    return Cost(tensor_bytes(x, weight, scale, bias) + written, 2.0 * x.shape[0] * weight.numel())


def saved(x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None = None) -> float:
    """Bytes that bfloat16 weights have more."""
    return float(weight.numel() - tensor_bytes(scale))


def aot_specs() -> list[AotSpec]:
    """With integer and with floating weights."""
    how = block_sizes("quantised", "sm_90")
    launch = {key: how.pop(key) for key in LAUNCH}
    types = {"x": "*bf16", "scale": "*fp32", "bias": "*bf16", "out": "*bf16", "R": "i32", "K": "i32", "N": "i32"}
    return [AotSpec(_kernel, {**types, "weight": kind}, {"BIAS": True, **how}, launch) for kind in ("*i8", "*fp8e4nv")]
