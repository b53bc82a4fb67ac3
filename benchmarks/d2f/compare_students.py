"""Several students of one teacher, side by side on the same problems."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lohovla.progress import progress


def run(
    model: str | None, adapters: list[str], blocks: list[int], tasks: list[str], problems: int, first: int
) -> list[dict[str, Any]]:
    """Decode the same problems by every adapter and block size, many at once, and print a table.

    Args:
        model: the checkpoint that the adapters were trained on; the shipped one if None.
        adapters: folders.
        blocks: tokens a block in decoding, as multiples of each adapter's own.
        tasks: text tasks.
        problems: of each.
        first: seed of the first problem.
    """
    from lohovla.d2f.text_model import TextModel

    rows = []
    print(f"{'adapter':24s} {'block':>5s} {'task':10s} {'right':>7s} {'valid':>7s} {'tokens/forward':>15s}")
    for folder in progress(adapters, desc="adapters"):
        text = TextModel.load(model, folder, dtype="float32")
        for size in [text.size * times for times in blocks]:
            for task in tasks:
                row = {
                    "adapter": _name(folder),
                    "block": size,
                    "task": task,
                    **score(text, task, size, problems, first),
                }
                rows.append(row)
                print(
                    f"{row['adapter']:24s} {size:5d} {task:10s} {row['right']:6.1f}% {row['valid']:6.1f}% "
                    f"{row['tokens_a_forward']:15.2f}",
                    flush=True,
                )
    return rows


def score(text: Any, task: str, size: int, problems: int, first: int, mode: str = "d2f", limits: Any = None) -> dict:
    """Right and valid answers in %, and tokens a forward, of one setting."""
    from lohovla.benchmarks.d2f.text_problems import ROOM, problem_batches
    from lohovla.collect.text_tasks import text_task
    from lohovla.d2f.decode_loop import decode_prompts
    from lohovla.d2f.sampling import Sampling

    judge, settings = text_task(task), text.settings(mode, Sampling(max_tokens=ROOM[task]), limits, size)
    right = valid = tokens = forwards = 0
    for examples in problem_batches(task, first, problems):
        answers = decode_prompts(text.student, [text.encode(example.prompt) for example in examples], settings)
        for example, answer in zip(examples, answers, strict=True):
            judged = judge.score(example, text.decode(answer.tokens))
            right, valid = right + judged.right, valid + judged.valid
            tokens, forwards = tokens + len(answer.tokens), forwards + answer.forwards
    return {
        "right": round(100 * right / problems, 2),
        "valid": round(100 * valid / problems, 2),
        "tokens_a_forward": round(tokens / forwards, 3),
    }


def _name(folder: str) -> str:
    """What an adapter is called: its folder, or the run's where that is just ``adapter``."""
    path = Path(folder)
    return path.parent.name if path.name == "adapter" else path.name
