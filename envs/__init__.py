"""Simulated long-horizon block tasks as Gymnasium environments.

Importing this package registers every task: ``gymnasium.make("lohovla/StackBlocksOfSameColor-v1")``. Those of installed
packages (entry point ``lohovla.tasks``) are among them.
Names that end in ``-v0`` make the same environment, and Gymnasium warns that they are out of date.
"""

import re

import gymnasium as gym

from lohovla.envs.tasks.names import TASKS, VERSION, gym_name
from lohovla.extensions import installed

_others = [name for name in installed("task") if re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) and name not in TASKS]
for _task in [*TASKS, *_others]:
    for _version in range(0 if _task in TASKS else VERSION, VERSION + 1):
        gym.register(
            id=f"lohovla/{gym_name(_task, _version)}",
            entry_point="lohovla.envs.env:BlocksEnv",
            vector_entry_point="lohovla.envs.vector:BlocksVectorEnv",
            kwargs={"task": _task},
        )

__all__ = ["TASKS", "VERSION"]
