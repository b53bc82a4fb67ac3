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

from lohovla.model import acting, planning
from lohovla.model.acting import Attended
from lohovla.model.action import EE_HZ, ee_action, ee_scaled
from lohovla.model.checkpoint import load
from lohovla.model.core import LoHoVLA, Prefix
from lohovla.model.fast import Fast
from lohovla.model.grammar import Grammar
from lohovla.model.imagining import imagine, require_painter
from lohovla.model.planning import Pointed, Words
from lohovla.model.processor import KEYS, Processor
from lohovla.model.stem import Seen
from lohovla.model.upload import Upload
from lohovla.policies.base import Context, Decision, Policy, PolicySpec
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
        self._fast, self._inputs = Fast(model, rules.backend), Upload(processor, model.device)
        if rules.imagine:
            require_painter(model)
        control = env.control
        self.spec = PolicySpec(
            KEYS, control, env.action_space.shape, model.config.horizons[control], EE_HZ,
            frozenset({"subtask", "progress", *(["subgoal"] if rules.imagine else [])}), prefix=control == "ee",
        )  # fmt: skip
        self.flow_steps = rules.steps
        self._start, self._end, self._mask = processor.start, processor.end, processor.mask
        self._sayable = processor.sayable(rules.stop) if rules.grammar != "none" else None
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
            fresh = self._plan([observations[i] for i in turn], [memories[i] for i in turn])
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

    # -- planning ------------------------------------------------------------------------------------------

    def _plan(self, observations: Sequence[Mapping[str, Any]], memories: Sequence[Memory]) -> list[bool]:
        """Look, judge the sub-task, plan another where one is due, and point; returns where one was planned."""
        began = time.perf_counter()
        inputs = self._inputs(observations)
        prefix = self._fast.encode(inputs)
        encoded = time.perf_counter()
        for memory, observation in zip(memories, observations, strict=True):
            memory.goal = str(observation["instruction"])
        due = [self._due(memory, prefix.seen.row(row)) for row, memory in enumerate(memories)]
        words = self._words(prefix, memories, due)
        planned = time.perf_counter()
        pointed = self._fast.point(prefix, words)
        attended = Attended.of(pointed)
        before = self.model.progress.remember(prefix.seen, pointed.points)
        timing = {
            "encode": (encoded - began) * 1e3,
            "plan": (planned - encoded) * 1e3,
            "point": (time.perf_counter() - planned) * 1e3,
        }
        for row, memory in enumerate(memories):
            memory.words, memory.attended = words.tokens[row], attended.row(row)
            memory.before, memory.timing = before[row : row + 1], timing
        if self.rules.imagine:
            self._imagine(inputs.picture, prefix.seen, pointed, memories, due)
        return due

    def _imagine(
        self, picture: torch.Tensor, seen: Seen, pointed: Pointed, memories: Sequence[Memory], due: Sequence[bool]
    ) -> None:
        """Paint where new sub-tasks lead, one by one: an episode's pictures must not depend on its neighbours."""
        for row in (row for row, new in enumerate(due) if new):
            began = time.perf_counter()
            one, memory = pointed.row(row), memories[row]
            painted = imagine(self.model, picture[row : row + 1], seen.row(row), one, generator=memory.pictures)
            memory.subgoal = painted.color()
            memory.timing = {**memory.timing, "imagine": (time.perf_counter() - began) * 1e3}

    def _due(self, memory: Memory, seen: Seen) -> bool:
        """Whether a new sub-task is due; counts failures."""
        if memory.words is None:
            return True
        assert memory.attended is not None
        assert memory.before is not None
        points = memory.attended.points
        now = self.model.progress.remember(seen, points)
        memory.progress = float(torch.sigmoid(self.model.progress(memory.before, now, points)))
        success = memory.reward > 1e-6 if self.rules.progress == "reward" else memory.progress > self.rules.done
        if success:
            memory.fails, memory.failed = 0, []
            return True
        memory.fails += 1
        if self.rules.replan == "always" or (self.rules.replan == "patient" and memory.fails > self.rules.failures):
            memory.fails = 0
            if self.rules.avoid:
                memory.failed.append(memory.words)
            return True
        return False

    def _words(self, prefix: Prefix, memories: Sequence[Memory], due: Sequence[bool]) -> Words:
        """New sub-tasks where they are due, the old ones elsewhere."""
        if self.rules.planner == "none":
            return planning.given(self.model, prefix, [[] for _ in memories], self._start)
        if all(due):
            return self._new_words(prefix, memories)
        words = [memory.words or [] for memory in memories]
        if rows := [row for row, is_due in enumerate(due) if is_due]:
            new = self._new_words(planning.some(self.model, prefix, rows), [memories[row] for row in rows])
            words = _replaced(words, rows, new.tokens)
        return planning.given(self.model, prefix, words, self._start)

    def _new_words(self, prefix: Prefix, memories: Sequence[Memory]) -> Words:
        grammars = self._grammars(prefix, memories)
        if self.rules.planner == "ar":
            return self._fast.plan_ar(prefix, self._start, self._end, grammars)
        words = self._fast.plan_d2f(prefix, self._start, self._end, self._mask)
        rows = [row for row, said in enumerate(words.tokens) if grammars is not None and said not in grammars[row]]
        if grammars is None or not rows:
            return words
        part, own = planning.some(self.model, prefix, rows), [grammars[row] for row in rows]
        again = self._fast.plan_ar(part, self._start, self._end, own)
        return planning.given(self.model, prefix, _replaced(words.tokens, rows, again.tokens), self._start)

    def _grammars(self, prefix: Prefix, memories: Sequence[Memory]) -> list[Grammar] | None:
        if self._sayable is None:
            return None
        if self.rules.grammar == "all":
            return [self._sayable.everything] * len(memories)
        return [self._sayable.of(prefix.objects, k, memory.failed, memory.goal) for k, memory in enumerate(memories)]

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


def _replaced(words: list[list[int]], rows: Sequence[int], new: Sequence[list[int]]) -> list[list[int]]:
    """Sub-tasks of which those of ``rows`` are new."""
    fresh = dict(zip(rows, new, strict=True))
    return [fresh.get(row, old) for row, old in enumerate(words)]


def make(env: Any, checkpoint: str | None = None, device: str = "cpu", **rules: Any) -> LoHoVLAPolicy:
    """The policy of a checkpoint (None is the shipped one), with :class:`Rules` by name."""
    model, processor = load(checkpoint, device)
    return LoHoVLAPolicy(env, model, processor, Rules(**rules))
