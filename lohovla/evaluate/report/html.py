"""The frame of a report: one HTML page that needs nothing but itself, in light and in dark."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

_STYLE = """
:root { color-scheme: light dark;
  --back: #fbfbfa; --card: #ffffff; --ink: #1f2328; --soft: #667079; --line: #e3e5e2; --grid: #ecedea;
  --ours: #3d6fb4; --ours-soft: #b9cee9; --mark-a: #c8691c; --mark-b: #7a828a; --mark-c: #2f8f7f; --mark-d: #9a5fb0; }
@media (prefers-color-scheme: dark) { :root {
  --back: #14171a; --card: #1b1f23; --ink: #e6e8ea; --soft: #98a1aa; --line: #2d3338; --grid: #262b30;
  --ours: #6d9fe0; --ours-soft: #2f4767; --mark-a: #f0a05a; --mark-b: #a9b1b9; --mark-c: #5fc2b0; --mark-d: #c493d8; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 28px 72px; }
h1 { font-size: 27px; line-height: 1.25; margin: 0 0 6px; letter-spacing: -0.01em; }
h2 { font-size: 18px; margin: 48px 0 4px; } h3 { font-size: 15px; margin: 28px 0 4px; }
p { margin: 4px 0 14px; max-width: 46em; }
.soft, figcaption small { color: var(--soft); }
.numbers { display: flex; flex-wrap: wrap; gap: 12px; margin: 26px 0 0; }
.number { flex: 1 1 150px; background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 14px 18px; }
.number b { display: block; font-size: 25px; line-height: 1.2; font-weight: 620; font-variant-numeric: tabular-nums; }
.number span { color: var(--soft); font-size: 13px; }
.wide { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 6px 16px; margin: 12px 0; }
table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; }
th { text-align: right; font-weight: 560; color: var(--soft); vertical-align: bottom; }
th, td { padding: 6px 7px; border-bottom: 1px solid var(--line); white-space: nowrap; text-align: right; }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left; }
td:nth-child(2) { white-space: normal; min-width: 15em; }
.sentences td:nth-child(n) { white-space: normal; min-width: 0; }
.sentences :is(th, td):nth-child(3) { text-align: left; }
th { white-space: normal; } th:nth-child(n+3) { min-width: 4.2em; }
tr:last-child td { border-bottom: 0; }
tr.total td { font-weight: 600; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--ink); font: 12.5px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
svg .soft { fill: var(--soft); font-size: 11.5px; }
.bars > svg { min-width: 860px; }
.bars > svg.narrow { display: none; min-width: 0; }
@media (max-width: 940px) { .bars > svg.spread { display: none; } .bars > svg.narrow { display: block; } }
.grid { stroke: var(--grid); } .axis { stroke: var(--line); }
.bar { fill: var(--ours-soft); } .line { stroke: var(--ours); fill: none; stroke-width: 2; }
.area { fill: var(--ours-soft); opacity: 0.45; }
.whisker { stroke: var(--ours); stroke-width: 1.8; fill: none; } .point { fill: var(--ours); }
.mark { fill: none; stroke-width: 1.8; stroke: var(--tone); }
.mark-0 { --tone: var(--mark-b); } .mark-1 { --tone: var(--mark-c); } .mark-2 { --tone: var(--mark-d); }
.mark-3 { --tone: var(--mark-a); } .mark-3.mark { fill: var(--mark-a); }
.key { display: flex; flex-wrap: wrap; gap: 4px 22px; font-size: 13px; color: var(--soft); margin: 8px 0 0; }
.key svg { display: inline-block; width: 26px; height: 14px; vertical-align: -2px; margin-right: 5px; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(280px, 1fr)); gap: 14px; margin: 14px 0; }
.cards.films { grid-template-columns: repeat(auto-fill, minmax(400px, 1fr)); }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 10px; overflow: hidden; }
figure img, figure video { display: block; width: 100%; height: auto; background: #181b1f; }
figure.plot { padding: 10px 12px 6px; }
figcaption { padding: 9px 12px 11px; font-size: 13px; line-height: 1.4; overflow-wrap: anywhere; }
figcaption b { font-weight: 600; } figure.plot figcaption { padding: 0 0 6px; }
details { margin: 12px 0; } summary { cursor: pointer; color: var(--soft); }
code, pre { font: 12.5px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 12px 16px; }
@media (max-width: 640px) { main { padding: 22px 14px 48px; } .cards.films { grid-template-columns: 1fr; } }
"""


def page(title: str, body: Iterable[str]) -> str:
    """A whole page."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(body)
        + "\n</main>\n</body>\n</html>\n"
    )


def number_row(entries: Iterable[tuple[str, str]]) -> str:
    """A row of large numbers, each with what it is."""
    cards = [f'<div class="number"><b>{escape(value)}</b><span>{escape(what)}</span></div>' for value, what in entries]
    return f'<div class="numbers">{"".join(cards)}</div>'


def table(header: Sequence[str], rows: Sequence[Sequence[str]], total: bool = False, sentences: bool = False) -> str:
    """A table; with ``total`` the last row stands out, with ``sentences`` cells break into lines."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    lines = []
    for index, row in enumerate(rows):
        mark = ' class="total"' if total and index == len(rows) - 1 else ""
        lines.append(f"<tr{mark}>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>")
    kind = "wide sentences" if sentences else "wide"
    return f'<div class="{kind}"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def inline(path: Path, kind: str) -> str:
    """A file as a data URI of a media type such as ``image/jpeg``."""
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
