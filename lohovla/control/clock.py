"""The clock that the loop runs by: the wall's, or a simulated one."""

from __future__ import annotations

import time
from typing import Protocol

_SPIN = 3e-4  # s before the moment when sleeping gives way to looking at the clock


class Clock(Protocol):
    """Seconds that increase, from an arbitrary zero."""

    simulated: bool

    def now(self) -> float:
        """The present moment, s."""
        ...

    def sleep_until(self, moment: float) -> None:
        """Return at ``moment``, or at once if it has passed."""
        ...


class WallClock:
    """The machine's monotonic clock. It sleeps, and watches the last 0.3 ms awake, for a punctual start."""

    simulated = False

    def now(self) -> float:
        return time.monotonic()

    def sleep_until(self, moment: float) -> None:
        left = moment - time.monotonic()
        if left > _SPIN:
            time.sleep(left - _SPIN)
        while time.monotonic() < moment:
            pass


class SimulatedClock:
    """A clock that stands still until somebody sleeps; for tests, studies and runs faster than time."""

    simulated = True

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        return self._now

    def sleep_until(self, moment: float) -> None:
        self._now = max(self._now, moment)

    def jump(self, seconds: float) -> None:
        """Leap, forward or back, as a clock does that is set or a machine that was suspended."""
        self._now += seconds
