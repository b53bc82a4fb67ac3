"""Text decoding: discrete diffusion forcing against autoregression and its own parts, on the text tasks.

Every mode solves the same test problems in one run, in turn, so that ratios are of the same minutes of the same
machine. Tokens per forward count the tokens of the cut text and every model call, the prompt's included.
"""

from __future__ import annotations

import time
from typing import Any

from lohovla.benchmarks.bench_utils import emit, median
from lohovla.benchmarks.d2f.text_problems import ROOM, VALIDATION, problem_batches
from lohovla.errors import UserError
from lohovla.progress import progress

FIRST = 10001  # test seeds


def run(
    model: str | None,
    tasks: list[str],
    modes: list[str],
    problems: int,
    threads: int | None,
    chain_prompts: int,
    sweep: int,
    picture: str | None,
    adapters: list[str] | None = None,
    blocks: list[int] | None = None,
) -> dict[str, Any]:
    """Measure and print the table and the JSON line.

    Args:
        model: a checkpoint; the shipped one if None.
        tasks: text tasks.
        modes: of :data:`lohovla.d2f.text_model.MODES`; ``ar`` is what times are compared with.
        problems: of each task.
        threads: of torch; its own choice if None.
        chain_prompts: further problems of each task on which ``d2f`` and ``d2f+chain`` must agree token by token.
        sweep: problems of each task for the trade-off over the thresholds; 0 for none.
        picture: file for the plot of it.
        adapters: further students of the model, which solve the same problems in mode ``d2f``; then nothing else is
            measured.
        blocks: of those, the blocks of decoding as multiples of the blocks of training; 1 if empty.
    """
    import torch

    from lohovla.d2f.text_model import MODES, TextModel

    unknown = [mode for mode in modes if mode not in MODES]
    if unknown or not modes:
        raise UserError(f"there is no mode {unknown[0] if unknown else modes!r}", f"there are {', '.join(MODES)}")
    if any(task not in ROOM for task in tasks):
        raise UserError(f"tasks are {', '.join(ROOM)}", "text_tasks=[open-plan,arithmetic]")
    if problems < 1:
        raise UserError(f"problems must be at least 1, not {problems}", "problems=50 is the default")
    if threads is not None:
        torch.set_num_threads(threads)
    if adapters:
        from lohovla.benchmarks.d2f import compare_students

        rows = compare_students.run(model, adapters, blocks or [1], tasks, problems, FIRST)
        return emit(
            "d2f",
            f"tokens a forward, {rows[0]['task']}, {rows[0]['adapter']}",
            rows[0]["tokens_a_forward"],
            "tokens/forward",
            problems=problems,
            model=model or "shipped",
            figures=rows,
        )
    text = TextModel.load(model, dtype="float32")
    figures: dict[str, Any] = {}
    for task in tasks:
        figures[task] = _compare(text, task, modes, problems)
        if chain_prompts:
            figures[task]["chain"] = _agreement(text, task, chain_prompts)
        if sweep:
            figures[task]["sweep"] = _sweep(text, task, sweep)
    if sweep and picture:
        from lohovla.benchmarks.d2f.plot_tradeoff import plot

        plot({task: figures[task]["sweep"] for task in tasks}, picture)
    first = figures[tasks[0]]["modes"]
    main = "d2f" if "d2f" in first else modes[-1]
    return emit(
        "d2f",
        f"tokens a forward, {tasks[0]}, {main}",
        first[main]["tokens_a_forward"],
        "tokens/forward",
        baseline=1.0,
        ratio=first[main].get("speed_up"),
        floor=None,
        threads=torch.get_num_threads(),
        problems=problems,
        model=model or "shipped",
        figures=figures,
    )


def _compare(text: Any, task: str, modes: list[str], problems: int) -> dict[str, Any]:
    """All modes on the same problems, the order turning from problem to problem."""
    from lohovla.collect.text_tasks import text_task
    from lohovla.d2f.sampling import Sampling

    judge, sampling = text_task(task), Sampling(max_tokens=ROOM[task])
    warm = judge.draw_problem(FIRST - 2).prompt
    for mode in modes:
        text.generate(warm, mode, sampling)
    kept: dict[str, list[tuple[bool, bool, int, int, float, float]]] = {mode: [] for mode in modes}
    for number in progress(range(problems), desc=task, unit="problem"):
        example = judge.draw_problem(FIRST + 2 * number)
        turn = number % len(modes)
        for mode in modes[turn:] + modes[:turn]:
            began, worked = time.perf_counter(), time.process_time()
            result = text.generate(example.prompt, mode, sampling)[0]
            spent = time.perf_counter() - began, time.process_time() - worked
            score = judge.score(example, result.text)
            kept[mode].append((score.right, score.valid, len(result.answer.tokens), result.answer.forwards, *spent))
    rows: dict[str, dict[str, float]] = {}
    print(f"\n{task}, {problems} problems, blocks of {text.size}")
    print(
        f"{'mode':12s} {'right':>7s} {'valid':>7s} {'tokens/forward':>15s} {'ms/answer':>10s} {'times ar':>9s} "
        f"{'cpu ms':>8s} {'times ar':>9s}"
    )
    for mode, samples in kept.items():
        rights, valids, tokens, forwards, times, worked = zip(*samples, strict=True)
        row = {
            "right": 100 * sum(rights) / problems,
            "valid": 100 * sum(valids) / problems,
            "tokens": sum(tokens) / problems,
            "tokens_a_forward": sum(tokens) / sum(forwards),
            "ms": 1000 * median(times),
            "cpu_ms": 1000 * median(worked),
        }
        if "ar" in kept:
            row["speed_up"] = median([ar[4] / own for ar, own in zip(kept["ar"], times, strict=True)])
            row["cpu_speed_up"] = median([ar[5] / own for ar, own in zip(kept["ar"], worked, strict=True)])
        rows[mode] = {key: round(value, 3) for key, value in row.items()}
        print(
            f"{mode:12s} {row['right']:6.1f}% {row['valid']:6.1f}% {row['tokens_a_forward']:15.2f} {row['ms']:10.1f} "
            f"{row.get('speed_up', float('nan')):9.2f} {row['cpu_ms']:8.1f} "
            f"{row.get('cpu_speed_up', float('nan')):9.2f}"
        )
    return {"modes": rows}


def _agreement(text: Any, task: str, prompts: int) -> dict[str, float]:
    """Whether the chain gives the plain tokens, on further problems, several at once."""
    from lohovla.d2f.decode_loop import decode_prompts
    from lohovla.d2f.sampling import Sampling

    sampling = Sampling(max_tokens=ROOM[task])
    differ = plain_forwards = chain_forwards = tokens = 0
    with progress(total=prompts, desc=f"{task}: chain", unit="problem") as bar:
        for examples in problem_batches(task, FIRST + 2_000_000, prompts):
            heads = [text.encode(example.prompt) for example in examples]
            plain, chain = (
                decode_prompts(text.student, heads, text.settings(mode, sampling)) for mode in ("d2f", "d2f+chain")
            )
            for a, b in zip(plain, chain, strict=True):
                differ += a.tokens != b.tokens
                plain_forwards += a.forwards
                chain_forwards += b.forwards
                tokens += len(a.tokens)
            bar.update(len(examples))
    print(
        f"chain: {differ} of {prompts} answers differ from plain d2f; tokens a forward "
        f"{tokens / plain_forwards:.2f} plain, {tokens / chain_forwards:.2f} chain"
    )
    return {
        "prompts": prompts,
        "differ": differ,
        "plain": round(tokens / plain_forwards, 3),
        "chain": round(tokens / chain_forwards, 3),
    }


def _sweep(text: Any, task: str, problems: int) -> list[dict[str, Any]]:
    """Tokens a forward and right answers over the thresholds and block sizes, on validation problems."""
    from lohovla.benchmarks.d2f.compare_students import score
    from lohovla.d2f.block_state import Thresholds

    points = []
    settings = [
        (mode, accept, size)
        for mode in ("d2f", "d2f+branch")
        for size in (8, 16)
        for accept in (0.5, 0.8, 0.9, 0.95, 0.98, 0.995, 0.999)
    ]
    for mode, accept, size in progress(settings, desc=f"{task}: thresholds"):
        limits = Thresholds(accept, text.thresholds.add, text.thresholds.activate)
        found = score(text, task, size, problems, VALIDATION, mode, limits)
        points.append({"mode": mode, "accept": accept, "block": size, **found})
        print(
            f"  {mode:11s} block {size:3d} accept {accept:.3f}: {found['tokens_a_forward']:6.2f} tokens a "
            f"forward, {found['right']:5.1f} % right",
            flush=True,
        )
    return points
