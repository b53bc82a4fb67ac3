"""Stop strings: where one begins, and what is kept of an answer that it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Stopped:
    """What stands before a stop string.

    Attributes:
        tokens: the fewest leading ones whose text holds all of it; the last one may hold the stop string's beginning.
        characters: of their text, those before it.
    """

    tokens: int
    characters: int


def stopped(ids: Sequence[int], stops: Sequence[str], text: Callable[[list[int]], str] | None) -> Stopped | None:
    """What stands before the first stop string in the text of ``ids``; None where there is no such string.

    Raises:
        ValueError: there are stop strings, and no ``text`` to turn ids into text.
    """
    if not stops:
        return None
    if text is None:
        raise ValueError("stop strings need a function that turns ids into text")
    whole = text(list(ids))
    place = first_match(whole, stops)
    if place is None:
        return None
    # Tokens are tried one more at a time: a character whose bytes are not all there yet looks like another one.
    count = next(n for n in range(len(ids) + 1) if text(list(ids[:n]))[:place] == whole[:place])
    return Stopped(count, place)


def first_match(text: str, stops: Sequence[str]) -> int | None:
    """Where the first stop string in ``text`` begins."""
    return min((place for place in map(text.find, stops) if place >= 0), default=None)


def partial_match(text: str, stops: Sequence[str]) -> int:
    """How many characters at the end of ``text`` may be the beginning of a stop string."""
    return max((_ahead(text, stop) for stop in stops), default=0)


def _ahead(text: str, stop: str) -> int:
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
