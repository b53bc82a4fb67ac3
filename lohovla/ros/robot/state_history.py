"""The arm's states of the last moment: what it was when a picture was taken, which comes later than its state does."""

from __future__ import annotations

from collections import deque

import numpy as np

from lohovla.control.poses import nearest

_KEPT = 1.0  # s: pictures that are older are not used
_SET_BACK = 1.0  # s; a state that is so much older than the last was told by a clock that was set


class StateHistory:
    """States (n,) that begin with the tool's pose (6,), each with the moment when it was taken, s."""

    def __init__(self) -> None:
        self._kept: deque[tuple[float, np.ndarray]] = deque()

    def add(self, taken: float, state: np.ndarray) -> None:
        """Keep a state, unless it is no newer than the last."""
        if self._kept and taken < self._kept[-1][0] - _SET_BACK:
            self._kept.clear()
        if self._kept and taken <= self._kept[-1][0]:
            return
        self._kept.append((taken, np.array(state, dtype=np.float64)))
        while taken - self._kept[0][0] > _KEPT:
            self._kept.popleft()

    def state_at(self, moment: float) -> np.ndarray:
        """The state (n,) of a moment, between the two that were told around it; the first or last beyond them.

        Raises:
            LookupError: nothing was kept.
        """
        if not self._kept:
            raise LookupError("no state was kept")
        later = next((k for k, (taken, _) in enumerate(self._kept) if taken >= moment), None)
        if later is None:
            return self._kept[-1][1].copy()
        if later == 0:
            return self._kept[0][1].copy()
        (begin, before), (end, after) = self._kept[later - 1], self._kept[later]
        after = after.copy()
        after[3:6] = nearest(after[3:6], before[3:6])
        return before + (after - before) * ((moment - begin) / (end - begin))
