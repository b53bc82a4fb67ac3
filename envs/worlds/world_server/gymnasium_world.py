"""Any Gymnasium environment as a world: a mapping says where its pictures, its state and its success are."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from .episodes import HostedEpisode, HostedWorld, Observation

_RATE = 10.0  # actions a second of an environment that does not say


class GymnasiumHost(HostedWorld):
    """A Gymnasium environment.

    Args:
        settings: ``env`` (the environment's name, in which ``{task}`` stands for a task's), ``module`` (what to import
            first, which registers it; or None),
            ``kwargs`` (of ``gymnasium.make``), ``cameras`` ({name: key of the observation}), ``state`` (key), where a
            key may lead into nested mappings (``agent/pos``) and "" is the observation itself; ``success`` (key of
            ``info``, or ``terminated``), ``tasks`` ({name: sentence}), ``state_names`` and ``action_names`` (or None),
            ``fps`` (or None: the environment's own), ``max_steps``, ``expert`` (``package.module:function``, which
            takes the environment and gives an action; or None).

    Raises:
        ValueError: the environment does not hold what the mapping says.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = {**settings, "cameras": settings.get("cameras") or {}, "tasks": settings.get("tasks") or {}}
        if not settings.get("env"):
            raise ValueError("world.env names no environment")
        if not self.settings["tasks"]:
            raise ValueError("world.tasks names no task: {name: sentence}")
        if settings.get("module"):
            importlib.import_module(settings["module"])
        module, _, function = (settings.get("expert") or "").partition(":")
        self._expert = getattr(importlib.import_module(module), function) if module else None
        sample = self.environment(next(iter(self.settings["tasks"])))
        try:
            observation, _ = sample.reset(seed=0)
            self._cameras = {}
            for name, key in self.settings["cameras"].items():
                picture = found(observation, key)
                if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
                    raise ValueError(
                        f"{key!r} of the observation is no picture uint8 (H, W, 3) but {picture.dtype} {picture.shape}"
                    )
                self._cameras[name] = list(picture.shape[:2])
            self._state = found(observation, settings["state"]).size
            space = sample.action_space
            if getattr(space, "shape", None) is None or len(space.shape) != 1:
                raise ValueError(f"the action space {space} is no vector of numbers")
            self._low, self._high = np.asarray(space.low, float), np.asarray(space.high, float)
            self._fps = float(settings.get("fps") or sample.metadata.get("render_fps") or _RATE)
        finally:
            sample.close()

    def environment(self, task: str) -> Any:
        """A new environment, without the limit that Gymnasium puts on its actions: the mapping has one."""
        import gymnasium

        name = self.settings["env"].replace("{task}", task)
        return gymnasium.make(name, max_episode_steps=-1, **(self.settings.get("kwargs") or {}))

    def describe(self) -> dict[str, Any]:
        import gymnasium

        size = len(self._low)
        return {
            "cameras": self._cameras,
            "state_names": self.settings.get("state_names") or [f"state_{number}" for number in range(self._state)],
            "action_names": self.settings.get("action_names") or [f"action_{number}" for number in range(size)],
            "action_low": self._low.tolist(),
            "action_high": self._high.tolist(),
            "fps": self._fps,
            "tasks": {
                name: {"instruction": sentence, "group": "", "noise": [0.0, 0.0]}
                for name, sentence in self.settings["tasks"].items()
            },
            "max_steps": self.settings["max_steps"],
            "expert": self._expert is not None,
            "made_with": f"{self.settings['env']}, gymnasium {gymnasium.__version__}",
        }

    def make(self, task: str) -> HostedEpisode:
        return GymnasiumEpisode(self, task, self._expert)


class GymnasiumEpisode(HostedEpisode):
    """One Gymnasium environment."""

    def __init__(self, host: GymnasiumHost, task: str, expert: Callable[[Any], Any] | None) -> None:
        self._settings, self._expert = host.settings, expert
        self._environment = host.environment(task)
        self._steps = 0

    def reset(self, seed: int) -> None:
        self._seen, _ = self._environment.reset(seed=seed)
        self._steps, self.over = 0, False

    def step(self, action: np.ndarray) -> tuple[float, bool]:
        action = np.asarray(action, self._environment.action_space.dtype)
        self._seen, reward, terminated, truncated, info = self._environment.step(action)
        self._steps += 1
        self.over = bool(terminated or truncated) or self._steps >= self._settings["max_steps"]
        key = self._settings["success"]
        if key != "terminated" and key not in info:
            raise ValueError(f"info has no {key!r}, the sign of success; it has {', '.join(info) or 'nothing'}")
        return float(reward), bool(terminated if key == "terminated" else info[key])

    def observe(self) -> Observation:
        pictures = {f"images.{name}": found(self._seen, key) for name, key in self._settings["cameras"].items()}
        return {**pictures, "state": found(self._seen, self._settings["state"]).astype(np.float32).ravel()}

    def expert(self) -> np.ndarray:
        if self._expert is None:
            return super().expert()
        space = self._environment.action_space
        return np.clip(self._expert(self._environment.unwrapped), space.low, space.high).astype(np.float32)

    def picture(self) -> np.ndarray:
        drawn = self._environment.render() if self._environment.render_mode == "rgb_array" else None
        if drawn is None:
            key = next(iter(self._settings["cameras"].values()), None)
            drawn = np.zeros((96, 96, 3), np.uint8) if key is None else found(self._seen, key)
        return np.ascontiguousarray(drawn, np.uint8)

    def close(self) -> None:
        self._environment.close()


def found(observation: Any, key: str) -> np.ndarray:
    """What an observation holds under a key, which may lead into nested mappings.

    Raises:
        ValueError: there is no such thing.
    """
    value = observation
    for part in key.split("/") if key else ():
        if not isinstance(value, dict) or part not in value:
            raise ValueError(
                f"the observation has no {key!r}; it has {', '.join(value) if isinstance(value, dict) else 'no keys'}"
            )
        value = value[part]
    return np.asarray(value)
