"""How well a checkpoint plans, without pictures and without physics: words in, moves carried out exactly, score out.

The planner reads scenes as tables, as in its symbolic training; what it says is carried out at once. Words that fit
several moves are carried out in the best way they allow, or in a random one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from lohovla.collect.privileged_labels import objects_of
from lohovla.envs.episode import SUCCESS
from lohovla.envs.language import vocabulary
from lohovla.envs.tasks.entities import Scene, block_moved_to
from lohovla.envs.tasks.goals import Subtask
from lohovla.envs.tasks.handwritten_goals import HandwrittenGoals
from lohovla.envs.tasks.registry import TaskInstance, get_task, initial_scene
from lohovla.errors import UserError
from lohovla.evaluate.spoken_subtask import moves_of
from lohovla.evaluate.statistics import wilson
from lohovla.model.encoders.detector import Detections
from lohovla.model.inference.subtask_decoding import decode_autoregressive
from lohovla.model.model_inputs import EncodedObservation, ModelInputs
from lohovla.model.modeling_lohovla import LoHoVLA
from lohovla.model.processor import Processor
from lohovla.train.symbolic_pretraining import synthetic_detections

READINGS = ("best", "random")
_STRIDE = 77  # through the sentences written by hand, so that a few of them are of all kinds
Say = Callable[[Sequence[Scene], Sequence[str], Sequence[Sequence[str]], bool], list[str]]


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
    """

    problem: TaskInstance
    seed: int
    scene: Scene
    said: list[str] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    over: bool = False

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


class SymbolicPlanner:
    """A checkpoint's next sub-tasks of scenes given as tables.

    Args:
        model: the core.
        processor: of its checkpoint.
        state: proprioception (13,) of the arm at home.
        grammar: what may be said: ``scene``, ``all`` or ``none``, as of the policy.

    Raises:
        UserError: the checkpoint says no sub-tasks, or there is no such grammar.
    """

    def __init__(self, model: LoHoVLA, processor: Processor, state: np.ndarray, grammar: str = "scene"):
        if grammar not in ("scene", "all", "none"):
            raise UserError(f"policy.grammar cannot be {grammar!r}", "choose one of scene, all, none")
        if not model.config.use_subtasks:
            raise UserError("this checkpoint was trained without sub-tasks: it plans nothing", "name another")
        self._model, self._processor, self._state, self._grammar = model, processor, torch.from_numpy(state), grammar
        self._constraints = {stop: processor.subtask_constraints(stop) for stop in (False, True)}

    def reads(self, goal: str) -> bool:
        """Whether a goal is short enough for the model."""
        try:
            self._processor.goals([goal])
        except UserError:
            return False
        return True

    @torch.no_grad()
    def say(
        self, scenes: Sequence[Scene], goals: Sequence[str], without: Sequence[Sequence[str]], stop: bool
    ) -> list[str]:
        """The next sub-task of each scene in words.

        Args:
            scenes: what there is.
            goals: in words, one a scene.
            without: of each scene sentences that shall not be said again.
            stop: "Done." may be said.
        """
        processor, model = self._processor, self._model
        objects = synthetic_detections(torch.from_numpy(np.stack([objects_of(s) for s in scenes])), model.config)
        goal, valid = processor.goals(goals)
        state = self._state.expand(len(scenes), -1)
        inputs = ModelInputs(state.new_zeros(len(scenes), 0), state, goal, valid)
        tokens, layout, places = model.prefix_tokens(inputs, objects)
        cache = DynamicCache(config=model.decoder.config)
        states = model.run(tokens, layout, places, cache)
        prefix = EncodedObservation(None, objects, states[:, : objects.cell.shape[1]], layout, cache, state)  # type: ignore[arg-type]
        said = decode_autoregressive(
            model, prefix, processor.start, processor.end, self._grammars(objects, goals, without, stop)
        )
        return [processor.sentence(row) for row in said.tokens]

    def _grammars(self, objects: Detections, goals: Sequence[str], without: Sequence[Sequence[str]], stop: bool) -> Any:
        constraints = self._constraints[stop]
        if self._grammar == "none" or constraints is None:
            return None
        if self._grammar == "all":
            return constraints.everything
        failed = [[self._processor.words(text) for text in texts] for texts in without]
        return [constraints.for_scene(objects, k, failed[k], goal) for k, goal in enumerate(goals)]


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
    """

    name: str
    episodes: int
    successes: int
    score: float
    unread: int = 0

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
) -> Iterator[tuple[PlanningRow, list[SymbolicEpisode]]]:
    """Plan every task's problems; a row and its episodes as soon as they are played.

    Args:
        say: the planner.
        tasks: the row's name of each task.
        seeds: of the problems.
        reading: ``best`` or ``random``: how words that fit several moves are carried out.
        batch: problems at a time.
        reads: whether the planner can read a goal.

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
                play_planning(say, asked[first : first + batch], reading, rng)
        solved, score = sum(episode.success for episode in drawn), float(np.mean([episode.score for episode in drawn]))
        yield PlanningRow(name, len(drawn), solved, score, len(drawn) - len(asked)), drawn


# Rows beside the tasks, never mixed with them or with one another.
COMPOSED_ROWS = {
    "composed-goals": "composed goals that may be trained",
    "composed-goals-held-out-cells": "combinations never trained",
    "composed-goals-held-out-words": "words never trained",
    "handwritten-goals": "sentences written by hand",
    "impossible-goals": "cannot be done",
    "reached-goals": "done already",
}
