"""Simulated long-horizon block tasks as Gymnasium environments.

Importing this package registers every task: ``gymnasium.make("lohovla/StackBlocksOfSameColor-v1")``.
Names that end in ``-v0`` make the same environment, and Gymnasium warns that they are out of date.
"""

import gymnasium as gym

from lohovla.envs.tasks.names import TASKS, VERSION, gym_name

for _task in TASKS:
    for _version in range(VERSION + 1):
        gym.register(
            id=f"lohovla/{gym_name(_task, _version)}",
            entry_point="lohovla.envs.env:BlocksEnv",
            vector_entry_point="lohovla.envs.vector:BlocksVectorEnv",
            kwargs={"task": _task},
        )

__all__ = ["TASKS", "VERSION"]
