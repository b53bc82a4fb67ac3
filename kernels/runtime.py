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
FEW = 64  # rows
LAUNCH = ("num_warps", "num_stages", "enable_fp_fusion")  # what the compiler is told, beside block sizes


def jit(function: Callable) -> Any:
    """``triton.jit`` where there is Triton."""
    return function if triton is None else triton.jit(function)


def use_triton(like: Tensor, implementation: str) -> bool:
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
class AotSpec:
    """How a kernel is compiled ahead for sm_90: the sizes that serving uses.

    Attributes:
        kernel: the jitted function.
        types: Triton's type of each argument that is no constant.
        constants: values of the others.
        launch: the settings of :data:`LAUNCH`.
        products: whether it has matrix products, which must become wgmma.
    """

    kernel: Any
    types: dict[str, str]
    constants: dict[str, Any]
    launch: dict[str, int]
    products: bool = True


@functools.cache
def tables() -> dict[str, Any]:
    """Block sizes by device (``sm_90``, ``default``) and kernel, ``.few`` for few rows; see ``tuned.json``."""
    return json.loads(resources.files("lohovla.kernels").joinpath("tuned.json").read_text(encoding="utf-8"))


def block_sizes(kernel: str, device: str | torch.device, rows: int | None = None) -> dict[str, int]:
    """Block sizes of a kernel on a device, and the settings of :data:`LAUNCH`.

    With at most :data:`FEW` rows a product is the reading of its weights, and wants many small tiles. Products and sums
    are fused by every version of Triton: its default is that up to 3.9 only.
    """
    entry = _entry(kernel, str(device), rows)
    return {**{name: value for name, value in entry.items() if name != "reference"}, "enable_fp_fusion": True}


def block_config(kernel: str, like: Tensor, implementation: str, rows: int | None = None) -> dict[str, int] | None:
    """Block sizes if the Triton kernel runs on tensors like ``like``, None if the reference does.

    By itself the reference also runs where the table says that it was the faster one (``"reference": true``).

    Raises:
        UserError: see :func:`use_triton`.
    """
    if not use_triton(like, implementation):
        return None
    if implementation == "auto" and _entry(kernel, str(like.device), rows).get("reference"):
        return None
    how = block_sizes(kernel, like.device, rows)
    return how if like.element_size() <= 2 else for_float32(how)


def for_float32(how: dict[str, int]) -> dict[str, int]:
    """Smaller tiles: those of float32 take twice the shared memory, which the table's sizes fill."""
    halved = {name: max(16, how[name] // 2) for name in ("BM", "BN", "BK") if name in how}
    return {**how, **halved, "num_stages": min(2, how["num_stages"])}


def _entry(kernel: str, device: str, rows: int | None) -> dict[str, int]:
    found = tables()
    names = (f"{kernel}.few", kernel) if rows is not None and rows <= FEW else (kernel,)
    for table in (found.get(_architecture(device), {}), found["default"]):
        for name in names:
            if name in table:
                return table[name]
    raise KeyError(kernel)


@functools.cache
def _architecture(device: str) -> str:
    if not device.startswith("cuda"):
        return device if device.startswith("sm_") else "default"
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}"


def next_pow2(n: int, least: int = 16) -> int:
    """The smallest power of two that is at least ``n`` and ``least``."""
    return max(least, 1 << (n - 1).bit_length())


def tensor_bytes(*tensors: Tensor | None) -> int:
    """Bytes of tensors."""
    return sum(t.numel() * t.element_size() for t in tensors if t is not None)
