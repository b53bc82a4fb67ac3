"""How a pass is carried out: by calling it, under ``torch.compile``, or as CUDA graphs of a few fixed sizes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Pass = Callable[..., Sequence[Tensor]]
_MOST = 64  # graphs kept


class EagerRunner:
    """Calls a pass.

    Args:
        pad: widen the inputs to the sizes that a graph would have: the same numbers, for tests without a GPU.

    Attributes:
        fixed: whether a pass must do the same whatever it is given.
    """

    def __init__(self, pad: bool = False):
        self._pad = self.fixed = pad

    def __call__(self, name: str, work: Pass, given: Sequence[Tensor], sizes: Sequence[Sequence[int]]) -> list[Tensor]:
        """What ``work`` makes of ``given``.

        Args:
            name: of the pass.
            work: takes and gives tensors, waits for nothing, and reads nothing from the host.
            given: its inputs.
            sizes: for each input the shape to widen it to, zeros behind what is given.
        """
        if self._pad:
            own = [x.new_zeros(tuple(size)) for x, size in zip(given, sizes, strict=True)]
            _copy(_corners(own, given), given)
            given = own
        return list(work(*given))


class CompiledRunner(EagerRunner):
    """Calls a pass under ``torch.compile``; sizes that change become symbols."""

    compile: Callable[[Pass], Any] = staticmethod(torch.compile)

    def __init__(self) -> None:
        super().__init__()
        self.fixed = True
        self._compiled: dict[str, Any] = {}

    def __call__(self, name: str, work: Pass, given: Sequence[Tensor], sizes: Sequence[Sequence[int]]) -> list[Tensor]:
        if name not in self._compiled:
            self._compiled[name] = self.compile(work)
        return list(self._compiled[name](*given))


class CudaGraphRunner(EagerRunner):
    """Replays a pass as a CUDA graph, one for each name and set of sizes; the least used ones are dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.fixed = True
        self._graphs: OrderedDict[tuple, _Graph] = OrderedDict()
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, name: str, work: Pass, given: Sequence[Tensor], sizes: Sequence[Sequence[int]]) -> list[Tensor]:
        key = (name, *(tuple(size) for size in sizes))
        if key not in self._graphs:
            self._graphs[key] = _Graph(
                work, [x.new_zeros(tuple(s)) for x, s in zip(given, sizes, strict=True)], self._pool
            )
            if len(self._graphs) > _MOST:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(key)
        return self._graphs[key](given)


class _Graph:
    """A captured pass over tensors of its own."""

    def __init__(self, work: Pass, own: list[Tensor], pool: Any):
        # Copies of inference tensors could not be written to outside of inference mode.
        with torch.inference_mode(False), torch.no_grad():
            self._own = [torch.zeros_like(x) for x in own]
            here = torch.cuda.current_stream()
            aside = torch.cuda.Stream()
            aside.wait_stream(here)
            with torch.cuda.stream(aside):  # libraries choose their ways, constants are made
                for _ in range(2):
                    work(*self._own)
            here.wait_stream(aside)
            self._graph = torch.cuda.CUDAGraph()
            # Other threads, a server's, may go on with theirs meanwhile.
            with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
                self._made = [x.contiguous() for x in work(*self._own)]  # which are copied in few launches

    def __call__(self, given: Sequence[Tensor]) -> list[Tensor]:
        with torch.inference_mode(False), torch.no_grad():
            for mine, x in zip(self._own, given, strict=True):
                if mine.shape != x.shape and not x.is_floating_point():
                    mine.zero_()  # what was valid in the last call is not in this one
            _copy(_corners(self._own, given), given)
            self._graph.replay()
            # Copies, as the next replay, of this graph or of another in the pool, writes over them.
            out = [torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in self._made]
            _copy(out, self._made)
        return out


def _corners(own: Sequence[Tensor], given: Sequence[Tensor]) -> list[Tensor]:
    return [mine[tuple(slice(n) for n in x.shape)] for mine, x in zip(own, given, strict=True)]


def _copy(to: Sequence[Tensor], source: Sequence[Tensor]) -> None:
    """Copy many tensors in few launches."""
    for kind in {x.dtype for x in source}:
        chosen = [k for k, x in enumerate(source) if x.dtype == kind and x.numel()]
        if chosen:
            torch._foreach_copy_([to[k] for k in chosen], [source[k] for k in chosen])  # type: ignore


def padded_shape(x: Tensor, axes: str, sizes: dict[str, int]) -> tuple[int, ...]:
    """The shape of ``x`` with the axes that are named widened.

    >>> widened(torch.zeros(3, 4, 5), "b.l", {"b": 4, "l": 32})
    (4, 4, 32)
    """
    return tuple(sizes.get(axis, n) for axis, n in zip(axes.ljust(x.ndim, "."), x.shape, strict=True))


def round_up(n: int, step: int) -> int:
    """The next multiple of ``step``."""
    return -(-n // step) * step


def next_power_of_two(n: int) -> int:
    """The next power of two."""
    return 1 << max(0, n - 1).bit_length()
