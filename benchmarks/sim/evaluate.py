"""Speed of an evaluation: the oracle's episodes of one task with one worker and with more, in turn."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from lohovla.benchmarks.bench_utils import emit, median
from lohovla.errors import UserError
from lohovla.evaluate.protocol import Protocol, seeds_of
from lohovla.evaluate.run_evaluation import evaluate

_LIMIT = 240.0  # s, wanted for 200 episodes on two cores
_RATIO = 1.8  # wanted of two workers


def run(task: str, episodes: int, workers: int | None, rounds: int) -> dict[str, Any]:
    """Measure ``rounds`` runs of each, starting of processes included; print them and the JSON line."""
    workers = workers or os.cpu_count() or 1
    if workers < 2:
        raise UserError(f"there is nothing to compare with {workers} worker", "workers=2 or more, on as many cores")
    if rounds < 1:
        raise UserError(f"rounds must be at least 1, not {rounds}", "rounds=3 is the default")
    protocol = Protocol((task,), seeds_of("test", episodes), "oracle", {"control": "pick_place", "cameras": {}})
    seconds: dict[int, list[float]] = {1: [], workers: []}
    for _ in range(rounds):
        for count, times in seconds.items():
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                evaluate(protocol, Path(folder), workers=count)
                times.append(time.perf_counter() - began)
            print(f"{count} workers: {episodes} episodes in {times[-1]:.1f} s")
    one, more = median(seconds[1]), median(seconds[workers])
    ratio = median([alone / together for alone, together in zip(seconds[1], seconds[workers], strict=True)])
    return emit(
        "evaluate",
        f"{episodes} pick_place episodes of the oracle, {workers} workers",
        more,
        "s",
        baseline=round(one, 2),
        ratio=round(ratio, 3),
        wanted_s=_LIMIT * episodes / 200,
        wanted_ratio=_RATIO,
        task=task,
        episodes=episodes,
        workers=workers,
        rounds=rounds,
    )
