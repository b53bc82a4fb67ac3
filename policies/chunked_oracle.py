"""The oracle in chunks: it plays ahead in a copy of the world, and continues what it planned.

It needs a copy of the true state with each observation, so it is an expert for demonstrations and an upper bound.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lohovla.policies.base import Context, Decision, Policy, PolicySpec
from lohovla.policies.gaussian_flow import GaussianFlowMixin
from lohovla.policies.realtime_policy import SubtaskPlan

_TOLERANCE = 0.02  # m that the tool may be off the plan before it is made anew
_BLOCKS = 0.01  # m that a block may be
_TURNS = np.array([1.0, 1.0, 1.0, 0.1, 0.1, 0.1])  # a radian counts as much as 0.1 m
_DRIFT = 0.004  # m a period: cost of resuming the plan at another point than where it should be by now


@dataclass(frozen=True)
class _SimulatedState:
    """The ghost's world before an action: tool pose (6,), block centres (n, 3), what is held."""

    tool: np.ndarray
    blocks: np.ndarray
    held: str | None


class ChunkedOraclePolicy(GaussianFlowMixin, Policy):
    """Plays the oracle ``horizon`` actions ahead in an environment of its own, the *ghost*.

    As long as the real world follows the plan, in its own time, chunks are cut from it where the world is now;
    when it does not (a block slipped, the arm was stopped elsewhere), the oracle plans anew from the world's
    state. A prefix is first played in another copy of the world, and the plan taken up from there.

    Args:
        settings: of the world: what :class:`lohovla.envs.env.BlocksEnv` takes.
        horizon: actions in a chunk.
        control_hz: actions a second.
    """

    def __init__(self, settings: Mapping[str, Any], horizon: int = 16, control_hz: float = 20.0):
        from lohovla.envs.env import BlocksEnv

        self._pace = float(settings.get("control_hz", control_hz)) / control_hz
        settings = {**settings, "cameras": {}, "control": "ee", "control_hz": control_hz, "drop_probability": 0.0}
        self._ghost, self._scratch = BlocksEnv(**settings), BlocksEnv(**settings)
        emits = frozenset({"subtask", "progress"})
        self.spec = PolicySpec(("state", "world"), "ee", (7,), horizon, control_hz, emits, prefix=True)
        self.reset(0)

    def reset(self, seed: int, slot: int = 0) -> None:
        """Forget the episode before."""
        self._actions: list[np.ndarray] = []
        self._moments: list[_SimulatedState] = []
        self._numbers: list[int] = []  # which sub-task each action belongs to
        self._texts: list[str] = [""]
        self._oracle: Any = None
        self._at, self._step, self._again = 0, 0.0, False

    def plan(self, observation: Mapping[str, Any], context: Context) -> SubtaskPlan:
        """The sub-task that the oracle is at."""
        at = self._take_up(context)  # which may begin another list
        number = self._numbers[at]
        return SubtaskPlan(self._texts[number], memory=number)

    def act(self, observation: Mapping[str, Any], context: Context) -> Decision:
        """A chunk, and the sub-task it begins with."""
        known = len(self._texts)
        plan = self.plan(observation, context)
        decision = self.chunk(observation, context, plan)
        return dataclasses.replace(decision, subtask=plan.subtask, planned=len(self._texts) > known)

    def chunk(
        self,
        observation: Mapping[str, Any],
        context: Context,
        plan: SubtaskPlan,
        prefix: np.ndarray | None = None,
        inference_delay: int = 0,
    ) -> Decision:
        """The next actions; where ``inference_delay`` ones go before, they come first as they are."""
        first = np.zeros((0, 7), np.float32)
        if prefix is not None and inference_delay:
            first = prefix[:inference_delay].astype(np.float32)
        at = self._take_up(context, first)
        self._extend(at + self.spec.horizon - len(first))
        actions = [*first, *self._actions[at : at + self.spec.horizon - len(first)]]
        number = self._numbers[at]
        return Decision(np.array(actions, np.float32), self._texts[number], progress=self._progress(at, plan))

    def _progress(self, at: int, plan: SubtaskPlan) -> float:
        """How far the plan's sub-task is: the share of its actions that are made, as far as they are known."""
        mine = [k for k, number in enumerate(self._numbers) if number == plan.memory]
        if not mine or self._numbers[at] != plan.memory:
            return 1.0
        return 0.9 * (at - mine[0]) / len(mine)

    # -- the ghost ---------------------------------------------------------------------------------

    def _take_up(self, context: Context, first: np.ndarray | None = None) -> int:
        """The index of the action that comes next, after ``first`` were carried out; plans anew if need be."""
        if context.world is None:
            raise ValueError("the teacher needs a copy of the true world in its context")
        live = getattr(context.world, "get_state", None)
        state = self._paced(live() if live else context.world)
        time = state.episode.simulation.data.time
        if first is not None and len(first):
            self._scratch.set_state(state)
            for action in first:
                if self._scratch.episode.over:
                    break
                self._scratch.advance(action)
            time += len(first) / self.spec.control_hz
            state = self._scratch.get_state()
        world = self._scratch
        if first is None or not len(first):
            world.set_state(state)
        now = _moment(world)
        expected = self._at + round((time - self._step) * self.spec.control_hz)
        at = self._find(now, expected)
        if at is None:
            self._replan(state)
            at = 0
        self._at, self._step = at, time
        return at

    def _find(self, now: _SimulatedState, expected: int) -> int | None:
        """Where in the plan the world is, nearest to where it should be by now; None if it left the plan."""
        if not self._moments:
            return None
        tools = np.array([moment.tool for moment in self._moments]) * _TURNS
        following = np.vstack([tools[1:], tools[-1:]])
        ways, here = following - tools, now.tool * _TURNS - tools
        share = np.clip((ways * here).sum(1) / np.maximum((ways * ways).sum(1), 1e-12), 0.0, 1.0)
        away = np.linalg.norm(here - share[:, None] * ways, axis=1)  # from the way between two moments
        moved = [float(np.abs(moment.blocks - now.blocks).max(initial=0.0)) for moment in self._moments]
        index = np.arange(len(tools))
        fits = (away < _TOLERANCE) & [moment.held == now.held for moment in self._moments]
        # A block may be anywhere between where it was and where it will be, as the tool that carries it.
        fits &= np.array(moved) < _BLOCKS + np.linalg.norm(ways[:, :3], axis=1) * (now.held is not None)
        if not fits.any():
            return None
        cost = np.where(fits, away + _DRIFT * np.abs(index + share - expected), np.inf)
        best = int(np.argmin(cost))
        return min(best + (share[best] > 0.5), len(tools) - 1)

    def _replan(self, state: Any) -> None:
        from lohovla.envs.oracle import Oracle

        self._ghost.set_state(state)
        self._ghost.simulation.gripper.keep_hold()  # a plan does not foresee drops
        self._oracle = Oracle(self._ghost)
        self._actions, self._moments, self._numbers = [], [], []
        self._again = True
        self._extend(1)

    def _extend(self, count: int) -> None:
        """Play on until ``count`` actions are known."""
        while len(self._actions) < count:
            if self._ghost.episode.over:  # the goal stands: stay
                self._note(self._actions[-1] if self._actions else self._still())
                continue
            plans = self._oracle.plans
            action = self._oracle.act()
            if self._oracle.plans > plans:
                text = self._oracle.subtask.text
                if not (self._again and text == self._texts[-1]):  # planned anew, but the same
                    self._texts.append(text)
                self._again = False
            self._note(action)
            self._ghost.advance(action)

    def _note(self, action: np.ndarray) -> None:
        self._actions.append(action)
        self._moments.append(_moment(self._ghost))
        self._numbers.append(len(self._texts) - 1)

    def _still(self) -> np.ndarray:
        return np.append(self._ghost.observe_state()[:6], 0.0).astype(np.float32)

    def _paced(self, state: Any) -> Any:
        """A state of the real world as one of the ghost's: a joint's last step is that of a whole action."""
        simulation = state.episode.simulation
        paced = dataclasses.replace(simulation, joint_step=simulation.joint_step * self._pace)
        return dataclasses.replace(state, episode=dataclasses.replace(state.episode, simulation=paced))


def _moment(world: Any) -> _SimulatedState:
    pose = world.observe_state()[:6].astype(np.float64)
    return _SimulatedState(pose, world.simulation.block_poses()[0].copy(), world.simulation.held)
