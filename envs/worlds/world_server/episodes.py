"""What a world is made of where it runs: episodes in slots, each with an environment of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

Observation = dict[str, np.ndarray]


class HostedEpisode(ABC):
    """An environment in a slot: one episode after another, of one task.

    Attributes:
        over: whether no more actions are taken: the action limit is reached, or the environment ended it.
    """

    over: bool = False

    @abstractmethod
    def reset(self, seed: int) -> None:
        """Begin an episode; everything random in it follows from ``seed``."""

    @abstractmethod
    def step(self, action: np.ndarray) -> tuple[float, bool]:
        """Carry out an action (A,); returns the reward, and whether the task is solved at this moment."""

    @abstractmethod
    def observe(self) -> Observation:
        """What a policy may see now: ``images.<camera>`` uint8 (H, W, 3) and ``state`` float32 (n,)."""

    @abstractmethod
    def picture(self) -> np.ndarray:
        """A larger picture of the scene for people, uint8 (H, W, 3)."""

    def expert(self) -> np.ndarray:
        """The action (A,), float32, of the world's own expert in this state; within the action's limits."""
        raise NotImplementedError("this world has no expert")

    def push_object(self, seed: int, distance: float) -> None:
        """Move the loose object by ``distance`` metres on the table, in a direction that follows from ``seed``."""
        raise NotImplementedError("this world has no loose object")

    def close(self) -> None:  # noqa: B027 - most environments have nothing to give back
        """Give back what the environment holds."""


class HostedWorld(ABC):
    """A world where it runs: it says what it is, and makes episodes.

    Args:
        settings: of the world: the mapping of ``configs/world`` without what the other end does itself.
    """

    @abstractmethod
    def __init__(self, settings: dict[str, Any]) -> None: ...

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What this world is, in JSON values.

        Returns:
            ``cameras`` ({name: [height, width]}), ``state_names``, ``action_names``, ``action_low``, ``action_high``,
            ``fps`` (actions a second), ``tasks`` ({name: {"instruction", "group", "noise"}}), ``max_steps``, ``expert``
            (whether there is one), ``made_with`` (versions).
        """

    @abstractmethod
    def make(self, task: str) -> HostedEpisode:
        """An environment for a task."""


class EpisodeSlots:
    """The slots of a world, by number: what the other end calls.

    Args:
        world: whose episodes they are.
    """

    def __init__(self, world: HostedWorld) -> None:
        self._world = world
        self._slots: dict[int, tuple[str, HostedEpisode]] = {}

    def reset(self, slot: int, task: str, seed: int) -> tuple[dict[str, Any], Observation]:
        """Begin an episode in a slot; its environment is kept as long as the task stays."""
        held = self._slots.get(slot)
        if held is None or held[0] != task:
            if held is not None:
                del self._slots[slot]
                held[1].close()
            self._slots[slot] = (task, self._world.make(task))
        episode = self._slots[slot][1]
        episode.reset(seed)
        return {}, episode.observe()

    def step(
        self, slot: int, actions: np.ndarray, until_success: bool, look: bool
    ) -> tuple[dict[str, Any], Observation]:
        """Carry out actions (n, A) in order, up to the episode's end.

        Args:
            slot: which.
            actions: at least one.
            until_success: stop as soon as the task is solved.
            look: give an observation at the end; without, nothing is drawn.

        Returns:
            ``rewards`` of the actions that were carried out, ``success`` at the last moment, and ``over``; and the
            observation.
        """
        episode = self._slots[slot][1]
        rewards, success = [], False
        for action in actions:
            reward, success = episode.step(action)
            rewards.append(float(reward))
            if episode.over or (success and until_success):
                break
        return {"rewards": rewards, "success": success, "over": episode.over}, episode.observe() if look else {}

    def expert(self, slot: int) -> tuple[dict[str, Any], Observation]:
        """The expert's action in a slot."""
        return {}, {"action": self._slots[slot][1].expert()}

    def picture(self, slot: int) -> tuple[dict[str, Any], Observation]:
        """A picture for people of a slot."""
        return {}, {"picture": self._slots[slot][1].picture()}

    def push_object(self, slot: int, seed: int, distance: float) -> tuple[dict[str, Any], Observation]:
        """Move a slot's loose object; gives the observation after it."""
        episode = self._slots[slot][1]
        episode.push_object(seed, distance)
        return {}, episode.observe()

    def close(self) -> None:
        """Close every environment."""
        for _, episode in self._slots.values():
            episode.close()
        self._slots.clear()
