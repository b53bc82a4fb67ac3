"""Draw docs/images/model.png: who sees whom in the training sequence, computed by the model's own layout.

python scripts/draw_model.py docs/images/model.png
"""

from __future__ import annotations

import sys

import torch
from PIL import Image, ImageDraw, ImageFont

from lohovla.model.attention_mask import SequenceLayout, TokenType, expert_attention_mask

CELL, LEFT, TOP = 15, 250, 40
# Each part: its label, kind, sub-task, how many positions, and their orders.
PARTS = (
    ("objects", TokenType.OBJECT, -1, (0, 0, 0, 0, 0)),
    ("state", TokenType.STATE, -1, (0,)),
    ("goal words", TokenType.GOAL, -1, (0, 1, 2, 3)),
    ("sub-task words", TokenType.TEXT, 0, (0, 1, 2, 3)),
    ("sub-goal picture, read", TokenType.SUBGOAL, 0, (0, 0, 0)),
    ("pick, place", TokenType.POINT, 0, (0, 1)),
    ("another sub-task's words", TokenType.TEXT, 1, (0, 1, 2)),
    ("its pick, place", TokenType.POINT, 1, (0, 1)),
    ("masked words, two blocks", TokenType.NOISED, 0, (0, 0, 0, 1, 1, 1)),
    ("picture tokens, known", TokenType.CONTENT, 0, (0, 0, 1, 1, 2, 2)),
    ("picture tokens, to paint", TokenType.QUERY, 0, (0, 0, 1, 1, 2, 2)),
)
COLORS = {
    TokenType.OBJECT: (66, 109, 169),
    TokenType.STATE: (107, 91, 149),
    TokenType.GOAL: (40, 140, 140),
    TokenType.TEXT: (208, 122, 42),
    TokenType.SUBGOAL: (150, 90, 60),
    TokenType.POINT: (186, 60, 60),
    TokenType.NOISED: (200, 165, 60),
    TokenType.CONTENT: (84, 138, 67),
    TokenType.QUERY: (150, 180, 120),
}
CHUNK = ("action chunk (expert)", (70, 70, 70), 4)


def sequence() -> tuple[list[tuple[str, TokenType, int]], SequenceLayout]:
    """The parts with their lengths, and the layout of all."""
    always = [torch.ones(1, len(orders), dtype=torch.bool) for *_, orders in PARTS]
    layouts = [
        SequenceLayout.of_type(kind, valid, group, torch.tensor(orders))
        for (_, kind, group, orders), valid in zip(PARTS, always, strict=True)
    ]
    return [(label, kind, len(orders)) for label, kind, _, orders in PARTS], SequenceLayout.concat(layouts)


def draw() -> Image.Image:
    """The matrix: a row for each position, filled where it sees the column's, in the colour of what is seen."""
    parts, layout = sequence()
    allowed = layout.attention_mask()[0, 0]
    chunk, gray, extra = CHUNK
    length = len(allowed)
    own = torch.ones(extra, extra, dtype=torch.bool)
    cached = expert_attention_mask(layout, 0).expand(extra, -1)
    everything = torch.zeros(length + extra, length + extra, dtype=torch.bool)
    everything[:length, :length] = allowed
    everything[length:, :length], everything[length:, length:] = cached, own
    colors = [COLORS[kind] for _, kind, count in parts for _ in range(count)] + [gray] * extra
    labels = [(label, COLORS[kind], count) for label, kind, count in parts] + [(chunk, gray, extra)]
    size = len(everything)
    picture = Image.new("RGB", (LEFT + size * CELL + 20, TOP + size * CELL + 20), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(14)
    pen.text((LEFT, 10), "is seen", fill="black", font=font)
    pen.text((10, 10), "sees", fill="black", font=font)
    for row in range(size):
        for column in range(size):
            x, y = LEFT + column * CELL, TOP + row * CELL
            fill = colors[column] if everything[row, column] else (242, 242, 242)
            pen.rectangle((x, y, x + CELL - 2, y + CELL - 2), fill=fill)
    at = 0
    for label, color, count in labels:
        middle = TOP + (at + count / 2) * CELL - 9
        pen.text((LEFT - 14 - pen.textlength(label, font=font), middle), label, fill=color, font=font)
        pen.rectangle((LEFT - 9, TOP + at * CELL, LEFT - 5, TOP + (at + count) * CELL - 2), fill=color)
        pen.rectangle((LEFT + at * CELL, TOP - 9, LEFT + (at + count) * CELL - 2, TOP - 5), fill=color)
        at += count
    return picture


if __name__ == "__main__":
    draw().quantize(32).save(sys.argv[1], optimize=True)
