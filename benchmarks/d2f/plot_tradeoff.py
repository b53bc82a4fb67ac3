"""The plot of ``lohovla bench d2f sweep=...``: right answers against tokens a forward."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lohovla.errors import UserError

_WIDE, _HIGH, _LEFT, _TOP, _BOTTOM = 460, 340, 56, 36, 48
_COLORS = {
    ("d2f", 8): (23, 190, 207),
    ("d2f", 16): (31, 119, 180),
    ("d2f+branch", 8): (240, 170, 60),
    ("d2f+branch", 16): (214, 90, 20),
}
_INK, _GRID = (40, 44, 52), (226, 229, 234)


def plot(points: dict[str, list[dict[str, Any]]], file: str) -> None:
    """One panel a task, one line a mode and block size, one dot a threshold; a PNG.

    Args:
        points: for each task the points of the sweep: mode, block, accept, tokens_a_forward, right.
        file: where to write it.
    """
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (_WIDE * len(points), _HIGH), (255, 255, 255))
    pen = ImageDraw.Draw(image)
    fonts = ImageFont.load_default(12), ImageFont.load_default(14)
    most = max(point["tokens_a_forward"] for rows in points.values() for point in rows) * 1.08
    for panel, (task, rows) in enumerate(points.items()):
        _panel(pen, fonts, panel * _WIDE, task, rows, most)
    try:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        image.save(file)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot write {file}: {error}", "picture=FILE.png") from None


def _panel(pen: Any, fonts: Any, left: int, task: str, rows: list[dict[str, Any]], most: float) -> None:
    small, large = fonts
    width, height = _WIDE - _LEFT - 20, _HIGH - _TOP - _BOTTOM
    low = min(0.9 * min(row["right"] for row in rows), 90.0)

    def x(tokens: float) -> float:
        return left + _LEFT + width * tokens / most

    def y(right: float) -> float:
        return _TOP + height * (1 - (right - low) / (100 - low + 1e-9))

    pen.text((left + _LEFT, 8), task, _INK, large)
    for step in range(6):
        right = low + (100 - low) * step / 5
        pen.line((x(0), y(right), x(most), y(right)), _GRID)
        pen.text((left + 10, y(right) - 7), f"{right:.0f} %", _INK, small)
    for tokens in range(0, int(most) + 1, max(1, int(most) // 6)):
        pen.line((x(tokens), y(low), x(tokens), y(100)), _GRID)
        pen.text((x(tokens) - 4, _HIGH - _BOTTOM + 4), str(tokens), _INK, small)
    pen.text((left + _LEFT + width / 2 - 50, _HIGH - 22), "tokens a forward", _INK, small)
    for number, ((mode, block), color) in enumerate(_COLORS.items()):
        line = [(x(r["tokens_a_forward"]), y(r["right"])) for r in rows if (r["mode"], r["block"]) == (mode, block)]
        if not line:
            continue
        pen.line(line, color, 2)
        for px, py in line:
            pen.ellipse((px - 3, py - 3, px + 3, py + 3), color)
        pen.text((left + _LEFT + 8, y(low) - 18 * (number + 1)), f"{mode}, block {block}", color, small)
