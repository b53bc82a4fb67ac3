"""What long prompts cost those who ask something short: time to the first token, alone and among them.

The engine of the server runs in this process, on one thread, and its clock is the processor time of the process, so
that what else runs on the machine changes little. First short requests come one after the other; then several clients
ask, each again when its answer is complete, a share of them with long prompts, and the first tokens of the short ones
are timed again.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import Any

from lohovla.benchmarks.bench_utils import emit, median
from lohovla.errors import UserError
from lohovla.progress import progress

_SHARE = 0.3  # of long prompts
_SHORT = 24  # tokens of a short prompt
_ANSWER = 8  # tokens


@dataclass
class FirstTokens:
    """Seconds to the first token."""

    alone: list[float] = field(default_factory=list)
    short: list[float] = field(default_factory=list)
    long: list[float] = field(default_factory=list)


def run(model: str | None, requests: int, clients: int, long_tokens: int) -> dict[str, Any]:
    """Measure; print a line a finding and the JSON line.

    Args:
        model: a checkpoint that decodes autoregressively; ``smollm2`` if None.
        requests: of the mixed part.
        clients: at once.
        long_tokens: tokens of a long prompt.
    """
    import torch

    from lohovla.d2f.engine import Engine, EngineSettings
    from lohovla.d2f.text_model import TextModel

    if requests < 10 or not 1 <= clients <= 64 or long_tokens < _SHORT:
        raise UserError(f"{requests} requests of {clients} clients", "requests=200 clients=4 long_tokens=1000")
    torch.set_num_threads(1)
    text = TextModel.load(model or "smollm2")
    engine = Engine(text.base, EngineSettings(cache_mb=512), clock=time.process_time)
    found, rng = FirstTokens(), random.Random(0)
    words = int(text.base.decoder.config.vocab_size)  # type: ignore[union-attr]
    for turn in range(13):
        times = _load(engine, rng, words, [_SHORT], 1)
        if turn > 2:  # the first ones warm up, and teach the engine how fast steps are
            found.alone += times[_SHORT]
    lengths = [long_tokens if rng.random() < _SHARE else _SHORT for _ in range(requests)]
    engine.stats.longest_step = 0.0
    mixed = _load(engine, rng, words, lengths, clients)
    found.short, found.long = mixed[_SHORT], mixed.get(long_tokens, [])
    ordered = sorted(found.short)
    p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    alone = median(found.alone)
    print(f"first token of a short request alone: median {1000 * alone:.0f} ms of {len(found.alone)}")
    print(
        f"with {clients} clients, {len(found.long)} of {requests} prompts of {long_tokens} tokens: median "
        f"{1000 * median(found.short):.0f} ms, p99 {1000 * p99:.0f} ms, {p99 / alone:.1f} times the median alone"
    )
    print(f"first token of a long request: median {median(found.long or [0.0]):.2f} s")
    print(f"longest step {engine.stats.longest_step:.2f} s")
    return emit(
        "text-mixed",
        "p99 of a short request's first token among long prompts, over its median alone",
        p99 / alone,
        "times",
        baseline=round(alone, 4),
        ratio=round(p99 / alone, 2),
        floor=None,
        p50_s=round(median(found.short), 4),
        p99_s=round(p99, 4),
        long_p50_s=round(median(found.long or [0.0]), 3),
        longest_step_s=round(engine.stats.longest_step, 3),
        long_tokens=long_tokens,
        requests=requests,
        clients=clients,
        model=model or "smollm2",
        clock="processor time, one thread",
    )


def _load(engine: Any, rng: random.Random, words: int, lengths: list[int], clients: int) -> dict[int, list[float]]:
    """Answer requests with prompts of ``lengths``, so many at a time; by length the seconds to their first tokens."""
    from lohovla.d2f.block_state import Thresholds
    from lohovla.d2f.engine import GenerationRequest
    from lohovla.d2f.sampling import Sampling

    firsts: dict[int, list[float]] = {}
    waiting, running = iter(lengths), 0

    def ask() -> None:
        nonlocal running
        length = next(waiting, None)
        if length is None:
            return
        running += 1
        began, told = time.process_time(), False

        def heard(update: Any) -> None:
            nonlocal running, told
            if update.error is not None:
                raise RuntimeError(update.error)
            if update.tokens and not told:
                told = True
                firsts.setdefault(length, []).append(time.process_time() - began)
            if update.answer is not None:
                running -= 1

        prompt = tuple(rng.randrange(words // 4, 3 * words // 4) for _ in range(length))  # no control tokens
        sampling = Sampling(_ANSWER, min_tokens=_ANSWER)
        engine.submit(GenerationRequest(prompt, sampling, Thresholds(1.0, 1.0, 1.0), size=1, causal=True), heard)

    with progress(total=len(lengths), desc="requests", leave=False) as bar:
        while True:
            before = -1
            while running < clients and running != before:
                before = running
                ask()
            if not running:
                return firsts
            before = running
            engine.step()
            bar.update(before - running)
