"""The report of an evaluation in a world of others: ``report.html``, which a stranger can open anywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from lohovla.evaluate.episode_files import first_by_task, picture_path
from lohovla.evaluate.episode_log import Row, flatten, read_settings
from lohovla.evaluate.report import html, svg_plots
from lohovla.evaluate.report.result_table import percent
from lohovla.evaluate.report.world_table import WorldResults, world_table
from lohovla.evaluate.world_protocol import WorldProtocol
from lohovla.output_folder import write_atomically

_GALLERY = 24  # failures shown with a picture


def write_world_report(
    folder: Path,
    protocol: WorldProtocol,
    rows: Sequence[Row],
    results: WorldResults,
    films: Sequence[tuple[Row, Path]],
) -> None:
    """Write ``report.html`` into ``folder``; pictures and films are taken into it."""
    title = f"{protocol.policy} in {protocol.world['name']}, {len(protocol.tasks)} tasks"
    body = [
        *_head(protocol, results, title),
        *_bars(results),
        *_table(protocol, results),
        *_films(films),
        *_failures(folder, rows),
        *_settings(folder),
    ]
    write_atomically(folder / "report.html", html.page(title, body).encode())


def _head(protocol: WorldProtocol, results: WorldResults, title: str) -> Iterator[str]:
    overall = results.overall
    yield f"<h1>{escape(title)}</h1>"
    yield (
        f'<p class="soft">{len(protocol.seeds)} episodes a task ({protocol.split} seeds {protocol.seeds[0]} to'
        f" {protocol.seeds[-1]}, every other one, each with a layout of its own). An episode succeeds when the task is"
        " solved at any time, and ends there. Intervals are 95 %.</p>"
    )
    cards = [(f"{percent(overall.rate)} %", f"of {overall.episodes} episodes")]
    if results.mean is not None:
        mean, low, high = results.mean
        cards.append((f"{percent(mean)} %", f"mean over groups; {100 * low:.1f} to {100 * high:.1f} %"))
    cards += [(f"{percent(rate.rate)} %", group) for group, rate in results.groups.items()]
    yield html.numbers(cards)


def _bars(results: WorldResults) -> Iterator[str]:
    entries = [svg_plots.Bar(task, rate.rate, (rate.low, rate.high)) for task, rate in results.tasks.items()]
    charts = svg_plots.bars(entries) + svg_plots.narrow_bars(entries)
    yield "<h2>Success rate</h2>"
    yield f'<div class="wide bars">{svg_plots.key([], "this run, 95 % interval", interval=True)}{charts}</div>'


def _table(protocol: WorldProtocol, results: WorldResults) -> Iterator[str]:
    yield "<h2>Table</h2>"
    header, rows = world_table(results, protocol.groups)
    yield html.table(header, rows, total=len(results.tasks) > 1)


def _films(films: Sequence[tuple[Row, Path]]) -> Iterator[str]:
    if not films:
        return
    yield '<h2>Films</h2><div class="cards films">'
    for row, path in films:
        source = html.inline(path, "video/mp4")
        yield f'<figure><video controls muted preload="metadata" src="{source}"></video>{_caption(row)}</figure>'
    yield "</div>"


def _failures(folder: Path, rows: Sequence[Row]) -> Iterator[str]:
    failed = [row for row in rows if not row["success"]]
    yield "<h2>Failures</h2>"
    if not failed:
        yield "<p>No episode failed.</p>"
        return
    counted = ", ".join(f"{count} by {reason}" for reason, count in Counter(r["reason"] for r in failed).most_common())
    yield f'<p class="soft">{len(failed)} of {len(rows)} episodes failed: {counted}. Their last states:</p>'
    yield '<div class="cards">'
    for row in first_by_task(rows, _GALLERY, success=False):
        source = html.inline(picture_path(folder, row), "image/jpeg")
        yield f'<figure><img alt="last state" loading="lazy" src="{source}">{_caption(row)}</figure>'
    yield "</div>"


def _caption(row: Row) -> str:
    said = f"solved after {row['steps']} actions" if row["success"] else row["failure"]
    return (
        f"<figcaption><b>{escape(row['task'])}</b> <small>seed {row['seed']}</small><br>“{escape(row['instruction'])}”"
        f"<br><small>{escape(said)}</small></figcaption>"
    )


def _settings(folder: Path) -> Iterator[str]:
    made = read_settings(folder)
    lines = [f"{key}: {value}" for key, value in flatten(made.get("settings", {})).items()]
    lines = [*(f"{key}: {made.get(key)}" for key in ("version", "commit", "made_with")), *lines]
    yield f"<details><summary>Settings of this run</summary><pre>{escape(chr(10).join(lines))}</pre></details>"
