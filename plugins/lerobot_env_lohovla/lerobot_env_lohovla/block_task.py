"""A block task with the observations and actions that LeRobot expects. Nothing here needs LeRobot."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from lohovla.envs.env import BlocksEnv

_MOST_ACTIONS = 64  # pick-and-place actions of the longest task, and more: an episode ends by its own limit


class BlockTask(gym.Env):
    """One of the 24 tasks.

    Observations are ``pixels`` ({camera: uint8 (H, W, 3)}) and ``agent_pos`` float32 (13,), the proprioception;
    actions are vectors: ``ee`` (7,), or ``pick_place`` (8,): pick and place, x, y, z, yaw each.

    ``info["is_success"]`` is said at the end of an episode alone: the state at the end counts.

    Args:
        task: its name.
        settings: of :class:`lohovla.envs.env.BlocksEnv`.

    Attributes:
        task: its name.
        task_description: the present episode's sentence.

    Raises:
        UserError: there is no such task, or a setting cannot be.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012

    def __init__(self, task: str, **settings: Any) -> None:
        self._env = BlocksEnv(task, render_mode="rgb_array", **settings)
        self.task = self._env.task.name
        self.render_mode = "rgb_array"
        spaces = self._env.observation_space.spaces
        cameras = {camera.name: spaces[f"images.{camera.name}"] for camera in self._env.features.cameras}
        self.observation_space = gym.spaces.Dict(
            {"pixels": gym.spaces.Dict(cameras), "agent_pos": spaces["state"]}
            if cameras
            else {"agent_pos": spaces["state"]}
        )
        space = self._env.action_space
        self.action_space = gym.spaces.Box(space.low.ravel(), space.high.ravel(), dtype=np.float32)
        rate = self._env.control_hz if self._env.control == "ee" else 1.0
        self.metadata = {**self.metadata, "render_fps": round(rate)}
        seconds = self._env.rules.seconds_per_action if self._env.control == "ee" else 1.0
        self._max_episode_steps = round(_MOST_ACTIONS * seconds * rate)

    @property
    def task_description(self) -> str:
        """What is to be done in the present episode."""
        return self._env.problem.instruction

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode: the same as :class:`BlocksEnv` gives for the seed."""
        super().reset(seed=seed)
        observation, info = self._env.reset(seed=seed)
        return self._seen(observation), {**info, "is_success": False}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Carry out one action."""
        shaped = np.asarray(action, np.float32).reshape(self._env.action_space.shape)
        observation, reward, terminated, truncated, info = self._env.step(shaped)
        ended = terminated or truncated
        return self._seen(observation), reward, terminated, truncated, {**info, "is_success": ended and info["success"]}

    def render(self) -> np.ndarray:  # type: ignore[override]
        """The scene for people, uint8 (480, 640, 3)."""
        picture = self._env.render()
        assert picture is not None
        return picture

    def close(self) -> None:
        """Close it."""
        self._env.close()

    def _seen(self, observation: dict[str, Any]) -> dict[str, Any]:
        seen: dict[str, Any] = {"agent_pos": observation["state"]}
        if "pixels" in self.observation_space.spaces:  # type: ignore[attr-defined]
            names = self.observation_space["pixels"]  # type: ignore[index]
            seen["pixels"] = {name: observation[f"images.{name}"] for name in names}
        return seen
