"""How well a checkpoint plans, without pictures and without physics: words in, moves carried out exactly, score out.

The planner reads scenes as tables, as in its symbolic training; what it says is carried out at once. Words that fit
several moves are carried out in the best way they allow, or in a random one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from lohovla.envs.episode import SUCCESS
from lohovla.envs.language import vocabulary
from lohovla.envs.tasks.entities import Scene, block_moved_to
from lohovla.envs.tasks.goals import Subtask
from lohovla.envs.tasks.grammar.meaning import canonical
from lohovla.envs.tasks.handwritten_goals import HandwrittenGoals
from lohovla.envs.tasks.registry import TaskInstance, get_task, initial_scene
from lohovla.errors import UserError
from lohovla.evaluate.spoken_subtask import moves_of
from lohovla.evaluate.statistics import wilson

READINGS = ("best", "random")
_STRIDE = 77  # through the sentences written by hand, so that a few of them are of all kinds
Say = Callable[[Sequence[Scene], Sequence[str], Sequence[Sequence[str]], bool], list[str]]
Understand = Callable[[Sequence[Scene], Sequence[str]], list[str]]


@dataclass
class SymbolicEpisode:
    """One problem as it was planned.

    Attributes:
        problem: what was asked.
        seed: it was drawn with.
        scene: as it is now.
        said: the planner's sentences.
        tried: sentences that changed nothing since the last gain.
        over: it has ended.
        understood: the goal's meaning as the model writes it; None where it was not asked.
    """

    problem: TaskInstance
    seed: int
    scene: Scene
    said: list[str] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    over: bool = False
    understood: str | None = None

    @property
    def meaning(self) -> str:
        """The goal's meaning in its one form; "" where it has none."""
        return str(canonical(self.problem.meaning)) if self.problem.meaning else ""

    @property
    def asks_for_nothing(self) -> bool:
        """Whether the right thing to do is nothing: the goal is reached already, or cannot be."""
        return bool(self.problem.goal.score(initial_scene(self.problem.layout)) > SUCCESS)

    @property
    def score(self) -> float:
        """The part of the goal that holds."""
        return float(self.problem.goal.score(self.scene))

    @property
    def success(self) -> bool:
        """Whether the goal is reached; where nothing was to be done, whether just that was said, and nothing else."""
        if not self.asks_for_nothing:
            return self.score > SUCCESS
        ending, words = self.problem.goal.ending, vocabulary()
        done = ending == words["done"]
        return bool(self.said) and (self.said[0] == words["done"] if done else self._says_it_cannot(self.said[0]))

    @staticmethod
    def _says_it_cannot(text: str) -> bool:
        """Whether a sentence says that nothing can be done, or what is missing for it."""
        missing = vocabulary()["missing"].split("{noun}")[0]
        return text == vocabulary()["nothing"] or text.startswith(missing)


def problems_of(task: str, seeds: Sequence[int], colors: str | None = None) -> Iterator[tuple[int, TaskInstance]]:
    """The problems of a task for seeds; of sentences written by hand each in its turn."""
    found = get_task(task)
    for number, seed in enumerate(seeds):
        rng = np.random.default_rng([seed, 1])
        if isinstance(found, HandwrittenGoals):
            yield seed, found.sample_sentence(_STRIDE * number, rng, colors)
        else:
            yield seed, found.sample(rng, colors)


def play_planning(say: Say, episodes: Sequence[SymbolicEpisode], reading: str, rng: np.random.Generator) -> None:
    """Plan episodes to their ends, all at once."""
    for allowed in (False, True):  # an episode that ends by itself needs no "Done."
        playing = [episode for episode in episodes if episode.asks_for_nothing == allowed]
        while playing := [episode for episode in playing if not episode.over]:
            sentences = say(
                [episode.scene for episode in playing],
                [episode.problem.instruction for episode in playing],
                [episode.tried for episode in playing],
                allowed,
            )
            for episode, sentence in zip(playing, sentences, strict=True):
                _advance(episode, sentence, reading, rng)


def _advance(episode: SymbolicEpisode, sentence: str, reading: str, rng: np.random.Generator) -> None:
    """Carry a sentence out, and see whether the episode ends."""
    before = episode.score
    episode.said.append(sentence)
    moves, wanted = moves_of(sentence, episode.scene), episode.problem.goal.next(episode.scene)
    if wanted is not None and wanted.text == sentence:  # "on the table" may be at the place that is meant
        moves = [wanted, *moves]
    if moves:
        move = moves[rng.integers(len(moves))] if reading == "random" else _best(episode, moves, wanted)
        episode.scene = block_moved_to(episode.scene, move.pick, move.place)
    episode.tried = [] if episode.score > before else [*episode.tried, sentence]
    nothing_more = not moves and len(episode.said) > 1 and episode.said[-2] == sentence
    finished = episode.score > SUCCESS and not episode.asks_for_nothing
    limit = episode.problem.max_steps
    episode.over = finished or nothing_more or episode.asks_for_nothing or len(episode.said) >= limit


def _best(episode: SymbolicEpisode, moves: Sequence[Subtask], wanted: Subtask | None) -> Subtask:
    """The move after which the score is highest; of equal ones what the oracle wants, or what leaves least to do."""
    if len(moves) == 1:
        return moves[0]
    goal, scene = episode.problem.goal, episode.scene
    after = [goal.score(block_moved_to(scene, move.pick, move.place)) for move in moves]
    best = [move for move, score in zip(moves, after, strict=True) if score == max(after)]
    if wanted in best:
        return wanted
    return min(best, key=lambda move: _left(episode, block_moved_to(scene, move.pick, move.place)))


def _left(episode: SymbolicEpisode, scene: Scene) -> int:
    """How many sub-tasks the oracle needs from a scene on."""
    limit = episode.problem.max_steps
    for count in range(limit):
        subtask = episode.problem.goal.next(scene)
        if subtask is None:
            return count
        scene = block_moved_to(scene, subtask.pick, subtask.place)
    return limit


@dataclass(frozen=True)
class PlanningRow:
    """One line of the table.

    Attributes:
        name: a task, or what is held out.
        episodes: how many.
        successes: how many of them were solved.
        score: the mean part of the goal that held at the end.
        unread: how many goals were too long for the model, and so not solved.
        understood: how many goals' meanings the model wrote rightly; None where it writes none.
    """

    name: str
    episodes: int
    successes: int
    score: float
    unread: int = 0
    understood: int | None = None

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the success rate, in [0, 1]."""
        return wilson(self.successes, self.episodes)


def measure_planning(
    say: Say,
    tasks: Mapping[str, str],
    seeds: Sequence[int],
    reading: str = "best",
    batch: int = 32,
    reads: Callable[[str], bool] = bool,
    understand: Understand | None = None,
) -> Iterator[tuple[PlanningRow, list[SymbolicEpisode]]]:
    """Plan every task's problems; a row and its episodes as soon as they are played.

    Args:
        say: the planner.
        tasks: the row's name of each task.
        seeds: of the problems.
        reading: ``best`` or ``random``: how words that fit several moves are carried out.
        batch: problems at a time.
        reads: whether the planner can read a goal.
        understand: writes the meanings of goals in their scenes, if the planner can.

    Raises:
        UserError: there is no such reading.
    """
    if reading not in READINGS:
        raise UserError(f"reading cannot be {reading!r}", f"choose one of {', '.join(READINGS)}")
    for task, name in tasks.items():
        drawn = [
            SymbolicEpisode(problem, seed, initial_scene(problem.layout)) for seed, problem in problems_of(task, seeds)
        ]
        asked = [episode for episode in drawn if reads(episode.problem.instruction)]
        rng = np.random.default_rng([int(seeds[0]), 7])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(seeds[0]))
            for first in range(0, len(asked), batch):
                some = asked[first : first + batch]
                if understand is not None:
                    written = understand([e.scene for e in some], [e.problem.instruction for e in some])
                    for episode, meaning in zip(some, written, strict=True):
                        episode.understood = meaning
                play_planning(say, some, reading, rng)
        understood = None
        if understand is not None and all(episode.meaning for episode in drawn):
            understood = sum(episode.understood == episode.meaning for episode in drawn)
        solved, score = sum(episode.success for episode in drawn), float(np.mean([episode.score for episode in drawn]))
        yield PlanningRow(name, len(drawn), solved, score, len(drawn) - len(asked), understood), drawn


# Rows beside the tasks, never mixed with them or with one another.
COMPOSED_ROWS = {
    "composed-goals": "composed goals that may be trained",
    "composed-goals-held-out-cells": "combinations never trained",
    "composed-goals-held-out-words": "words never trained",
    "handwritten-goals": "sentences written by hand",
    "impossible-goals": "cannot be done",
    "reached-goals": "done already",
}
