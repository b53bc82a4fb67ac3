"""Answers as OpenAI's JSON: whole ones and the chunks of a stream, for completions and for chat."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

from lohovla.d2f.engine import RequestOutput
from lohovla.d2f.generation_output import GenerationOutput
from lohovla.d2f.token_bytes import TokenBytes
from lohovla.serve.text.stream_detokenizer import finish_answer


class ResponseBuilder:
    """How a request's answers are written down.

    Args:
        model: as it was asked for.
        chat: whether it is a conversation.
        decode: turns ids into text.
        token_bytes: tells a token's bytes.
        ranks: alternatives to report; None reports no log-probabilities.
        most: tokens of an answer at most.
    """

    named = False  # chunks have no type, and a mark closes them

    def __init__(
        self,
        model: str,
        chat: bool,
        decode: Callable[[Sequence[int]], str],
        token_bytes: TokenBytes,
        ranks: int | None,
        most: int,
    ):
        self._bytes = token_bytes
        self.chat, self._decode, self._ranks, self._most = chat, decode, ranks, most
        kind = "chat.completion" if chat else "text_completion"
        head = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": model,
        }
        self._whole, self._chunk = {**head, "object": kind}, {**head, "object": kind + (".chunk" if chat else "")}

    def answer(
        self,
        answers: list[GenerationOutput],
        texts: list[str],
        prompt_tokens: int,
        prompts: list[tuple[int, ...]] | None = None,
    ) -> dict[str, Any]:
        """All answers at once; with the log-probabilities of their ``prompts`` where those are given."""
        choices = []
        for index, (answer, text) in enumerate(zip(answers, texts, strict=True)):
            said = {"message": {"role": "assistant", "content": text, "refusal": None}} if self.chat else {"text": text}
            choices.append(
                {
                    "index": index,
                    **said,
                    "logprobs": self._logprobs(answer, () if prompts is None else prompts[index]),
                    "finish_reason": finish_answer(answer, self._most)[1],
                    "lohovla": {"forwards": answer.forwards},
                }
            )
        return {**self._whole, "choices": choices, "usage": self.usage(answers, prompt_tokens)}

    def usage(self, answers: Sequence[GenerationOutput], prompt_tokens: int) -> dict[str, int]:
        """Tokens counted."""
        said = sum(len(finish_answer(answer, self._most)[0]) for answer in answers)
        return {"prompt_tokens": prompt_tokens, "completion_tokens": said, "total_tokens": prompt_tokens + said}

    def opening(self, index: int) -> list[dict[str, Any]]:
        """The chunk that begins an answer, where there is one."""
        return [self._of(index, {"role": "assistant", "content": ""}, None)] if self.chat else []

    def piece(self, index: int, text: str, more: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """A chunk with more text."""
        return [self._of(index, {"content": text} if self.chat else text, None, more)]

    def ending(
        self, index: int, text: str, answer: GenerationOutput, more: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """The chunk that ends an answer."""
        delta = ({"content": text} if text else {}) if self.chat else text
        more = more or {"lohovla": {"forwards": answer.forwards}}
        return [self._of(index, delta, finish_answer(answer, self._most)[1], more, self._logprobs(answer))]

    def closing(self, answers: Sequence[GenerationOutput], prompt_tokens: int) -> list[dict[str, Any]]:
        """The chunk that counts the tokens of all answers."""
        return [{**self._chunk, "choices": [], "usage": self.usage(answers, prompt_tokens)}]

    def _of(
        self, index: int, said: Any, reason: str | None, more: dict[str, Any] | None = None, logprobs: Any = None
    ) -> dict[str, Any]:
        body = {"delta": said} if self.chat else {"text": said}
        choice = {"index": index, **body, "logprobs": logprobs, "finish_reason": reason, **(more or {})}
        return {**self._chunk, "choices": [choice]}

    def _logprobs(self, answer: GenerationOutput, prompt: tuple[int, ...] = ()) -> dict[str, Any] | None:
        if self._ranks is None:
            return None
        count = len(finish_answer(answer, self._most)[0])
        tokens, own, ranked = answer.tokens[:count], answer.logprob[:count], answer.ranked[:count]
        if self.chat:
            return {
                "refusal": None,
                "content": [
                    {
                        **self._entry(token, value, not k),
                        "top_logprobs": [self._entry(other, likely, not k) for other, likely in others],
                    }
                    for k, (token, value, others) in enumerate(zip(tokens, own, ranked, strict=True))
                ],
            }
        whole = [*prompt, *tokens]
        known = [score or (None, []) for score in answer.prompt or []] if prompt else []
        known += zip(own, ranked, strict=True)
        return {
            "tokens": [self._decode([token]) for token in whole],
            "token_logprobs": [None if value is None else round(value, 6) for value, _ in known],
            "top_logprobs": [
                None if value is None else {self._decode([t]): round(likely, 6) for t, likely in reversed(others)}
                for value, others in known
            ],
            "text_offset": [len(self._decode(whole[:k])) for k in range(len(whole))],
        }

    def _entry(self, token: int, value: float, first: bool) -> dict[str, Any]:
        own = list(self._bytes(token, first))
        return {"token": self._decode([token]), "logprob": round(value, 6), "bytes": own}


def stream_canvas(update: RequestOutput, piece: Callable[[int], str], size: int) -> dict[str, Any]:
    """The blocks of an answer as they stand, undecided ones too: what a stream shows beside its text if asked."""
    return {
        "lohovla": {
            "forwards": update.forwards,
            "block": size,
            "born": update.born,
            "canvas": [None if token is None else piece(token) for token in update.canvas],
        }
    }
