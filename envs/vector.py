"""Many environments in one process, stepped and rendered in threads.

MuJoCo and OpenGL release the interpreter lock, so threads are enough; scenes of the same make-up share one
compiled prototype, and each thread one OpenGL context, which is what costs memory.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate

from lohovla.envs.env import BlocksEnv


class BlocksVectorEnv(VectorEnv):
    """A batch of :class:`BlocksEnv`, with Gymnasium's three ways to reset after an episode's end.

    Results are those of the same environments stepped one after the other, whatever the number of threads.

    Args:
        num_envs: how many environments.
        threads: how many threads; the number of cores if None.
        autoreset_mode: ``NextStep`` (Gymnasium's default), ``SameStep`` or ``Disabled``.
        settings: passed to every :class:`BlocksEnv`.
    """

    def __init__(
        self,
        num_envs: int = 1,
        threads: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        **settings: Any,
    ):
        self.num_envs = num_envs
        self.envs = [BlocksEnv(**settings) for _ in range(num_envs)]
        self.render_mode = self.envs[0].render_mode
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {**self.envs[0].metadata, "autoreset_mode": self.autoreset_mode}
        self.single_observation_space = self.envs[0].observation_space
        self.single_action_space = self.envs[0].action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._pool = ThreadPoolExecutor(threads or os.cpu_count() or 1, thread_name_prefix="lohovla-env")
        self._batch = create_empty_array(self.single_observation_space, num_envs)
        self._observations: list[Any] = [None] * num_envs
        self._ended = np.zeros(num_envs, bool)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset every environment; an int ``seed`` gives seed, seed + 1, ...

        ``options["reset_mask"]``, a bool array, resets some of them only.
        """
        if seed is None or isinstance(seed, int):
            seeds = [None if seed is None else seed + i for i in range(self.num_envs)]
        else:
            seeds = list(seed)
        if len(seeds) != self.num_envs:
            raise ValueError(f"{len(seeds)} seeds for {self.num_envs} environments")
        options = dict(options or {})
        mask = np.asarray(options.pop("reset_mask", np.ones(self.num_envs, bool)), bool)
        chosen = np.flatnonzero(mask)
        results = self._pool.map(lambda i: self.envs[i].reset(seed=seeds[i], options=options), chosen)
        infos: dict[str, Any] = {}
        for i, (observation, info) in zip(chosen, results, strict=True):
            self._observations[i], self._ended[i] = observation, False
            infos = self._add_info(infos, info, int(i))
        return self._stack(), infos

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step every environment; those that ended are reset as ``autoreset_mode`` says."""
        if self.autoreset_mode is AutoresetMode.DISABLED and self._ended.any():
            raise ValueError(f"environments {np.flatnonzero(self._ended).tolist()} ended: reset them first")
        results = list(self._pool.map(self._step_one, range(self.num_envs), iterate(self.action_space, actions)))
        rewards = np.zeros(self.num_envs, np.float64)
        terminated, truncated = np.zeros(self.num_envs, bool), np.zeros(self.num_envs, bool)
        infos: dict[str, Any] = {}
        for i, (observation, reward, terminal, cut, info, final) in enumerate(results):
            self._observations[i] = observation
            rewards[i], terminated[i], truncated[i] = reward, terminal, cut
            if final is not None:
                infos = self._add_info(infos, final, i)
            infos = self._add_info(infos, info, i)
        same_step = self.autoreset_mode is AutoresetMode.SAME_STEP
        self._ended = np.zeros(self.num_envs, bool) if same_step else terminated | truncated
        return self._stack(), rewards, terminated, truncated, infos

    def _step_one(self, i: int, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any], dict[str, Any] | None]:
        env = self.envs[i]
        if self._ended[i]:  # next-step mode: this step is the reset
            observation, info = env.reset()
            return observation, 0.0, False, False, info, None
        observation, reward, terminated, truncated, info = env.step(action)
        final = None
        if self.autoreset_mode is AutoresetMode.SAME_STEP and (terminated or truncated):
            final = {"final_obs": observation, "final_info": info}
            observation, info = env.reset()
        return observation, reward, terminated, truncated, info, final

    def _stack(self) -> Any:
        self._batch = concatenate(self.single_observation_space, self._observations, self._batch)
        return deepcopy(self._batch)

    def render(self) -> tuple[Any, ...] | None:
        """A picture of each environment."""
        return tuple(self._pool.map(lambda env: env.render(), self.envs))

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Call a method, or read an attribute, of every environment."""
        found = [getattr(env, name) for env in self.envs]
        return tuple(value(*args, **kwargs) if callable(value) else value for value in found)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """An attribute of every environment."""
        return self.call(name)

    def close_extras(self, **kwargs: Any) -> None:
        """Close the environments and end the threads."""
        for env in self.envs:
            env.close()
        self._pool.shutdown()
