"""Episodes in other projects' environments: a policy drives them until success or the action limit."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lohovla.envs.worlds.shared import shared_world
from lohovla.envs.worlds.world import WorldEpisode
from lohovla.evaluate.episode_runner import run_batch
from lohovla.policies.base import Context, Decision, Policy


@dataclass(frozen=True)
class WorldEpisodeResult:
    """What came of an episode.

    Attributes:
        task: its name.
        seed: of the layout, and of the policy.
        group: the task's, or "".
        instruction: what the policy was told.
        success: whether the task was solved at any time; the episode ends there.
        score: 1 or 0, the same as a number.
        reward: the world's own, added up.
        reason: why it ended: ``success`` or ``action limit``; or ``the policy said done``, where it may end it.
        steps: actions that were carried out.
        decisions: how often the policy was asked.
        clamped: actions that asked for more than the limits.
        simulated_seconds: what the actions took.
        subtasks: what the policy planned, in order.
    """

    task: str
    seed: int
    group: str
    instruction: str
    success: bool
    score: float
    reward: float
    reason: str
    steps: int
    decisions: int
    clamped: int
    simulated_seconds: float
    subtasks: list[str] = field(default_factory=list)

    @property
    def failure(self) -> str:
        """What went wrong, in words; "" after a success."""
        return "" if self.success else f"{self.reason} after {self.steps} actions"


class WorldEpisodeRunner:
    """One episode being played in a slot of a world.

    Args:
        episode: the slot.
        task: its task.
        seed: of the episode.
        words: the instruction.
        look: whether the policy reads observations at all; without, none are drawn, and it is given an empty one.
    """

    def __init__(self, episode: WorldEpisode, task: str, seed: int, words: str, look: bool = True) -> None:
        self.episode, self.task, self.seed, self.slot, self._look = episode, task, seed, episode.slot, look
        self.observation: dict[str, Any] = episode.reset(task, seed, words)
        self.ended, self._reason = False, ""
        self.executed: list[np.ndarray] = []
        self._reward, self._total = 0.0, 0.0
        self._decisions = self._clamped = 0
        self._subtasks: list[str] = []

    @property
    def context(self) -> Context:
        """What the policy may know beside the observation."""
        return Context(self.episode.steps, self._reward, self.episode, self.slot)

    def carry_out(self, decision: Decision) -> None:
        """Carry out all actions of a decision in order, up to the episode's end."""
        self._decisions += 1
        self._reward = 0.0
        if decision.planned:
            self._subtasks.append(decision.subtask)
        if decision.over:
            self.ended, self._reason = True, f"the policy said {decision.over}"
            return
        space = self.episode.world.action_space
        actions = np.asarray(decision.actions, np.float32)
        sent = np.clip(actions, space.low, space.high)
        outcome = self.episode.advance(sent, look=self._look)
        done = len(outcome.rewards)
        self.executed += list(sent[:done])
        self._clamped += int((actions[:done] != sent[:done]).any(axis=1).sum())
        self._reward = sum(outcome.rewards)
        self._total += self._reward
        self.observation = outcome.observation or {}
        self.ended = outcome.success or outcome.over
        self._reason = "success" if outcome.success else "action limit" if outcome.over else ""

    def result(self) -> WorldEpisodeResult:
        """The record of the episode so far."""
        success = self._reason == "success"
        return WorldEpisodeResult(
            task=self.task,
            seed=self.seed,
            group=self.episode.world.task(self.task).group,
            instruction=self.episode.instruction,
            success=success,
            score=float(success),
            reward=round(self._total, 4),
            reason=self._reason,
            steps=self.episode.steps,
            decisions=self._decisions,
            clamped=self._clamped,
            simulated_seconds=round(self.episode.steps / self.episode.world.control_hz, 4),
            subtasks=self._subtasks,
        )


@dataclass(frozen=True)
class WorldEpisodeGroup:
    """Episodes of one task that run at once, and what plays them.

    Attributes:
        world: the world's settings.
        task: its task.
        words: the instruction.
        seeds: one an episode.
        policy: the policy's name.
        policy_settings: and its settings.
    """

    world: Mapping[str, Any]
    task: str
    words: str
    seeds: tuple[int, ...]
    policy: str
    policy_settings: Mapping[str, Any]


@dataclass(frozen=True)
class WorldGroupResult:
    """What came of a group.

    Attributes:
        rows: a record an episode.
        actions: what was carried out in each (T, A) float32, by seed.
        pictures: JPEG bytes of the last state of each that failed, by seed.
        seconds: of wall-clock time, for the group.
    """

    rows: list[dict[str, Any]]
    actions: dict[int, np.ndarray]
    pictures: dict[int, bytes]
    seconds: float


def play_world_group(group: WorldEpisodeGroup) -> WorldGroupResult:
    """Play the group's episodes, all at once, with one policy; each in a slot of the world."""
    began = time.perf_counter()
    world = shared_world(group.world)
    policy = _policy(group.policy, json.dumps(dict(group.policy_settings)), json.dumps(dict(group.world)))
    plays = [
        WorldEpisodeRunner(world.episode(slot), group.task, seed, group.words, bool(policy.spec.observation_keys))
        for slot, seed in enumerate(group.seeds)
    ]
    for play in plays:
        policy.reset(play.seed, play.slot)
    run_batch(plays, policy)
    results = [play.result() for play in plays]
    size = len(world.features.action_names)
    return WorldGroupResult(
        [{**dataclasses.asdict(result), "failure": result.failure} for result in results],
        {play.seed: np.array(play.executed, np.float32).reshape(-1, size) for play in plays},
        {play.seed: _jpeg(play.episode.picture()) for play, one in zip(plays, results, strict=True) if not one.success},
        time.perf_counter() - began,
    )


@functools.lru_cache(maxsize=1)
def _policy(name: str, policy_settings: str, world: str) -> Policy:
    """The policy, made once a process."""
    from lohovla.policies.registry import make_policy

    policy = make_policy(name, shared_world(json.loads(world)), **json.loads(policy_settings))
    if "torch" in sys.modules:
        # There is a process a core already; and sums differ, in the last bits, with the number of threads.
        sys.modules["torch"].set_num_threads(1)
    return policy


def _jpeg(picture: np.ndarray) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=85)
    return file.getvalue()
