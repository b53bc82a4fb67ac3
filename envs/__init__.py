"""Simulated long-horizon block tasks as Gymnasium environments.

Importing this package registers every task: ``gymnasium.make("lohovla/StackBlocksOfSameColor-v0")``.
"""

import gymnasium as gym

from lohovla.envs.tasks.names import TASKS, gym_name

for _task in TASKS:
    gym.register(
        id=f"lohovla/{gym_name(_task)}",
        entry_point="lohovla.envs.env:BlocksEnv",
        vector_entry_point="lohovla.envs.vector:BlocksVectorEnv",
        kwargs={"task": _task},
    )

__all__ = ["TASKS"]
