"""An episode that people take part in: policies, goals typed in words and a person's hand take turns on one table."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lohovla.envs.env import BlocksEnv
from lohovla.envs.tasks.entities import Scene
from lohovla.envs.tasks.goals import Goal, Subtask
from lohovla.envs.tasks.grammar.reading import read_meaning
from lohovla.envs.tasks.grammar.resolve import goal_of
from lohovla.policies.base import Context, Decision, Policy
from lohovla.policies.registry import make_policy
from lohovla.view.hand import Hand

_ENDLESS = 10**9  # actions: nobody who watches wants an episode to be cut off
_HIGH, _AWAY_SPEED = 0.25, 0.6  # m and m/s of the tool that goes out of the cameras' way
HAND = "hand"


@dataclass(frozen=True)
class PolicyChoice:
    """A policy that can be chosen: its name in the registry, and its settings."""

    name: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class UnreadGoal(Goal):
    """A goal whose words nothing but a policy reads: no state scores, and the oracle has no sub-task for it."""

    @property
    def moves(self) -> int:
        return 1

    def score(self, scene: Scene) -> float:
        return 0.0

    def next(self, scene: Scene) -> Subtask | None:
        return None


class LiveEpisode:
    """One table. Its methods are called by one thread, which draws.

    Args:
        env: settings of :class:`~lohovla.envs.env.BlocksEnv`, without the task.
        choices: the policies that can be chosen, by what they are called.
        on_tick: called after every control period.

    Attributes:
        env: the environment; another one after each :meth:`begin` of another task.
        task: name of the task that set the table.
        seed: of it.
        chosen: the policy in charge, or :data:`HAND`.
        decision: the policy's last.
        subtasks: what was planned since the goal was set: simulated seconds and words.
        ended: why nothing moves any more: ``the goal is reached``, say; "" while it goes on.
        note: a line for the person, on the last thing that was asked for.
        hand: what a person wants the tool to do.
    """

    def __init__(
        self, env: Mapping[str, Any], choices: Mapping[str, PolicyChoice], on_tick: Callable[[], None] | None = None
    ):
        self._settings, self.choices, self._on_tick = dict(env), dict(choices), on_tick
        self._policies: dict[str, Policy] = {}
        self.env: BlocksEnv
        self.task, self.seed, self.chosen = "", 0, HAND
        self.decision: Decision | None = None
        self.subtasks: list[tuple[float, str]] = []
        self.ended = self.note = ""
        self.hand = Hand()
        self._actions: list[np.ndarray] = []
        self._step, self._reward = 0, 0.0

    def begin(self, task: str, seed: int) -> None:
        """Set the table anew.

        Raises:
            UserError: there is no such task.
        """
        if task != self.task:
            self.env = BlocksEnv(task, **self._settings)
        self.env.reset(seed=seed)
        self.task, self.seed = task, seed
        self.env.watch(self._on_tick)
        self._home = np.asarray(self.env.observe_state()[:7], float)
        self._given = self.env.problem
        self._pursue(self._given.instruction, self._given.goal)
        self.note = ""

    def choose(self, name: str) -> None:
        """Put a policy, or the person's :data:`HAND`, in charge; it begins with the table as it is.

        Raises:
            UserError: the policy cannot be made.
        """
        if name != HAND and name not in self._policies:
            choice = self.choices[name]
            self._policies[name] = make_policy(choice.name, self.env, **choice.settings)
        self.chosen, self.note = name, ""
        self._pursue(self.env.problem.instruction, self.env.problem.goal)

    def set_goal(self, words: str) -> None:
        """Take what a person typed for the goal; the score is of it where the grammar of goals reads it."""
        words, goal, note = " ".join(words.split()), UnreadGoal(), ""
        meaning = read_meaning(words)
        if words == self._given.instruction:
            goal = self._given.goal
        elif meaning is None:
            note = "The simulator cannot score these words and the oracle cannot read them; a model may."
        else:
            try:
                goal = goal_of(meaning, self.env.scene())
            except ValueError as error:  # nothing here can meet it
                note = str(error)
        self._pursue(words, goal)
        self.note = note

    def _pursue(self, words: str, goal: Goal) -> None:
        """Begin with a goal, from the present state; whoever is in charge plans anew."""
        self.env.episode.pursue(replace(self.env.problem, instruction=words, goal=goal, max_steps=_ENDLESS))
        self.decision, self.subtasks, self.ended = None, [], ""
        self._actions, self._step, self._reward = [], 0, 0.0
        if self.chosen == HAND:
            self.hand.take(self.env.observe_state())
        else:
            self._policies[self.chosen].reset(self.seed)
            self._actions = self._out_of_the_way()

    def _out_of_the_way(self) -> list[np.ndarray]:
        """What brings the arm to where it began, before a policy that sees looks; nothing where it holds a block."""
        sees = any(key.startswith("images.") for key in self._policies[self.chosen].spec.observation_keys)
        if not sees or self.env.control != "ee" or self.env.simulation.held is not None:
            return []
        now = np.array(self.env.observe_state()[:7], float)
        high = np.array([*now[:2], max(now[2], _HIGH), *self._home[3:]])
        way, step = [], _AWAY_SPEED / self.env.control_hz
        for start, end in itertools.pairwise((now, high, self._home)):
            count = math.ceil(float(np.linalg.norm(end[:3] - start[:3])) / step - 1e-3)
            way += [start + (end - start) * (k + 1) / count for k in range(count)]
        return [pose.astype(np.float32) for pose in way]

    @property
    def instruction(self) -> str:
        """The goal in words."""
        return self.env.problem.instruction

    @property
    def progress(self) -> float | None:
        """How far the sub-task is, as the policy sees it; None where it does not say."""
        if self.chosen == HAND or self.decision is None:
            return None
        emits = self._policies[self.chosen].spec.emits
        return float(self.decision.progress) if "progress" in emits else None

    def step(self) -> bool:
        """Carry out one action of whoever is in charge; returns whether there was one."""
        if self.chosen == HAND:
            action = self.hand.action(self.env, time.monotonic())
            if action is not None:
                self._carry_out(action)
            return action is not None
        if self.ended:
            return False
        if not self._actions:
            self._decide()
        if self._actions:
            self._carry_out(self._actions.pop(0))
        return True

    def drop_chunk(self) -> None:
        """Carry out nothing more of what was decided: it was cut off, or the world is another."""
        self._actions = []

    def _decide(self) -> None:
        context = Context(self._step, self._reward, self.env, 0)
        decision = self._policies[self.chosen].act(self.env.observe(), context)
        self._reward, self.decision = 0.0, decision
        if decision.planned:
            self.subtasks.append((round(self.env.simulation.time, 2), decision.subtask))
        if decision.over:
            self.ended = {"done": "the policy says that the goal is reached"}.get(
                decision.over, "the policy says that nothing can be done"
            )
        else:
            self._actions = list(decision.actions)

    def _carry_out(self, action: np.ndarray) -> None:
        if self.env.episode.over:  # solved, and a hand goes on
            self.env.episode.pursue(self.env.problem)
        reward, terminated, _, info = self.env.advance(action)
        self._reward, self._step = self._reward + reward, self._step + 1
        if info["outcome"] not in ("", "placed"):
            self.note = f"The last pick and place: {info['outcome']}."
        if terminated:
            self.ended = "the goal is reached"
        elif self.chosen == HAND:
            self.ended = ""
