"""Sections that reports of evaluations have in common: films, failures, settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path

from lohovla.evaluate.episode_files import first_by_task, picture_path
from lohovla.evaluate.episode_log import Row, flatten, read_settings
from lohovla.evaluate.report import html

_GALLERY = 24  # failures shown with a picture


def films_section(
    films: Sequence[tuple[Row, Path]],
    rows: Sequence[Row],
    name: Callable[[str], str],
    caption: Callable[[Row], str],
) -> Iterator[str]:
    """Films in a part a task, which opens at a click; nothing of a film is decoded before it is played.

    Args:
        films: episodes and their mp4 files.
        rows: all episodes.
        name: a task's name as HTML.
        caption: the ``figcaption`` of an episode.
    """
    if not films:
        return
    failed = sum(not row["success"] for row, _ in films)
    parts = [count_of(failed, "failure")] if failed else []
    parts += [f"{len(films) - failed} solved"] if len(films) > failed else []
    tasks = dict.fromkeys(row["task"] for row in rows)
    click = "" if len(tasks) == 1 else " A click on a task opens its films."
    yield "<h2>Films</h2>"
    yield f'<p class="soft">The first episodes, played again: {" and ".join(parts)}.{click}</p>'
    for task in tasks:
        own = [(row, path) for row, path in films if row["task"] == task]
        if not own:
            continue
        played = [row for row in rows if row["task"] == task]
        won = sum(bool(row["success"]) for row in played)
        said = f"{won} of {len(played)} solved; {count_of(len(own), 'film')}"
        yield f"<details{' open' * (len(tasks) == 1)}><summary><b>{name(task)}</b> {said}</summary>"
        yield '<div class="cards films">'
        for row, path in own:
            source = html.inline(path, "video/mp4")
            yield f'<figure><video controls muted preload="none" src="{source}"></video>{caption(row)}</figure>'
        yield "</div></details>"


def failures_section(folder: Path, rows: Sequence[Row], caption: Callable[[Row], str]) -> Iterator[str]:
    """How many episodes failed and why, and the last state of some."""
    failed = [row for row in rows if not row["success"]]
    yield "<h2>Failures</h2>"
    if not failed:
        yield "<p>No episode failed.</p>"
        return
    reasons = Counter(row["reason"] for row in failed)
    shown = first_by_task(rows, _GALLERY, success=False)
    counted = ", ".join(f"{count} by {reason}" for reason, count in reasons.most_common())
    yield f'<p class="soft">{len(failed)} of {len(rows)} episodes failed: {counted}.</p>'
    yield f'<p class="soft">The last state of {"each" if len(shown) == len(failed) else f"the first {len(shown)}"}:</p>'
    yield '<div class="cards">'
    for row in shown:
        source = html.inline(picture_path(folder, row), "image/jpeg")
        yield f'<figure><img alt="last state" loading="lazy" src="{source}">{caption(row)}</figure>'
    yield "</div>"


def settings_section(folder: Path, facts: Sequence[str]) -> Iterator[str]:
    """The settings of a run and some facts of it, folded."""
    made = read_settings(folder)
    lines = [f"{key}: {value}" for key, value in flatten(made.get("settings", {})).items()]
    lines = [*(f"{key}: {made.get(key)}" for key in facts), *lines]
    yield f"<details><summary>Settings of this run</summary><pre>{escape(chr(10).join(lines))}</pre></details>"


def count_of(number: int, what: str) -> str:
    """A number of things in words: ``1 task``, ``2 tasks``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
