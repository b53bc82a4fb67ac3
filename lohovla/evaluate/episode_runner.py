"""Episodes: a policy and its environments until the end, and a record of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from lohovla.envs.disturbances import PushEvent
from lohovla.evaluate.failure_analysis import Diagnosis, FailureAnalyzer
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


class ScorePoint(NamedTuple):
    """The score from some moment on: actions carried out until then, simulated seconds, and the score."""

    step: int
    time: float
    score: float


@dataclass(frozen=True)
class EpisodeResult:
    """What came of an episode; ``success`` and ``score`` are those of the last state.

    Attributes:
        reason: why it ended: ``success``, ``action limit`` or ``time limit``; ``the policy said done``, or
            ``... nothing``, where the policy may end it (``policy.allow_done=true``).
        missing: the sub-task that the last state still asked for, by the goal's rules; "" after a success.
        outcomes: how often each outcome of a pick and place came, with ``pick_place``.
        scores: the score at the start and whenever it changed.
        subtasks: what the policy planned, in order.
        pushes: what disturbed the episode, with ``env.push``.
        diagnosis: see :class:`lohovla.evaluate.failure_analysis.Diagnosis`; None unless asked for.
    """

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
    missing: str = ""
    outcomes: dict[str, int] = field(default_factory=dict)
    scores: list[ScorePoint] = field(default_factory=list)
    subtasks: list[SubtaskSpan] = field(default_factory=list)
    pushes: list[PushEvent] = field(default_factory=list)
    diagnosis: Diagnosis | None = None

    @property
    def failure(self) -> str:
        """What went wrong, in words; "" after a success."""
        if self.success:
            return ""
        facts = [f"{self.reason} at score {self.score:.2f}"]
        if self.subtasks:
            facts.append(f"the last of {len(self.subtasks)} sub-tasks was “{self.subtasks[-1].text}”")
        if self.missing:
            facts.append(f"still to do: “{self.missing}”")
        if self.drops:
            facts.append(f"{self.drops} dropped")
        facts += [f"{outcome}: {count} x" for outcome, count in self.outcomes.items() if outcome != "placed"]
        return "; ".join(facts)


@dataclass
class EpisodeProgress:
    """What is known while an episode runs; observers look at it."""

    instruction: str = ""
    subtask: str = ""
    score: float = 0.0
    decision: Decision | None = None


class EpisodeRunner:
    """One episode being played: its environment is reset, then driven a decision at a time.

    Args:
        env: a :class:`lohovla.envs.env.BlocksEnv`, wrapped or not.
        seed: the episode's seed.
        slot: which of the episodes that run at once this is.
        on_subtask: called whenever the policy turns to another sub-task.
        examiner: looks where the policy goes wrong.
    """

    def __init__(
        self,
        env: Any,
        seed: int,
        slot: int = 0,
        on_subtask: Callable[[SubtaskSpan], None] | None = None,
        examiner: FailureAnalyzer | None = None,
    ) -> None:
        self.env, self.seed, self.slot = env, seed, slot
        self.observation, self._info = env.reset(seed=seed)
        self.progress = EpisodeProgress(env.unwrapped.problem.instruction, score=self._info["score"])
        self.ended = False
        self._on_subtask = on_subtask
        self._examiner = examiner
        self._steps = self._clamped = 0
        self._reward, self._said = 0.0, ""
        self._outcomes: Counter[str] = Counter()
        self._spans: list[SubtaskSpan] = []
        self._scores = [ScorePoint(0, 0.0, self._score)]

    @property
    def context(self) -> Context:
        """What the policy may know beside the observation."""
        return Context(self._steps, self._reward, self.env.unwrapped, self.slot)

    def carry_out(self, decision: Decision) -> None:
        """Note what the policy plans and send its chunk of actions, up to the episode's end."""
        self.progress.decision = decision
        self._reward = 0.0
        if self._examiner is not None:
            self._examiner.decided(decision, self._score)
        if decision.planned:
            self.begin_subtask(decision.subtask)
        if decision.over:
            self.ended, self._said = True, f"the policy said {decision.over}"
            return
        for action in decision.actions:
            self._step(action)
            if self.ended:
                return

    def begin_subtask(self, subtask: str) -> None:
        """Note that another sub-task begins now."""
        self._spans.append(SubtaskSpan(round(self._info["time"], 3), subtask, self._score))
        self.progress.subtask = subtask
        if self._on_subtask is not None:
            self._on_subtask(self._spans[-1])

    def _step(self, action: Any) -> None:
        self.observation, *outcome = self.env.step(action)
        self.record_step(*outcome)

    def record_step(self, reward: float, terminated: bool, truncated: bool, info: dict[str, Any]) -> None:
        """Note what one action led to, as the environment gives it."""
        self._reward, self._info = self._reward + reward, info
        self._steps += 1
        self._clamped += self._info["clamped"]
        self.progress.score = self._info["score"]
        self.ended = terminated or truncated
        if self._info["outcome"]:
            self._outcomes[self._info["outcome"]] += 1
        if self._score != self._scores[-1].score:
            self._scores.append(ScorePoint(self._steps, round(self._info["time"], 3), self._score))

    @property
    def _score(self) -> float:
        return round(self._info["score"], 6)

    def result(self) -> EpisodeResult:
        """The record of the episode so far."""
        world, info = self.env.unwrapped, self._info
        following = None if info["success"] else world.problem.goal.next(world.scene())
        return EpisodeResult(
            task=world.task.name,
            seed=self.seed,
            instruction=self.progress.instruction,
            success=info["success"],
            score=self._score,
            reason=info["reason"] or self._said,
            steps=self._steps,
            actions=info["actions"],
            drops=info["drops"],
            clamped=self._clamped,
            simulated_seconds=round(info["time"], 3),
            missing=following.text if following else "",
            outcomes=dict(sorted(self._outcomes.items())),
            scores=self._scores,
            subtasks=self._spans,
            pushes=list(world.episode.push_events),
            diagnosis=self._examiner.finish(self._score, self._outcomes) if self._examiner else None,
        )


class PlayedEpisode(Protocol):
    """An episode being played, in whatever world."""

    ended: bool

    @property
    def observation(self) -> Mapping[str, Any]:
        """What the policy may see now."""
        ...

    @property
    def context(self) -> Context:
        """What it may know beside that."""
        ...

    def carry_out(self, decision: Decision) -> None:
        """Send a chunk of actions, up to the episode's end."""
        ...


def run_batch(plays: Sequence[PlayedEpisode], policy: Policy, each: Callable[..., Iterable[Any]] = map) -> None:
    """Play episodes to their ends, one policy deciding for all that still run.

    Args:
        plays: episodes at their start, each in a slot of its own.
        policy: a policy for their action space, reset in each slot.
        each: how to act in several environments: ``map``, or that of a pool of threads.
    """
    while active := [play for play in plays if not play.ended]:
        decisions = policy.act_batch([play.observation for play in active], [play.context for play in active])
        list(each(_carry_out, active, decisions))


def _carry_out(play: PlayedEpisode, decision: Decision) -> None:
    play.carry_out(decision)


def run_episode(
    env: Any,
    policy: Policy,
    seed: int,
    on_start: Callable[[EpisodeProgress, dict[str, Any]], None] | None = None,
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
    play = EpisodeRunner(env, seed, on_subtask=on_subtask)
    policy.reset(seed)
    if on_start is not None:
        on_start(play.progress, play.observation)
    run_batch([play], policy)
    return play.result()
