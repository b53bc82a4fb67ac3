"""The text of an answer in the making, as far as it can be told for good."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lohovla.d2f.decode import Answer


class Spoken:
    """Tells a growing answer piece by piece; what was told is never taken back.

    Held back until it is certain: a character whose bytes are not all there yet, and what may be the beginning of a
    stop string.

    Args:
        decode: turns ids into text.
        stops: strings that end the answer, not told themselves.
        most: tokens at most.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stops: tuple[str, ...], most: int):
        self._decode, self._stops, self._most = decode, stops, most
        self._told = 0

    def further(self, tokens: Sequence[int], over: bool = False) -> str:
        """What can be told besides, when ``tokens`` are decided.

        Args:
            tokens: all so far.
            over: nothing will follow.
        """
        text = self._decode(tokens[: self._most])
        cut = min((at for at in (text.find(stop) for stop in self._stops) if at >= 0), default=None)
        if cut is not None:
            text = text[:cut]
        elif not over:
            text = text.rstrip("\ufffd")
            text = text[: len(text) - max((_begun(text, stop) for stop in self._stops), default=0)]
        further = text[self._told :]
        self._told += len(further)
        return further


def _begun(text: str, stop: str) -> int:
    """How many characters of ``stop`` the text ends with, not all of them."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)


def whole(answer: Answer, most: int) -> tuple[list[int], str]:
    """The tokens of an answer that count, and why it ends there, in OpenAI's words."""
    if len(answer.tokens) > most:
        return answer.tokens[:most], "length"
    return answer.tokens, "length" if answer.reason == "length" else "stop"
