"""Text tasks without limit: writing plans for the block world, and arithmetic with its working."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Protocol

from lohovla.errors import UserError

NAMES = ("plan", "open-plan", "arithmetic")


@dataclass(frozen=True)
class TextExample:
    """One problem in text.

    Attributes:
        task: ``plan`` or ``arithmetic``.
        seed: what it was drawn with; the same seed gives the same problem.
        prompt: what the model is given.
        answer: one right answer; others may be right too.
    """

    task: str
    seed: int
    prompt: str
    answer: str


class TextTask(Protocol):
    """A family of problems with a judge."""

    def draw_problem(self, seed: int) -> TextExample:
        """The problem of a seed: even for training, odd for validation, 10001 + 2k for tests."""
        ...

    def score(self, example: TextExample, answer: str) -> AnswerScore:
        """Judge an answer."""
        ...


@dataclass(frozen=True)
class AnswerScore:
    """What an answer is worth.

    Attributes:
        right: it solves the problem.
        valid: it is well formed all through: every sub-task can be carried out, every line of working is true.
        fault: what is wrong, in a few words; "" where nothing is.
    """

    right: bool
    valid: bool
    fault: str = ""


@functools.cache
def text_task(name: str) -> TextTask:
    """The task of a name: one of :data:`NAMES`, or ``short-plan``, which eases training.

    Raises:
        UserError: there is none.
    """
    if name == "plan":
        from lohovla.collect.text_tasks.plans import Plans

        return Plans()
    if name == "open-plan":
        from lohovla.collect.text_tasks.plans import OPEN_TASKS, Plans

        return Plans(tasks=OPEN_TASKS)
    if name == "short-plan":
        from lohovla.collect.text_tasks.plans import SHORT_TASKS, TASKS, Plans

        return Plans(1, 5, (*TASKS, *SHORT_TASKS))
    if name == "arithmetic":
        from lohovla.collect.text_tasks.arithmetic import Arithmetic

        return Arithmetic()
    raise UserError(f"there is no text task {name!r}", f"there are {', '.join((*NAMES, 'short-plan'))}")
