"""Simulated long-horizon block tasks as Gymnasium environments.

Importing this package registers every task: ``gymnasium.make("lohovla/StackBlocksOfSameColor-v0")``.
It also chooses off-screen OpenGL (EGL, else OSMesa) unless ``MUJOCO_GL`` is set.
"""

import ctypes.util
import os

# Before MuJoCo is imported, which reads it once. llvmpipe's own threads cost more than they bring at
# observation sizes, and processes or threads already fill the cores.
if "MUJOCO_GL" not in os.environ:
    for _backend, _library in (("egl", "EGL"), ("osmesa", "OSMesa")):
        if ctypes.util.find_library(_library):
            os.environ["MUJOCO_GL"] = _backend
            break
os.environ.setdefault("LP_NUM_THREADS", "0")

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
