"""The thinking part of the LoHoVLA policy: judge the sub-task, say the next, paint its end, point; or all in one.

It works on a batch of looks; what it knows of each episode is in :class:`lohovla.policies.policy_config.EpisodeMemory`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lohovla.errors import UserError
from lohovla.model.backends.device_transfer import DeviceTransfer
from lohovla.model.backends.inference_backend import InferenceBackend
from lohovla.model.backends.single_graph import ANY, NONE, ChunkInputs, DecisionConfig, DecisionInputs, kept_words
from lohovla.model.encoders.detector import DetectionMap, Detections
from lohovla.model.inference import pick_place_prediction
from lohovla.model.inference.action_sampling import ActionContext
from lohovla.model.inference.pick_place_prediction import PickPlacePrediction, SubtaskTokens
from lohovla.model.inference.subgoal_generation import picture_to_rgb, require_subgoal_generator
from lohovla.model.language.token_trie import TokenTrie
from lohovla.model.modeling_lohovla import EncodedObservation, LoHoVLA, ModelInputs
from lohovla.model.processor import Processor
from lohovla.policies.policy_config import EpisodeMemory, LoHoVLAPolicyConfig
from lohovla.policies.subgoal_source import PlannedSubtask

_REWARDED = 1e-6


class SubtaskPlanner:
    """Plans with a model.

    Args:
        model: the core.
        processor: of its checkpoint.
        rules: how.
        fast: the model's calls.

    Raises:
        UserError: the model was not trained for what the rules ask.
    """

    def __init__(self, model: LoHoVLA, processor: Processor, rules: LoHoVLAPolicyConfig, fast: InferenceBackend):
        if not model.config.subtasks and rules.subtasks != "none":
            raise UserError(
                "this checkpoint was trained without sub-tasks: it acts from the goal alone", "set policy.subtasks=none"
            )
        if rules.paints:
            require_subgoal_generator(model)
        self.model, self.rules = model, rules
        self._fast, self._inputs = fast, DeviceTransfer(processor, model.device)
        self._start, self._end, self._mask = processor.start, processor.end, processor.mask
        self.subtask_constraints = processor.subtask_constraints(rules.allow_done) if rules.grammar != "none" else None

    def plan(self, observations: Sequence[Mapping[str, Any]], memories: Sequence[EpisodeMemory]) -> list[bool]:
        """Look, judge the sub-task, plan another where one is due, and point; returns where one was planned."""
        began = time.perf_counter()
        inputs = self._inputs(observations)
        prefix = self._fast.encode(inputs)
        timing = {"encode": (time.perf_counter() - began) * 1e3}
        self._hear(observations, memories)
        due = [
            self._due(memory, self._progress(memory, prefix.seen.select_row(row)))
            for row, memory in enumerate(memories)
        ]
        self._go_on(inputs, prefix, memories, due, timing)
        return due

    def whole(self, memories: Sequence[EpisodeMemory]) -> bool:
        """Whether :meth:`decide` does these in one: by block diffusion, not eagerly, where a sub-task may be due."""
        rules = self.rules
        possible = self._fast.whole and rules.planner == "d2f" and rules.subtasks == "text" and not rules.paints
        return possible and any(self._limit(memory) < NONE for memory in memories)

    def decide(
        self,
        observations: Sequence[Mapping[str, Any]],
        memories: Sequence[EpisodeMemory],
        whole: DecisionConfig,
        acting: Callable[[], ChunkInputs],
    ) -> tuple[list[bool], Tensor | None]:
        """As :meth:`plan`, and the chunks too, in one pass.

        They are None where its words are not complete, or may not be said: then it was planned pass by pass.
        ``acting`` is asked once the observations are found good.
        """
        began = time.perf_counter()
        inputs = self._inputs(observations)
        decided = self._fast.decide(whole, inputs, self._asked(memories, acting()))
        self._hear(observations, memories)
        progress, words = decided.progress.tolist(), decided.words(self._end)
        due = [self._due(memory, value) for memory, value in zip(memories, progress, strict=True)]
        holds = decided.fresh.tolist() == due and all(decided.complete.tolist())
        timing = {"decide": (time.perf_counter() - began) * 1e3}
        if not holds or self._refused(decided.objects, words, memories, due):
            self._go_on(inputs, decided.prefix(), memories, due, timing)
            return due, None
        self._keep(memories, words, decided.attended, decided.before, timing)
        self._end_runs(decided.objects, memories, due)
        return due, decided.action

    def _asked(self, memories: Sequence[EpisodeMemory], acting: ChunkInputs) -> DecisionInputs:
        asked = DecisionInputs.new(self.model, acting.motion, acting.noise)
        asked.limit = asked.limit.new_tensor([self._limit(memory) for memory in memories])
        asked.kept = kept_words(self.model, [memory.words or [] for memory in memories], self._end)
        for row, memory in enumerate(memories):
            if memory.before is not None and memory.attended is not None:
                asked.before[row], asked.points[row] = memory.before[0], memory.attended.points[0]
        asked.prefix = acting.prefix
        return asked

    def _hear(self, observations: Sequence[Mapping[str, Any]], memories: Sequence[EpisodeMemory]) -> None:
        for memory, observation in zip(memories, observations, strict=True):
            memory.goal = str(observation["instruction"])

    def _go_on(
        self,
        inputs: ModelInputs,
        prefix: EncodedObservation,
        memories: Sequence[EpisodeMemory],
        due: Sequence[bool],
        timing: dict[str, float],
    ) -> None:
        """Say what is due, and point."""
        began = time.perf_counter()
        words = self._words(prefix, memories, due)
        planned = time.perf_counter()
        pointed = self._point(inputs.picture, prefix, words, memories, due)
        before = self.model.progress.remember(prefix.seen, pointed.points)
        timing = timing | {
            "plan": (planned - began) * 1e3,
            "point": (time.perf_counter() - planned) * 1e3 - sum(one.timing.get("imagine", 0.0) for one in memories),
        }
        self._keep(memories, words.tokens, ActionContext.from_predictions(pointed), before, timing)
        self._end_runs(prefix.objects, memories, due)

    def _end_runs(self, objects: Detections, memories: Sequence[EpisodeMemory], due: Sequence[bool]) -> None:
        """Note where what was planned ends an episode: all is done, or nothing can be."""
        for row in [
            row for row, new in enumerate(due) if new and self.rules.allow_done and self.subtask_constraints is not None
        ]:
            memory = memories[row]
            grammar = self._grammars(objects.select_rows([row]), [memory])
            memory.over = (
                self.subtask_constraints.ends(memory.words or [], grammar[0])
                if self.subtask_constraints and grammar
                else ""
            )

    def _keep(
        self,
        memories: Sequence[EpisodeMemory],
        words: Sequence[list[int]],
        attended: ActionContext,
        before: Tensor,
        timing: dict[str, float],
    ) -> None:
        for row, memory in enumerate(memories):
            memory.words, memory.attended = words[row], attended.select_row(row)
            memory.before, memory.timing = before[row : row + 1], {**memory.timing, **timing}

    def _point(
        self,
        picture: torch.Tensor,
        prefix: EncodedObservation,
        words: SubtaskTokens,
        memories: Sequence[EpisodeMemory],
        due: Sequence[bool],
    ) -> PickPlacePrediction:
        """Where the sub-tasks pick and place, told by their words, by pictures of their ends, or by both."""
        painting = self.rules.paints and any(due)
        if painting or not self.rules.pictured:
            told = self._fast.point(prefix, words)
            if painting:
                self._imagine(picture, prefix.seen, words, told, memories, due)
            if not self.rules.pictured:
                return told
        return self._fast.point(prefix, self._pictured(prefix, words, memories))

    def _pictured(
        self, prefix: EncodedObservation, words: SubtaskTokens, memories: Sequence[EpisodeMemory]
    ) -> SubtaskTokens:
        """What is acted on where pictures are: the words or none, and what the kept pictures would change."""
        kept = [memory.shown for memory in memories if memory.shown is not None]
        then = self.model.stem(torch.cat(kept).to(self.model.dtype))
        said = words.tokens if self.rules.subtasks == "text+image" else [[]] * len(memories)
        seen = pick_place_prediction.subtask_from_tokens(self.model, prefix, said, self._start)
        return pick_place_prediction.append_subgoal(self.model, seen, self.model.subgoal_entry(prefix.seen, then))

    def _imagine(
        self,
        picture: torch.Tensor,
        seen: DetectionMap,
        words: SubtaskTokens,
        pointed: PickPlacePrediction,
        memories: Sequence[EpisodeMemory],
        due: Sequence[bool],
    ) -> None:
        """Picture where new sub-tasks lead, one by one: an episode's pictures must not depend on its neighbours."""
        for row in (row for row, new in enumerate(due) if new):
            began = time.perf_counter()
            memory, now = memories[row], picture[row : row + 1]
            memory.shown = memory.pictures(
                PlannedSubtask(words.tokens[row], now, seen.select_row(row), pointed.select_row(row))
            )
            memory.subgoal = picture_to_rgb(memory.shown[0])
            memory.timing = {"imagine": (time.perf_counter() - began) * 1e3}

    def _progress(self, memory: EpisodeMemory, seen: DetectionMap) -> float:
        """Chance that the sub-task under way is done; none before the first."""
        if memory.before is None or memory.attended is None:
            return 0.0
        points, judge = memory.attended.points, self.model.progress
        return float(torch.sigmoid(judge(memory.before, judge.remember(seen, points), points)))

    def _due(self, memory: EpisodeMemory, progress: float) -> bool:
        """Whether a new sub-task is due; counts failures."""
        if memory.words is None:
            return True
        memory.progress = progress
        success = (
            memory.reward > _REWARDED if self.rules.progress == "reward" else progress > self.rules.success_threshold
        )
        if success:
            memory.failures.clear()
            memory.failed = []
            return True
        if memory.failures.add():
            if self.rules.exclude_failed:
                memory.failed.append(memory.words)
            return True
        return False

    def _limit(self, memory: EpisodeMemory) -> float:
        """Chance of completion above which :meth:`_due` will want a new sub-task."""
        if memory.words is None or memory.failures.next_gives_up:
            return ANY
        if self.rules.progress == "model":
            return self.rules.success_threshold
        return ANY if memory.reward > _REWARDED else NONE

    def _words(
        self, prefix: EncodedObservation, memories: Sequence[EpisodeMemory], due: Sequence[bool]
    ) -> SubtaskTokens:
        """New sub-tasks where they are due, the old ones elsewhere."""
        if self.rules.subtasks == "none":
            return pick_place_prediction.subtask_from_tokens(self.model, prefix, [[] for _ in memories], self._start)
        if all(due):
            return self._new_words(prefix, memories)
        words = [memory.words or [] for memory in memories]
        if rows := [row for row, is_due in enumerate(due) if is_due]:
            new = self._new_words(
                pick_place_prediction.select_rows(self.model, prefix, rows), [memories[row] for row in rows]
            )
            words = _replaced(words, rows, new.tokens)
        return pick_place_prediction.subtask_from_tokens(self.model, prefix, words, self._start)

    def _new_words(self, prefix: EncodedObservation, memories: Sequence[EpisodeMemory]) -> SubtaskTokens:
        grammars = self._grammars(prefix.objects, memories)
        if self.rules.planner == "ar":
            return self._fast.plan_ar(prefix, self._start, self._end, grammars)
        words = self._fast.plan_d2f(prefix, self._start, self._end, self._mask)
        rows = [row for row, said in enumerate(words.tokens) if grammars is not None and said not in grammars[row]]
        if grammars is None or not rows:
            return words
        part, own = pick_place_prediction.select_rows(self.model, prefix, rows), [grammars[row] for row in rows]
        again = self._fast.plan_ar(part, self._start, self._end, own)
        return pick_place_prediction.subtask_from_tokens(
            self.model, prefix, _replaced(words.tokens, rows, again.tokens), self._start
        )

    def _grammars(self, objects: Detections, memories: Sequence[EpisodeMemory]) -> list[TokenTrie] | None:
        if self.subtask_constraints is None:
            return None
        if self.rules.grammar == "all":
            return [self.subtask_constraints.everything] * len(memories)
        return [
            self.subtask_constraints.for_scene(objects, k, memory.failed, memory.goal)
            for k, memory in enumerate(memories)
        ]

    def _refused(
        self, objects: Detections, words: Sequence[list[int]], memories: Sequence[EpisodeMemory], due: Sequence[bool]
    ) -> bool:
        """Whether any of what is new may not be said."""
        rows = [row for row, new in enumerate(due) if new]
        grammars = self._grammars(objects.select_rows(rows), [memories[row] for row in rows])
        return grammars is not None and any(words[row] not in own for row, own in zip(rows, grammars, strict=True))


def _replaced(words: list[list[int]], rows: Sequence[int], new: Sequence[list[int]]) -> list[list[int]]:
    """Sub-tasks of which those of ``rows`` are new."""
    fresh = dict(zip(rows, new, strict=True))
    return [fresh.get(row, old) for row, old in enumerate(words)]
