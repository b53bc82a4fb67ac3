"""A whole decision in one: how many steps of block diffusion sub-tasks need, and that it is what the passes give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch

from lohovla.benchmarks.bench_utils import emit

_MOST = 6  # steps, by which shares are given


def run(checkpoint: str | None, tasks: Sequence[str], scenes: int, threads: int | None) -> dict[str, Any]:
    """Decide on every sub-task of ``scenes`` validation episodes of each task, print a table, and return the record."""
    from lohovla.evaluate.protocol import seeds_of, tasks_named
    from lohovla.evaluate.subgoal.subgoal_image_metrics import cases
    from lohovla.model.backends.inference_backend import InferenceBackend
    from lohovla.model.backends.single_graph import FORWARDS
    from lohovla.model.checkpoint import load_checkpoint
    from lohovla.progress import progress

    if threads:
        torch.set_num_threads(threads)
    model, processor = load_checkpoint(checkpoint)
    fast, eager = InferenceBackend(model, "fused"), InferenceBackend(model)
    needed: dict[str, Counter[int]] = {}
    differing, apart = 0, 0.0
    for task in progress(tasks_named(tasks), unit="task"):
        needed[task] = Counter()
        for case in cases([task], seeds_of("val", scenes)):
            forwards, same, distance = _compared(fast, eager, processor, dict(case.observation))
            needed[task][forwards] += 1
            differing += not same
            apart = max(apart, distance)
    total: Counter[int] = sum(needed.values(), Counter())
    steps = range(1, _MOST + 1)
    print(f"| task | sub-tasks | {' | '.join(f'said in {n}' for n in steps)} | most |\n|{'---|' * (_MOST + 3)}")
    for name, counts in [*needed.items(), ("all", total)]:
        shares = " | ".join(f"{100 * said_in(counts, n):.1f} %" for n in steps)
        print(f"| {name} | {counts.total()} | {shares} | {max(counts, default=0)} |")
    print(f"\nin one, {FORWARDS} steps: {differing} complete ones differ; chunks by at most {apart:.1e} m or rad")
    return emit(
        "decision",
        f"sub-tasks said in {FORWARDS} steps",
        100 * said_in(total, FORWARDS),
        "%",
        differing=differing,
        apart=apart,
        steps={name: dict(sorted(counts.items())) for name, counts in needed.items()},
        scenes=scenes,
    )


def said_in(counts: Counter[int], steps: int) -> float:
    """Share of the sub-tasks that need at most so many."""
    return sum(number for forwards, number in counts.items() if forwards <= steps) / max(1, counts.total())


@torch.no_grad()
def _compared(fast: Any, eager: Any, processor: Any, observation: dict[str, Any]) -> tuple[int, bool, float]:
    """Steps that were needed; whether it says so, and the same words where they are enough; how far chunks differ."""
    from lohovla.model.backends.single_graph import DecisionConfig, DecisionInputs
    from lohovla.model.inference import action_sampling
    from lohovla.model.inference.action_sampling import ActionContext

    inputs, whole = processor([observation]), DecisionConfig(processor.start, processor.end, processor.mask, "ee", 4)
    noise = action_sampling.sample_action_noise(fast.model, "ee", [torch.Generator().manual_seed(0)])
    asked = DecisionInputs.for_first_subtasks(fast.model, torch.zeros(1, 4), noise)
    made = fast.decide_in_one_pass(whole, inputs, asked)
    prefix = eager.encode(inputs)
    words = eager.decode_block_diffusion(prefix, whole.start, whole.end, whole.mask)
    if bool(made.complete) != (words.forwards <= whole.forwards):
        return words.forwards, False, 0.0
    if not made.complete:
        return words.forwards, True, 0.0
    chunk = eager.sample_ee_chunk(
        ActionContext.from_predictions(eager.predict_pick_place(prefix, words)),
        inputs.state,
        asked.motion,
        whole.steps,
        noise,
    )
    return words.forwards, made.token_lists(whole.end) == words.tokens, float((made.action - chunk).abs().max())
