"""The Gymnasium environment: one table, one task, continuous commands or pick-and-place actions."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from lohovla.data.features import CameraFeature, RobotFeatures
from lohovla.envs.actions import ACTION_NAMES, action_space, check_action, clip_action
from lohovla.envs.control.simulation import Simulation
from lohovla.envs.disturbances import PushSettings
from lohovla.envs.env_settings import check_choice, check_env_settings
from lohovla.envs.episode import SUCCESS, Episode, EpisodeConfig, EpisodeState
from lohovla.envs.errors import EpisodeOver
from lohovla.envs.perturbations import Perturbation, PerturbSettings
from lohovla.envs.render.noise import CameraNoise
from lohovla.envs.render.renderer import render_color
from lohovla.envs.scene.cameras import CAMERAS
from lohovla.envs.scene.grippers import TOOL_LENGTH
from lohovla.envs.sensors import DEFAULT_CAMERAS, Sensors, proprioception
from lohovla.envs.tasks.entities import Scene
from lohovla.envs.tasks.names import VERSION
from lohovla.envs.tasks.registry import TaskInstance, get_task
from lohovla.errors import UserError
from lohovla.geometry.workspace import STATE_NAMES, WORKSPACE


@dataclass(frozen=True)
class EnvState:
    """Everything an episode's future depends on; :meth:`BlocksEnv.set_state` continues from it, bit for bit."""

    episode: EpisodeState
    noise: Mapping[str, Any]
    perturbation: Perturbation | None = None


class BlocksEnv(gym.Env):
    """Long-horizon block tasks with a simulated UR5e.

    Observations are one flat mapping: ``images.<camera>`` uint8 (H, W, 3), ``depth.<camera>`` float32 (H, W)
    metres, ``state`` float32 (13,) (see :data:`STATE_NAMES`), ``instruction`` str.

    Actions with ``control="ee"``, at ``control_hz``: float32 (7,), the tool's target position in the base frame
    (m), its target rotation vector (rad, zero is straight down) and the gripper (0 open, 1 closed or suction on).
    With ``control="pick_place"``: float32 (2, 4), the pick and the place as (x, y, z, yaw), one primitive an action.

    The reward is the change of the score, so that rewards add up to the score of the last state. An episode
    terminates when the goal has stood for half a second with nothing held, and is truncated after the task's
    number of actions, or with ``ee`` after that number times ``seconds_per_action`` of simulated time;
    ``info["reason"]`` says which.

    Args:
        task: name of the task (``lohovla tasks`` lists them).
        control: ``ee`` or ``pick_place``.
        control_hz: commands a second, one of :data:`CONTROL_RATES`.
        robot: ``ur5e`` or ``menagerie``.
        gripper: ``suction`` or ``jaw``.
        cameras: settings by name (width, height, depth), None to leave one out; default ``top`` and ``wrist``.
        top_source: ``orthographic``, or ``fused`` from the three perspective RGB-D cameras.
        colors: palette (train, eval, all); the task's own if None.
        paraphrase: say goals in other words.
        drop_probability: chance that suction loses what it holds within a second.
        noise: observation noise, a :class:`CameraNoise` or its settings.
        push: disturbances while an episode runs, a :class:`PushSettings` or its settings.
        perturb: perturbations of what is seen, a :class:`PerturbSettings` or its settings.
        seconds_per_action: with ``ee``, simulated seconds allowed for each pick-and-place action.
        render_mode: None, ``rgb_array`` or ``human``.
        render_camera: the camera that :meth:`render` shows.

    Raises:
        UserError: a setting is unknown.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - as Gymnasium declares it
        "render_modes": ["rgb_array", "human"],
        "render_fps": 20,
    }

    def __init__(
        self,
        task: str = "put-block-into-matching-bowl",
        control: str = "ee",
        control_hz: float = 20.0,
        robot: str = "ur5e",
        gripper: str = "suction",
        cameras: Mapping[str, Mapping[str, Any] | None] | None = None,
        top_source: str = "orthographic",
        colors: str | None = None,
        paraphrase: bool = False,
        drop_probability: float = 0.0,
        noise: CameraNoise | Mapping[str, float] | None = None,
        push: PushSettings | Mapping[str, Any] | None = None,
        perturb: PerturbSettings | Mapping[str, Any] | None = None,
        seconds_per_action: float = 8.0,
        render_mode: str | None = None,
        render_camera: str = "film",
    ):
        check_env_settings(control, control_hz, robot, gripper, colors, drop_probability, seconds_per_action)
        check_choice("render_mode", render_mode, (None, *self.metadata["render_modes"]))
        check_choice("render_camera", render_camera, tuple(CAMERAS))
        self.task = get_task(task)
        self.colors, self.paraphrase = colors, paraphrase
        push = push if isinstance(push, PushSettings) else PushSettings.from_settings(push or {})
        if push.slip and gripper != "suction":
            raise UserError("push.slip is of suction", "with gripper=jaw blocks slip by physics alone: leave it out")
        self.rules = EpisodeConfig(control, control_hz, robot, gripper, drop_probability, seconds_per_action, push)
        perturb = perturb if isinstance(perturb, PerturbSettings) else PerturbSettings.from_settings(perturb or {})
        self._perturb = perturb
        self.render_mode, self.render_camera = render_mode, render_camera
        noise = noise if isinstance(noise, CameraNoise) else CameraNoise.from_settings(noise or {})
        self.sensors = Sensors(DEFAULT_CAMERAS if cameras is None else cameras, noise, top_source)
        self.observation_space = self.sensors.space
        self.action_space: gym.spaces.Box = action_space(control)
        self.metadata = {**self.metadata, "render_fps": round(control_hz)}
        self.takes_any_rate = False  # whether something between policy and environment brings actions to its rate
        self._episode: Episode | None = None
        self._window: Any = None

    # -- the episode -------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Draw a problem and set the table. The seed decides everything that follows."""
        super().reset(seed=seed)
        key = int(self.np_random.integers(2**63))
        # Streams of their own: what the cameras are must not change what happens.
        streams = (np.random.default_rng([key, stream]) for stream in range(5))
        scene, drops, self._noise_stream, pushes, look = streams
        problem = self.task.sample(scene, self.colors, self.paraphrase)
        perturbation = Perturbation(self._perturb, look)
        perturbation.resize(problem)
        self._episode = Episode(problem, self.rules, drops, pushes, perturbation.scenery(problem))
        self.sensors.perturbation = perturbation
        self.sensors.prepare(self.simulation, self._noise_stream)
        self._episode.begin(*perturbation.first_pose())
        if self.render_mode == "human":
            self.render()
        return self.observe(), self._info("")

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Carry out one action.

        Raises:
            ActionError: the action has the wrong shape or a value that is no finite number.
            EpisodeOver: the episode has ended; reset first.
        """
        reward, terminated, truncated, info = self.advance(action)
        return self.observe(), reward, terminated, truncated, info

    def advance(self, action: np.ndarray) -> tuple[float, bool, bool, dict[str, Any]]:
        """Carry out one action without looking: :meth:`step` less its observation, and with its errors."""
        episode = self.episode
        if episode.over:
            raise EpisodeOver("the episode is over", "call reset()")
        action = check_action(action, self.action_space)
        inside, clamped = clip_action(action, self.action_space)
        before = episode.score
        report = episode.act(inside)
        report["clamped"] |= clamped
        terminated, truncated, reason = episode.end()
        if self.render_mode == "human":
            self.render()
        return episode.score - before, terminated, truncated, self._info(reason, report)

    def observe(self) -> dict[str, Any]:
        """An observation of the present state; its noise is drawn anew each time."""
        return self.sensors.observe(self.simulation, self.problem.instruction, self._noise_stream)

    def observe_state(self) -> np.ndarray:
        """The ``state`` of an observation alone, float32 (13,); it has no noise."""
        return proprioception(self.simulation)

    def _info(self, reason: str, report: Mapping[str, Any] | None = None) -> dict[str, Any]:
        episode = self.episode
        info = {
            "score": float(episode.score),
            "success": bool(episode.score > SUCCESS),
            "time": self.simulation.time,
            "actions": episode.actions,
            "max_actions": self.problem.max_steps,
            "held": self.simulation.held or "",
            "drops": self.simulation.gripper.drops,
            "reason": reason,
            "clamped": False,
            "slowed": False,
            "outcome": "",
        }
        return {**info, **(report or {})}

    # -- looking in --------------------------------------------------------------------------------

    @property
    def control(self) -> str:
        """The action space's name."""
        return self.rules.control

    @property
    def control_hz(self) -> float:
        """Commands a second."""
        return self.rules.control_hz

    @property
    def tool_length(self) -> float:
        """From the flange to the tool's tip, m."""
        return TOOL_LENGTH[self.rules.gripper]

    @property
    def episode(self) -> Episode:
        """The running episode."""
        if self._episode is None:
            raise EpisodeOver("there is no episode yet", "call reset()")
        return self._episode

    @property
    def problem(self) -> TaskInstance:
        """The present episode's problem: words, initial state, goal, limits."""
        return self.episode.problem

    @property
    def simulation(self) -> Simulation:
        """The present episode's simulation; for oracles and tools, not for policies."""
        return self.episode.simulation

    def scene(self) -> Scene:
        """A snapshot of the true state in the tasks' terms; for oracles and scores, not for policies."""
        return self.episode.scene()

    def watch(self, on_tick: Callable[[], None] | None) -> None:
        """Have ``on_tick`` called after every control period of this episode, within actions too."""
        self.simulation.on_tick = on_tick

    @property
    def features(self) -> RobotFeatures:
        """Cameras, state and actions, to be matched with those of a checkpoint; a recorded set has the same."""
        spaces = self.sensors.space.spaces
        cameras = [
            CameraFeature(name, camera["height"], camera["width"], f"depth.{name}" in spaces)
            for name, camera in self.sensors.calibration().items()
        ]
        rate = 1.0 if self.control == "pick_place" else self.control_hz
        return RobotFeatures(tuple(cameras), tuple(STATE_NAMES), ACTION_NAMES[self.control], rate)

    def describe(self) -> dict[str, Any]:
        """Metadata that travels with observations: calibration, names, rates, limits."""
        return {
            "version": VERSION,
            "task": self.task.name,
            "control": self.control,
            "control_hz": self.control_hz,
            "state_names": list(STATE_NAMES),
            "workspace": WORKSPACE.tolist(),
            "cameras": self.sensors.calibration(),
        }

    def get_state(self) -> EnvState:
        """A snapshot of the episode."""
        noise = copy.deepcopy(self._noise_stream.bit_generator.state)
        return EnvState(self.episode.get_state(), noise, self.sensors.perturbation)

    def set_state(self, state: EnvState) -> dict[str, Any]:
        """Continue from a snapshot, also one of another environment with the same settings.

        Returns:
            The observation there, drawn anew.
        """
        self._episode = Episode.from_state(state.episode, self.rules)
        self.sensors.perturbation = state.perturbation
        self.sensors.aim(self.simulation)
        self._noise_stream = np.random.default_rng()
        self._noise_stream.bit_generator.state = state.noise
        observation = self.observe()
        self._noise_stream.bit_generator.state = state.noise  # looking back is not an observation of the episode
        return observation

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """The scene for people: a picture uint8 (480, 640, 3), or a window with ``render_mode="human"``."""
        if self.render_mode is None:
            gym.logger.warn("render() needs render_mode='rgb_array' or 'human' when the environment is made")
            return None
        if self.render_mode == "human":
            from lohovla.envs.render.viewer import Viewer

            if self._window is None:
                self._window = Viewer()
            self._window.show(self.simulation.model, self.simulation.data, self.render_camera)
            return None
        return self.picture(self.render_camera)

    def picture(self, camera: str, width: int = 640, height: int = 480, quality: str = "film") -> np.ndarray:
        """Any camera's colour picture, uint8 (height, width, 3), without noise."""
        return render_color(self.simulation.model, self.simulation.data, camera, width, height, quality)

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._window is not None:
            self._window.close()
            self._window = None
