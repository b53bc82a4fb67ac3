"""Which episodes of a data set are held out of training, to validate on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def held_out_split(count: int, share: float, seed: Sequence[int]) -> np.ndarray:
    """Whether each of ``count`` episodes is trained on, (count,).

    Args:
        count: of the episodes.
        share: that is held out, in [0, 1); above 0 at least one of two or more, and never all.
        seed: of the draw.
    """
    held_out = min(count - 1, max(1, round(share * count))) if share > 0 else 0
    trained = np.ones(count, bool)
    trained[np.random.default_rng(list(seed)).permutation(count)[:held_out]] = False
    return trained
