"""CUDA graphs without a GPU: what refuses a pass that none can hold, and a stand-in that records one and replays it."""

import contextlib

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from lohovla.model.backends.graph_runners import CudaGraphRunner, EagerRunner


class Captured(TorchDispatchMode):
    """Refuses what a CUDA graph cannot hold: numbers that come from the host, and results that it waits for."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        indices = args[1] if func in (torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default) else ()
        chosen = any(index is not None and index.dtype == torch.bool for index in indices)
        if chosen or func in (
            torch.ops.aten.lift_fresh.default,
            torch.ops.aten._local_scalar_dense.default,
            torch.ops.aten.nonzero.default,
        ):
            raise AssertionError(f"{func} goes by the host")
        return func(*args, **(kwargs or {}))


class Capturing(EagerRunner):
    """Runs each pass once to make its constants, then as it would be captured."""

    def __init__(self):
        super().__init__(pad=True)
        self.passes = set()

    def __call__(self, name, work, given, shapes):
        super().__call__(name, work, given, shapes)
        self.passes.add(name.split()[0])
        with Captured():
            return super().__call__(name, lambda *own: pytree.tree_map(torch.clone, work(*own)), given, shapes)


class Tape(Captured):
    """Records operations and does them again on the same tensors, as a graph's replay does."""

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = super().__torch_dispatch__(func, types, args, kwargs)
        self.operations.append((func, args, kwargs or {}, made))
        return made

    def replay(self):
        with torch.no_grad():
            for func, args, kwargs, made in self.operations:
                again = func(*args, **kwargs)
                pairs = zip(made, again, strict=True) if isinstance(made, tuple | list) else [(made, again)]
                for old, new in pairs:
                    # Views and what is changed in place are there already.
                    if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)


class _Stream:
    def wait_stream(self, other):
        pass


def graphs(monkeypatch):
    """``CudaGraphRunner`` on the CPU, on tapes; and the list of those that were recorded."""
    tapes = []

    def graph(tape, **_):
        tapes.append(tape)
        return tape

    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
    monkeypatch.setattr(torch.cuda, "current_stream", _Stream)
    monkeypatch.setattr(torch.cuda, "Stream", _Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Tape)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    return CudaGraphRunner(), tapes
