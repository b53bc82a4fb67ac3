"""Small constants as tensors, made once a device: what is copied from the host cannot be part of a CUDA graph."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor


def constant_like(tensor: Tensor, values: Sequence[float]) -> Tensor:
    """``values`` (n,) on the device of ``tensor`` and of its type; not to be written to."""
    if torch.compiler.is_compiling():
        return tensor.new_tensor(values)
    return _made(tuple(values), tensor.device, tensor.dtype)


@functools.lru_cache(maxsize=256)
def _made(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):  # training may use it later
        return torch.tensor(values, device=device, dtype=dtype)
