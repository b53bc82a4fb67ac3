"""Blocks being denoised, in the terminal and as a picture."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from lohovla.d2f.text_results import DecodeView
from lohovla.errors import UserError

_NEW, _BLOCK, _HOLE, _PLAIN = "\x1b[1;32m", "\x1b[36m", "\x1b[2m", "\x1b[0m"


class Terminal:
    """Shows views in place, one over the other: masked tokens as dots, those of the last forward bright.

    Args:
        stream: a terminal.
    """

    def __init__(self, stream: TextIO):
        self.stream = stream
        self._lines = 0

    def show(self, view: DecodeView) -> None:
        """Replace what is shown."""
        width, height = shutil.get_terminal_size()
        cells = token_cells(view)
        lines = wrap(cells, width - 1)[-(height - 3) :]
        self._back()
        for line in lines:
            self.stream.write("".join(f"{style}{text}{_PLAIN}" for text, style in line) + "\x1b[K\n")
        done = sum(piece is not None for piece in view.pieces)
        self.stream.write(f"{_HOLE}{done} tokens after {view.forwards} forwards{_PLAIN}\x1b[K\n\x1b[J")
        self.stream.flush()
        self._lines = len(lines) + 1

    def clear(self) -> None:
        """Take the view away."""
        self._back()
        self.stream.write("\x1b[J")
        self.stream.flush()
        self._lines = 0

    def _back(self) -> None:
        if self._lines:
            self.stream.write(f"\x1b[{self._lines}A\r")


def token_cells(view: DecodeView) -> list[tuple[str, str]]:
    """Text and style of each token; blocks are parted by a bar."""
    cells = []
    for place, (piece, born) in enumerate(zip(view.pieces, view.born, strict=True)):
        if place and place % view.size == 0 and view.size > 1:
            cells.append(("|", _BLOCK))
        if piece is None:
            cells.append((" ·", _HOLE))
        else:
            cells.append((piece, _NEW if born == view.forwards - 2 else _PLAIN))
    return cells


def wrap(cells: list[tuple[str, str]], width: int) -> list[list[tuple[str, str]]]:
    """Cells in lines no wider than ``width``; a line end in a cell ends its line."""
    lines: list[list[tuple[str, str]]] = [[]]
    used = 0
    for text, style in cells:
        head, *rest = text.split("\n")
        if used + len(head) > width and used:
            lines.append([])
            used = 0
        lines[-1].append((head, style))
        used += len(head)
        for part in rest:
            lines.append([(part, style)])
            used = len(part)
    return lines


_INK, _PAPER, _GREY, _FRESH = (30, 34, 40), (255, 255, 255), (205, 210, 218), (196, 236, 200)
_TINTS = ((244, 247, 252), (250, 246, 238))
_MARGIN, _WIDTH, _LINE, _SIZE = 16, 620, 21, 14


def write_denoising_film(views: Sequence[DecodeView], prompt: str, file: Path) -> None:
    """A film (GIF) of all views, or four of them side by side (PNG).

    Each token has the place it has in the finished text, so that nothing moves: grey while masked, green when new.
    """
    from PIL import Image

    pictures = _Pictures(views[-1], prompt)
    try:
        if file.suffix == ".gif":
            frames = [pictures.of(view).quantize(32) for view in views]
            times = [450] * (len(frames) - 1) + [2500]
            frames[0].save(file, save_all=True, append_images=frames[1:], duration=times, loop=0, optimize=True)
            return
        chosen = [views[round(k * (len(views) - 1) / 3)] for k in range(4)]
        parts = [pictures.of(view) for view in chosen]
        width, height = parts[0].size
        sheet = Image.new("RGB", (2 * width, 2 * height), _PAPER)
        for k, part in enumerate(parts):
            sheet.paste(part, (k % 2 * width, k // 2 * height))
        sheet.save(file)
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror}", "choose another place with picture=FILE") from None


class _Pictures:
    """Draws views with the places of the last one."""

    def __init__(self, last: DecodeView, prompt: str):
        from PIL import ImageFont

        self.font: Any = ImageFont.load_default(_SIZE)
        self.prompt = self._fold(prompt.strip())
        self.top = _MARGIN + _LINE * len(self.prompt) + 10
        self.boxes: list[tuple[float, float, float]] = []
        x, y = float(_MARGIN), float(self.top)
        for piece in last.pieces:
            wide = self._wide(piece or "")
            if x + wide > _WIDTH - _MARGIN:
                x, y = float(_MARGIN), y + _LINE
            self.boxes.append((x, y, wide))
            x += wide
            if piece and "\n" in piece:
                x, y = float(_MARGIN), y + _LINE
        self.size = (_WIDTH, int(y) + 2 * _LINE + _MARGIN)

    def of(self, view: DecodeView) -> Any:
        """One picture."""
        from PIL import Image, ImageDraw

        image = Image.new("RGB", self.size, _PAPER)
        pen = ImageDraw.Draw(image)
        for number, line in enumerate(self.prompt):
            pen.text((_MARGIN, _MARGIN + number * _LINE), line, (120, 126, 136), self.font)
        for place, (x, y, wide) in enumerate(self.boxes):
            if place >= len(view.pieces):
                break
            piece = view.pieces[place]
            fresh = piece is not None and view.born[place] == view.forwards - 2
            tint = _FRESH if fresh else _TINTS[place // view.size % 2]
            pen.rectangle((x, y - 2, x + wide, y + _LINE - 4), tint)
            if piece is None:
                pen.rounded_rectangle((x + 2, y + 2, x + max(wide - 2, 4), y + _LINE - 8), 3, _GREY)
            else:
                pen.text((x, y), piece.strip("\n"), _INK, self.font)
        done = sum(piece is not None for piece in view.pieces)
        note = f"{done} tokens after {view.forwards} forwards"
        pen.text((_MARGIN, self.size[1] - _LINE - 6), note, (120, 126, 136), self.font)
        return image

    def _wide(self, piece: str) -> float:
        return self.font.getlength(piece.replace("\n", "  ")) + 1

    def _fold(self, text: str) -> list[str]:
        lines: list[str] = []
        for paragraph in text.split("\n"):
            line = ""
            for word in paragraph.split(" "):
                longer = f"{line} {word}".strip()
                if line and self.font.getlength(longer) > _WIDTH - 2 * _MARGIN:
                    lines.append(line)
                    longer = word
                line = longer
            lines.append(line)
        return lines
