"""One episode: a policy and an environment until the end, and a record of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lohovla.policies.base import Context, Decision, Policy


@dataclass(frozen=True)
class SubtaskSpan:
    """A sub-task and when it began.

    Attributes:
        time: simulated seconds since the episode's start.
        text: the sentence.
        score: the score when it began.
    """

    time: float
    text: str
    score: float


@dataclass(frozen=True)
class EpisodeResult:
    """What came of an episode; ``success`` and ``score`` are those of the last state."""

    task: str
    seed: int
    instruction: str
    success: bool
    score: float
    reason: str
    steps: int
    actions: int
    drops: int
    clamped: int
    simulated_seconds: float
    subtasks: list[SubtaskSpan] = field(default_factory=list)


@dataclass
class Progress:
    """What is known while an episode runs; observers look at it."""

    instruction: str = ""
    subtask: str = ""
    score: float = 0.0
    decision: Decision | None = None


def run_episode(
    env: Any,
    policy: Policy,
    seed: int,
    on_start: Callable[[Progress, dict[str, Any]], None] | None = None,
    on_subtask: Callable[[SubtaskSpan], None] | None = None,
) -> EpisodeResult:
    """Run ``policy`` in ``env`` from ``reset(seed)`` to the end.

    Args:
        env: a :class:`lohovla.envs.env.BlocksEnv`, wrapped or not.
        policy: a policy for its action space.
        seed: the episode's seed; the policy gets it too.
        on_start: called once after the reset with the live progress and the first observation.
        on_subtask: called whenever the policy turns to another sub-task.
    """
    world = env.unwrapped
    observation, info = env.reset(seed=seed)
    policy.reset(seed)
    progress = Progress(instruction=world.problem.instruction, score=info["score"])
    if on_start is not None:
        on_start(progress, observation)
    spans: list[SubtaskSpan] = []
    steps = clamped = 0
    reward, ended = 0.0, False
    while not ended:
        decision = policy.act(observation, Context(steps, reward, world))
        progress.decision = decision
        if decision.planned:
            spans.append(SubtaskSpan(info["time"], decision.subtask, info["score"]))
            progress.subtask = decision.subtask
            if on_subtask is not None:
                on_subtask(spans[-1])
        for action in decision.actions:
            observation, reward, terminated, truncated, info = env.step(action)
            steps += 1
            clamped += info["clamped"]
            progress.score = info["score"]
            ended = terminated or truncated
            if ended:
                break
    return EpisodeResult(
        task=world.task.name,
        seed=seed,
        instruction=progress.instruction,
        success=info["success"],
        score=info["score"],
        reason=info["reason"],
        steps=steps,
        actions=info["actions"],
        drops=info["drops"],
        clamped=clamped,
        simulated_seconds=round(info["time"], 3),
        subtasks=spans,
    )
