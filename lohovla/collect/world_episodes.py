"""Demonstrations in other projects' environments: their own experts, pushed off on the way, recorded frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lohovla import __version__
from lohovla.data import dataset_layout
from lohovla.data.dataset_layout import feature, video_feature
from lohovla.data.episode_record import EpisodeRecord
from lohovla.data.features import RobotFeatures
from lohovla.data.video import FINE_PIXELS
from lohovla.envs.worlds.world import World, WorldEpisode, WorldTask

_CORRELATION = 0.9  # of the noise from one action to the next
_AFTER = 10  # frames kept after the task is solved


def world_features(features: RobotFeatures) -> dict[str, Any]:
    """The features of a recording of a world, for ``info.json``."""
    fps = round(features.fps)
    cameras = {
        f"observation.images.{camera.name}": video_feature(camera.height, camera.width, fps, FINE_PIXELS)
        for camera in features.cameras
    }
    action = list(features.action_names)
    return {
        **cameras,
        "observation.state": feature("float32", (len(features.state_names),), list(features.state_names)),
        "action": feature("float32", (len(action),), action),
        dataset_layout.EXECUTED: feature("float32", (len(action),), action),
        "next.reward": feature("float32", (1,)),
        "next.done": feature("bool", (1,)),
        "next.success": feature("bool", (1,)),
    }


class MotionNoise:
    """Noise on an expert's motion that comes and goes: an Ornstein-Uhlenbeck process (Uhlenbeck & Ornstein, 1930).

    How strong it is, is drawn once an episode between nothing and the task's: some demonstrations are clean, others
    show how to recover. The last number of an action, the gripper, is left alone.

    Args:
        task: says how far its expert may be pushed off.
        scale: the task's noise times this; 0 is none.
        seed: the episode's.
        size: numbers of an action.
    """

    def __init__(self, task: WorldTask, scale: float, seed: int, size: int) -> None:
        self._stream = np.random.default_rng(seed)
        self._share = scale * self._stream.uniform()
        self._open, self._closing = task.noise
        self._state = np.zeros(size - 1)

    def apply(self, action: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """The action (A,) that is carried out in place of the expert's, within the limits."""
        fresh = self._stream.standard_normal(self._state.shape)
        self._state = _CORRELATION * self._state + np.sqrt(1 - _CORRELATION**2) * fresh
        strength = self._share * (self._closing if action[-1] > 0 else self._open)
        sent = action.copy()
        sent[:-1] += strength * self._state
        return np.clip(sent, low, high).astype(np.float32)


@dataclass(frozen=True)
class Attempt:
    """What an expert did in an episode.

    Attributes:
        labels: the expert's action in each state (T, A), as it was within the limits.
        executed: what was carried out (T, A).
        solved: whether the task was.
    """

    labels: np.ndarray
    executed: np.ndarray
    solved: bool


def attempt_task(episode: WorldEpisode, task: str, seed: int, scale: float) -> Attempt:
    """Let the world's expert try a task once, without pictures: most of the time goes into those.

    Args:
        episode: a slot of a world that has an expert.
        task: its name.
        seed: of the layout and of the noise.
        scale: of the noise, see :class:`MotionNoise`.
    """
    space = episode.world.action_space
    noise = MotionNoise(episode.world.task(task), scale, seed, space.shape[0])
    episode.reset(task, seed)
    labels: list[np.ndarray] = []
    executed: list[np.ndarray] = []
    left, solved = _AFTER, False
    while left:
        label = episode.expert()
        sent = noise.apply(label, space.low, space.high)
        outcome = episode.advance(sent[None], until_success=False, look=False)
        labels.append(label)
        executed.append(sent)
        solved = solved or outcome.success
        left = 0 if outcome.over else left - solved
    return Attempt(np.stack(labels), np.stack(executed), solved)


def record_attempt(episode: WorldEpisode, task: str, seed: int, attempt: Attempt) -> EpisodeRecord:
    """Carry an attempt out again, which gives the same episode, and record what is seen in it."""
    observation = episode.reset(task, seed)
    observations: list[dict[str, Any]] = []
    rewards: list[float] = []
    successes: list[bool] = []
    for action in attempt.executed:
        observations.append(observation)
        observation, reward, success, _ = episode.step(action)
        rewards.append(reward)
        successes.append(success)
    last = np.arange(len(rewards)) == len(rewards) - 1
    columns = {
        "observation.state": _stacked(observations, "state"),
        "action": attempt.labels.astype(np.float32),
        dataset_layout.EXECUTED: attempt.executed,
        "next.reward": np.array(rewards, np.float32),
        "next.done": last,
        "next.success": np.array(successes),
    }
    names = [camera.name for camera in episode.world.features.cameras]
    pictures = {f"observation.images.{name}": [one[f"images.{name}"] for one in observations] for name in names}
    return EpisodeRecord(columns, pictures, _attributes(episode.world, task, seed, attempt))


def _attributes(world: World, task: str, seed: int, attempt: Attempt) -> dict[str, Any]:
    return {
        "task": world.task(task).instruction,
        "task_name": task,
        "seed": seed,
        "success": attempt.solved,
        "made_with": f"lohovla {__version__}, {world.made_with}",
    }


def _stacked(observations: Sequence[dict[str, Any]], name: str) -> np.ndarray:
    return np.stack([observation[name] for observation in observations])
