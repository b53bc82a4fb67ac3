"""Results as rows of text: for the terminal, for Markdown, and for the report."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from lohovla.envs.tasks.registry import get_task
from lohovla.evaluate.report import published_results
from lohovla.evaluate.statistics import Summary, by_task, summarise


@dataclasses.dataclass(frozen=True)
class EvaluationResults:
    """An evaluation in numbers: each task, and all episodes together."""

    tasks: dict[str, Summary]
    overall: Summary


def results_of(rows: Sequence[Mapping[str, Any]]) -> EvaluationResults:
    """Add up the episodes of each task, and all of them."""
    return EvaluationResults({task: summarise(group) for task, group in by_task(rows).items()}, summarise(rows))


def summary_json(results: EvaluationResults) -> dict[str, Any]:
    """What ``summary.json`` holds: rates and scores in [0, 1], published figures in %."""

    def entry(summary: Summary) -> dict[str, Any]:
        values = {"success_rate": summary.rate, **dataclasses.asdict(summary)}
        return {key: round(value, 6) for key, value in values.items()}

    tasks = {}
    for task, summary in results.tasks.items():
        known = {key: published_results.published_figures(task, key) for key in published_results.systems()}
        others = {key: dataclasses.asdict(figures) for key, figures in known.items() if figures}
        tasks[task] = {"letter": get_task(task).letter, **entry(summary), "published": others}
    return {"overall": entry(results.overall), "tasks": tasks}


def results_table(results: EvaluationResults) -> tuple[list[str], list[list[str]]]:
    """Column names, and a row of texts a task, then one for all; published columns where they say something."""
    names = list(results.tasks)
    columns = {
        key: name
        for key, name in published_results.systems().items()
        if any(published_results.published_figures(t, key) for t in names)
    }
    header = ["", "task", "success %", "95 % interval", "score %", "sub-tasks", "steps", "sim. s", *columns.values()]
    rows = [
        [
            get_task(task).letter,
            task,
            *_cells(summary),
            *[_show(published_results.published_figures(task, key)) for key in columns],
        ]
        for task, summary in results.tasks.items()
    ]
    if len(names) > 1:
        rest = [_show(published_results.mean_figures(names, key)) for key in columns]
        rows.append(["", f"all {results.overall.episodes} episodes", *_cells(results.overall), *rest])
    return header, rows


def _cells(summary: Summary) -> list[str]:
    return [
        percent(summary.rate),
        success_interval(summary),
        percent(summary.score),
        f"{summary.subtasks:.1f}",
        f"{summary.steps:.1f}",
        f"{summary.seconds:.1f}",
    ]


def percent(share: float) -> str:
    """A share in per cent, with one digit; what is not all never reads 100.0.

    >>> percent(0.25), percent(2199 / 2200), percent(1.0)
    ('25.0', '99.9', '100.0')
    """
    text = f"{100 * share:.1f}"
    return "99.9" if text == "100.0" and share < 1.0 else text


def success_interval(summary: Summary) -> str:
    """The interval of the success rate, in per cent."""
    return f"{100 * summary.low:.1f} to {100 * summary.high:.1f}"


def _show(figures: published_results.PublishedResult | None) -> str:
    return str(figures) if figures else ""


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns also line up as plain text."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [header, ["-" * max(3, width) for width in widths], *rows]
    return "".join(
        "| " + " | ".join(cell.ljust(max(3, width)) for cell, width in zip(line, widths, strict=True)) + " |\n"
        for line in lines
    )
