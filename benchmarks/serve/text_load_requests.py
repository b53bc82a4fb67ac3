"""What the load test of the text server asks, and how it judges an answer."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

_MALFORMED: tuple[bytes, ...] = (
    b"",
    b"{",
    b"null",
    b"[]",
    b'{"model": 5}',
    b"\xff\xff",
    b'{"model": "MODEL", "prompt": []}',
    b'{"model": "nobody", "prompt": "1"}',
    b'{"model": "MODEL", "prompt": "1", "max_tokens": -5}',
    b'{"model": "MODEL", "prompt": "1", "temperature": "hot"}',
    b'{"model": "MODEL", "prompt": "1", "n": 1000}',
    b'{"model": "MODEL", "prompt": [99999999]}',
    b'{"model": "MODEL", "prompt": "1", "max_tokens": 99999999}',
    b'{"model": "MODEL", "prompt": "\\ud800"}',
    b'{"model": "MODEL", "prompt": "1", "surprise": 1}',
)


@dataclass(frozen=True)
class TextLoadRequest:
    """A request of the load test.

    Attributes:
        body: what is sent.
        malformed: it must be refused.
        leave: the client leaves, after so many bytes of the answer at most and so many seconds.
        greedy: the same body has the same answer.
        harmful: it must be answered or refused.
    """

    body: bytes
    malformed: bool = False
    leave: tuple[int, float] | None = None
    greedy: bool = False
    harmful: bool = False


def draw_request(rng: random.Random, modes: list[str], prompts: list[str], harmful: list[bytes]) -> TextLoadRequest:
    """A request at random: harmful, malformed, or of any mode, streamed or whole, given up by its client or not."""
    if rng.random() < 0.01:
        return TextLoadRequest(rng.choice(harmful), harmful=True)
    share = rng.random()
    if share < 0.1:
        return TextLoadRequest(rng.choice(_MALFORMED).replace(b"MODEL", modes[0].encode()), malformed=True)
    mode = rng.choice(modes)
    body: dict[str, Any] = {"model": mode, "prompt": rng.choice(prompts), "max_tokens": rng.choice((8, 24, 48, 96))}
    greedy = mode.endswith("chain") or rng.random() < 0.7
    if not greedy:
        body |= {"temperature": 0.8, "n": rng.choice((1, 1, 2))}
    body |= {"stream": rng.random() < 0.5}
    leave = (rng.choice((0, 0, 1, 500)), rng.random() * 0.2) if share < 0.1 + 1 / 3 else None
    return TextLoadRequest(json.dumps(body).encode(), leave=leave, greedy=greedy)


def harmful_requests(modes: list[str]) -> list[bytes]:
    """Requests that cost much, or try to; each must be answered or refused, and disturb no other."""
    first = {"model": modes[0], "prompt": "1+1=", "max_tokens": 16}
    wide = next((mode for mode in modes if mode.endswith("branch")), modes[0])
    bodies: list[dict[str, Any]] = [
        {**first, "prompt": [5] * 20_000},
        {**first, "prompt": "1+1=" * 1_000_000},
        {**first, "prompt": ["1+1="] * 64, "n": 16},
        {**first, "model": wide, "block": 1024, "width": 16, "max_tokens": 64},
        {**first, "temperature": 1e-40},
        {**first, "temperature": 1.0, "top_p": 1e-46},
        {**first, "temperature": 1.0, "repetition_penalty": 1e-38},
        {**first, "logit_bias": {str(k): 100 for k in range(60)}},
        {**first, "stop": ["".join("=" * k)[:200] or "x" for k in range(1, 9)]},
        {**first, "response_format": {"type": "json_schema", "json_schema": {"schema": {"$ref": "#"}}}},
    ]
    return [*(json.dumps(body).encode() for body in bodies), b"[" * 200_000, b'{"a":' * 50_000]


def answer_fault(answer: bytes, ask: TextLoadRequest, known: dict[bytes, str]) -> str:
    """What is wrong with an answer, or ""; ``known`` has the text of each greedy request's first answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1]) if head else 0
    if ask.harmful:
        return "" if status == 200 or 400 <= status < 500 else f"status {status}"
    if ask.malformed:
        fine = 400 <= status < 500 and set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
        return "" if fine else f"status {status}"
    if status != 200:
        return f"status {status}"
    text = _text(body, b"text/event-stream" in head.lower())
    if text is None:
        return "the answer is not whole"
    if ask.greedy and known.setdefault(ask.body, text) != text:
        return "another answer than before"
    return ""


def _text(body: bytes, stream: bool) -> str | None:
    """The text of a whole answer; of several all of them."""
    if not stream:
        return "|".join(choice["text"] for choice in json.loads(body)["choices"])
    if b"data: [DONE]" not in body or b'"error"' in body:
        return None
    chunks = [json.loads(line[6:]) for line in body.split(b"\n") if line.startswith(b"data: {")]
    return "".join(chunk["choices"][0]["text"] for chunk in chunks)
