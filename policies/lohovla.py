"""The LoHoVLA policy: plan a sub-task, act on it, watch whether it is done, plan again.

One model does all three. What it remembers of an episode is kept by slot: the sub-task, where it pointed, and what was
seen there when the sub-task began.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch

from lohovla.envs.language import vocabulary
from lohovla.model.action.action_expert import EE_HZ, scale_ee, unscale_ee
from lohovla.model.backends.inference_backend import InferenceBackend
from lohovla.model.backends.single_graph import ChunkInputs, DecisionConfig
from lohovla.model.checkpoint import load_checkpoint
from lohovla.model.inference import action_sampling
from lohovla.model.inference.action_sampling import ActionContext
from lohovla.model.modeling_lohovla import LoHoVLA
from lohovla.model.processor import KEYS, Processor
from lohovla.policies.base import Context, Decision, Policy, PolicySpec
from lohovla.policies.policy_config import LoHoVLAPolicyConfig, PolicyState, last_action_delta
from lohovla.policies.realtime_policy import SubtaskPlan
from lohovla.policies.replan_rule import SubtaskFailures
from lohovla.policies.subgoal_source import ModelSubgoals
from lohovla.policies.subtask_planner import SubtaskPlanner

_LIFT = 0.15  # m above what is picked or placed where the tool travels, roughly
_SLACK = 2.0  # times the time that a way takes at full speed: the arm rests in between, and starts slowly


class LoHoVLAPolicy(Policy):
    """Plays with a checkpoint.

    Args:
        env: what it is for: its action space, cameras and rate.
        model: the core.
        processor: of its checkpoint.
        config: how.
    """

    def __init__(self, env: Any, model: LoHoVLA, processor: Processor, config: LoHoVLAPolicyConfig):
        self.model, self.processor, self.config = model, processor, config
        self._backend = InferenceBackend(model, config.backend)
        self.planner = SubtaskPlanner(model, processor, config, self._backend)
        control = env.control
        self._decision_config = DecisionConfig(
            processor.start, processor.end, processor.mask, control, config.num_inference_steps
        )
        self.spec = PolicySpec(
            KEYS,
            control,
            env.action_space.shape,
            model.config.horizons[control],
            EE_HZ,
            frozenset({"subtask", "progress", *(["subgoal"] if config.generates_subgoals else [])}),
            prefix=control == "ee",
        )
        self.flow_steps = config.num_inference_steps
        self._home = np.array(model.config.observe_position)
        self._episodes: dict[int, PolicyState] = {}

    def reset(self, seed: int, slot: int = 0) -> None:
        """Begin an episode."""
        noise, failures = torch.Generator().manual_seed(seed), SubtaskFailures(self.config.failures_allowed)
        self._episodes[slot] = PolicyState(noise, ModelSubgoals(self.model, seed), failures)

    def act(self, observation: Mapping[str, Any], context: Context) -> Decision:
        """Decide for one episode."""
        return self.act_batch([observation], [context])[0]

    @torch.no_grad()
    def act_batch(self, observations: Sequence[Mapping[str, Any]], contexts: Sequence[Context]) -> list[Decision]:
        """Decide for several episodes in one pass."""
        memories = [self._episodes[context.slot] for context in contexts]
        planned, actions, act_ms = self._act(observations, contexts, memories)
        first = 1 if self.spec.control == "pick_place" else self.config.n_action_steps
        for memory, action in zip(memories, actions, strict=True):
            memory.last_action_delta = last_action_delta(action[:first])
        return [
            self._decision(memory, action[:first], new, act_ms)
            for action, memory, new in zip(actions, memories, planned, strict=True)
        ]

    def _decision(self, memory: PolicyState, actions: np.ndarray, planned: bool, act_ms: float | None) -> Decision:
        timing = memory.timing if act_ms is None else {**memory.timing, "act": act_ms}
        text = self._subtask_text(memory)
        return Decision(
            actions, text, planned, memory.subgoal, memory.progress, timing, memory.over, memory.path_length
        )

    def _subtask_text(self, memory: PolicyState) -> str:
        words, constraints = memory.subtask_tokens or [], self.planner.decoder.constraints
        reason = constraints is not None and constraints.is_reason(words)
        return vocabulary()["nothing"] if memory.over == "nothing" and not reason else self.processor.sentence(words)

    def _act(
        self,
        observations: Sequence[Mapping[str, Any]],
        contexts: Sequence[Context],
        memories: Sequence[PolicyState],
        prefix: np.ndarray | None = None,
    ) -> tuple[list[bool], list[np.ndarray], float | None]:
        """Where a new sub-task begins, the chunks, and the time that they took; none where all was decided in one.

        Sub-tasks that go on continue ``prefix`` (d, 7).
        """
        turn, chunk = self._motions_over(observations, contexts, memories), None
        # Drawn once, and only after the observations were checked: an episode's noise must not depend on the batch.
        given = cache(partial(self._chunk_inputs, memories, prefix))
        if len(turn) == len(memories) and self.planner.can_use_single_graph(memories):
            planned, chunk = self.planner.decide(observations, memories, self._decision_config, given)
            self._begin_motions(contexts, memories)
        else:
            planned = self._look_and_plan(observations, contexts, memories, turn)
        for row in (row for row, new in enumerate(planned) if new):
            memories[row].path_length = self._path_length(memories[row], observations[row])
        began, in_one = time.perf_counter(), chunk is not None
        if chunk is None:
            chunk = self._chunks(observations, memories, replace(given(), prefix=None) if any(planned) else given())
        chunk = chunk[:, None] if self.spec.control == "pick_place" else chunk
        actions = list(chunk.float().cpu().numpy())
        if self.spec.control == "ee":  # who has said that it is over moves nothing
            for row, memory in enumerate(memories):
                if memory.over:
                    actions[row][:] = np.asarray(observations[row]["state"][:7], np.float32)
        return planned, actions, None if in_one else (time.perf_counter() - began) * 1e3

    def _motions_over(
        self, observations: Sequence[Mapping[str, Any]], contexts: Sequence[Context], memories: Sequence[PolicyState]
    ) -> list[int]:
        """Which look again, as their motion is over."""
        for memory, context in zip(memories, contexts, strict=True):
            memory.reward += context.reward
            memory.timing = {}
        return [
            i
            for i, (memory, o, c) in enumerate(zip(memories, observations, contexts, strict=True))
            if self._motion_over(memory, o, c)
        ]

    @torch.no_grad()
    def _look_and_plan(
        self,
        observations: Sequence[Mapping[str, Any]],
        contexts: Sequence[Context],
        memories: Sequence[PolicyState],
        turn: Sequence[int] | None = None,
    ) -> list[bool]:
        """Those whose ``turn`` it is look, judge and plan; returns where a new sub-task begins."""
        turn = self._motions_over(observations, contexts, memories) if turn is None else turn
        planned = [False] * len(memories)
        if turn:
            fresh = self.planner.plan([observations[i] for i in turn], [memories[i] for i in turn])
            for i, new in zip(turn, fresh, strict=True):
                planned[i] = new
            self._begin_motions([contexts[i] for i in turn], [memories[i] for i in turn])
        return planned

    @staticmethod
    def _begin_motions(contexts: Sequence[Context], memories: Sequence[PolicyState]) -> None:
        """Motions begin."""
        for context, memory in zip(contexts, memories, strict=True):
            memory.motion_start, memory.has_gripped, memory.reward = context.step, False, 0.0

    def _motion_over(self, memory: PolicyState, observation: Mapping[str, Any], context: Context) -> bool:
        """Whether it is time to look again: always with ``pick_place``; with ``ee`` when the tool is back to look."""
        if memory.subtask_tokens is None or self.spec.control == "pick_place":
            return True
        state = observation["state"]
        memory.has_gripped |= bool(state[6] > 0.5)
        seconds = (context.step - memory.motion_start) / self.spec.control_hz
        allowed = max(self.config.subtask_timeout, _SLACK * memory.path_length / context.velocity)
        away = float(np.linalg.norm(np.asarray(state[:3]) - self._home))
        back = memory.has_gripped and state[6] < 0.5 and away < 0.03
        return back or seconds >= allowed

    def _path_length(self, memory: PolicyState, observation: Mapping[str, Any]) -> float:
        """How far the tool has to go, m, from where it is by pick and place to where it looks again."""
        if memory.action_context is None or self.spec.control == "pick_place":
            return 0.0
        pick, place = memory.action_context.points[0, :, :3].float().cpu().numpy()
        above = [np.array([point[0], point[1], max(point[2], 0.0) + _LIFT]) for point in (pick, place)]
        stops = [np.asarray(observation["state"][:3]), above[0], above[1], self._home]
        legs = sum(float(np.linalg.norm(b - a)) for a, b in itertools.pairwise(stops))
        return legs + 4.0 * _LIFT  # down and up twice

    # -- acting --------------------------------------------------------------------------------------------

    def _chunk_inputs(self, memories: Sequence[PolicyState], prefix: np.ndarray | None) -> ChunkInputs:
        device = self.model.device
        noise = action_sampling.sample_action_noise(
            self.model, self.spec.control, [memory.noise for memory in memories]
        )
        motion = torch.from_numpy(np.stack([memory.last_action_delta for memory in memories])).to(device)
        return ChunkInputs(motion, noise, None if prefix is None else torch.from_numpy(prefix)[None].to(device))

    def _chunks(
        self, observations: Sequence[Mapping[str, Any]], memories: Sequence[PolicyState], given: ChunkInputs
    ) -> torch.Tensor:
        attended = ActionContext.stack(
            [memory.action_context for memory in memories if memory.action_context is not None]
        )
        if self.spec.control == "pick_place":
            return self._backend.sample_pick_place(attended, self.config.num_inference_steps, given.noise)
        states = self._states(observations)
        return self._backend.sample_ee_chunk(
            attended, states, given.motion, self.config.num_inference_steps, given.noise, given.prefix
        )

    def _states(self, observations: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        states = np.stack([observation["state"] for observation in observations]).astype(np.float32)
        return torch.from_numpy(states).to(self.model.device)

    # -- in real time (lohovla.control) ----------------------------------------------------------------------

    def plan(self, observation: Mapping[str, Any], context: Context) -> SubtaskPlan:
        """The sub-task; after the first, another is chosen when the tool is next out of the camera's way."""
        memory = self._episodes[context.slot]
        if memory.subtask_tokens is None:
            self._look_and_plan([observation], [context], [memory])
            memory.path_length = self._path_length(memory, observation)
        else:
            memory.failures.exhaust()
        return SubtaskPlan(self._subtask_text(memory), timing=memory.timing, over=memory.over, way=memory.path_length)

    @torch.no_grad()
    def chunk(
        self,
        observation: Mapping[str, Any],
        context: Context,
        plan: SubtaskPlan,
        prefix: np.ndarray | None = None,
        inference_delay: int = 0,
    ) -> Decision:
        """The next actions; they continue the first ``inference_delay`` ones of ``prefix``."""
        memory = self._episodes[context.slot]
        given = None
        if prefix is not None and inference_delay:
            given = prefix[: min(inference_delay, self.model.config.max_prefix)].astype(np.float32)
        memory.last_action_delta = last_action_delta(context.commanded)
        planned, actions, act_ms = self._act([observation], [context], [memory], given)
        if planned[0]:
            memory.progress = 0.0  # of the new sub-task
        return self._decision(memory, actions[0], planned[0], act_ms)

    def encode(
        self, observation: Mapping[str, Any], context: Context, plan: SubtaskPlan
    ) -> action_sampling.ActionVelocity:
        """The velocity field of a chunk, for guidance."""
        memory = self._episodes[context.slot]
        self._look_and_plan([observation], [context], [memory])
        memory.last_action_delta = last_action_delta(context.commanded)
        assert memory.action_context is not None
        self._guided = memory, self._states([observation])
        motion = torch.from_numpy(memory.last_action_delta)[None].to(self.model.device)
        return action_sampling.ee_denoise(self.model, memory.action_context, self._guided[1], motion)

    def velocity(self, x: torch.Tensor, t: float, encoding: action_sampling.ActionVelocity) -> torch.Tensor:
        """The field at ``x`` (H, D) and noise level ``t``; differentiable in ``x``."""
        return encoding.velocity(x[None], x.new_full((1, len(x)), t))[0]

    def normalize(self, actions: np.ndarray, encoding: action_sampling.ActionVelocity) -> torch.Tensor:
        """Actions (n, 7) in the model's space, from the state of the last :meth:`encode`."""
        return scale_ee(torch.from_numpy(actions).float()[None].to(self.model.device), self._guided[1])[0]

    def finish(self, x: torch.Tensor, encoding: action_sampling.ActionVelocity) -> Decision:
        """The decision of a denoised chunk (H, D)."""
        memory, state = self._guided
        return self._decision(memory, unscale_ee(x.detach()[None], state)[0].cpu().numpy(), False, 0.0)


def make(env: Any, checkpoint: str | None = None, device: str = "cpu", **rules: Any) -> LoHoVLAPolicy:
    """The policy of a checkpoint (None is the shipped one), with :class:`LoHoVLAPolicyConfig` by name."""
    model, processor = load_checkpoint(checkpoint, device)
    return LoHoVLAPolicy(env, model, processor, LoHoVLAPolicyConfig(**rules))
