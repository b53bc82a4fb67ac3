"""Evaluation runs side by side: differences, and a paired test on the seeds that they share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from lohovla.envs.tasks.names import TASKS
from lohovla.envs.tasks.registry import get_task
from lohovla.errors import UserError
from lohovla.evaluate.episode_log import Row, environment_of, flatten, read_rows, read_settings
from lohovla.evaluate.episode_pairs import episode_pairs, pairs_section
from lohovla.evaluate.report import html
from lohovla.evaluate.report.result_table import percent
from lohovla.evaluate.statistics import mcnemar

_NOT_COMPARED = (
    "output",
    "runner",
    "workers",
    "batch",
    "videos",
    "videos_per_task",
    "suite",
    "tasks",
    "episodes",
    "control",
    "world.python",
)


@dataclass(frozen=True)
class EvaluationRun:
    """An evaluation read from its folder.

    Attributes:
        name: what it is called here.
        folder: where it is.
        rows: its episodes by (task, seed).
        settings: what it was made with, by dotted name.
    """

    name: str
    folder: Path
    rows: dict[tuple[str, int], Row]
    settings: dict[str, Any]


@dataclass(frozen=True)
class RunPair:
    """Two runs on the episodes that both have.

    Attributes:
        what: the task, or what the episodes are.
        shared: how many episodes both have, with equal tasks and seeds.
        rates: success rate of each run on them.
        scores: mean score of each.
        only_first: episodes that only the first run solved.
        only_second: episodes that only the second one did.
        p: exact McNemar test's two-sided p-value.
    """

    what: str
    shared: int
    rates: tuple[float, float]
    scores: tuple[float, float]
    only_first: int
    only_second: int
    p: float


def read_runs(folders: Sequence[Path]) -> list[EvaluationRun]:
    """Read runs; their names are the folders' last parts that tell them apart.

    Raises:
        UserError: fewer than two, the same one twice, or one that is no evaluation or empty.
    """
    if len(folders) < 2:
        raise UserError(
            f"{len(folders)} runs cannot be compared", "`lohovla compare RUN RUN` takes two or more folders"
        )
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UserError("a run is named twice", "name different folders")
    runs = []
    for folder, name in zip(folders, _names(folders), strict=True):
        rows = read_rows(folder)
        if not rows:
            raise UserError(f"the evaluation in {folder} has no episode yet", "let it run first")
        made = read_settings(folder)
        settings = {"environment": environment_of(made), **flatten(made.get("settings", {}))}
        runs.append(EvaluationRun(name, folder, {(row["task"], row["seed"]): row for row in rows}, settings))
    return runs


def _names(folders: Sequence[Path]) -> list[str]:
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts))):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def pair(first: EvaluationRun, second: EvaluationRun) -> list[RunPair]:
    """Compare two runs: each task that they share, and, if there are several, all episodes together.

    Raises:
        UserError: they share no episode.
    """
    shared = [key for key in first.rows if key in second.rows]
    if not shared:
        raise UserError(
            f"{first.name} and {second.name} share no episode", "evaluate both on the same tasks and the same split"
        )
    tasks = list(dict.fromkeys(task for task, _ in shared))
    pairs = [_pair(task, first, second, [key for key in shared if key[0] == task]) for task in tasks]
    return [*pairs, _pair("all", first, second, shared)] if len(tasks) > 1 else pairs


def _pair(what: str, first: EvaluationRun, second: EvaluationRun, keys: Sequence[tuple[str, int]]) -> RunPair:
    rows = [(first.rows[key], second.rows[key]) for key in keys]
    only_first = sum(a["success"] and not b["success"] for a, b in rows)
    only_second = sum(b["success"] and not a["success"] for a, b in rows)

    def means(field: str) -> tuple[float, float]:
        return sum(a[field] for a, _ in rows) / len(rows), sum(b[field] for _, b in rows) / len(rows)

    p = mcnemar(only_first, only_second)
    return RunPair(what, len(rows), means("success"), means("score"), only_first, only_second, p)


def pairs_table(first: str, second: str, pairs: Sequence[RunPair]) -> tuple[list[str], list[list[str]]]:
    """Column names, and a row of texts a pair."""
    header = [
        "",
        "task",
        "shared seeds",
        f"{first} success %",
        f"{second} success %",
        "difference",
        f"only {first}",
        f"only {second}",
        "p",
        f"{first} score %",
        f"{second} score %",
        "difference",
    ]
    rows = []
    for entry in pairs:
        whole = entry.what == "all"
        rows.append(
            [
                get_task(entry.what).letter if entry.what in TASKS else "",
                "all episodes" if whole else entry.what,
                str(entry.shared),
                *_difference(entry.rates),
                str(entry.only_first),
                str(entry.only_second),
                f"{entry.p:.3f}" if entry.p >= 0.001 else "<0.001",
                *_difference(entry.scores),
            ]
        )
    return header, rows


def _difference(values: tuple[float, float]) -> list[str]:
    first, second = values
    return [percent(first), percent(second), f"{100 * (second - first):+.1f}"]


def differing_settings(runs: Sequence[EvaluationRun]) -> tuple[list[str], list[list[str]]]:
    """Column names, and a row a setting in which the runs differ and that may change outcomes."""
    keys = dict.fromkeys(key for run in runs for key in run.settings if key not in _NOT_COMPARED)
    rows = [["", key, *[str(run.settings.get(key)) for run in runs]] for key in keys]
    return ["", "setting", *[run.name for run in runs]], [row for row in rows if len(set(row[2:])) > 1]


EXPLANATION = (
    "Rates and scores are of the episodes that both runs have, by task and seed. The test is McNemar’s, exact and"
    " two-sided: among the episodes that only one of the two solved, how often an even coin would split them at least"
    " this unevenly. A p below 0.05 on one of many tasks is no proof by itself."
)


def comparison_page(
    runs: Sequence[EvaluationRun], comparisons: Sequence[tuple[EvaluationRun, EvaluationRun, Sequence[RunPair]]]
) -> str:
    """The comparison as a page."""
    title = f"{', '.join(run.name for run in runs[1:])} against {runs[0].name}"
    return html.page(title, _body(title, runs, comparisons))


def _body(
    title: str,
    runs: Sequence[EvaluationRun],
    comparisons: Sequence[tuple[EvaluationRun, EvaluationRun, Sequence[RunPair]]],
) -> Iterator[str]:
    yield f"<h1>{escape(title)}</h1>"
    yield f'<p class="soft">{EXPLANATION}</p>'
    for first, second, pairs in comparisons:
        total = pairs[-1]
        yield f"<h2>{escape(second.name)} against {escape(first.name)}</h2>"
        yield html.number_row(
            [
                (
                    f"{100 * (total.rates[1] - total.rates[0]):+.1f}",
                    f"percentage points of success, {second.name} less {first.name}",
                ),
                (f"{total.p:.3f}" if total.p >= 0.001 else "<0.001", "p of an equal success rate"),
                (f"{total.only_first} : {total.only_second}", f"solved only by {first.name} : by {second.name}"),
                (f"{total.shared}", "shared episodes"),
            ]
        )
        yield html.table(*pairs_table(first.name, second.name, pairs), total=len(pairs) > 1)
        names, folders = (first.name, second.name), (first.folder, second.folder)
        yield from pairs_section(names, folders, episode_pairs(first.rows, second.rows))
    header, rows = differing_settings(runs)
    yield "<h2>Settings that differ</h2>"
    yield html.table(header, rows) if rows else "<p>None that could change an outcome.</p>"
