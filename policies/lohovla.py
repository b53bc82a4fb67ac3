"""The LoHoVLA policy: plan a sub-task, act on it, watch whether it is done, plan again.

One model does all three. What it remembers of an episode is kept by slot: the sub-task, where it pointed, and what was
seen there when the sub-task began.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from lohovla.model import acting
from lohovla.model.acting import Attended
from lohovla.model.action import EE_HZ, ee_action, ee_scaled
from lohovla.model.checkpoint import load
from lohovla.model.core import LoHoVLA
from lohovla.model.fast import Fast
from lohovla.model.processor import KEYS, Processor
from lohovla.policies.base import Context, Decision, Policy, PolicySpec
from lohovla.policies.planner import Planner
from lohovla.policies.realtime import Plan
from lohovla.policies.rules import Memory, Rules, motion_of


class LoHoVLAPolicy(Policy):
    """Plays with a checkpoint.

    Args:
        env: what it is for: its action space, cameras and rate.
        model: the core.
        processor: of its checkpoint.
        rules: how.
    """

    def __init__(self, env: Any, model: LoHoVLA, processor: Processor, rules: Rules):
        self.model, self.processor, self.rules = model, processor, rules
        self._fast = Fast(model, rules.backend)
        self.planner = Planner(model, processor, rules, self._fast)
        control = env.control
        self.spec = PolicySpec(
            KEYS, control, env.action_space.shape, model.config.horizons[control], EE_HZ,
            frozenset({"subtask", "progress", *(["subgoal"] if rules.paints else [])}), prefix=control == "ee",
        )  # fmt: skip
        self.flow_steps = rules.steps
        self._home = np.array(model.config.look)
        self._memories: dict[int, Memory] = {}

    def reset(self, seed: int, slot: int = 0) -> None:
        """Begin an episode."""
        pictures = torch.Generator().manual_seed(seed)
        self._memories[slot] = Memory(torch.Generator().manual_seed(seed), pictures=pictures)

    def act(self, observation: Mapping[str, Any], context: Context) -> Decision:
        """Decide for one episode."""
        return self.act_batch([observation], [context])[0]

    @torch.no_grad()
    def act_batch(self, observations: Sequence[Mapping[str, Any]], contexts: Sequence[Context]) -> list[Decision]:
        """Decide for several episodes in one pass."""
        memories = [self._memories[context.slot] for context in contexts]
        planned = self._look(observations, contexts, memories)
        began = time.perf_counter()
        actions = self._chunks(observations, memories)
        act_ms = (time.perf_counter() - began) * 1e3
        first = 1 if self.spec.control == "pick_place" else self.rules.execute
        for memory, action in zip(memories, actions, strict=True):
            memory.motion = motion_of(action[:first])
        return [
            self._decision(memory, action[:first], new, act_ms)
            for action, memory, new in zip(actions, memories, planned, strict=True)
        ]

    def _decision(self, memory: Memory, actions: np.ndarray, planned: bool, act_ms: float) -> Decision:
        text = self.processor.sentence(memory.words or [])
        timing = {**memory.timing, "act": act_ms}
        return Decision(actions, text, planned, memory.subgoal, memory.progress, timing)

    @torch.no_grad()
    def _look(
        self,
        observations: Sequence[Mapping[str, Any]],
        contexts: Sequence[Context],
        memories: Sequence[Memory],
    ) -> list[bool]:
        """Where a motion is over, look, judge and plan; returns where a new sub-task begins."""
        planned = [False] * len(memories)
        for memory, context in zip(memories, contexts, strict=True):
            memory.reward += context.reward
            memory.timing = {}
        turn = [
            i for i, (memory, o, c) in enumerate(zip(memories, observations, contexts, strict=True))
            if self._motion_over(memory, o, c)
        ]  # fmt: skip
        if turn:
            fresh = self.planner.plan([observations[i] for i in turn], [memories[i] for i in turn])
            for i, new in zip(turn, fresh, strict=True):
                planned[i] = new
                memories[i].started, memories[i].gripped, memories[i].reward = contexts[i].step, False, 0.0
        return planned

    def _motion_over(self, memory: Memory, observation: Mapping[str, Any], context: Context) -> bool:
        """Whether it is time to look again: always with ``pick_place``; with ``ee`` when the tool is back to look."""
        if memory.words is None or self.spec.control == "pick_place":
            return True
        state = observation["state"]
        memory.gripped |= bool(state[6] > 0.5)
        seconds = (context.step - memory.started) / self.spec.control_hz
        away = float(np.linalg.norm(np.asarray(state[:3]) - self._home))
        back = memory.gripped and state[6] < 0.5 and away < 0.03
        return back or seconds >= self.rules.limit

    # -- acting --------------------------------------------------------------------------------------------

    def _chunks(
        self,
        observations: Sequence[Mapping[str, Any]],
        memories: Sequence[Memory],
        prefix: np.ndarray | None = None,
    ) -> list[np.ndarray]:
        attended = Attended.stack([memory.attended for memory in memories if memory.attended is not None])
        noise = acting.noise_for(self.model, self.spec.control, [memory.noise for memory in memories])
        if self.spec.control == "pick_place":
            chunk = self._fast.pick_place(attended, self.rules.steps, noise)[:, None]
        else:
            given = None if prefix is None else torch.from_numpy(prefix)[None].to(self.model.device)
            motion = torch.from_numpy(np.stack([memory.motion for memory in memories])).to(self.model.device)
            states = self._states(observations)
            chunk = self._fast.ee(attended, states, motion, self.rules.steps, noise, given)
        return list(chunk.float().cpu().numpy())

    def _states(self, observations: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        states = np.stack([observation["state"] for observation in observations]).astype(np.float32)
        return torch.from_numpy(states).to(self.model.device)

    # -- in real time (lohovla.control) ----------------------------------------------------------------------

    def plan(self, observation: Mapping[str, Any], context: Context) -> Plan:
        """The sub-task; after the first, another is chosen when the tool is next out of the camera's way."""
        memory = self._memories[context.slot]
        if memory.words is None:
            self._look([observation], [context], [memory])
        else:
            memory.fails = self.rules.failures + 1
        return Plan(self.processor.sentence(memory.words or []), timing=memory.timing)

    @torch.no_grad()
    def chunk(
        self,
        observation: Mapping[str, Any],
        context: Context,
        plan: Plan,
        prefix: np.ndarray | None = None,
        frozen: int = 0,
    ) -> Decision:
        """The next actions; they continue the first ``frozen`` ones of ``prefix``."""
        memory = self._memories[context.slot]
        planned = self._look([observation], [context], [memory])
        given = None
        if planned[0]:
            memory.progress = 0.0  # of the new sub-task
        elif prefix is not None and frozen:
            given = prefix[: min(frozen, self.model.config.max_prefix)].astype(np.float32)
        began = time.perf_counter()
        memory.motion = motion_of(context.commanded)
        actions = self._chunks([observation], [memory], given)[0]
        return self._decision(memory, actions, planned[0], (time.perf_counter() - began) * 1e3)

    def encode(self, observation: Mapping[str, Any], context: Context, plan: Plan) -> acting.Denoise:
        """The velocity field of a chunk, for guidance."""
        memory = self._memories[context.slot]
        self._look([observation], [context], [memory])
        memory.motion = motion_of(context.commanded)
        assert memory.attended is not None
        self._guided = memory, self._states([observation])
        motion = torch.from_numpy(memory.motion)[None].to(self.model.device)
        return acting.ee_denoise(self.model, memory.attended, self._guided[1], motion)

    def velocity(self, x: torch.Tensor, t: float, encoding: acting.Denoise) -> torch.Tensor:
        """The field at ``x`` (H, D) and noise level ``t``; differentiable in ``x``."""
        return encoding.velocity(x[None], x.new_full((1, len(x)), t))[0]

    def normalize(self, actions: np.ndarray) -> torch.Tensor:
        """Actions (n, 7) in the model's space, from the state of the last :meth:`encode`."""
        return ee_scaled(torch.from_numpy(actions).float()[None].to(self.model.device), self._guided[1])[0]

    def finish(self, x: torch.Tensor, encoding: acting.Denoise) -> Decision:
        """The decision of a denoised chunk (H, D)."""
        memory, state = self._guided
        return self._decision(memory, ee_action(x.detach()[None], state)[0].cpu().numpy(), False, 0.0)


def make(env: Any, checkpoint: str | None = None, device: str = "cpu", **rules: Any) -> LoHoVLAPolicy:
    """The policy of a checkpoint (None is the shipped one), with :class:`Rules` by name."""
    model, processor = load(checkpoint, device)
    return LoHoVLAPolicy(env, model, processor, Rules(**rules))
