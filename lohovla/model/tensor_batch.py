"""Batches of several tensors that can be taken apart by rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self


class TensorBatch:
    """A dataclass all of whose attributes are tensors (B, ...)."""

    def select_rows(self, which: slice | Sequence[int]) -> Self:
        """Some of the batch."""
        return type(self)(*(value[which] for value in vars(self).values()))

    def select_row(self, number: int) -> Self:
        """One of the batch, as a batch of one."""
        return self.select_rows(slice(number, number + 1))
