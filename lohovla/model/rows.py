"""Batches of several tensors that can be taken apart by rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self


class Rows:
    """A dataclass all of whose attributes are tensors (B, ...)."""

    def rows(self, which: slice | Sequence[int]) -> Self:
        """Some of the batch."""
        return type(self)(*(value[which] for value in vars(self).values()))

    def row(self, number: int) -> Self:
        """One of the batch, as a batch of one."""
        return self.rows(slice(number, number + 1))
