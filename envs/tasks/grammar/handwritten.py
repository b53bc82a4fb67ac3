"""Goals that were written by hand, each with its meaning: what a person types. Never trained."""

from __future__ import annotations

import functools
from importlib import resources

from lohovla.envs.tasks.grammar.meaning import Meaning, parse_meaning


@functools.cache
def handwritten_goals() -> tuple[tuple[str, Meaning], ...]:
    """The sentences of ``handwritten.txt`` with their meanings, in its order."""
    text = resources.files("lohovla.envs.tasks.grammar").joinpath("handwritten.txt").read_text(encoding="utf-8")
    lines = [line.split(" :: ", 1) for line in text.splitlines() if line and not line.startswith("#")]
    return tuple((sentence, parse_meaning(notation)) for notation, sentence in lines)
