"""What a training sample is, wherever it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

Sample = dict[str, Any]


def collate(samples: Sequence[Sample]) -> dict[str, Any]:
    """A batch: arrays stacked to tensors, words and plans in lists; empty without samples."""
    batch: dict[str, Any] = {}
    for key, first in samples[0].items() if samples else ():
        values = [sample[key] for sample in samples]
        is_array = isinstance(first, np.ndarray | np.generic | float | int | bool)
        batch[key] = torch.from_numpy(np.stack(values)) if is_array else values
    return batch
