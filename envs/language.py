"""The words of the block world, read from ``language.yaml``.

Goal sentences, sub-task sentences and their parts are data: the oracle speaks them, the planner is
trained on them, the docs list them. This module only fills the templates in.
"""

from __future__ import annotations

import functools
from importlib import resources
from typing import Any

import yaml


@functools.cache
def vocabulary() -> dict[str, Any]:
    """The whole of ``language.yaml`` as a mapping."""
    text = resources.files("lohovla.envs").joinpath("language.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def palette(name: str) -> tuple[str, ...]:
    """Colour names that an episode may draw from.

    Raises:
        ValueError: if there is no palette of that name.
    """
    palettes = vocabulary()["palettes"]
    if name not in palettes:
        raise ValueError(f"no colour palette {name!r}; choose one of {', '.join(palettes)}")
    return tuple(palettes[name])


def rgb(color: str) -> tuple[float, float, float]:
    """A colour's red, green and blue in [0, 1]."""
    red, green, blue = vocabulary()["colors"][color]
    return red / 255, green / 255, blue / 255


def goal_sentence(task: str, variant: int = 0, **fields: str) -> str:
    """The goal of ``task`` in words; ``variant`` 0 is the published sentence, others paraphrase it.

    >>> goal_sentence("stack-block-in-absolute-area", area="top left")
    'Stack all the blocks in the top left area.'
    """
    templates = vocabulary()["goals"][task]
    return templates[variant % len(templates)].format(**fields)


def block_phrase(color: str, size: str | None = None) -> str:
    """A block in words; ``size`` (smaller, bigger) is said only where a scene holds both.

    >>> block_phrase("red", "bigger")
    'bigger red block'
    """
    return vocabulary()["pick"]["block"].format(color=color, size=f"{size} " if size else "")


def place_phrase(kind: str, *, size: str | None = None, **fields: str) -> str:
    """Where to put something, in words; ``kind`` is a key of ``place`` in the vocabulary.

    >>> place_phrase("bowl", color="green")
    'in the green bowl'
    """
    return vocabulary()["place"][kind].format(size=f"{size} " if size else "", **fields)


def subtask_sentence(pick: str, place: str) -> str:
    """One sub-task in words.

    >>> subtask_sentence("green block", "in the green zone")
    'Pick up the green block and place it in the green zone.'
    """
    return vocabulary()["subtask"].format(pick=pick, place=place)
