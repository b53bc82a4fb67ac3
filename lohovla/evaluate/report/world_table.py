"""Results in another project's environment as text: each task, each group of tasks, and the mean over groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from lohovla.evaluate.report.result_table import percent
from lohovla.evaluate.statistics import by_task, wilson


@dataclass(frozen=True)
class SuccessRate:
    """How many of some episodes succeeded.

    Attributes:
        episodes: how many there are.
        successes: how many succeeded.
        rate: the share, in [0, 1].
        low: lower end of its 95 % interval.
        high: its upper end.
        steps: mean number of actions.
    """

    episodes: int
    successes: int
    rate: float
    low: float
    high: float
    steps: float


@dataclass(frozen=True)
class WorldResults:
    """An evaluation in a world in numbers.

    Attributes:
        tasks: each task.
        groups: each group of tasks, all its episodes together; empty where the world has none.
        overall: all episodes together.
        mean: over the groups' rates, as results are published, with its interval (rate, low, high); None with less
            than two groups.
    """

    tasks: dict[str, SuccessRate]
    groups: dict[str, SuccessRate]
    overall: SuccessRate
    mean: tuple[float, float, float] | None


def world_results(rows: Sequence[Mapping[str, Any]], groups: Sequence[str]) -> WorldResults:
    """Add episodes up; there must be at least one.

    Args:
        rows: the episodes.
        groups: names of groups, in the order of the table.
    """
    members = {group: [row for row in rows if row["group"] == group] for group in groups}
    rates = {group: _rate(found) for group, found in members.items() if found}
    return WorldResults(
        {task: _rate(found) for task, found in by_task(rows).items()}, rates, _rate(rows), _mean(list(rates.values()))
    )


def _rate(rows: Sequence[Mapping[str, Any]]) -> SuccessRate:
    successes = sum(bool(row["success"]) for row in rows)
    low, high = wilson(successes, len(rows))
    return SuccessRate(
        len(rows), successes, successes / len(rows), low, high, sum(row["steps"] for row in rows) / len(rows)
    )


def _mean(rates: Sequence[SuccessRate]) -> tuple[float, float, float] | None:
    """The mean of independent rates, its interval from theirs (Zou & Donner, 2008)."""
    if len(rates) < 2:
        return None
    mean = sum(rate.rate for rate in rates) / len(rates)
    down = sqrt(sum((rate.rate - rate.low) ** 2 for rate in rates)) / len(rates)
    up = sqrt(sum((rate.high - rate.rate) ** 2 for rate in rates)) / len(rates)
    return mean, mean - down, mean + up


def world_json(results: WorldResults) -> dict[str, Any]:
    """What ``summary.json`` holds: rates in [0, 1]."""

    def entry(rate: SuccessRate) -> dict[str, Any]:
        return {key: round(value, 6) for key, value in dataclasses.asdict(rate).items()}

    mean = None if results.mean is None else dict(zip(("rate", "low", "high"), results.mean, strict=True))
    return {
        "overall": entry(results.overall),
        "mean_over_groups": mean,
        "groups": {group: entry(rate) for group, rate in results.groups.items()},
        "tasks": {task: entry(rate) for task, rate in results.tasks.items()},
    }


def world_table(results: WorldResults, groups: Mapping[str, str]) -> tuple[list[str], list[list[str]]]:
    """Column names, and a row of texts a task, a group, for the mean over groups, and for all episodes.

    Args:
        results: the numbers.
        groups: the group of each task.
    """
    header = ["group", "task", "success %", "95 % interval", "solved", "actions"]
    rows = [[groups[task], task, *_cells(rate)] for task, rate in results.tasks.items()]
    if len(results.groups) > 1:
        rows += [[group, "all of the group", *_cells(rate)] for group, rate in results.groups.items()]
    if results.mean is not None:
        mean, low, high = results.mean
        rows.append(["", "mean over groups", percent(mean), f"{100 * low:.1f} to {100 * high:.1f}", "", ""])
    if len(results.tasks) > 1:
        rows.append(["", f"all {results.overall.episodes} episodes", *_cells(results.overall)])
    return header, rows


def _cells(rate: SuccessRate) -> list[str]:
    return [
        percent(rate.rate),
        f"{100 * rate.low:.1f} to {100 * rate.high:.1f}",
        f"{rate.successes} of {rate.episodes}",
        f"{rate.steps:.0f}",
    ]
