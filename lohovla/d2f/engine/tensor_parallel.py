"""Tensor parallelism: a decoder's layers over several processes. One of them has the engine and leads the others.

Heads and inner units are shared out; what comes of attention and of the inner layer is summed (Shoeybi et al.,
1909.08053). Embedding, norms and language head are whole in each process. The leader tells the others the rows of each
forward, as whole numbers only; nothing else goes between them.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lohovla.d2f.denoiser import DecoderDenoiser
from lohovla.d2f.engine.model_runner import ModelRunner
from lohovla.d2f.engine.paged_attention import AttentionMetadata, KernelMetadata
from lohovla.d2f.engine.request import CachedPrefix
from lohovla.errors import UserError

_PARTS = 16  # of a message


def init_processes(device: str = "cpu") -> tuple[int, int]:
    """Join the processes that ``torchrun`` started: the own rank and how many there are, (0, 1) if alone."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count < 2:
        return 0, 1
    kind = "gloo"
    if device.startswith("cuda"):
        kind = "nccl"
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))  # "cuda" is then a GPU of one's own
    # An idle server sends nothing for as long as it likes.
    dist.init_process_group(kind, timeout=datetime.timedelta(days=365))
    return dist.get_rank(), count


def least(value: float, device: torch.device | str) -> float:
    """The smallest of all processes' values."""
    shared = torch.tensor([value], dtype=torch.float64, device=device)
    dist.all_reduce(shared, dist.ReduceOp.MIN)
    return float(shared[0])


def shard(denoiser: DecoderDenoiser, rank: int, count: int) -> None:
    """Keep this process's share of the layers, in place.

    Raises:
        UserError: they cannot be shared out evenly, or are a mixture of experts.
    """
    config: Any = denoiser.decoder.config
    sizes = {
        "attention heads": config.num_attention_heads,
        "key heads": config.num_key_value_heads,
        "inner units": config.intermediate_size,
    }
    for what, size in sizes.items():
        if size % count:
            raise UserError(
                f"{size} {what} cannot be divided among {count} processes", "choose a number that divides them"
            )
    layers: Any = denoiser.decoder.layers
    if any(hasattr(layer.mlp, "experts") for layer in layers):
        raise UserError("tensor parallelism does not support a mixture of experts", "serve it with one process")
    for layer in layers:
        for module, names, last in (
            (layer.self_attn, ("q_proj", "k_proj", "v_proj"), "o_proj"),
            (layer.mlp, ("gate_proj", "up_proj"), "down_proj"),
        ):
            for name in names:
                setattr(module, name, _part(getattr(module, name), 0, rank, count))
            setattr(module, last, AllReduceLinear(_part(getattr(module, last), 1, rank, count)))


class AllReduceLinear(nn.Module):
    """A layer whose outputs are added up over all processes."""

    def __init__(self, layer: nn.Linear):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        out = self.layer(x).contiguous()
        dist.all_reduce(out)
        return out


def _part(layer: nn.Linear, dimension: int, rank: int, count: int) -> nn.Linear:
    """A share of a layer's outputs (0) or of its inputs (1)."""
    weight = layer.weight.detach().chunk(count, dimension)[rank].clone()
    bias = None
    if layer.bias is not None and (dimension == 0 or rank == 0):  # a sum has its bias once
        bias = layer.bias.detach().chunk(count)[rank].clone() if dimension == 0 else layer.bias.detach().clone()
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    made.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        made.bias = nn.Parameter(bias, requires_grad=False)
    return made


class TensorParallelDriver(ModelRunner):
    """A runner whose forwards the other processes run too; in them :func:`worker_loop` does.

    Args:
        denoiser: this process's share.
        pages: how many.
        size: tokens a page.
        number: which of the engines it belongs to.
    """

    def __init__(self, denoiser: DecoderDenoiser, pages: int, size: int, number: int = 0):
        super().__init__(denoiser, pages, size)
        self.number = number

    def import_prefix(self, prefix: CachedPrefix, pages: list[int]) -> None:
        """Refused: the keys of a prefix are not shared out."""
        raise UserError(
            "a prefix's keys and values cannot be imported with several processes", "serve with one process"
        )

    def forward(self, tokens: Tensor, positions: Tensor, plan: AttentionMetadata) -> Tensor:
        """As of one process."""
        _send(self.number, tokens, positions, plan)
        return super().forward(tokens, positions, plan)


def worker_loop(runners: Sequence[ModelRunner]) -> None:
    """Run what the leader runs, until it stops.

    Args:
        runners: of the engines, each with this process's share.
    """
    device = runners[0].paged.keys[0].device
    while (message := _receive(device)) is not None:
        number, tokens, positions, plan = message
        runners[number].forward(tokens, positions, plan)


def stop_workers(device: torch.device | str) -> None:
    """Let the others end."""
    dist.broadcast(torch.full((_PARTS,), -1, dtype=torch.long, device=device), 0)


def _send(number: int, tokens: Tensor, positions: Tensor, plan: AttentionMetadata) -> None:
    device, none = tokens.device, tokens[:0]
    parts = plan.parts or KernelMetadata(none, none, tokens[:0, None], none, -1)
    lists = [
        plan.starts,
        plan.cached,
        [len(table) for table in plan.tables],
        [number, parts.longest, *parts.pages.shape],
    ]
    whole = [torch.tensor(part, dtype=torch.long, device=device) for part in lists]
    whole += [
        tokens,
        positions,
        torch.cat(plan.tables),
        plan.lead_end,
        plan.own_start,
        plan.own_end,
        plan.kept,
        plan.slots,
        parts.windows,
        parts.before,
        parts.pages.flatten(),
        parts.order,
    ]
    dist.broadcast(torch.tensor([len(part) for part in whole], device=device), 0)
    dist.broadcast(torch.cat([part.long() for part in whole]), 0)


def _receive(device: torch.device) -> tuple[int, Tensor, Tensor, AttentionMetadata] | None:
    sizes = torch.zeros(_PARTS, dtype=torch.long, device=device)
    dist.broadcast(sizes, 0)
    if int(sizes[0]) < 0:
        return None
    whole = torch.zeros(int(sizes.sum()), dtype=torch.long, device=device)
    dist.broadcast(whole, 0)
    starts, cached, lengths, numbers, tokens, positions, tables, *rows = whole.split(sizes.tolist())
    number, longest, count, most = numbers.tolist()
    parts = None
    if longest >= 0:
        windows, before, pages, order = (part.int() for part in rows[5:])
        parts = KernelMetadata(windows, before, pages.view(count, most), order, longest)
    lead_end, own_start, own_end, kept, slots = rows[:5]
    plan = AttentionMetadata(
        starts.tolist(),
        list(tables.split(lengths.tolist())),
        cached.tolist(),
        lead_end,
        own_start,
        own_end,
        kept,
        slots,
        parts,
    )
    return number, tokens, positions, plan
