"""What the engine has done: counts, and how long requests took."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass
class EngineStats:
    """Counts since the start; written by the engine's thread only.

    Attributes:
        forwards: model calls.
        rows: tokens that went through the model.
        tokens: of finished answers.
        steps: forwards that requests took part in, summed over finished requests.
        prompt_tokens: of admitted requests; ``shared_tokens`` of them were in the cache already.
        finished, aborted, failed, preempted: requests.
        seconds: in steps, and ``forward_seconds`` of them in the model, the language head included.
        longest_step: seconds of the longest one.
        queued, whole: seconds from submission to the first forward, and to the end, of the last 1000 requests.
    """

    forwards: int = 0
    rows: int = 0
    tokens: int = 0
    steps: int = 0
    prompt_tokens: int = 0
    shared_tokens: int = 0
    finished: int = 0
    aborted: int = 0
    failed: int = 0
    preempted: int = 0
    seconds: float = 0.0
    forward_seconds: float = 0.0
    longest_step: float = 0.0
    queued: deque[float] = field(default_factory=lambda: deque(maxlen=1000))
    whole: deque[float] = field(default_factory=lambda: deque(maxlen=1000))

    @property
    def tokens_a_forward(self) -> float:
        """Tokens of an answer for each forward that it took part in."""
        return self.tokens / self.steps if self.steps else 0.0


def percentile(values: deque[float], share: float) -> float:
    """The value below which ``share`` of them lie; NaN of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")
