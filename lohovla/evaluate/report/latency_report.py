"""A page about the punctuality of one episode: where the time went, chunk by chunk, and what was prevented."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from lohovla.control.event_log import EventLog
from lohovla.control.latency_stats import LatencyStats
from lohovla.control.loop import ControlLoop
from lohovla.evaluate.report.html import number_row, page, table

_WIDTH, _LEFT, _RIGHT = 1060, 96, 16
_TONES = {"run": "var(--ours-soft)", "hold": "var(--mark-a)", "stop": "var(--mark-b)"}


def write_latency(path: Path, title: str, loop: ControlLoop) -> dict[str, Any]:
    """Write the page; returns the numbers that it shows (:meth:`LatencyStats.summary`)."""
    summary = loop.latency_stats.summary(loop.log, loop.settings.command_hz)
    path.write_text(page(title, _body(title, loop, summary)), encoding="utf-8")
    return summary


def _body(title: str, loop: ControlLoop, summary: dict[str, Any]) -> Iterator[str]:
    yield f"<h1>{escape(title)}</h1>"
    settings, commands = loop.settings, summary["commands"]
    clock = "simulated" if loop.clock.simulated else "wall"
    yield (
        f'<p class="soft">Commands at {settings.command_hz:g} Hz on the {clock} clock;'
        f" chunks joined by {settings.chunking_mode}, {settings.n_action_steps} actions each.</p>"
    )
    reply = summary["stages_ms"].get("reply", {"p50": 0.0, "p99": 0.0})
    yield number_row(
        [
            (f"{commands['jitter_ms'].get('p99', 0.0):.2f} ms", "jitter of commands, 99th percentile"),
            (f"{commands['missed']} of {commands['count']}", "commands missed"),
            (f"{reply['p50']:.0f} / {reply['p99']:.0f} ms", "observation to chunk, median / 99th percentile"),
            (f"{summary['chunks']['largest_leap_mm']:.1f} mm", "largest leap where a chunk joined"),
        ]
    )
    yield "<h2>The episode</h2>"
    yield '<p class="soft">What the loop did; each chunk from its observation until it joined; events.</p>'
    yield f'<div class="wide bars">{timeline(loop.latency_stats, loop.log)}</div>'
    yield "<h2>Stages</h2>"
    rows = [
        [name, what, *[f"{spread[key]:.2f}" for key in ("p50", "p90", "p99", "max")], str(spread["count"])]
        for name, what, spread in _stages(summary)
    ]
    yield table(["stage", "", "median, ms", "p90", "p99", "longest", "count"], rows)
    if loop.log.events:
        yield "<h2>Events</h2>"
        counted = ", ".join(f"{kind}: {count}" for kind, count in sorted(loop.log.counts.items()))
        yield f'<p class="soft">{escape(counted)}.</p>'
        shown = [[f"{e.time:.2f} s", escape(f"{e.kind}: {e.cause}")] for e in loop.log.events[:100]]
        yield table(["time", "what"], shown)


def _stages(summary: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, float]]]:
    words = {
        "capture": "taking an observation",
        "encode": "the model's view of it",
        "plan": "a sub-task",
        "act": "a chunk",
        "reply": "observation until the chunk joins",
        "command": "computing and sending one command",
    }
    for name, spread in summary["stages_ms"].items():
        yield name, words[name], spread
    for name, what in (("late_ms", "start of a command after its time"), ("jitter_ms", "of the time between two sent")):
        if summary["commands"][name].get("count"):
            yield name.removesuffix("_ms"), what, summary["commands"][name]


def timeline(stats: LatencyStats, log: EventLog) -> str:
    """Modes, chunks in flight, lateness of commands and events over the episode's time, as SVG."""
    begin = log.origin
    end = max(stats.command_times[-1] if stats.command_times else begin, begin + 1e-3)
    span = _WIDTH - _LEFT - _RIGHT

    def x(moment: float) -> float:
        return round(_LEFT + span * (moment - begin) / (end - begin), 1)

    parts = [f'<svg viewBox="0 0 {_WIDTH} 190" role="img">']
    step = next(s for s in (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1e9) if (end - begin) / s <= 12)
    for k in range(int((end - begin) / step) + 1):
        at = x(begin + k * step)
        parts.append(f'<line class="grid" x1="{at}" x2="{at}" y1="6" y2="166"/>')
        parts.append(f'<text class="soft" x="{at}" y="182" text-anchor="middle">{k * step:g} s</text>')
    for label, y in (("mode", 24), ("chunks", 60), ("late", 106), ("events", 156)):
        parts.append(f'<text class="soft" x="{_LEFT - 10}" y="{y}" text-anchor="end">{label}</text>')
    following = [moment for moment, _ in stats.modes[1:]] + [end]
    for (moment, mode), until in zip(stats.modes, following, strict=False):
        tone = _TONES.get(mode, "var(--mark-d)")
        width = max(x(until) - x(moment), 0.6)
        parts.append(
            f'<rect x="{x(moment)}" y="12" width="{width:.1f}" height="16" fill="{tone}"><title>{mode}</title></rect>'
        )
    for k, (taken, joined) in enumerate(stats.chunks):
        y = 44 + 9 * (k % 3)
        parts.append(f'<path class="line" d="M{x(taken)} {y}H{x(joined)}"/>')
        parts.append(f'<circle class="point" cx="{x(joined)}" cy="{y}" r="2"/>')
    parts += _lateness(stats, x)
    for event in log.events:
        at = x(begin + event.time)
        words = escape(f"{event.time:.2f} s {event.kind}: {event.cause}")
        parts.append(f'<path class="mark mark-3" d="M{at} 148v12"><title>{words}</title></path>')
    for index, (mode, tone) in enumerate(_TONES.items()):
        parts.append(f'<rect x="{4 + 30 * index}" y="176" width="8" height="8" fill="{tone}"/>')
        parts.append(f'<text class="soft" x="{13 + 30 * index}" y="184" style="font-size:9px">{mode}</text>')
    return "".join([*parts, "</svg>"])


def _lateness(stats: LatencyStats, x: Any) -> Iterator[str]:
    """The latest command of each pixel's time, up to 10 ms."""
    worst: dict[int, float] = {}
    for moment, late in zip(stats.command_times, stats.command_lateness, strict=False):
        place = int(x(moment))
        worst[place] = max(worst.get(place, 0.0), late)
    for place, late in worst.items():
        height = round(min(40.0, 4000.0 * late), 1)
        if height >= 0.2:
            yield f'<path class="line" style="stroke-width:1" d="M{place} 126v{-height}"/>'
    yield f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="126" y2="126"/>'
    yield f'<text class="soft" x="{_LEFT - 10}" y="92" text-anchor="end" style="font-size:9px">10 ms</text>'
