"""Whether the arm goes where it is sent. Runs on the robot's side too."""

from __future__ import annotations

from collections import deque
from typing import Callable

import numpy as np

Difference = Callable[[np.ndarray, np.ndarray], np.ndarray]

_KEPT = 512  # goals; at 500 Hz they reach back a second


class FollowingCheck:
    """Compares the arm with the goals that it was sent, in coordinates of which each is looked at by itself.

    An arm that follows late is where its goals were a little while ago. One that is somewhere else makes up for it in
    its own time, at a speed that nobody chose: the goal of a controller that keeps places stands.

    Args:
        lag: s that the arm may be late.
        near: how far it may be off beside that (n,), m or rad.
        difference: the way from the second place to the first, both (n,).
    """

    def __init__(self, lag: float, near: np.ndarray, difference: Difference):
        self._lag, self._near, self._difference = lag, near, difference
        self._goals: deque[tuple[float, np.ndarray]] = deque(maxlen=_KEPT)

    def send(self, goal: np.ndarray, now: float, place: np.ndarray | None) -> None:
        """The arm is sent to ``goal`` (n,); it sets off from ``place`` (n,), where it is, if nothing went before."""
        if not self._goals and place is not None:
            self._goals.append((now, place))
        self._goals.append((now, goal))

    def forget(self) -> None:
        """The arm rests: the next goal begins a motion."""
        self._goals.clear()

    def lag(self, place: np.ndarray, when: float) -> np.ndarray:
        """How far the arm is from where it may be (n,), m or rad; zeros if it follows.

        Args:
            place: of the arm (n,).
            when: s, the moment of that.
        """
        if not self._goals:
            return np.zeros_like(place)
        goal = self._goals[-1][1]
        while len(self._goals) > 1 and self._goals[1][0] <= when - self._lag:
            self._goals.popleft()  # the one before the span is kept: the arm may still be on the way from it
        ways = np.array([self._difference(one, goal) for _, one in self._goals])
        off = self._difference(place, goal)
        low, high = ways.min(axis=0) - self._near, ways.max(axis=0) + self._near
        return np.maximum(np.maximum(low - off, off - high), 0.0)
