"""The planning part of the LoHoVLA policy: success detection, the next sub-task, its sub-goal picture, grasp and place.

It works on a batch of looks; what it knows of each episode is in :class:`lohovla.policies.policy_config.PolicyState`.
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
from lohovla.model.backends.single_graph import (
    ALWAYS_REPLAN,
    NEVER_REPLAN,
    ChunkInputs,
    DecisionConfig,
    DecisionInputs,
    pad_subtask_tokens,
)
from lohovla.model.encoders.detector import DetectionMap
from lohovla.model.inference import pick_place_prediction
from lohovla.model.inference.action_sampling import ActionContext
from lohovla.model.inference.pick_place_prediction import PickPlacePrediction, SubtaskTokens
from lohovla.model.inference.subgoal_generation import picture_to_rgb, require_subgoal_generator
from lohovla.model.model_inputs import EncodedObservation, ModelInputs
from lohovla.model.modeling_lohovla import LoHoVLA
from lohovla.model.processor import Processor
from lohovla.policies.policy_config import LoHoVLAPolicyConfig, PolicyState
from lohovla.policies.subgoal_source import PlannedSubtask
from lohovla.policies.subtask_decoder import SubtaskDecoder

_REWARDED = 1e-6


class SubtaskPlanner:
    """Plans with a model.

    Args:
        model: the core.
        processor: of its checkpoint.
        config: how.
        backend: the model's calls.

    Raises:
        UserError: the model was not trained for what the configuration asks.
    """

    def __init__(self, model: LoHoVLA, processor: Processor, config: LoHoVLAPolicyConfig, backend: InferenceBackend):
        if not model.config.use_subtasks and config.subtasks != "none":
            raise UserError(
                "this checkpoint was trained without sub-tasks: it acts from the goal alone", "set policy.subtasks=none"
            )
        if config.generates_subgoals:
            require_subgoal_generator(model)
        self.model, self.config = model, config
        self._backend, self._inputs = backend, DeviceTransfer(processor, model.device)
        self._start, self._end = processor.start, processor.end
        self.decoder = SubtaskDecoder(model, processor, config, backend)

    def plan(self, observations: Sequence[Mapping[str, Any]], memories: Sequence[PolicyState]) -> list[bool]:
        """Look, judge the sub-task, plan another where one is due, and point; returns where one was planned."""
        began = time.perf_counter()
        inputs = self._inputs(observations)
        prefix = self._backend.encode(inputs)
        timing = {"encode": (time.perf_counter() - began) * 1e3}
        self._set_goals(observations, memories)
        due = [
            self._replan_due(memory, self._success_probability(memory, prefix.seen.select_row(row)))
            for row, memory in enumerate(memories)
        ]
        self._plan_and_point(inputs, prefix, memories, due, timing)
        return due

    def can_use_single_graph(self, memories: Sequence[PolicyState]) -> bool:
        """Whether :meth:`decide` does these in one: by block diffusion, not eagerly, where a sub-task may be due."""
        rules = self.config
        possible = (
            self._backend.prefers_single_graph
            and rules.planner == "d2f"
            and rules.subtasks == "text"
            and not rules.generates_subgoals
        )
        return possible and any(self._replan_threshold(memory) < NEVER_REPLAN for memory in memories)

    def decide(
        self,
        observations: Sequence[Mapping[str, Any]],
        memories: Sequence[PolicyState],
        whole: DecisionConfig,
        acting: Callable[[], ChunkInputs],
    ) -> tuple[list[bool], Tensor | None]:
        """As :meth:`plan`, and the chunks too, in one pass.

        They are None where its words are not complete, or may not be said: then it was planned pass by pass.
        ``acting`` is asked once the observations are found good.
        """
        began = time.perf_counter()
        inputs = self._inputs(observations)
        decided = self._backend.decide_in_one_pass(whole, inputs, self._decision_inputs(memories, acting()))
        self._set_goals(observations, memories)
        progress, words = decided.progress.tolist(), decided.token_lists(self._end)
        due = [self._replan_due(memory, value) for memory, value in zip(memories, progress, strict=True)]
        holds = decided.replanned.tolist() == due and all(decided.complete.tolist())
        timing = {"decide": (time.perf_counter() - began) * 1e3}
        if not holds or self.decoder.violates_constraints(decided.objects, words, memories, due):
            self._plan_and_point(inputs, decided.encoded_observation(), memories, due, timing)
            return due, None
        self._store(memories, words, decided.action_context, decided.initial_features, timing)
        self.decoder.note_episode_end(decided.objects, memories, due)
        return due, decided.action

    def _decision_inputs(self, memories: Sequence[PolicyState], acting: ChunkInputs) -> DecisionInputs:
        asked = DecisionInputs.for_first_subtasks(self.model, acting.motion, acting.noise)
        asked.replan_threshold = asked.replan_threshold.new_tensor(
            [self._replan_threshold(memory) for memory in memories]
        )
        asked.previous_tokens = pad_subtask_tokens(
            self.model, [memory.subtask_tokens or [] for memory in memories], self._end
        )
        for row, memory in enumerate(memories):
            if memory.initial_features is not None and memory.action_context is not None:
                asked.initial_features[row], asked.points[row] = (
                    memory.initial_features[0],
                    memory.action_context.points[0],
                )
        asked.prefix = acting.prefix
        return asked

    def _set_goals(self, observations: Sequence[Mapping[str, Any]], memories: Sequence[PolicyState]) -> None:
        for memory, observation in zip(memories, observations, strict=True):
            memory.goal = str(observation["instruction"])

    def _plan_and_point(
        self,
        inputs: ModelInputs,
        prefix: EncodedObservation,
        memories: Sequence[PolicyState],
        due: Sequence[bool],
        timing: dict[str, float],
    ) -> None:
        """Say what is due, and point."""
        began = time.perf_counter()
        words = self.decoder.next_subtasks(prefix, memories, due)
        planned = time.perf_counter()
        pointed = self._predict_points(inputs.picture, prefix, words, memories, due)
        before = self.model.progress.sample_features(prefix.seen, pointed.points)
        timing = timing | {
            "plan": (planned - began) * 1e3,
            "point": (time.perf_counter() - planned) * 1e3 - sum(one.timing.get("imagine", 0.0) for one in memories),
        }
        self._store(memories, words.tokens, ActionContext.from_predictions(pointed), before, timing)
        self.decoder.note_episode_end(prefix.objects, memories, due)

    def _store(
        self,
        memories: Sequence[PolicyState],
        words: Sequence[list[int]],
        attended: ActionContext,
        before: Tensor,
        timing: dict[str, float],
    ) -> None:
        for row, memory in enumerate(memories):
            memory.subtask_tokens, memory.action_context = words[row], attended.select_row(row)
            memory.initial_features, memory.timing = before[row : row + 1], {**memory.timing, **timing}

    def _predict_points(
        self,
        picture: torch.Tensor,
        prefix: EncodedObservation,
        words: SubtaskTokens,
        memories: Sequence[PolicyState],
        due: Sequence[bool],
    ) -> PickPlacePrediction:
        """Where the sub-tasks pick and place, told by their words, by pictures of their ends, or by both."""
        painting = self.config.generates_subgoals and any(due)
        if painting or not self.config.uses_subgoal_images:
            told = self._backend.predict_pick_place(prefix, words)
            if painting:
                self._generate_subgoals(picture, prefix.seen, words, told, memories, due)
            if not self.config.uses_subgoal_images:
                return told
        return self._backend.predict_pick_place(prefix, self._with_subgoal_images(prefix, words, memories))

    def _with_subgoal_images(
        self, prefix: EncodedObservation, words: SubtaskTokens, memories: Sequence[PolicyState]
    ) -> SubtaskTokens:
        """What is acted on where pictures are: the words or none, and what the kept pictures would change."""
        kept = [memory.subgoal_input for memory in memories if memory.subgoal_input is not None]
        then = self.model.stem(torch.cat(kept).to(self.model.dtype))
        said = words.tokens if self.config.subtasks == "text+image" else [[]] * len(memories)
        seen = pick_place_prediction.subtask_from_tokens(self.model, prefix, said, self._start)
        return pick_place_prediction.append_subgoal(self.model, seen, self.model.subgoal_entry(prefix.seen, then))

    def _generate_subgoals(
        self,
        picture: torch.Tensor,
        seen: DetectionMap,
        words: SubtaskTokens,
        pointed: PickPlacePrediction,
        memories: Sequence[PolicyState],
        due: Sequence[bool],
    ) -> None:
        """Picture where new sub-tasks lead, one by one: an episode's pictures must not depend on its neighbours."""
        for row in (row for row, new in enumerate(due) if new):
            began = time.perf_counter()
            memory, now = memories[row], picture[row : row + 1]
            memory.subgoal_input = memory.subgoal_source(
                PlannedSubtask(words.tokens[row], now, seen.select_row(row), pointed.select_row(row))
            )
            memory.subgoal = picture_to_rgb(memory.subgoal_input[0])
            memory.timing = {"imagine": (time.perf_counter() - began) * 1e3}

    def _success_probability(self, memory: PolicyState, seen: DetectionMap) -> float:
        """Chance that the sub-task under way is done; none before the first."""
        if memory.initial_features is None or memory.action_context is None:
            return 0.0
        points, judge = memory.action_context.points, self.model.progress
        return float(torch.sigmoid(judge(memory.initial_features, judge.sample_features(seen, points), points)))

    def _replan_due(self, memory: PolicyState, progress: float) -> bool:
        """Whether a new sub-task is due; counts failures."""
        if memory.subtask_tokens is None:
            return True
        memory.progress = progress
        success = (
            memory.reward > _REWARDED if self.config.progress == "reward" else progress > self.config.success_threshold
        )
        if success:
            memory.failures.clear()
            memory.failed_subtasks = []
            return True
        if memory.failures.add():
            if self.config.exclude_failed:
                memory.failed_subtasks.append(memory.subtask_tokens)
            return True
        return False

    def _replan_threshold(self, memory: PolicyState) -> float:
        """Chance of completion above which :meth:`_due` will want a new sub-task."""
        if memory.subtask_tokens is None or memory.failures.next_gives_up:
            return ALWAYS_REPLAN
        if self.config.progress == "model":
            return self.config.success_threshold
        return ALWAYS_REPLAN if memory.reward > _REWARDED else NEVER_REPLAN
