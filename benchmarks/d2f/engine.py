"""The text engine: many answers at once against one at a time, and what a step costs beside the model.

Every mode answers the same test problems, in turn: all together, and one after the other. Nothing is kept in the cache
between the runs. Tokens a forward count the tokens of the cut text and the forwards that their answers took part in.
Ratios are of wall-clock time and of processor time; where others use the machine the second one is steadier, and knows
nothing of what a second core is worth.
"""

from __future__ import annotations

import itertools
import time
from typing import Any

from lohovla.benchmarks.bench_utils import emit, median
from lohovla.errors import UserError
from lohovla.progress import progress

_TASKS = ("arithmetic", "open-plan")
_FIRST = 10001  # test seeds


def run(
    model: str | None,
    modes: list[str],
    answers: int,
    rounds: int,
    tokens: int,
    threads: int | None,
    weights: str | None,
) -> dict[str, Any]:
    """Measure and print the table and the JSON line.

    Args:
        model: a checkpoint; the shipped one if None.
        modes: of the server.
        answers: at once.
        rounds: of each mode, in turn.
        tokens: of an answer at most.
        threads: of torch; its own choice if None.
        weights: ``int8`` or None.
    """
    import torch

    from lohovla.d2f.engine import EngineSettings
    from lohovla.d2f.engine.weight_quantization import quantize_linear
    from lohovla.d2f.text_model import TextModel
    from lohovla.serve.text.api_schema import CompletionRequest
    from lohovla.serve.text.text_service import MODES, TextService

    modes = [mode for mode in modes if mode != "diffusion"]
    if not modes or set(modes) - set(MODES):
        raise UserError(f"the engine has no mode {sorted(set(modes) - set(MODES))}", f"there are {', '.join(MODES)}")
    for name, value in (("answers", answers), ("rounds", rounds), ("tokens", tokens)):
        if value < 1:
            raise UserError(f"{name} must be at least 1, not {value}", f"{name}=1")
    if threads is not None:
        torch.set_num_threads(threads)
    text = TextModel.load(model)
    if weights is not None:
        quantize_linear(text, weights)
    service = TextService(text, "text", EngineSettings(max_num_seqs=max(answers, 1), max_num_batched_tokens=1 << 16))
    modes = [mode for mode in modes if mode in service.modes]
    prompts = _prompts(service, answers)
    kept: dict[str, list[dict[str, float]]] = {mode: [] for mode in modes}
    turns = list(itertools.product(range(rounds), modes))
    for _, mode in progress(turns, desc="engine", leave=False):
        engine = service.base if mode == "ar" else service.student
        asked = [{"model": f"text:{mode}", "prompt": prompt, "max_tokens": tokens} for prompt in prompts]
        bodies = [CompletionRequest.model_validate(body) for body in asked]
        requests = [request for body in bodies for request in service.plan(body).requests]
        _answer(engine, requests[:1])  # warm
        kept[mode].append(
            {
                **{f"together_{key}": value for key, value in _answer(engine, requests).items()},
                **{f"alone_{key}": value for key, value in _answer(engine, requests, alone=True).items()},
            }
        )
    figures = {mode: _summary(values) for mode, values in kept.items()}
    print(
        f"{'mode':12s} {'tokens/s, ' + str(answers):>14s} {'one by one':>11s} {'ratio':>6s} {'of cpu time':>12s} "
        f"{'tokens/forward':>15s} {'overhead alone':>15s} {'together':>9s}"
    )
    for mode, row in figures.items():
        print(
            f"{mode:12s} {row['together']:14.1f} {row['alone']:11.1f} {row['ratio']:6.2f} "
            f"{row['processor_ratio']:12.2f} {row['tokens_a_forward']:15.2f} {100 * row['overhead_alone']:13.1f} % "
            f"{100 * row['overhead_together']:7.1f} %"
        )
    main = modes[0] if "d2f" not in modes else "d2f"
    return emit(
        "engine",
        f"tokens a second, {answers} at once, {main}",
        figures[main]["together"],
        "tokens/s",
        baseline=figures[main]["alone"],
        ratio=figures[main]["ratio"],
        floor=None,
        baseline_is="one at a time",
        model=model or "shipped",
        weights=weights,
        answers=answers,
        rounds=rounds,
        tokens=tokens,
        threads=torch.get_num_threads(),
        modes=figures,
    )


def _prompts(service: Any, count: int) -> list[list[int]]:
    from lohovla.collect.text_tasks import text_task

    tasks = [text_task(name) for name in _TASKS]
    return [service.text.encode(tasks[k % 2].draw_problem(_FIRST + 2 * k).prompt) for k in range(count)]


def _answer(engine: Any, requests: list[Any], alone: bool = False) -> dict[str, float]:
    """Answer all requests, together or each alone; tokens, seconds, forwards, and how long the model took of it."""
    stats, answers = engine.stats, []

    def heard(update: Any) -> None:
        if update.answer is not None:
            answers.append(update.answer)

    engine.pool.clear_cached_blocks()
    before = (stats.seconds, stats.forward_seconds, stats.forwards)
    began, worked = time.perf_counter(), time.process_time()
    for group in [[one] for one in requests] if alone else [requests]:
        for request in group:
            engine.submit(request, heard)
        while engine.step():
            pass
    seconds, worked = time.perf_counter() - began, time.process_time() - worked
    spent, model = stats.seconds - before[0], stats.forward_seconds - before[1]
    return {
        "tokens": sum(len(answer.tokens) for answer in answers),
        "seconds": seconds,
        "processor": worked,
        "taken": sum(answer.forwards for answer in answers),
        "overhead": 1 - model / spent,
        "forward_ms": 1000 * model / max(1, stats.forwards - before[2]),
    }


def _summary(values: list[dict[str, float]]) -> dict[str, float]:
    def of(key: str) -> float:
        return median([value[key] for value in values])

    rates = [(v["together_tokens"] / v["together_seconds"], v["alone_tokens"] / v["alone_seconds"]) for v in values]
    made = {
        "together": median([many for many, _ in rates]),
        "alone": median([one for _, one in rates]),
        "ratio": median([many / one for many, one in rates]),
        "processor_ratio": median([v["alone_processor"] / v["together_processor"] for v in values]),
        "tokens_a_forward": of("alone_tokens") / max(1.0, of("alone_taken")),
        "overhead_alone": of("alone_overhead"),
        "overhead_together": of("together_overhead"),
        "forward_ms_alone": of("alone_forward_ms"),
        "forward_ms_together": of("together_forward_ms"),
    }
    return {key: round(value, 4) for key, value in made.items()}
