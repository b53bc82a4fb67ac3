"""What all kernels share: which implementation runs, block sizes, and the count that a floor comes from."""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lohovla.errors import UserError

if TYPE_CHECKING:
    import triton
    import triton.language as tl
else:
    triton = tl = None
    # Without a GPU the references do the work, and Triton's compiler, loaded after other native libraries, has crashed
    # the process; so it is loaded only where it is of use, or where TRITON_INTERPRET (1: interpret, 0: compile) asks.
    if torch.cuda.is_available() or "TRITON_INTERPRET" in os.environ:
        with contextlib.suppress(ImportError):  # no wheels for this platform
            import triton
            import triton.language as tl  # noqa: F401 - for the kernels

IMPLEMENTATIONS = ("auto", "triton", "reference")


def jit(function: Callable) -> Any:
    """``triton.jit`` where there is Triton."""
    return function if triton is None else triton.jit(function)


def chosen(like: Tensor, implementation: str) -> bool:
    """Whether the Triton kernel runs on tensors like ``like``: by itself on CUDA, elsewhere only when asked to.

    Raises:
        UserError: it was asked for and cannot run, or is not an implementation.
    """
    if implementation not in IMPLEMENTATIONS:
        raise UserError(f"there is no implementation {implementation!r}", f"choose {', '.join(IMPLEMENTATIONS)}")
    if implementation == "triton" and triton is None:
        raise UserError(
            "Triton is not loaded here", "pip install 'lohovla[gpu]', on a machine with CUDA or with TRITON_INTERPRET=1"
        )
    return implementation == "triton" or (implementation == "auto" and like.is_cuda and triton is not None)


@dataclass(frozen=True)
class Cost:
    """What an operation cannot do without.

    Attributes:
        bytes: read and written in device memory, each once.
        operations: of matrix products, two for a multiplication and an addition.
    """

    bytes: float
    operations: float

    def __add__(self, other: Cost) -> Cost:
        """Both, one after the other."""
        return Cost(self.bytes + other.bytes, self.operations + other.operations)

    def times(self, n: float) -> Cost:
        """The cost of ``n`` calls."""
        return Cost(self.bytes * n, self.operations * n)

    def floor(self, bandwidth: float, rate: float) -> float:
        """Seconds at ``bandwidth`` bytes and ``rate`` operations a second: the roofline (Williams et al., 2009)."""
        return max(self.bytes / bandwidth, self.operations / rate)


@dataclass(frozen=True)
class Compiled:
    """How a kernel is compiled ahead for sm_90: the sizes that serving uses.

    Attributes:
        kernel: the jitted function.
        types: Triton's type of each argument that is no constant.
        constants: values of the others.
        launch: ``num_warps`` and ``num_stages``.
        products: whether it has matrix products, which must become wgmma.
    """

    kernel: Any
    types: dict[str, str]
    constants: dict[str, Any]
    launch: dict[str, int]
    products: bool = True


@functools.cache
def tables() -> dict[str, Any]:
    """Block sizes by device (``sm_90``, ``default``), kernel and shape class; see ``tuned.json``."""
    return json.loads(resources.files("lohovla.kernels").joinpath("tuned.json").read_text(encoding="utf-8"))


def blocks(kernel: str, device: str | torch.device) -> dict[str, int]:
    """Block sizes of a kernel on a device, ``num_warps`` and ``num_stages`` among them."""
    found = tables()
    return dict(found.get(_architecture(str(device)), {}).get(kernel) or found["default"][kernel])


@functools.cache
def _architecture(device: str) -> str:
    if not device.startswith("cuda"):
        return device if device.startswith("sm_") else "default"
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}"


def power(n: int, least: int = 16) -> int:
    """The smallest power of two that is at least ``n`` and ``least``."""
    return max(least, 1 << (n - 1).bit_length())


def size(*tensors: Tensor | None) -> int:
    """Bytes of tensors."""
    return sum(t.numel() * t.element_size() for t in tensors if t is not None)
