"""The report of an evaluation: ``report.html``, which a stranger can open anywhere and understand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from lohovla.envs.tasks.registry import get_task
from lohovla.evaluate import confusion, failure_analysis
from lohovla.evaluate.episode_log import Row
from lohovla.evaluate.protocol import Protocol
from lohovla.evaluate.report import html, published_results, svg_plots
from lohovla.evaluate.report.report_sections import count_of, failures_section, films_section, settings_section
from lohovla.evaluate.report.result_table import EvaluationResults, percent, results_table, success_interval
from lohovla.evaluate.statistics import by_task, score_curve
from lohovla.output_folder import write_atomically


def write_report(
    folder: Path, protocol: Protocol, rows: Sequence[Row], results: EvaluationResults, films: Sequence[tuple[Row, Path]]
) -> None:
    """Write ``report.html`` into ``folder``; pictures and films are taken into it."""
    title = f"{protocol.policy} on {count_of(len(protocol.tasks), 'task')}"
    body = [
        *_head(folder, protocol, rows, results, title),
        *_bars(results),
        *_table(results),
        *_curves(protocol, rows),
        *(_diagnosis(rows) if protocol.diagnose else ()),
        *films_section(films, rows, _name, _caption),
        *failures_section(folder, rows, _caption),
        *settings_section(folder, ("version", "commit", "environment")),
    ]
    write_atomically(folder / "report.html", html.page(title, body).encode())


def _head(
    folder: Path, protocol: Protocol, rows: Sequence[Row], results: EvaluationResults, title: str
) -> Iterator[str]:
    overall, first, last = results.overall, protocol.seeds[0], protocol.seeds[-1]
    yield f"<h1>{escape(title)}</h1>"
    seeds = f"seed {first}" if first == last else f"seeds {first} to {last}, every other one"
    yield (
        f'<p class="soft">{count_of(len(protocol.seeds), "episode")} a task ({protocol.split} {seeds}), actions by'
        f" <code>{escape(protocol.env['control'])}</code>. An episode succeeds when its last state scores above 0.99;"
        " the score is the share of the goal that stands. Intervals are Wilson’s, 95 %.</p>"
    )
    yield html.number_row(
        [
            (f"{percent(overall.rate)} %", f"success; interval {success_interval(overall)} %"),
            (f"{percent(overall.score)} %", "mean score"),
            (f"{overall.episodes}", f"episodes, {count_of(overall.episodes - overall.successes, 'failure')}"),
            (f"{overall.subtasks:.1f}", "sub-tasks planned an episode"),
            (f"{overall.seconds:.1f} s", f"simulated time an episode, {overall.steps:.0f} actions"),
        ]
    )


def _bars(results: EvaluationResults) -> Iterator[str]:
    systems = published_results.systems()
    label = {task: f"{task}\u2002{get_task(task).letter}".rstrip() for task in results.tasks}
    yield "<h2>Success rate</h2>"
    yield '<p class="soft">Share of episodes solved, with its interval; published results where there are some.</p>'
    success, score = [], []
    for task, summary in results.tasks.items():
        known = [published_results.published_figures(task, key) for key in systems]
        rates = [f.success / 100 if f and f.success is not None else None for f in known]
        success.append(svg_plots.Bar(label[task], summary.rate, (summary.low, summary.high), rates))
        score.append(svg_plots.Bar(label[task], summary.score, None, [f.score / 100 if f else None for f in known]))
    for entries, heading, ours in ((success, "", "this run, 95 % interval"), (score, "Mean score", "this run")):
        if heading:
            yield f"<h2>{heading}</h2>"
            yield '<p class="soft">How much of the goal stood at the end: partial credit counts here.</p>'
        shown = [
            (kind, name)
            for kind, name in enumerate(systems.values())
            if any(bar.marks[kind] is not None for bar in entries)
        ]
        charts = svg_plots.bars(entries) + svg_plots.narrow_bars(entries)
        yield f'<div class="wide bars">{svg_plots.plot_key(shown, ours, interval=not heading)}{charts}</div>'


def _table(results: EvaluationResults) -> Iterator[str]:
    yield "<h2>Table</h2>"
    yield (
        '<p class="soft">Sub-tasks, steps (actions sent) and simulated seconds are means over episodes. Published'
        " columns: average score / success rate in %, from LoHoVLA, arXiv 2506.00411 (LoHoRavens: score only), in that"
        " work’s simulator.</p>"
    )
    header, rows = results_table(results)
    yield html.table(header, rows, total=len(results.tasks) > 1)


def _curves(protocol: Protocol, rows: Sequence[Row]) -> Iterator[str]:
    clock, unit = ("step", "actions") if protocol.env["control"] == "pick_place" else ("time", "s")
    yield "<h2>Score over steps</h2>"
    yield (
        f'<p class="soft">Mean score of all episodes against {"actions" if clock == "step" else "simulated time"};'
        " an episode that has ended keeps its score.</p>"
    )
    yield '<div class="cards">'
    for task, group in by_task(rows).items():
        end = max(row["steps"] if clock == "step" else row["simulated_seconds"] for row in group)
        drawn = svg_plots.curve(score_curve(group, clock), end, unit)
        yield f'<figure class="plot"><figcaption>{_name(task)}</figcaption>{drawn}</figure>'
    yield "</div>"


def _diagnosis(rows: Sequence[Row]) -> Iterator[str]:
    looked_at = sum(row.get("diagnosis") is not None for row in rows)
    yield "<h2>Diagnosis</h2>"
    yield (
        f'<p class="soft">Where the policy goes wrong, in {looked_at} of {count_of(len(rows), "episode")}: sub-tasks'
        " that gained something or are the oracle’s (right), and those that say what the oracle would have said; how"
        " far picks are from the middle of the nearest block, and places from the oracle’s, in the median and the 95th"
        " percentile; picks that gripped nothing; judgements of progress that were right.</p>"
    )
    header, lines = failure_analysis.as_table(failure_analysis.summary_by_task(rows))
    yield html.table(["", *header], [[get_task(line[0]).letter, *line] for line in lines])
    if plans := confusion.plans_of(rows):
        yield "<h3>Planned against right sub-tasks</h3>"
        yield (
            f'<p class="soft">{count_of(len(plans), "plan")}, by the kind of place that the oracle’s sub-task names at'
            " that moment and that of the one planned. A plan is right that is the oracle’s or gained something.</p>"
        )
        yield html.table(*confusion.kind_table(plans))
        header, lines = confusion.pair_table(plans)
        if lines:
            yield '<p class="soft">The most frequent plans that were wrong:</p>'
            yield html.table(header, lines, sentences=True)


def _caption(row: Row) -> str:
    solved = f"solved after {count_of(row['actions'], 'action')}, {row['simulated_seconds']:.1f} s"
    return (
        f"<figcaption><b>{_name(row['task'])}</b> <small>seed {row['seed']}</small><br>“{escape(row['instruction'])}”"
        f"<br><small>{solved if row['success'] else escape(row['failure'])}</small></figcaption>"
    )


def _name(task: str) -> str:
    letter = get_task(task).letter
    return escape(f"{letter}  {task}" if letter else task)
