"""How a pass is carried out: by calling it, under ``torch.compile``, or as CUDA graphs of a few fixed sizes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lohovla.model.backends.graph_tensors import shapes_of, tensors_of

Pass = Callable[..., Any]
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

    def __call__(self, name: str, work: Pass, given: tuple[Any, ...], shapes: tuple[Any, ...]) -> Any:
        """What ``work`` makes of ``given``, a pytree of tensors.

        Args:
            name: of the pass.
            work: takes and gives pytrees, waits for nothing, and reads nothing from the host.
            given: its inputs, pytrees.
            shapes: the same trees with the shape to widen each tensor to, zeros behind what is given, see
                :func:`lohovla.model.backends.graph_tensors.padded_shapes`.
        """
        if self._pad:
            tensors, rebuilt = tensors_of(given)
            own = [x.new_zeros(size) for x, size in zip(tensors, shapes_of(shapes), strict=True)]
            _copy(_corners(own, tensors), tensors)
            given = rebuilt(own)
        return work(*given)


class CompiledRunner(EagerRunner):
    """Calls a pass under ``torch.compile``; sizes that change become symbols."""

    compile: Callable[[Pass], Any] = staticmethod(torch.compile)

    def __init__(self) -> None:
        super().__init__()
        self.fixed = True
        self._compiled: dict[str, Any] = {}

    def __call__(self, name: str, work: Pass, given: tuple[Any, ...], shapes: tuple[Any, ...]) -> Any:
        if name not in self._compiled:
            self._compiled[name] = self.compile(work)
        return self._compiled[name](*given)


class CudaGraphRunner(EagerRunner):
    """Replays a pass as a CUDA graph, one for each name and set of shapes; the least used ones are dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.fixed = True
        self._graphs: OrderedDict[tuple, _Graph] = OrderedDict()
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, name: str, work: Pass, given: tuple[Any, ...], shapes: tuple[Any, ...]) -> Any:
        sizes = shapes_of(shapes)
        key = (name, *sizes)
        if key not in self._graphs:
            self._graphs[key] = _Graph(work, given, sizes, self._pool)
            if len(self._graphs) > _MOST:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(key)
        return self._graphs[key](given)


class _Graph:
    """A captured pass over tensors of its own."""

    def __init__(self, work: Pass, given: tuple[Any, ...], sizes: Sequence[torch.Size], pool: Any):
        # Copies of inference tensors could not be written to outside of inference mode.
        with torch.inference_mode(False), torch.no_grad():
            tensors, rebuilt = tensors_of(given)
            self._own = [torch.zeros(n, dtype=x.dtype, device=x.device) for x, n in zip(tensors, sizes, strict=True)]
            own = rebuilt(self._own)
            here = torch.cuda.current_stream()
            aside = torch.cuda.Stream()
            aside.wait_stream(here)
            with torch.cuda.stream(aside):  # libraries choose their algorithms, constants are made
                for _ in range(2):
                    work(*own)
            here.wait_stream(aside)
            self._graph = torch.cuda.CUDAGraph()
            # Other threads, a server's, may go on with theirs meanwhile.
            with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
                made, self._rebuilt = tensors_of(work(*own))
                self._made = [x.contiguous() for x in made]  # which are copied in few launches

    def __call__(self, given: tuple[Any, ...]) -> Any:
        tensors, _ = tensors_of(given)
        with torch.inference_mode(False), torch.no_grad():
            for mine, x in zip(self._own, tensors, strict=True):
                if mine.shape != x.shape and not x.is_floating_point():
                    mine.zero_()  # what was valid in the last call is not in this one
            _copy(_corners(self._own, tensors), tensors)
            self._graph.replay()
            # Copies, as the next replay, of this graph or of another in the pool, writes over them.
            out = [torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in self._made]
            _copy(out, self._made)
        return self._rebuilt(out)


def _corners(own: Sequence[Tensor], given: Sequence[Tensor]) -> list[Tensor]:
    return [mine[tuple(slice(n) for n in x.shape)] for mine, x in zip(own, given, strict=True)]


def _copy(to: Sequence[Tensor], source: Sequence[Tensor]) -> None:
    """Copy many tensors in few launches."""
    for kind in {x.dtype for x in source}:
        chosen = [k for k, x in enumerate(source) if x.dtype == kind and x.numel()]
        if chosen:
            torch._foreach_copy_([to[k] for k in chosen], [source[k] for k in chosen])  # type: ignore


def round_up(n: int, step: int) -> int:
    """The next multiple of ``step``."""
    return -(-n // step) * step


def next_power_of_two(n: int) -> int:
    """The next power of two."""
    return 1 << max(0, n - 1).bit_length()
