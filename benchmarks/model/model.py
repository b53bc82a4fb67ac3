"""Latency of the model's parts here, by backend: prefix, sub-task, points, chunk, all; and the arithmetic's cost."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from lohovla.benchmarks.bench_utils import emit

CHUNKS = ("chunk", "whole")  # parts that give one
_STEPS = (10, 4, 2)
_WANTED = {"prefix": 40.0, "plan ar": 80.0, "chunk ee 10": 40.0, "chunk ee 2": 10.0}


def run(checkpoint: str | None, task: str, rounds: int, threads: int | None, backends: Sequence[str]) -> dict[str, Any]:
    """Time each part ``rounds`` times in turn on one observation, print a table, and return the record.

    Each part is timed by each of ``backends`` (``inference_backend``) besides the eager one, interleaved.
    """
    from lohovla.model.backends.inference_backend import InferenceBackend
    from lohovla.model.checkpoint import load_checkpoint

    if threads:
        torch.set_num_threads(threads)
    model, processor = load_checkpoint(checkpoint)
    observation = observation_of(task)
    own, made = {}, {}
    with torch.inference_mode():
        for backend in dict.fromkeys(("eager", *backends)):
            own[backend] = decision_parts(InferenceBackend(model, backend), processor, observation)
            made[backend] = {name: part() for name, part in own[backend].items()}
        parts = {f"{name}, {backend}": own[backend][name] for name in own["eager"] for backend in own}
        times = _times(parts, rounds)
    apart = {backend: _apart(made["eager"], found) for backend, found in made.items() if backend != "eager"}
    medians = {name: statistics.median(values) for name, values in times.items()}
    print("| part | median ms | 95th | goal | decoder passes |\n|---|---|---|---|---|")
    for name, values in times.items():
        part, _, backend = name.rpartition(", ")
        passes = getattr(made[backend][part], "forwards", "")
        print(
            f"| {name} | {medians[name]:.1f} | {np.percentile(values, 95):.1f} | {_WANTED.get(part, '')} | {passes} |"
        )
    for backend, largest in apart.items():
        print(f"{backend}: chunks differ from eager's by at most {largest:.1e} m or rad")
    tokens = made["eager"]["prefix"].layout.kind.shape[1]
    weights = sum(p.numel() for name, p in model.decoder.named_parameters() if "layers." in name)
    operations = stem_operations(model) + 2.0 * tokens * weights
    floor = operations / measured_rate() * 1e3
    print(f"the prefix's arithmetic alone, at the speed of a matrix product here: {floor:.1f} ms")
    return emit(
        "model",
        "prefix",
        medians["prefix, eager"],
        "ms",
        floor=floor,
        medians=medians,
        apart=apart,
        threads=torch.get_num_threads(),
        rounds=rounds,
    )


def decision_parts(fast: Any, processor: Any, observation: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """The parts of a decision by one backend, each on what those before it gave; and all of it, by block diffusion."""
    from lohovla.model.backends.device_transfer import DeviceTransfer
    from lohovla.model.backends.single_graph import DecisionConfig, DecisionInputs
    from lohovla.model.inference import action_sampling, pick_place_prediction
    from lohovla.model.inference.action_sampling import ActionContext

    start, end, mask, subtask_constraints = (
        processor.start,
        processor.end,
        processor.mask,
        processor.subtask_constraints(),
    )
    assert subtask_constraints is not None
    device, upload = fast.model.device, DeviceTransfer(processor, fast.model.device)
    inputs = upload([observation])
    prefix = fast.encode(inputs)
    grammar = subtask_constraints.for_scene(prefix.objects, 0)
    words = fast.decode_autoregressive(prefix, start, end, grammar)

    def point() -> Any:
        return fast.predict_pick_place(
            prefix, pick_place_prediction.subtask_from_tokens(fast.model, prefix, words.tokens, start)
        )

    attended, still = ActionContext.from_predictions(point()), torch.zeros(1, 4, device=device)
    noise = {
        c: action_sampling.sample_action_noise(fast.model, c, [torch.Generator().manual_seed(0)])
        for c in ("ee", "pick_place")
    }
    parts: dict[str, Callable[[], Any]] = {
        "prefix": lambda: fast.encode(upload([observation])),
        "plan ar": lambda: fast.decode_autoregressive(prefix, start, end),
        "plan ar grammar": lambda: fast.decode_autoregressive(prefix, start, end, grammar),
        "plan d2f": lambda: fast.decode_block_diffusion(prefix, start, end, mask),
        "points": point,
        "chunk pick_place 4": lambda: fast.sample_pick_place(attended, 4, noise["pick_place"]),
    }
    for steps in _STEPS:
        parts[f"chunk ee {steps}"] = partial(fast.sample_ee_chunk, attended, inputs.state, still, steps, noise["ee"])
    how, asked = (
        DecisionConfig(start, end, mask, "ee", 4),
        DecisionInputs.for_first_subtasks(fast.model, still, noise["ee"]),
    )

    def by_passes() -> Any:
        inputs = upload([observation])
        prefix = fast.encode(inputs)
        pointed = fast.predict_pick_place(prefix, fast.decode_block_diffusion(prefix, start, end, mask))
        return fast.sample_ee_chunk(
            ActionContext.from_predictions(pointed), inputs.state, still, how.steps, asked.noise
        )

    parts["whole decision, by passes"] = by_passes
    in_one = fast.backend != "eager"
    parts["whole decision"] = (
        (lambda: fast.decide_in_one_pass(how, upload([observation]), asked).action) if in_one else by_passes
    )
    return parts


def _apart(eager: dict[str, Any], other: dict[str, Any]) -> float:
    return max(float((eager[name] - other[name]).abs().max()) for name in eager if name.startswith(CHUNKS))


def observation_of(task: str) -> dict[str, Any]:
    """The first observation of a scene of a task."""
    from lohovla.collect.rendered_scenes import scene_env

    return scene_env(task).reset(seed=1)[0]


def _times(parts: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each part, in turn, so that a busy moment falls on all of them.

    With one thread they are of the processor's time, so that other programs on the machine count little.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in parts}
    for number in range(rounds + 2):
        for name, part in parts.items():
            began = clock()
            part()
            if number >= 2:  # the first rounds warm up
                times[name].append((clock() - began) * 1e3)
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
        model.stem(torch.zeros(1, 4, *model.config.picture_size))
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
