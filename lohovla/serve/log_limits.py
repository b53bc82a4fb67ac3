"""A log that does not grow with what clients do: lines that repeat are dropped and counted."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable


class RepeatLimit(logging.Filter):
    """Lets a line (by its logger and its text before values are put in) pass so many times in each period.

    Args:
        most: lines of a kind in a period; the last one says that further ones are dropped.
        period: s.
        clock: seconds that only grow.
    """

    def __init__(self, most: int = 20, period: float = 60.0, clock: Callable[[], float] = time.monotonic):
        super().__init__()
        self._most, self._period, self._clock = most, period, clock
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        if record.name == "lohovla.access":  # a line for each request is what was asked for
            return True
        now, key = self._clock(), (record.name, str(record.msg)[:200])
        began, count = self._seen.get(key, (now, 0))
        if now - began >= self._period:
            dropped = max(0, count - self._most)
            if dropped:
                record.msg = f"{record.msg} ({dropped} such lines were left out)"
            began, count = now, 0
        if len(self._seen) > 1000:  # texts that are made up each time are no reason to keep them all
            self._seen.clear()
        self._seen[key] = (began, count + 1)
        if count + 1 == self._most:
            record.msg = f"{record.msg} (further such lines are left out for {self._period:.0f} s)"
        return count < self._most
