"""Recording one episode: every frame's observation, action, words, and where it leads."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from lohovla import __version__
from lohovla.collect.action_noise import ActionNoise, NoiseSettings
from lohovla.data import dataset_layout
from lohovla.data.dataset_layout import depth_feature, feature, frame_features, quantise_depth, video_feature
from lohovla.data.episode_record import EpisodeRecord
from lohovla.envs.actions import ACTION_NAMES
from lohovla.envs.language import vocabulary
from lohovla.geometry.workspace import STATE_NAMES
from lohovla.mujoco_import import mujoco
from lohovla.policies.base import Context, Policy

_NOTHING = np.array([[0.3, -0.45, 0.0, 0.0]] * 2, np.float32)  # the pick and place that says "done"


def frames_per_second(env: Any) -> int:
    """Frames a second of a recording: the control rate, or one an action."""
    return round(env.control_hz) if env.control == "ee" else 1


def features_of(env: Any) -> dict[str, Any]:
    """The features of a recording of ``env``, for ``info.json``."""
    fps = frames_per_second(env)
    features: dict[str, Any] = {}
    for name, camera in env.sensors.calibration().items():
        size = camera["height"], camera["width"]
        features[f"observation.images.{name}"] = video_feature(*size, fps)
        if f"depth.{name}" in env.observation_space.spaces:
            features[dataset_layout.feature_name(f"depth.{name}")] = depth_feature(*size, camera["depth_unit"])
    return {
        **features,
        **frame_features(STATE_NAMES, ACTION_NAMES[env.control]),
        "hash.physics": feature("int64", (1,)),
        "hash.observation": feature("int64", (1,)),
    }


class EpisodeRecorder:
    """The frames of an episode as they come."""

    def __init__(self, env: Any):
        self._env = env
        self._units = {name: camera["depth_unit"] for name, camera in env.sensors.calibration().items()}
        self._columns: dict[str, list[Any]] = {}
        self._pictures: dict[str, list[np.ndarray]] = {}
        self._states: list[np.ndarray] = []
        self._subtasks: list[str] = []
        self._begins: list[int] = []  # frames at which a sub-task begins

    def record_step(
        self,
        observation: Mapping[str, Any],
        subtask: str,
        planned: bool,
        action: np.ndarray,
        sent: np.ndarray,
        perturbed: bool,
        score: float,
    ) -> None:
        """Add a frame, before its action is carried out: what is seen, what is pursued, what is sent."""
        if planned or not self._begins:
            self._begins.append(len(self._states))
        physics = self._env.simulation.vector()
        for key, value in observation.items():
            if key.startswith("images."):
                self._pictures.setdefault(dataset_layout.feature_name(key), []).append(value)
            elif key.startswith("depth."):
                self._append(
                    dataset_layout.feature_name(key), quantise_depth(value, self._units[key.removeprefix("depth.")])
                )
        self._append("observation.state", observation["state"])
        self._append("hash.physics", digest(physics))
        self._append("hash.observation", digest(*(observation[key] for key in sorted(observation))))
        self._append("subtask_number", len(self._begins) - 1)
        self._append("action", action.ravel())
        self._append(dataset_layout.EXECUTED, sent.ravel())
        self._append("perturbed", perturbed)
        self._append("score", score)
        self._states.append(physics)
        self._subtasks.append(subtask)

    def outcome(self, reward: float, done: bool, success: bool) -> None:
        """Add what came of the frame's action."""
        self._append("next.reward", reward)
        self._append("next.done", done)
        self._append("next.success", success)

    def _append(self, name: str, value: Any) -> None:
        self._columns.setdefault(name, []).append(value)

    def finish(self, attributes: Mapping[str, Any]) -> EpisodeRecord:
        """The episode; adds where each sub-task ends and how far it is at each frame."""
        last = len(self._states) - 1
        progress, goal = np.ones(last + 1, np.float32), np.full(last + 1, last)
        for begin, end in zip(self._begins, [*self._begins[1:], last], strict=True):
            if end > begin:
                progress[begin:end] = np.arange(end - begin) / (end - begin)
                goal[begin:end] = end
        columns = {name: np.array(values) for name, values in self._columns.items()}
        columns.update({"progress": progress, "subgoal_index": goal})
        for name in ("score", "next.reward"):
            columns[name] = columns[name].astype(np.float32)
        plan = [self._subtasks[begin] for begin in self._begins if self._subtasks[begin] != vocabulary()["done"]]
        units = {name: self._units[name.removeprefix("depth.")] for name in columns if name.startswith("depth.")}
        attributes = {**attributes, "plan": plan}
        return EpisodeRecord(columns, self._pictures, attributes, self._subtasks, np.stack(self._states), units)


def record_episode(env: Any, policy: Policy, seed: int, disturbance: NoiseSettings) -> EpisodeRecord:
    """Run and record ``policy`` from ``reset(seed)`` to the end, the last state included.

    Args:
        env: a :class:`lohovla.envs.env.BlocksEnv`.
        policy: the teacher.
        seed: the episode's seed.
        disturbance: how its actions are pushed off.
    """
    observation, info = env.reset(seed=seed)
    policy.reset(seed)
    disturber = ActionNoise(disturbance, env.control, env.control_hz, seed)
    recording = EpisodeRecorder(env)
    step, reward, ended = 0, 0.0, False
    action = np.zeros(env.action_space.shape, np.float32)
    while not ended:
        decision = policy.act(observation, Context(step, reward, env))
        planned = decision.planned
        for action in decision.actions:
            sent, perturbed = disturber.apply(action)
            recording.record_step(observation, decision.subtask, planned, action, sent, perturbed, info["score"])
            observation, reward, terminated, truncated, info = env.step(sent)
            recording.outcome(reward, terminated or truncated, info["success"])
            planned, step, ended = False, step + 1, terminated or truncated
            if ended:
                break
    still = action if env.control == "ee" else _NOTHING
    done = vocabulary()["done"] if info["success"] else ""
    recording.record_step(observation, done, True, still, still, False, info["score"])
    recording.outcome(0.0, True, info["success"])
    return recording.finish(
        {
            "task": env.problem.instruction,
            "task_name": env.task.name,
            "seed": seed,
            "success": info["success"],
            "final_score": float(info["score"]),
            "reason": info["reason"],
            "drops": int(info["drops"]),
            **_disturbed(env),
            "made_with": f"lohovla {__version__}, mujoco {mujoco.__version__}",
        }
    )


def _disturbed(env: Any) -> dict[str, Any]:
    """What disturbed the episode, where the environment's settings let it be disturbed."""
    if not env.rules.push.any:
        return {}
    return {"pushes": [dataclasses.asdict(event) for event in env.episode.push_events]}


def digest(*values: Any) -> int:
    """A 64-bit fingerprint of arrays and strings, as a signed number."""
    state = hashlib.blake2b(digest_size=8)
    for value in values:
        state.update(value.encode() if isinstance(value, str) else np.ascontiguousarray(value).tobytes())
    return int.from_bytes(state.digest(), "little", signed=True)
