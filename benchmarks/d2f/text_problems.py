"""Problems of the text tasks for the text benchmarks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

ROOM = {"plan": 192, "open-plan": 192, "arithmetic": 112}  # answer tokens
VALIDATION = 1  # thresholds are chosen by problems from this seed on


def problem_batches(task: str, first: int, count: int, size: int = 16) -> Iterator[list[Any]]:
    """``count`` problems from seed ``first`` on, ``size`` at a time."""
    from lohovla.collect.text_tasks import text_task

    examples = [text_task(task).draw_problem(first + 2 * k) for k in range(count)]
    yield from (examples[k : k + size] for k in range(0, count, size))
