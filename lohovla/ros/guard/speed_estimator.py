"""How fast the arm really goes, from what it tells of its place. Runs on the robot's side too."""

from __future__ import annotations

import math
from collections import deque
from typing import Callable

import numpy as np

Difference = Callable[[np.ndarray, np.ndarray], np.ndarray]

_WINDOW = 0.04  # s between the two places that are compared: longer, and a halt is noticed late
_KEPT = 64  # places; at 500 Hz they reach back 0.1 s
_FRESH = 0.1  # s; an older place says nothing about now


class MeasuredSpeed:
    """The speed of some coordinates, by the moments when their values came: stamps leap when clocks are set.

    Args:
        difference: the way from the second place to the first, both (n,); plain subtraction by default.
    """

    def __init__(self, difference: Difference | None = None):
        self._difference: Difference = difference or np.subtract
        self._kept: deque[tuple[float, np.ndarray]] = deque(maxlen=_KEPT)

    def hear(self, place: np.ndarray, now: float) -> None:
        """A place (n,), m or rad, that came ``now``, s."""
        self._kept.append((now, place))

    @property
    def value(self) -> np.ndarray | None:
        """The last known speed (n,), m/s or rad/s; None while there are no two places far enough apart in time."""
        if not self._kept:
            return None
        newest, place = self._kept[-1]
        for when, before in reversed(self._kept):
            if newest - when >= _WINDOW:
                return self._difference(place, before) / (newest - when)
        return None

    def fresh(self, now: float) -> bool:
        """Whether the last place is new enough to tell what the arm does now."""
        return now - (self._kept[-1][0] if self._kept else -math.inf) <= _FRESH

    def bound(self, wanted: np.ndarray) -> np.ndarray:
        """``wanted`` (n,), but no faster than measured on any coordinate, nor against the way that it really goes.

        Nothing is wanted of an arm whose speed was never known.
        """
        known = self.value
        if known is None:
            return np.zeros_like(wanted)
        share = np.clip(known * np.sign(wanted), 0.0, np.abs(wanted))
        return np.sign(wanted) * share
