"""What a policy is: observations in, decisions out; no clocks, no sockets, no simulator."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

DONE = "Done."  # the sub-task that says that the goal is reached, as in the vocabulary of the environments


@dataclass(frozen=True)
class PolicySpec:
    """What a policy needs and gives.

    Attributes:
        observation_keys: keys of the observation mapping that it reads.
        control: the action space, ``ee`` or ``pick_place``.
        action_shape: shape of one action.
        horizon: actions in a chunk.
        control_hz: the rate at which ``ee`` actions are meant to be sent.
        emits: what a decision carries beside actions: "subtask", "subgoal", "progress".
        relative: whether positions and rotations of ``ee`` actions are offsets from the tool's pose in the
            observation that they were decided on (see :mod:`lohovla.control.poses`).
        prefix: whether chunks continue a given beginning (see :mod:`lohovla.policies.realtime_policy`).
    """

    observation_keys: tuple[str, ...]
    control: str
    action_shape: tuple[int, ...]
    horizon: int
    control_hz: float
    emits: frozenset[str] = frozenset()
    relative: bool = False
    prefix: bool = False


@dataclass(frozen=True)
class Context:
    """What the loop knows beside the observation.

    Attributes:
        step: how many actions were carried out in this episode.
        reward: what has come since the last decision.
        world: the true environment, for oracles; None on a robot, and no other policy may read it. In real
            time it is a copy of the state that the observation was taken in (``EnvState``).
        slot: which of the episodes that run at once this is; a policy's memory is kept by it.
        velocity: m/s that the arm may have along each axis; infinite where nothing limits it.
        commanded: in real time, the ``ee`` commands (2, 7) that the arm had one action ago (a period of the policy,
            longer where the arm is slow) and has now, absolute; None where the policy's own chunks are carried out
            as they are.
    """

    step: int = 0
    reward: float = 0.0
    world: Any = None
    slot: int = 0
    commanded: np.ndarray | None = None
    velocity: float = math.inf


@dataclass(frozen=True)
class Decision:
    """What a policy wants.

    Attributes:
        actions: a chunk (H, *action_shape), float32, to carry out in order.
        subtask: the sub-task in words, or "".
        planned: whether this decision begins a new sub-task (which may read like the one before).
        subgoal: the picture that the sub-task should lead to, uint8 (h, w, 3), or None.
        progress: how far the sub-task is, in [0, 1], as the policy sees it.
        timing: where the time went, milliseconds by stage.
        over: ``done`` where the policy says that the goal is reached, ``nothing`` where it can do nothing (more)
            for it; else "". Only a policy that may end a run by itself says so.
        way: m that the tool has to go for the sub-task from where it began; 0 where the policy does not know. Time-outs
            follow from it where the arm is slow.
    """

    actions: np.ndarray
    subtask: str = ""
    planned: bool = False
    subgoal: np.ndarray | None = None
    progress: float = 0.0
    timing: Mapping[str, float] = field(default_factory=dict)
    over: str = ""
    way: float = 0.0


class Policy(ABC):
    """A policy; everything random in it follows from the seed of :meth:`reset`.

    It may play several episodes at once, each in a slot of its own: what it remembers of one must not
    reach another, so that results do not depend on which episodes run together.

    Attributes:
        needs_world: whether it reads ``Context.world``; such a policy cannot leave the simulation.
    """

    spec: PolicySpec
    needs_world: bool = False

    def reset(self, seed: int, slot: int = 0) -> None:  # noqa: B027 - a policy without memory has nothing to do
        """Begin an episode in ``slot``; the other slots go on."""

    @abstractmethod
    def act(self, observation: Mapping[str, Any], context: Context) -> Decision:
        """Decide what to do next.

        Args:
            observation: the flat mapping of the environment, the wire and the data sets.
            context: what the loop knows beside it.
        """

    def act_batch(self, observations: Sequence[Mapping[str, Any]], contexts: Sequence[Context]) -> list[Decision]:
        """Decide for several slots at once; a policy that gains from batches stacks the observations here."""
        return [self.act(observation, context) for observation, context in zip(observations, contexts, strict=True)]
