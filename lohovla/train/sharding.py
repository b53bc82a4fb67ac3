"""Weights shared out over processes (FSDP2): each keeps a part of every one, of its gradient and of its optimiser.

PyTorch's own ``fully_shard`` is used, which works on CPUs, too; accelerate leaves its FSDP plugin aside there.
"""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from lohovla.errors import UserError


def check_sharding(accelerator: Accelerator) -> None:
    """Refuse what cannot be.

    Raises:
        UserError: there is one process only, or half precision whose scale all must agree on.
    """
    if accelerator.num_processes == 1:
        raise UserError(
            "fsdp=true shares weights out over processes, and this is the only one",
            "torchrun --nproc-per-node 2 -m lohovla.cli train fsdp=true ... starts two",
        )
    if accelerator.mixed_precision == "fp16":
        raise UserError("fsdp=true does not go with precision=fp16", "use precision=bf16")


def shard_parameters(losses: nn.Module, layers: nn.ModuleList, accelerator: Accelerator) -> None:
    """Shard a module in place: a layer's weights are whole while it runs, all others during the whole forward.

    Args:
        losses: is called for a forward.
        layers: of its decoder.
        accelerator: of the processes.
    """
    for parameter in losses.parameters():
        parameter.data = parameter.data.contiguous()  # not channels last, of which no parts can be made
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(losses, mesh=mesh)


def full_tensor(tensor: Tensor) -> Tensor:
    """A tensor with all its parts; where it is sharded, all processes have to ask."""
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach()


def share(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, sharded as another one is."""
    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def put(tensor: Tensor, into: Tensor) -> None:
    """Copy a whole tensor into one that may be sharded."""
    if tensor.shape != into.shape:
        raise RuntimeError(f"the shape is {tuple(tensor.shape)}, not {tuple(into.shape)}")
    with torch.no_grad():
        into.copy_(share(tensor.to(into.dtype), into))
