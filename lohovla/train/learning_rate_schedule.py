"""The schedule of the learning rate."""

from __future__ import annotations

import math

_WARMUP = 0.05  # share of the steps
_LOWEST = 0.02  # of the learning rate, at the end


def schedule(step: int, steps: int) -> float:
    """The learning rate's share of its highest: a linear rise, then half a cosine down.

    >>> schedule(0, 100) < schedule(5, 100), round(schedule(99, 100), 2)
    (True, 0.02)
    """
    rise = max(1, round(_WARMUP * steps))
    if step < rise:
        return (step + 1) / rise
    way = (step - rise) / max(1, steps - rise)
    return _LOWEST + (1 - _LOWEST) * 0.5 * (1 + math.cos(math.pi * way))
