"""When another sub-task is planned after failures: the one rule of evaluation, real time and robots.

A sub-task fails when it is looked at and not done, or when its time is over. A new one is planned at the start, when
the sub-task is done, and after more than K failures in a row. K = 0 is always, no K is never.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

REPLAN = ("never", "always", "after_k_failures")


def failures_allowed(replan: str, max_subtask_failures: int) -> float:
    """K of a rule: failures in a row after which the same sub-task is tried once more.

    Args:
        replan: one of :data:`REPLAN`.
        max_subtask_failures: K of ``after_k_failures``.
    """
    return {"never": math.inf, "always": 0, "after_k_failures": max_subtask_failures}[replan]


@dataclass
class SubtaskFailures:
    """Counts the failures of a sub-task in a row.

    Attributes:
        allowed: K; after more failures than that another sub-task is planned.
        count: failures since the last success, or since a sub-task was last given up.
    """

    allowed: float
    count: float = 0

    @property
    def next_gives_up(self) -> bool:
        """Whether one more failure would be too many."""
        return self.count + 1 > self.allowed

    def add(self) -> bool:
        """One more; returns whether that was too many. Then the count begins again, for another sub-task."""
        gives_up = self.next_gives_up
        self.count = 0 if gives_up else self.count + 1
        return gives_up

    def clear(self) -> None:
        """The sub-task was done, or another one was begun."""
        self.count = 0

    def exhaust(self) -> None:
        """Whatever has been counted, the next failure is too many (unless the rule is never)."""
        self.count = self.allowed
