"""What is evaluated: tasks, seeds, the policy and its world. Every episode's outcome follows from this alone."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lohovla.envs.tasks.names import TASKS
from lohovla.envs.tasks.registry import Split, get_task
from lohovla.errors import UserError

SUITES = ("primitives", "seen", "unseen", "additional", "lohoravens", "all")
_SPLITS = {
    "primitives": Split.PRIMITIVE,
    "seen": Split.SEEN,
    "unseen": Split.UNSEEN,
    "additional": Split.ADDITIONAL,
}
_FIRST_TEST_SEED = 10001


@dataclass(frozen=True)
class Protocol:
    """An evaluation.

    Attributes:
        tasks: names, in the order of the tables.
        seeds: of each task's episodes.
        policy: its name.
        policy_settings: what else :func:`lohovla.policies.registry.make_policy` takes.
        env: settings of :class:`lohovla.envs.env.BlocksEnv` beside the task.
        split: ``test`` or ``val``, what the seeds are of.
        diagnose: also look where the policy goes wrong; it changes no outcome.
    """

    tasks: tuple[str, ...]
    seeds: tuple[int, ...]
    policy: str
    env: Mapping[str, Any]
    split: str = "test"
    policy_settings: Mapping[str, Any] = field(default_factory=dict)
    diagnose: bool = False

    @property
    def episodes(self) -> list[tuple[str, int]]:
        """Every (task, seed), in order."""
        return [(task, seed) for task in self.tasks for seed in self.seeds]


def tasks_of(suite: str, names: Sequence[str] | str | None = None) -> tuple[str, ...]:
    """The tasks of a suite, or those of ``names`` (names and letters) if any are given; ``suite`` may then be "".

    >>> tasks_of("seen")[0], tasks_of("lohoravens", ["K"])
    ('put-block-into-matching-bowl', ('stack-blocks-of-same-color',))

    Raises:
        UserError: there is no such suite or task, or no task at all.
    """
    if suite not in SUITES and not (suite == "" and names is not None):
        nearest = difflib.get_close_matches(suite, SUITES, n=1, cutoff=0.0)[0]
        raise UserError(f"there is no suite {suite!r}", f"did you mean {nearest!r}? choose one of {', '.join(SUITES)}")
    if names is not None:
        return tasks_named(names)
    tasks = sorted(map(get_task, TASKS), key=lambda task: task.letter or "~")  # the published ones first
    if suite == "lohoravens":
        tasks = [task for task in tasks if task.letter]
    elif suite != "all":
        tasks = [task for task in tasks if task.split is _SPLITS[suite]]
    return tuple(task.name for task in tasks)


def tasks_named(names: Sequence[str] | str) -> tuple[str, ...]:
    """The tasks of names and letters, each once.

    >>> tasks_named(["K", "k"])
    ('stack-blocks-of-same-color',)

    Raises:
        UserError: there is no such task, or no name.
    """
    names = [names] if isinstance(names, str) else list(names)
    if not names:
        raise UserError("tasks is an empty list", "name tasks, e.g. tasks=[B,K]")
    return tuple(dict.fromkeys(get_task(str(name)).name for name in names))


def seeds_of(split: str, episodes: int) -> tuple[int, ...]:
    """The first seeds of a split: odd ones below 10001 for ``val``, from there on for ``test``.

    Raises:
        UserError: there is no such split, or it has fewer or no seeds.
    """
    if split not in ("test", "val"):
        raise UserError(f"split cannot be {split!r}", "choose test or val; training seeds are even and not evaluated")
    if episodes < 1:
        raise UserError(f"episodes must be at least 1, not {episodes}", "episodes=200 is the published number a task")
    if split == "val" and episodes > _FIRST_TEST_SEED // 2:
        raise UserError(f"split=val has {_FIRST_TEST_SEED // 2} seeds, not {episodes}", "give fewer episodes")
    first = _FIRST_TEST_SEED if split == "test" else 1
    return tuple(range(first, first + 2 * episodes, 2))
