"""The report of an evaluation: ``report.html``, which a stranger can open anywhere and understand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from lohovla.disk import write_whole
from lohovla.envs.tasks.registry import get_task
from lohovla.evaluate import diagnose, page, plots, published
from lohovla.evaluate.log import Row, flatten, read_settings
from lohovla.evaluate.protocol import Protocol
from lohovla.evaluate.run import first_of, picture_path
from lohovla.evaluate.statistics import by_task, score_curve
from lohovla.evaluate.table import Results, interval, percent, results_table

_GALLERY = 24  # failures shown with a picture


def write_report(
    folder: Path, protocol: Protocol, rows: Sequence[Row], results: Results, films: Sequence[tuple[Row, Path]]
) -> None:
    """Write ``report.html`` into ``folder``; pictures and films are taken into it."""
    title = f"{protocol.policy} on {_count(len(protocol.tasks), 'task')}"
    body = [
        *_head(folder, protocol, rows, results, title),
        *_bars(results),
        *_table(results),
        *_curves(protocol, rows),
        *(_diagnosis(rows) if protocol.diagnose else ()),
        *_films(films),
        *_failures(folder, rows),
        *_settings(folder, protocol),
    ]
    write_whole(folder / "report.html", page.page(title, body).encode())


def _head(folder: Path, protocol: Protocol, rows: Sequence[Row], results: Results, title: str) -> Iterator[str]:
    overall, first, last = results.overall, protocol.seeds[0], protocol.seeds[-1]
    yield f"<h1>{escape(title)}</h1>"
    seeds = f"seed {first}" if first == last else f"seeds {first} to {last}, every other one"
    yield (
        f'<p class="soft">{_count(len(protocol.seeds), "episode")} a task ({protocol.split} {seeds}), actions by'
        f" <code>{escape(protocol.env['control'])}</code>. An episode succeeds when its last state scores above 0.99;"
        " the score is the share of the goal that stands. Intervals are Wilson’s, 95 %.</p>"
    )
    yield page.numbers(
        [
            (f"{percent(overall.rate)} %", f"success; interval {interval(overall)} %"),
            (f"{percent(overall.score)} %", "mean score"),
            (f"{overall.episodes}", f"episodes, {_count(overall.episodes - overall.successes, 'failure')}"),
            (f"{overall.subtasks:.1f}", "sub-tasks planned an episode"),
            (f"{overall.seconds:.1f} s", f"simulated time an episode, {overall.steps:.0f} actions"),
        ]
    )


def _bars(results: Results) -> Iterator[str]:
    systems = published.systems()
    label = {task: f"{task}\u2002{get_task(task).letter}".rstrip() for task in results.tasks}
    yield "<h2>Success rate</h2>"
    yield '<p class="soft">Share of episodes solved, with its interval; published results where there are some.</p>'
    success, score = [], []
    for task, summary in results.tasks.items():
        known = [published.figures(task, key) for key in systems]
        rates = [f.success / 100 if f and f.success is not None else None for f in known]
        success.append(plots.Bar(label[task], summary.rate, (summary.low, summary.high), rates))
        score.append(plots.Bar(label[task], summary.score, None, [f.score / 100 if f else None for f in known]))
    for entries, heading, ours in ((success, "", "this run, 95 % interval"), (score, "Mean score", "this run")):
        if heading:
            yield f"<h2>{heading}</h2>"
            yield '<p class="soft">How much of the goal stood at the end: partial credit counts here.</p>'
        shown = [
            (kind, name)
            for kind, name in enumerate(systems.values())
            if any(bar.marks[kind] is not None for bar in entries)
        ]
        charts = plots.bars(entries) + plots.narrow_bars(entries)
        yield f'<div class="wide bars">{plots.key(shown, ours, interval=not heading)}{charts}</div>'


def _table(results: Results) -> Iterator[str]:
    yield "<h2>Table</h2>"
    yield (
        '<p class="soft">Sub-tasks, steps (actions sent) and simulated seconds are means over episodes. Published'
        " columns: average score / success rate in %, from LoHoVLA, arXiv 2506.00411 (LoHoRavens: score only), in that"
        " work’s simulator.</p>"
    )
    header, rows = results_table(results)
    yield page.table(header, rows, total=len(results.tasks) > 1)


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
        drawn = plots.curve(score_curve(group, clock), end, unit)
        yield f'<figure class="plot"><figcaption>{_name(task)}</figcaption>{drawn}</figure>'
    yield "</div>"


def _diagnosis(rows: Sequence[Row]) -> Iterator[str]:
    looked_at = sum(row.get("diagnosis") is not None for row in rows)
    yield "<h2>Diagnosis</h2>"
    yield (
        f'<p class="soft">Where the policy goes wrong, in {looked_at} of {_count(len(rows), "episode")}: sub-tasks that'
        " gained something or are the oracle’s (right), and those that say what the oracle would have said; how far"
        " picks are from the middle of the nearest block, and places from the oracle’s, in the median and the 95th"
        " percentile; picks that gripped nothing; judgements of progress that were right.</p>"
    )
    header, lines = diagnose.as_table(diagnose.by_task(rows))
    yield page.table(["", *header], [[get_task(line[0]).letter, *line] for line in lines])


def _films(films: Sequence[tuple[Row, Path]]) -> Iterator[str]:
    if not films:
        return
    failed = sum(not row["success"] for row, _ in films)
    parts = [_count(failed, "failure")] if failed else []
    parts += [f"{len(films) - failed} solved"] if len(films) > failed else []
    yield "<h2>Films</h2>"
    yield f'<p class="soft">The first episodes, played again: {" and ".join(parts)}.</p>'
    yield '<div class="cards films">'
    for row, path in films:
        source = page.inline(path, "video/mp4")
        yield f'<figure><video controls muted preload="metadata" src="{source}"></video>{_caption(row)}</figure>'
    yield "</div>"


def _failures(folder: Path, rows: Sequence[Row]) -> Iterator[str]:
    failed = [row for row in rows if not row["success"]]
    yield "<h2>Failures</h2>"
    if not failed:
        yield "<p>No episode failed.</p>"
        return
    reasons = Counter(row["reason"] for row in failed)
    shown = first_of(rows, _GALLERY, success=False)
    counted = ", ".join(f"{count} by {reason}" for reason, count in reasons.most_common())
    yield f'<p class="soft">{len(failed)} of {len(rows)} episodes failed: {counted}.</p>'
    yield f'<p class="soft">The last state of {"each" if len(shown) == len(failed) else f"the first {len(shown)}"}:</p>'
    yield '<div class="cards">'
    for row in shown:
        source = page.inline(picture_path(folder, row), "image/jpeg")
        yield f'<figure><img alt="last state" loading="lazy" src="{source}">{_caption(row)}</figure>'
    yield "</div>"


def _caption(row: Row) -> str:
    solved = f"solved after {_count(row['actions'], 'action')}, {row['simulated_seconds']:.1f} s"
    return (
        f"<figcaption><b>{_name(row['task'])}</b> <small>seed {row['seed']}</small><br>“{escape(row['instruction'])}”"
        f"<br><small>{solved if row['success'] else escape(row['failure'])}</small></figcaption>"
    )


def _settings(folder: Path, protocol: Protocol) -> Iterator[str]:
    made = read_settings(folder)
    lines = [f"{key}: {value}" for key, value in flatten(made.get("settings", {})).items()]
    lines = [*(f"{key}: {made.get(key)}" for key in ("version", "commit", "environment")), *lines]
    yield f"<details><summary>Settings of this run</summary><pre>{escape(chr(10).join(lines))}</pre></details>"


def _name(task: str) -> str:
    letter = get_task(task).letter
    return escape(f"{letter}  {task}" if letter else task)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
