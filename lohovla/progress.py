"""Progress of what takes long: a bar on a terminal, and elsewhere (a log, a notebook) a line a minute."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from tqdm import tqdm

LOG_FORMAT = "%(asctime)s %(name)s: %(message)s"  # of every command that logs; `lohovla ros` adds its namespace
_EVERY = 60.0  # s between lines where there is no terminal; what is shorter says nothing there


class ProgressLines(tqdm):
    """Says how far it is in lines of their own, each with the time gone and the time left."""

    def __init__(self, *arguments: Any, every: float | None = None, **settings: Any):
        every = _EVERY if every is None else every
        super().__init__(*arguments, **{"mininterval": every, "maxinterval": max(every, 1e-9), **settings})

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Write a line, but none before the first thing is done."""
        if self.n > self.initial:
            facts = self.format_dict
            rate = facts["rate"] or (self.n - self.initial) / max(facts["elapsed"], 1e-9)
            of = f" of {self.total}" if self.total else ""
            left = f", about {self.format_interval((self.total - self.n) / rate)} left" if self.total else ""
            unit = "" if self.unit == "it" else self.unit
            name = f"{self.desc.removesuffix(': ')}: " if self.desc else ""
            gone = self.format_interval(facts["elapsed"])
            figures = f"; {facts['postfix']}" if facts["postfix"] else ""
            print(f"{name}{self.n}{of}{unit}, {gone} gone{left}{figures}", file=sys.stderr, flush=True)
        return True

    def set_postfix_str(self, s: str = "", **_: Any) -> None:
        """Figures for the next line; they do not make one of their own."""
        super().set_postfix_str(s, refresh=False)

    def close(self) -> None:
        """End without a word: what was done is told by the command itself."""
        self.disable = True


def progress(iterable: Iterable[Any] | None = None, quiet: bool = False, **settings: Any) -> Any:
    """A tqdm that suits where standard error goes.

    Args:
        iterable: what is gone through; None where ``update`` is called.
        quiet: shows nothing.
        settings: tqdm's own: ``total``, ``initial``, ``desc``, ``leave``, and ``unit``, one of what is counted.
    """
    if "unit" in settings:
        settings["unit"] = f" {settings['unit']}s"
    if quiet or sys.stderr.isatty():
        return tqdm(iterable, disable=quiet, **settings)
    return ProgressLines(iterable, **settings)


class WithoutColor:
    """A stream that leaves colours and weights out of what is written to it; NO_COLOR asks for it."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text without its styles."""
        return self._stream.write(re.sub(r"\x1b\[[0-9;]*m", "", text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def colored(stream: TextIO) -> Any:
    """The stream itself, or one without colours where the environment has NO_COLOR (no-color.org)."""
    return WithoutColor(stream) if os.environ.get("NO_COLOR") else stream
