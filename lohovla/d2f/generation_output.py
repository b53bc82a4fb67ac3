"""A decoded answer: its tokens, how sure each was, and why it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class GenerationOutput:
    """One decoded sequence, cut before its end token or stop string.

    Attributes:
        tokens: ids; a stop string may begin inside the last one.
        confidence: of each token when it was accepted, in [0, 1].
        logprob: of each token then, in nats.
        ranked: for each token the ``Sampling.logprobs`` likeliest (id, log-probability) then.
        step: the forward, counted from 0, that each token was accepted from.
        forwards: model calls that this sequence took part in.
        reason: ``end`` (an end token), ``stop`` (a stop string) or ``length``.
        characters: of the tokens' text that count; None is all.
        prompt: of each token of the prompt its log-probability and the likeliest (id, log-probability) there, None for
            the first one, which nothing tells; None where it was not asked for.
    """

    tokens: list[int]
    confidence: list[float]
    logprob: list[float]
    ranked: list[list[tuple[int, float]]]
    step: list[int]
    forwards: int
    reason: str
    characters: int | None = None
    prompt: list[tuple[float, list[tuple[int, float]]] | None] | None = None

    def cut(self, most: int, decode: Callable[[list[int]], str]) -> GenerationOutput:
        """The answer as if there had been room for ``most`` tokens only; ``decode`` turns ids into text."""
        if len(self.tokens) < most:
            return self
        if len(self.tokens) == most:  # a stop string behind the last token would not have been seen
            behind = self.reason == "stop" and len(self.text(decode)) == len(decode(self.tokens))
            return replace(self, reason="length", characters=None) if behind else self
        parts = {name: getattr(self, name)[:most] for name in ("tokens", "confidence", "logprob", "ranked", "step")}
        return replace(self, **parts, reason="length", characters=None)

    def text(self, decode: Callable[[list[int]], str]) -> str:
        """What it says; ``decode`` turns ids into text."""
        return decode(self.tokens)[: self.characters]
