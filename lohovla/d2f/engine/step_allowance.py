"""How many rows a step may have, so that it takes no longer than wanted on the machine at hand."""

from __future__ import annotations

_LEAST = 64  # rows that are always allowed, and all while nothing is known: fewer make a step hardly shorter


class StepAllowance:
    """Rows of a step, from how long those before it took.

    A step that took too long, or that was at least half full, says how many rows fit; smaller ones say nothing, since
    most of their time may not depend on their rows. It begins with few rows, because the first step of a process takes
    long besides, and doubles from step to step on a machine that is fast.

    Args:
        most: rows, whatever the time.
        seconds: that a step is wanted to take at most.

    Attributes:
        rows: what the next step may have.
    """

    def __init__(self, most: int, seconds: float):
        self._most, self._seconds = most, seconds
        self.rows = min(most, _LEAST)

    def note(self, rows: int, seconds: float) -> None:
        """Learn from a step."""
        if seconds > self._seconds or 2 * rows >= self.rows:
            fitting = int(rows * self._seconds / max(seconds, 1e-9))
            # Not more than twice as many at once: longer texts and more logits make later steps slower.
            self.rows = max(min(_LEAST, self._most), min(fitting, 2 * self.rows, self._most))
