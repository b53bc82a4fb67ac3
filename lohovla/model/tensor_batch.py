"""Batches of several tensors that can be taken apart by rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self, TypeVar

from torch.utils import _pytree as pytree

_Kind = TypeVar("_Kind", bound=type)


def tensor_tree(kind: _Kind) -> _Kind:
    """Register a dataclass as a pytree: functions over trees, and ``torch.compile``, reach the tensors in it."""
    pytree.register_dataclass(kind)
    return kind


class TensorBatch:
    """A dataclass all of whose attributes are tensors (B, ...), registered by :func:`tensor_tree`."""

    def select_rows(self, which: slice | Sequence[int]) -> Self:
        """Some of the batch."""
        return pytree.tree_map(lambda value: value[which], self)

    def select_row(self, number: int) -> Self:
        """One of the batch, as a batch of one."""
        return self.select_rows(slice(number, number + 1))
