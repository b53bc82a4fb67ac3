"""What a task is, and the list of all of them."""

from __future__ import annotations

import difflib
import enum
import importlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lohovla.envs.language import vocabulary
from lohovla.envs.tasks.entities import Block, Scene
from lohovla.envs.tasks.goals import Goal
from lohovla.envs.tasks.grammar.meaning import Meaning
from lohovla.envs.tasks.grammar.resolve import goal_of
from lohovla.envs.tasks.grammar.selection import ImpossibleGoal
from lohovla.envs.tasks.names import COMPOSED, TASKS
from lohovla.envs.tasks.scene_sampler import NoRoom, SceneSampler
from lohovla.errors import UserError
from lohovla.extensions import installed, load_extension

_DRAWS = 400


class Split(enum.StrEnum):
    """How the published work uses a task; goals composed by the grammar are none of its."""

    PRIMITIVE = "primitive"
    SEEN = "seen"
    UNSEEN = "unseen"
    ADDITIONAL = "additional"
    COMPOSED = "composed"
    OTHER = "other"  # of another package, and of no published work


@dataclass(frozen=True)
class TaskInstance:
    """One episode's task: the words, the initial state, the goal and its limit.

    Attributes:
        instruction: the goal sentence.
        layout: what there is and where.
        goal: what to reach.
        max_steps: pick-and-place actions allowed.
        meaning: the goal in the grammar of goals, if it was given so.
    """

    instruction: str
    layout: SceneSampler
    goal: Goal
    max_steps: int
    meaning: Meaning | None = None


class Task(ABC):
    """A family of problems; one subclass a file, found by its ``name``.

    Attributes:
        name: the published name.
        split: how the published work uses it.
        letter: its row in the published table, if it has one.
        palette: colours it draws from when the environment asks for none.
        spare: pick-and-place actions allowed beyond the moves needed.
        sentences: the goal in words, its fields in braces, and other ways to say it; empty where
            ``language.yaml`` has them, as of this project's own tasks.
    """

    name: ClassVar[str]
    split: ClassVar[Split] = Split.OTHER
    letter: ClassVar[str] = ""
    palette: ClassVar[str] = "train"
    spare: ClassVar[int] = 2
    sentences: ClassVar[tuple[str, ...]] = ()

    @property
    def wordings(self) -> tuple[str, ...]:
        """The goal sentence with its fields in braces, then its paraphrases."""
        return self.sentences or tuple(vocabulary()["goals"][self.name])

    @abstractmethod
    def build(self, layout: SceneSampler) -> tuple[Goal | Meaning, dict[str, str]]:
        """Fill ``layout`` and return the goal and the fields of the goal sentence.

        The goal is a meaning of the grammar of goals (:mod:`lohovla.envs.tasks.grammar.meaning`), whose score and
        oracle follow from it, or a :class:`Goal` of one's own.

        Raises:
            NoRoom: the table was full; the problem is drawn again.
        """

    def sample(self, rng: np.random.Generator, colors: str | None = None, paraphrase: bool = False) -> TaskInstance:
        """Draw a problem that is not solved from the start.

        Args:
            rng: the episode's generator.
            colors: palette to draw from; the task's own if None.
            paraphrase: say the goal in one of its other wordings.
        """
        for _ in range(_DRAWS):
            layout = SceneSampler(rng, colors or self.palette)
            try:
                built, fields = self.build(layout)
                scene = initial_scene(layout)
                goal = goal_of(built, scene) if isinstance(built, Meaning) else built
            except (NoRoom, ImpossibleGoal):
                continue
            if goal.score(scene) == 0.0:
                # Drawn last: the words must not change what is drawn.
                words = self.wordings
                variant = int(rng.integers(1, len(words))) if paraphrase and len(words) > 1 else 0
                sentence = words[variant].format(**fields)
                meaning = built if isinstance(built, Meaning) else None
                return TaskInstance(sentence, layout, goal, goal.moves + self.spare, meaning)
        raise RuntimeError(f"{self.name}: no layout found in {_DRAWS} draws")


def initial_scene(layout: SceneSampler) -> Scene:
    """The snapshot of a layout as drawn, before physics."""
    blocks = {name: e for name, e in layout.entities.items() if isinstance(e, Block)}
    poses = [layout.poses[name] for name in blocks]
    return Scene(
        blocks=blocks,
        fixtures={name: e for name, e in layout.entities.items() if not isinstance(e, Block)},
        fixture_poses={name: layout.poses[name] for name in layout.entities if name not in blocks},
        positions=np.array([(p.x, p.y, p.z) for p in poses]).reshape(-1, 3),
        quats=np.array([(np.cos(p.yaw / 2), 0, 0, np.sin(p.yaw / 2)) for p in poses]).reshape(-1, 4),
    )


def get_task(name: str) -> Task:
    """The task of a name such as ``put-block-into-matching-bowl``, or of a letter A-K of the table.

    Names of other packages' tasks (entry point ``lohovla.tasks``) are found too.

    Raises:
        UserError: there is none; the message names the nearest.
    """
    if name in TASKS or name in COMPOSED:
        module = importlib.import_module(f"lohovla.envs.tasks.{name.replace('-', '_')}")
        return module.TASK()
    if len(name) == 1 and name.upper() in "ABCDEFGHIJK":
        return next(task for task in map(get_task, TASKS) if task.letter == name.upper())
    others = installed("task")
    if name in others:
        return _of_another_package(name)
    nearest = difflib.get_close_matches(name, [*TASKS, *COMPOSED, *others], n=3, cutoff=0.3)
    also = f"; other packages have {', '.join(others)}" if others else ""
    remedy = f"did you mean {' or '.join(nearest)}? " if nearest else ""
    raise UserError(f"there is no task {name!r}", f"{remedy}`lohovla tasks` lists them{also}")


def _of_another_package(name: str) -> Task:
    found = load_extension("task", name)
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise UserError(
            f"task {name!r} is a {type(found).__name__}",
            "its entry point names a class of lohovla.envs.tasks.registry.Task",
        )
    try:
        task = found()
    except TypeError as error:  # an abstract method is missing
        raise UserError(f"task {name!r}: {error}", "docs/extend.md has a task on one page") from None
    if getattr(found, "name", None) != name or not found.sentences:
        raise UserError(
            f"task {name!r} has name = {getattr(found, 'name', None)!r} and {len(found.sentences)} sentences",
            f"its class needs name = {name!r} and sentences = (...,)",
        )
    return task
