"""The text of an answer in the making, as far as it can be told for good."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lohovla.d2f.generation_output import GenerationOutput
from lohovla.d2f.stop_strings import first_match, partial_match


class StreamDetokenizer:
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

    def decode_new_text(self, tokens: Sequence[int]) -> str:
        """What can be told besides, when ``tokens`` (all so far) are decided."""
        text = self._decode(tokens[: self._most])
        cut = first_match(text, self._stops)
        if cut is None:
            text = text.rstrip("\ufffd")
            cut = len(text) - partial_match(text, self._stops)
        return self._take_new(text[:cut])

    def decode_remaining_text(self, answer: GenerationOutput) -> str:
        """What is left to tell when the answer is complete."""
        if len(answer.tokens) > self._most:
            return self._take_new(self._decode(answer.tokens[: self._most]))
        return self._take_new(answer.text(self._decode))

    def _take_new(self, text: str) -> str:
        further = text[self._told :]
        self._told += len(further)
        return further


def finish_answer(answer: GenerationOutput, most: int) -> tuple[list[int], str]:
    """The tokens of an answer that count, and why it ends there, in OpenAI's words."""
    if len(answer.tokens) > most:
        return answer.tokens[:most], "length"
    return answer.tokens, "length" if answer.reason == "length" else "stop"
