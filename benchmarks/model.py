"""Latency of the model's parts here: prefix, sub-task, points, chunks; beside what the arithmetic alone costs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from lohovla.benchmarks.report import emit

_STEPS = (10, 4, 2, 1)
_WANTED = {"prefix": 40.0, "plan ar": 80.0, "chunk ee 10": 40.0, "chunk ee 2": 10.0}


def run(checkpoint: str | None, task: str, rounds: int, threads: int | None, backends: Sequence[str]) -> dict[str, Any]:
    """Time each part ``rounds`` times in turn on one observation, print a table, and return the record.

    Chunks of tool poses are timed by each of ``backends`` (:mod:`lohovla.model.fast`) besides the eager one.
    """
    from lohovla.model import acting, planning
    from lohovla.model.acting import Attended
    from lohovla.model.checkpoint import load
    from lohovla.model.fast import Chunks

    if threads:
        torch.set_num_threads(threads)
    model, processor = load(checkpoint)
    observation = _observation(task)
    sayable, start, end, mask = processor.sayable(), processor.start, processor.end, processor.mask
    assert sayable is not None
    with torch.inference_mode():
        inputs = processor([observation])
        prefix = model.encode(inputs)
        grammar = sayable.of(prefix.objects, 0)
        words = planning.plan_ar(model, prefix, start, end, grammar)
        attended = Attended.of(planning.point(model, prefix, words))
        state, still = inputs.state, torch.zeros(1, 4)
        noise = {c: acting.noise_for(model, c, [torch.Generator().manual_seed(0)]) for c in ("ee", "pick_place")}

        def fresh() -> Any:
            return planning.given(model, prefix, words.tokens, start)

        parts: dict[str, Callable[[], Any]] = {
            "prefix": lambda: model.encode(processor([observation])),
            "plan ar": lambda: planning.plan_ar(model, prefix, start, end),
            "plan ar, grammar": lambda: planning.plan_ar(model, prefix, start, end, grammar),
            "plan d2f": lambda: planning.plan_d2f(model, prefix, start, end, mask),
            "points": lambda: planning.point(model, prefix, fresh()),
            "chunk pick_place 4": lambda: acting.pick_place(model, attended, 4, noise["pick_place"]),
        }
        for steps in _STEPS:
            parts[f"chunk ee {steps}"] = _chunk(Chunks(model), attended, state, still, steps, noise["ee"])
        for backend in backends:
            chunks = Chunks(model, backend)
            for steps in _STEPS[::2]:
                parts[f"chunk ee {steps}, {backend}"] = _chunk(chunks, attended, state, still, steps, noise["ee"])
        times = _times(parts, rounds)
        forwards = {
            "plan ar": parts["plan ar"]().forwards,
            "plan ar, grammar": parts["plan ar, grammar"]().forwards,
            "plan d2f": parts["plan d2f"]().forwards,
        }
    medians = {name: statistics.median(values) for name, values in times.items()}
    print("| part | median ms | 95th | wanted | decoder passes |\n|---|---|---|---|---|")
    for name, values in times.items():
        passes = forwards.get(name, "")
        print(
            f"| {name} | {medians[name]:.1f} | {np.percentile(values, 95):.1f} | {_WANTED.get(name, '')} | {passes} |"
        )
    tokens = prefix.layout.kind.shape[1]
    weights = sum(p.numel() for name, p in model.decoder.named_parameters() if "layers." in name)
    operations = stem_operations(model) + 2.0 * tokens * weights
    floor = operations / measured_rate() * 1e3
    print(f"the prefix's arithmetic alone, at the speed of a matrix product here: {floor:.1f} ms")
    return emit(
        "model", "prefix", medians["prefix"], "ms", floor=floor, medians=medians, forwards=forwards,
        threads=torch.get_num_threads(), rounds=rounds,
    )  # fmt: skip


def _chunk(chunks: Any, attended: Any, state: Any, still: Any, steps: int, noise: Any) -> Callable[[], Any]:
    return lambda: chunks.ee(attended, state, still, steps, noise)


def _observation(task: str) -> dict[str, Any]:
    from lohovla.collect.scenes import scene_env

    return scene_env(task).reset(seed=1)[0]


def _times(parts: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each part, in turn, so that a busy moment falls on all of them."""
    times: dict[str, list[float]] = {name: [] for name in parts}
    for number in range(rounds + 2):
        for name, part in parts.items():
            began = time.perf_counter()
            part()
            if number >= 2:  # the first rounds warm up
                times[name].append((time.perf_counter() - began) * 1e3)
    return times


def stem_operations(model: Any) -> float:
    """Operations (two for a multiplication and an addition) of the stem's convolutions on one picture."""
    total = 0.0

    def count(module: torch.nn.Module, _: Any, out: torch.Tensor) -> None:
        nonlocal total
        if isinstance(module, torch.nn.Conv2d):
            total += 2.0 * out[0].numel() * module.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in model.stem.modules() if isinstance(m, torch.nn.Conv2d)]
    with torch.inference_mode():
        model.stem(torch.zeros(1, 4, *model.config.picture))
    for hook in hooks:
        hook.remove()
    return total


def measured_rate(size: int = 768, rounds: int = 5) -> float:
    """Operations a second of a square float32 matrix product here: the ceiling that the floor is taken from."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    best = float("inf")
    for _ in range(rounds + 1):
        began = time.perf_counter()
        torch.matmul(a, b)
        best = min(best, time.perf_counter() - began)
    return 2.0 * size**3 / best
