"""MetaWorld's fifty tasks, with fresh layouts by seed, cheap pictures, and the package's own experts."""

from __future__ import annotations

import importlib
import warnings
from importlib.metadata import version
from typing import Any

import numpy as np

from .episodes import HostedEpisode, HostedWorld, Observation
from .metaworld_tasks import TASKS
from .pictures import SoftwareRenderer, mujoco

STATE_NAMES = ["x", "y", "z", "gripper"]  # of the end effector, m; and how far the gripper is open, 0 to 1
ACTION_NAMES = ["dx", "dy", "dz", "grip"]  # of 1 cm each; effort that closes
_FPS = 80
_LIMIT = 500  # the environments take no more actions
_CONSTRAINT_NUMBERS = 11  # of an equality, which MetaWorld writes itself; later versions of MuJoCo have more
# What the camera in the hand never sees; its meshes make up most of a picture's cost.
ARM = [f"right_l{number}" for number in range(7)] + ["right_arm_base_link", "head", "screen", "torso", "pedestal"]
_FILM = {"film": {"camera": "corner4", "height": 360, "width": 480, "turn": True}}


class MetaWorldHost(HostedWorld):
    """MetaWorld.

    Args:
        settings: ``cameras`` (see :class:`.pictures.SoftwareRenderer`) and ``max_steps``.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        environments = importlib.import_module("metaworld.env_dict")
        experts = importlib.import_module("metaworld.policies")
        if mujoco.mjNEQDATA != _CONSTRAINT_NUMBERS:
            raise RuntimeError(f"MetaWorld runs on MuJoCo 3.3, and this Python has {mujoco.__version__}")
        warnings.filterwarnings("ignore", message="Constant.* may be too high")
        self._environments, self._experts = dict(environments.ALL_V3_ENVIRONMENTS), experts.ENV_POLICY_MAP
        self._version = version("metaworld")
        self._cameras, self._max_steps = settings["cameras"], min(int(settings["max_steps"]), _LIMIT)
        for camera in self._cameras.values():
            camera.setdefault("hide", ARM if camera["camera"] == "gripperPOV" else [])
        self._renderers: dict[tuple[str, bool], SoftwareRenderer] = {}

    def describe(self) -> dict[str, Any]:
        tasks = {
            name: {"instruction": sentence, "group": group, "noise": noise}
            for name, (sentence, group, noise) in TASKS.items()
            if name in self._environments
        }
        return {
            "cameras": {name: [camera["height"], camera["width"]] for name, camera in self._cameras.items()},
            "state_names": STATE_NAMES,
            "action_names": ACTION_NAMES,
            "action_low": [-1.0] * 4,
            "action_high": [1.0] * 4,
            "fps": _FPS,
            "tasks": tasks,
            "max_steps": self._max_steps,
            "expert": True,
            "made_with": f"metaworld {self._version}, mujoco {mujoco.__version__}",
        }

    def make(self, task: str) -> HostedEpisode:
        environment = self._environments[task]()
        # The experts read the goal, which the partially observable form hides; its bounds are cached by then.
        environment._partially_observable = False
        environment.__dict__.pop("sawyer_observation_space", None)
        # The benchmarks' fifty fixed layouts a task are not for us: each seed has its own.
        environment._set_task_called, environment._freeze_rand_vec = True, False
        environment.seeded_rand_vec = True
        return MetaWorldEpisode(self, task, environment, self._experts[task], self._max_steps)

    def renderer(self, task: str, model: Any, film: bool = False) -> SoftwareRenderer:
        """What draws a task's scenes; those of the task before are given back."""
        if (task, film) not in self._renderers:
            for key in [key for key in self._renderers if key[1] == film]:
                self._renderers.pop(key).close()
            self._renderers[task, film] = SoftwareRenderer(model, _FILM if film else self._cameras)
        return self._renderers[task, film]

    @property
    def cameras(self) -> list[str]:
        """Names of the cameras."""
        return list(self._cameras)


class MetaWorldEpisode(HostedEpisode):
    """One environment of MetaWorld."""

    def __init__(self, host: MetaWorldHost, task: str, environment: Any, expert: Any, max_steps: int) -> None:
        self._host, self._task, self._environment, self._expert_of = host, task, environment, expert
        self._max_steps = max_steps
        self._steps = 0

    def reset(self, seed: int) -> None:
        self._environment.seed(seed)  # its `reset(seed=)` does nothing
        self._full, _ = self._environment.reset()
        mujoco.mj_forward(self._environment.model, self._environment.data)  # the goal's mark, for the first picture
        self._expert = self._expert_of()
        self._steps, self.over = 0, False

    def step(self, action: np.ndarray) -> tuple[float, bool]:
        # What is beyond the limits is clipped by the environment for the motion but not for the gripper.
        action = np.clip(np.asarray(action, np.float64), -1.0, 1.0)
        self._full, reward, _, _, info = self._environment.step(action)
        self._steps += 1
        self.over = self._steps >= self._max_steps
        return float(reward), bool(info["success"])

    def observe(self) -> Observation:
        model, data = self._environment.model, self._environment.data
        renderer = self._host.renderer(self._task, model)
        pictures = {f"images.{name}": renderer.draw(model, data, name) for name in self._host.cameras}
        return {**pictures, "state": np.asarray(self._full[:4], np.float32)}

    def picture(self) -> np.ndarray:
        model, data = self._environment.model, self._environment.data
        return self._host.renderer(self._task, model, film=True).draw(model, data, "film")

    def expert(self) -> np.ndarray:
        # An expert may change what it is given; and most ask for far more than the limits.
        action = np.asarray(self._expert.get_action(self._full.copy()), np.float32)
        return np.clip(action, -1.0, 1.0)

    def push_object(self, seed: int, distance: float) -> None:
        model, data = self._environment.model, self._environment.data
        free = np.flatnonzero(model.jnt_type == mujoco.mjtJoint.mjJNT_FREE)
        if not len(free):
            raise ValueError(f"{self._task} has no loose object that could be moved")
        angle = np.random.default_rng(seed).uniform(0.0, 2 * np.pi)
        start = model.jnt_qposadr[free[0]]
        data.qpos[start : start + 2] += distance * np.array([np.cos(angle), np.sin(angle)])
        mujoco.mj_forward(model, data)

    def close(self) -> None:
        self._environment.close()
