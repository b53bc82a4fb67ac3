"""Files beside the log of episodes: pictures of last states, and which episodes are shown."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lohovla.evaluate.episode_log import Row

FAILURES = "failures"  # folder of pictures of last states


def first_by_task(rows: Iterable[Row], count: int, success: bool) -> list[Row]:
    """The first ``count`` successes or failures: each task's first, then each task's second, and so on."""
    by_task: dict[str, list[Row]] = {}
    for row in rows:
        if row["success"] == success:
            by_task.setdefault(row["task"], []).append(row)
    ranked = [(rank, row) for group in by_task.values() for rank, row in enumerate(group)]
    return [row for _, row in sorted(ranked, key=lambda item: item[0])][:count]


def chosen_for_films(rows: Iterable[Row], count: int, per_task: int) -> list[Row]:
    """Failures first, then successes: ``count`` in all, and of every task at least ``per_task``."""
    rows = list(rows)
    chosen = first_by_task(rows, count, success=False)
    chosen += first_by_task(rows, count - len(chosen), success=True)
    for task in dict.fromkeys(row["task"] for row in rows):
        own = sorted((row for row in rows if row["task"] == task), key=lambda row: bool(row["success"]))
        missing = per_task - sum(row["task"] == task for row in chosen)
        chosen += [row for row in own if row not in chosen][: max(missing, 0)]
    return chosen


def picture_path(folder: Path, row: Row) -> Path:
    """Where the picture of a failure's last state is."""
    return folder / FAILURES / f"{row['task']}-{row['seed']}.jpg"
