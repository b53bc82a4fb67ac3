"""Joint positions by name: arm and gripper may have publishers of their own on one topic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_SET_BACK = 1.0  # s; a joint that is so much older than before was told by a clock that was set


class JointStates:
    """The newest position of every joint that was heard, each with the moment when it was taken.

    A position that is no number (``NaN``, None) is kept as such: the joint is not known until it is told again.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, float]] = {}  # position, taken

    def take(self, message: Mapping[str, Any], taken: float) -> None:
        """Hear a ``sensor_msgs/JointState``; names without a position are passed over.

        Args:
            message: as it came.
            taken: when, s on the loop's clock.
        """
        for name, position in zip(message["name"], message["position"], strict=False):
            before = self._known.get(name)
            if before is None or not before[1] - _SET_BACK < taken < before[1]:
                self._known[name] = (math.nan if position is None else float(position)), taken

    def positions(self, names: Sequence[str]) -> np.ndarray | None:
        """Positions (n,) of joints, however old; None where one is not known."""
        told = [self._known.get(name, (math.nan, 0.0))[0] for name in names]
        return np.array(told) if all(math.isfinite(value) for value in told) else None

    def fault(self, names: Sequence[str], now: float, oldest: float) -> str:
        """What is wrong with these joints, by name, or "".

        Args:
            names: of the joints in use.
            now: s on the loop's clock.
            oldest: s that a position may be old.
        """
        faults: dict[str, list[str]] = {}
        for name in names:
            position, taken = self._known.get(name, (math.nan, -math.inf))
            if taken == -math.inf:
                faults.setdefault("never told", []).append(name)
            elif not math.isfinite(position):
                faults.setdefault("not a number", []).append(name)
            elif now - taken > oldest:
                age = max(now - self._known[one][1] for one in names if one in self._known)
                faults.setdefault(f"up to {age:.2f} s old", []).append(name)
        return "; ".join(f"{', '.join(those)} {what}" for what, those in faults.items())
