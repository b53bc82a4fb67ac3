"""Between two denoising steps: the way out of the expert, the Euler update, and the way into the next step.

One pass takes the expert's last states to the velocity, moves the noisy chunk, projects it up again and adds the next
step's time embedding, which was computed once for all decisions. Eager code takes a dozen passes over small tensors
for it, each of which costs a launch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lohovla.kernels.runtime import LAUNCH, AotSpec, Cost, block_config, blocks, jit, next_pow2, size, tl, triton
from lohovla.kernels.tile_ops import dot


def reference(
    hidden: Tensor, x: Tensor, leave: tuple[Tensor, Tensor], enter: Tensor, bias: Tensor, dt: float, eps: float
) -> tuple[Tensor, Tensor]:
    """See :func:`denoise_step`."""
    wide = hidden.double() if hidden.dtype == torch.float64 else hidden.float()
    normed = (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).to(hidden.dtype)
    moved = x - dt * (normed @ leave[0].t() + leave[1]).to(x.dtype)
    return moved, moved.to(enter.dtype) @ enter.t() + bias


@jit
def _kernel(
    hidden,
    x,
    leave,
    leave_bias,
    enter,
    bias,
    moved,
    out,
    R,
    W,
    dt,
    eps,
    A: tl.constexpr,
    BA: tl.constexpr,
    BM: tl.constexpr,
    BK: tl.constexpr,
):
    row = tl.program_id(0) * BM + tl.arange(0, BM)
    a, k = tl.arange(0, BA), tl.arange(0, BK)
    velocity = tl.zeros((BM, BA), tl.float32)
    square = tl.zeros((BM,), tl.float32)
    for start in range(0, W, BK):
        at = start + k
        part = tl.load(hidden + row[:, None] * W + at[None, :], mask=(row < R)[:, None] & (at < W)[None, :], other=0.0)
        weight = tl.load(leave + a[None, :] * W + at[:, None], mask=(a < A)[None, :] & (at < W)[:, None], other=0.0)
        velocity = dot(part, weight, velocity)
        wide = part.to(tl.float32)
        square += tl.sum(wide * wide, 1)
    velocity = velocity * tl.rsqrt(square / W + eps)[:, None]
    velocity += tl.load(leave_bias + a, mask=a < A, other=0.0).to(tl.float32)[None, :]
    mine = (row < R)[:, None] & (a < A)[None, :]
    place = row[:, None] * A + a[None, :]
    new = tl.load(x + place, mask=mine, other=0.0).to(tl.float32) - dt * velocity
    if tl.program_id(1) == 0:  # the others of these rows have the same velocity
        tl.store(moved + place, new.to(moved.dtype.element_ty), mask=mine)
    column = tl.program_id(1) * BK + k
    weight = tl.load(enter + column[None, :] * A + a[:, None], mask=(column < W)[None, :] & (a < A)[:, None], other=0.0)
    entry = dot(new.to(weight.dtype), weight, tl.zeros((BM, BK), tl.float32))
    entry += tl.load(bias + column, mask=column < W, other=0.0).to(tl.float32)[None, :]
    inside = (row < R)[:, None] & (column < W)[None, :]
    tl.store(out + row[:, None] * W + column[None, :], entry.to(out.dtype.element_ty), mask=inside)


def denoise_step(
    hidden: Tensor,
    x: Tensor,
    leave: tuple[Tensor, Tensor],
    enter: Tensor,
    bias: Tensor,
    dt: float,
    eps: float,
    implementation: str = "auto",
) -> tuple[Tensor, Tensor]:
    """The chunk (R, A) after a step of ``-dt`` along the velocity, and the expert's input (R, W) of the next step.

    Args:
        hidden: the expert's last states before its norm (R, W).
        x: the noisy chunk, float32 (R, A).
        leave: weights (A, W), the norm's gain folded in, and bias (A,) of the way out.
        enter: weights (W, A) of the way in.
        bias: of the way in, plus the next step's time embedding (W,).
        dt: 1 over the number of steps.
        eps: of the norm.
        implementation: see :func:`lohovla.kernels.runtime.use_triton`.
    """
    how = block_config("denoise_step", hidden, implementation)
    if how is None:
        return reference(hidden, x, leave, enter, bias, dt, eps)
    (rows, width), actions = hidden.shape, x.shape[1]
    moved, out = torch.empty_like(x), torch.empty_like(hidden)
    grid = (triton.cdiv(rows, how["BM"]), triton.cdiv(width, how["BK"]))
    _kernel[grid](
        hidden.contiguous(),
        x.contiguous(),
        leave[0],
        leave[1],
        enter,
        bias,
        moved,
        out,
        rows,
        width,
        dt,
        eps,
        A=actions,
        BA=next_pow2(actions),
        **how,
    )
    return moved, out


def cost(
    hidden: Tensor, x: Tensor, leave: tuple[Tensor, Tensor], enter: Tensor, bias: Tensor, dt: float, eps: float
) -> Cost:
    """Of one call."""
    return Cost(2.0 * size(hidden, x) + size(*leave, enter, bias), 4.0 * hidden.numel() * x.shape[1])


def saved(
    hidden: Tensor, x: Tensor, leave: tuple[Tensor, Tensor], enter: Tensor, bias: Tensor, dt: float, eps: float
) -> float:
    """Bytes that separate passes move besides: the normed states, the velocity, the scaled one, the biased input."""
    return 2.0 * size(hidden) + 4.0 * size(x) + 2.0 * size(hidden)


def ahead() -> list[AotSpec]:
    """pi0's 32 action dimensions."""
    how = blocks("denoise_step", "sm_90")
    launch = {key: how.pop(key) for key in LAUNCH}
    types = {name: "*bf16" for name in ("hidden", "leave", "leave_bias", "enter", "bias", "out")}
    types |= {"x": "*fp32", "moved": "*fp32", "R": "i32", "W": "i32", "dt": "fp32", "eps": "fp32"}
    return [AotSpec(_kernel, types, {"A": 32, "BA": 32, **how}, launch)]
