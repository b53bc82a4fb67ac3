"""What a text model gives: answers, and views of one in the making."""

from __future__ import annotations

from dataclasses import dataclass

from lohovla.d2f.generation_output import GenerationOutput


@dataclass(frozen=True)
class TextResult:
    """A text and how it came about.

    Attributes:
        text: the answer.
        answer: its tokens with their confidences.
        seconds: wall-clock time of the call that made it.
    """

    text: str
    answer: GenerationOutput
    seconds: float


@dataclass(frozen=True)
class DecodeView:
    """The present state of an answer in the making, for displays.

    Attributes:
        pieces: the text of each token, None where it is masked.
        born: the forward each token was accepted from; -1 where masked.
        size: tokens a block.
        forwards: model calls so far.
    """

    pieces: list[str | None]
    born: list[int]
    size: int
    forwards: int
