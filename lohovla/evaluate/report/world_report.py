"""The report of an evaluation in another project's environment: ``report.html``, which a stranger can open anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from lohovla.evaluate.episode_log import Row
from lohovla.evaluate.report import html, svg_plots
from lohovla.evaluate.report.report_sections import failures_section, films_section, settings_section
from lohovla.evaluate.report.result_table import percent
from lohovla.evaluate.report.world_table import WorldResults, world_table
from lohovla.evaluate.world_protocol import WorldProtocol
from lohovla.output_folder import write_atomically


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
        *films_section(films, rows, escape, _caption),
        *failures_section(folder, rows, _caption),
        *settings_section(folder, ("version", "commit", "made_with")),
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
    yield html.number_row(cards)


def _bars(results: WorldResults) -> Iterator[str]:
    entries = [svg_plots.Bar(task, rate.rate, (rate.low, rate.high)) for task, rate in results.tasks.items()]
    charts = svg_plots.bars(entries) + svg_plots.narrow_bars(entries)
    yield "<h2>Success rate</h2>"
    yield f'<div class="wide bars">{svg_plots.plot_key([], "this run, 95 % interval", interval=True)}{charts}</div>'


def _table(protocol: WorldProtocol, results: WorldResults) -> Iterator[str]:
    yield "<h2>Table</h2>"
    header, rows = world_table(results, protocol.groups)
    yield html.table(header, rows, total=len(results.tasks) > 1)


def _caption(row: Row) -> str:
    said = f"solved after {row['steps']} actions" if row["success"] else row["failure"]
    return (
        f"<figcaption><b>{escape(row['task'])}</b> <small>seed {row['seed']}</small><br>“{escape(row['instruction'])}”"
        f"<br><small>{escape(said)}</small></figcaption>"
    )
