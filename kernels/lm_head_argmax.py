"""The likeliest word and its probability, straight from hidden states: no logits in memory.

Only the rows asked for (masked positions) are looked at. The vocabulary is gone through in parts, each by programs of
their own that keep a running maximum, its place, and the sum of exponentials; a second pass joins the parts.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lohovla.kernels.runtime import LAUNCH, AotSpec, Cost, block_config, block_sizes, jit, tensor_bytes, tl, triton
from lohovla.kernels.tile_ops import dot

_LOG2E = 1.4426950408889634


def reference(hidden: Tensor, rows: Tensor, head: Tensor, suppress: int) -> tuple[Tensor, Tensor]:
    """See :func:`lm_head_argmax`."""
    logits = hidden[rows.long()] @ head.t()
    logits = logits if logits.dtype == torch.float64 else logits.float()
    if suppress >= 0:
        logits[:, suppress].fill_(-torch.inf)
    chance, word = logits.softmax(-1).max(-1)
    return word, chance


@jit
def _kernel(
    hidden,
    rows,
    head,
    part_top,
    part_word,
    part_sum,
    R,
    D,
    V,
    suppress,
    tiles,
    parts,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    row = tl.program_id(0) * BM + tl.arange(0, BM)
    here = row < R
    source = hidden + tl.load(rows + row, mask=here, other=0).to(tl.int64)[:, None] * D
    n, k = tl.arange(0, BN), tl.arange(0, BK)
    top = tl.full((BM,), -1e30, tl.float32)
    word = tl.zeros((BM,), tl.int32)
    total = tl.zeros((BM,), tl.float32)
    first = tl.program_id(1) * tiles
    for tile in range(first, first + tiles):
        column = tile * BN + n
        weights = head + column.to(tl.int64)[None, :] * D
        logits = tl.zeros((BM, BN), tl.float32)
        for start in range(0, D, BK):
            at = start + k
            part = tl.load(source + at[None, :], mask=here[:, None] & (at < D)[None, :], other=0.0)
            weight = tl.load(weights + at[:, None], mask=(column < V)[None, :] & (at < D)[:, None], other=0.0)
            logits = dot(part, weight, logits)
        open_ = (column < V) & (column != suppress)
        logits = tl.where(open_[None, :], logits * 1.4426950408889634, -float("inf"))
        best = tl.max(logits, 1)
        # The first of equal ones, as torch's argmax on CPU.
        at_best = tl.min(tl.where(logits == best[:, None], column[None, :], 2147483647), 1)  # type: ignore
        highest = tl.maximum(top, best)
        total = total * tl.exp2(top - highest) + tl.sum(tl.exp2(logits - highest[:, None]), 1)  # type: ignore
        word = tl.where(best > top, at_best, word)
        top = highest
    to = row * parts + tl.program_id(1)
    tl.store(part_top + to, top, mask=here)
    tl.store(part_word + to, word, mask=here)
    tl.store(part_sum + to, total, mask=here)


def lm_head_argmax(
    hidden: Tensor, rows: Tensor, head: Tensor, suppress: int = -1, implementation: str = "auto"
) -> tuple[Tensor, Tensor]:
    """The likeliest word (r,) of each row asked for, and its probability (r,).

    Args:
        hidden: states before the language head (R, D).
        rows: which of them, int32 (r,).
        head: weights of the language head (V, D).
        suppress: a word that may not be said (the mask), or -1.
        implementation: see :func:`lohovla.kernels.runtime.use_triton`.
    """
    how = block_config("confidence", hidden, implementation, len(rows))
    if how is None:
        return reference(hidden, rows, head, suppress)
    count, (vocabulary, width) = len(rows), head.shape
    most, groups = triton.cdiv(vocabulary, how["BN"]), triton.cdiv(max(count, 1), how["BM"])
    # Enough programs for every multiprocessor twice, whatever the number of rows.
    parts = min(most, max(1, 2 * _processors(hidden.device) // groups))
    tiles = triton.cdiv(most, parts)
    parts = triton.cdiv(most, tiles)
    top, total = (torch.empty(count, parts, dtype=torch.float32, device=hidden.device) for _ in range(2))
    word = torch.empty(count, parts, dtype=torch.int32, device=hidden.device)
    if count:
        _kernel[(groups, parts)](
            hidden.contiguous(), rows, head, top, word, total, count, width, vocabulary, suppress, tiles, parts, **how
        )
    best, part = top.max(1)
    chance = 1 / (total * torch.exp2(top - best[:, None])).sum(1)
    return word.gather(1, part[:, None])[:, 0].long(), chance


def _processors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 4


def cost(hidden: Tensor, rows: Tensor, head: Tensor, suppress: int = -1) -> Cost:
    """Of one call."""
    read = len(rows) * hidden.shape[1] * hidden.element_size()
    return Cost(read + tensor_bytes(rows, head) + 12.0 * len(rows), 2.0 * len(rows) * head.numel())


def saved(hidden: Tensor, rows: Tensor, head: Tensor, suppress: int = -1) -> float:
    """Bytes that logits move: written, read and written as float32, through the softmax, read for the best."""
    count = float(len(rows) * head.shape[0])
    return count * (2 * hidden.element_size() + 4 * 4)


def aot_specs() -> list[AotSpec]:
    """In bfloat16, with many rows and with few."""
    types = {"hidden": "*bf16", "rows": "*i32", "head": "*bf16", "part_top": "*fp32", "part_word": "*i32"}
    types |= {"part_sum": "*fp32"} | {name: "i32" for name in ("R", "D", "V", "suppress", "tiles", "parts")}
    made = []
    for rows in (None, 64):
        how = block_sizes("confidence", "sm_90", rows)
        launch = {key: how.pop(key) for key in LAUNCH}
        made.append(AotSpec(_kernel, types, how, launch))
    return made
