"""What episodes add up to: rates with intervals, means, and tests on pairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """Episodes in numbers.

    Attributes:
        episodes: how many.
        successes: how many of them succeeded.
        low: lower end of the 95 % interval of the success rate, in [0, 1].
        high: its upper end.
        score: mean final score, in [0, 1].
        subtasks: mean number of sub-tasks planned.
        steps: mean number of actions sent.
        seconds: mean simulated time, s.
        drops: mean number of dropped blocks.
    """

    episodes: int
    successes: int
    low: float
    high: float
    score: float
    subtasks: float
    steps: float
    seconds: float
    drops: float

    @property
    def rate(self) -> float:
        """The success rate, in [0, 1]."""
        return self.successes / self.episodes


def summarise(rows: Sequence[Mapping[str, Any]]) -> Summary:
    """Add episodes up; there must be at least one."""
    n = len(rows)
    successes = sum(row["success"] for row in rows)
    low, high = wilson(successes, n)

    def mean(values: Iterable[float]) -> float:
        return sum(values) / n

    return Summary(
        episodes=n,
        successes=successes,
        low=low,
        high=high,
        score=mean(row["score"] for row in rows),
        subtasks=mean(len(row["subtasks"]) for row in rows),
        steps=mean(row["steps"] for row in rows),
        seconds=mean(row["simulated_seconds"] for row in rows),
        drops=mean(row["drops"] for row in rows),
    )


def by_task(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The rows of each task, tasks in the order in which they first come."""
    groups: dict[str, list[Any]] = {}
    for row in rows:
        groups.setdefault(row["task"], []).append(row)
    return groups


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's 95 % score interval of a binomial rate (Wilson, 1927).

    >>> [round(end, 4) for end in wilson(200, 200)]
    [0.9812, 1.0]
    """
    from scipy.stats import binomtest

    interval = binomtest(successes, trials).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided exact p-value that two runs on equal seeds succeed equally often (McNemar, 1947).

    Args:
        only_first: pairs in which only the first run succeeded.
        only_second: pairs in which only the second did.

    >>> mcnemar(0, 5)
    0.0625
    """
    from scipy.stats import binomtest

    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second, 0.5).pvalue)


def score_curve(rows: Sequence[Mapping[str, Any]], clock: str) -> list[tuple[float, float]]:
    """The mean score over ``rows`` as it goes: points (x, mean score), each holding until the next.

    An episode keeps its last score after its end.

    Args:
        rows: episodes, at least one.
        clock: ``step`` for actions sent, ``time`` for simulated seconds.
    """
    column = {"step": 0, "time": 1}[clock]
    changes: dict[float, float] = {}
    for row in rows:
        before = 0.0
        for point in row["scores"]:
            changes[point[column]] = changes.get(point[column], 0.0) + point[2] - before
            before = point[2]
    total, curve = 0.0, []
    for x in sorted(changes):
        total += changes[x]
        curve.append((float(x), total / len(rows)))
    return curve
