"""The Gymnasium environment: one table, one task, continuous commands or pick-and-place actions."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from lohovla.envs.control.end_effector import REACH, EndEffectorController
from lohovla.envs.control.motion import Outcome, PickPlace
from lohovla.envs.control.simulation import Simulation, SimulationState
from lohovla.envs.errors import ActionError, EpisodeOver
from lohovla.envs.language import rgb, vocabulary
from lohovla.envs.render.noise import Noise
from lohovla.envs.render.renderer import render_color
from lohovla.envs.scene import arm
from lohovla.envs.scene.cameras import CAMERAS, WORKSPACE
from lohovla.envs.scene.world import Composition
from lohovla.envs.sensors import DEFAULT_CAMERAS, STATE_NAMES, Sensors
from lohovla.envs.tasks.entities import Block, Bowl, Scene, Zone
from lohovla.envs.tasks.registry import Problem, get_task
from lohovla.errors import UserError

SUCCESS = 0.99  # a score above this, at the end, is a success
CONTROLS = ("ee", "pick_place")
_SETTLED = 0.5  # s that a reached goal must stand before the episode ends
_TALLEST = 0.40  # m, the highest z of a pick or place


@dataclass(frozen=True)
class EnvState:
    """Everything an episode's future depends on; :meth:`BlocksEnv.set_state` continues from it, bit for bit."""

    problem: Problem
    composition: Composition
    model_fields: dict[str, np.ndarray]
    simulation: SimulationState
    counters: dict[str, Any]
    streams: tuple[Mapping[str, Any], Mapping[str, Any]]


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
        control_hz: commands a second.
        robot: ``ur5e`` or ``menagerie``.
        gripper: ``suction`` or ``jaw``.
        cameras: settings by name (width, height, depth), None to leave one out; default ``top`` and ``wrist``.
        top_source: ``orthographic``, or ``fused`` from the three perspective RGB-D cameras.
        colors: palette (train, eval, all); the task's own if None.
        paraphrase: say goals in other words.
        drop_probability: chance that suction loses what it holds within a second.
        noise: observation noise, a :class:`Noise` or its settings.
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
        noise: Noise | Mapping[str, float] | None = None,
        seconds_per_action: float = 8.0,
        render_mode: str | None = None,
        render_camera: str = "film",
    ):
        _check_choice("control", control, CONTROLS)
        _check_choice("robot", robot, ("ur5e", "menagerie"))
        _check_choice("gripper", gripper, ("suction", "jaw"))
        _check_choice("colors", colors, (None, *vocabulary()["palettes"]))
        _check_choice("render_mode", render_mode, (None, *self.metadata["render_modes"]))
        _check_choice("render_camera", render_camera, tuple(CAMERAS))
        if not 0.0 <= drop_probability < 1.0:
            raise UserError(
                f"drop_probability must lie in [0, 1), not {drop_probability}",
                "it is the chance a held second",
            )
        if not 5.0 <= control_hz <= 100.0:
            raise UserError(f"control_hz must lie in 5 to 100, not {control_hz}", "20 is the default")
        self.task = get_task(task)
        self.control, self.control_hz, self.seconds_per_action = control, control_hz, seconds_per_action
        self.colors, self.paraphrase, self.drop_probability = colors, paraphrase, drop_probability
        self.render_mode, self.render_camera = render_mode, render_camera
        self._hardware = {"robot": robot, "gripper": gripper}
        noise = noise if isinstance(noise, Noise) else Noise(**(noise or {}))
        self.sensors = Sensors(DEFAULT_CAMERAS if cameras is None else cameras, noise, top_source)
        self.observation_space = self.sensors.space
        self.action_space = _action_space(control)
        self._window: Any = None
        self._problem: Problem | None = None
        self.metadata = {**self.metadata, "render_fps": round(control_hz)}

    # -- the episode -------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Draw a problem and set the table. The seed decides everything that follows."""
        super().reset(seed=seed)
        key = int(self.np_random.integers(2**63))
        self._drops, self._noise_stream = np.random.default_rng([key, 1]), np.random.default_rng([key, 2])
        problem = self.task.sample(np.random.default_rng([key, 0]), self.colors, self.paraphrase)
        self._load(problem, _composition(problem, self._hardware))
        layout = problem.layout
        self._simulation.arrange(
            {name: (p.x, p.y, p.z, p.yaw) for name, p in layout.poses.items()},
            {name: rgb(entity.color) for name, entity in layout.entities.items()},
        )
        self.sensors.prepare(self._simulation, self._noise_stream)
        self._simulation.refresh()
        self._actions, self._stood, self._over = 0, 0.0, False
        self._score = problem.goal.score(self.scene())
        if self.render_mode == "human":
            self.render()
        return self._observe(), self._info(reason="")

    def _load(self, problem: Problem, composition: Composition) -> None:
        self._problem = problem
        self._simulation = Simulation(composition, control_hz=self.control_hz, drop_probability=self.drop_probability)
        self._controller = EndEffectorController(self._simulation)

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Carry out one action.

        Raises:
            ActionError: the action has the wrong shape or a value that is no finite number.
            EpisodeOver: the episode has ended; reset first.
        """
        if self._problem is None or self._over:
            raise EpisodeOver("the episode is over" if self._problem else "there is no episode yet", "call reset()")
        action = check_action(action, self.action_space.shape or ())
        report = self._command(action) if self.control == "ee" else self._pick_place(action)
        before, self._score = self._score, self._problem.goal.score(self.scene())
        terminated, truncated, reason = self._end()
        self._over = terminated or truncated
        if self.render_mode == "human":
            self.render()
        reward = self._score - before
        return self._observe(), reward, terminated, truncated, self._info(reason=reason, **report)

    def _command(self, action: np.ndarray) -> dict[str, Any]:
        report = self._controller.command(action[:3], action[3:6], float(action[6]), self._drops)
        return {"clamped": report.clamped, "slowed": report.slowed}

    def _pick_place(self, action: np.ndarray) -> dict[str, Any]:
        """The Ravens primitive, then back home so that nothing stands in the cameras' view."""
        low, high = self.action_space.low, self.action_space.high  # type: ignore[attr-defined]
        inside = np.clip(action, low, high)
        motion = PickPlace(self._simulation, inside[0], inside[1], self._edge_below(inside[0]))
        clamped = bool(np.any(inside != action))
        for waypoint in motion:
            report = self._controller.command(
                waypoint.position, np.array([0.0, 0.0, waypoint.yaw]), waypoint.gripper, self._drops
            )
            clamped |= report.clamped
        while not self._controller.go_to_joints(arm.HOME, 0.0, self._drops):
            pass
        still = self._simulation.joint_target
        for _ in range(round(_SETTLED / self._simulation.period)):
            if self._simulation.at_rest():
                break
            self._simulation.tick(still, 0.0, self._drops)
        self._actions += 1
        return {"clamped": clamped, "slowed": False, "outcome": motion.outcome.value}

    def _edge_below(self, pick: np.ndarray) -> float:
        """How far what a pick finds will hang below the tool: its own height, as a height map would show."""
        near = [
            (np.hypot(*(np.array(self.scene().centre(name)[:2]) - pick[:2])), block.edge)
            for name, block in self.scene().blocks.items()
        ]
        return min(near, default=(0.0, 0.04))[1]

    def _end(self) -> tuple[bool, bool, str]:
        """Whether the episode ends now, as (terminated, truncated, reason)."""
        assert self._problem is not None
        reached = self._score > SUCCESS and self._simulation.held is None
        if self.control == "pick_place":
            self._stood = _SETTLED if reached and self._simulation.at_rest() else 0.0
            spent, limit = self._actions, "action limit"
            out = self._actions >= self._problem.max_steps
        else:
            resting = reached and self._simulation.at_rest()
            self._stood = self._stood + self._simulation.period if resting else 0.0
            spent, limit = self._simulation.time, "time limit"
            out = spent >= self._problem.max_steps * self.seconds_per_action - 1e-9
        if self._stood >= _SETTLED - 1e-9:
            return True, False, "success"
        if out:
            return False, True, limit
        return False, False, ""

    def _observe(self) -> dict[str, Any]:
        assert self._problem is not None
        return self.sensors.observe(self._simulation, self._problem.instruction, self._noise_stream)

    def _info(self, reason: str, **more: Any) -> dict[str, Any]:
        assert self._problem is not None
        info = {
            "score": float(self._score),
            "success": bool(self._score > SUCCESS),
            "time": self._simulation.time,
            "actions": self._actions,
            "max_actions": self._problem.max_steps,
            "held": self._simulation.held or "",
            "drops": self._simulation.gripper.drops,
            "reason": reason,
            "clamped": False,
            "slowed": False,
            "outcome": "",
        }
        return {**info, **more}

    # -- looking in --------------------------------------------------------------------------------

    @property
    def problem(self) -> Problem:
        """The present episode's problem: words, initial state, goal, limits."""
        if self._problem is None:
            raise EpisodeOver("there is no episode yet", "call reset()")
        return self._problem

    @property
    def simulation(self) -> Simulation:
        """The present episode's simulation; for oracles and tools, not for policies."""
        return self._simulation

    def scene(self) -> Scene:
        """A snapshot of the true state in the tasks' terms; for oracles and scores, not for policies."""
        layout = self.problem.layout
        positions, quats = self._simulation.block_poses()
        blocks = {name: e for name, e in layout.entities.items() if isinstance(e, Block)}
        fixtures = {name: e for name, e in layout.entities.items() if isinstance(e, Bowl | Zone)}
        poses = {name: layout.poses[name] for name in fixtures}
        return Scene(blocks, fixtures, poses, positions, quats, self._simulation.held, self._simulation.at_rest())

    def describe(self) -> dict[str, Any]:
        """Metadata that travels with observations: calibration, names, rates, limits."""
        return {
            "task": self.task.name,
            "control": self.control,
            "control_hz": self.control_hz,
            "state_names": list(STATE_NAMES),
            "workspace": WORKSPACE.tolist(),
            "cameras": self.sensors.calibration(),
        }

    def get_state(self) -> EnvState:
        """A snapshot of the episode."""
        model = self._simulation.model
        kept = ("cam_pos", "cam_quat", "light_diffuse", "light_dir", "body_pos", "body_quat", "geom_rgba")
        return EnvState(
            problem=self.problem,
            composition=self._simulation.composition,
            model_fields={name: getattr(model, name).copy() for name in kept},
            simulation=self._simulation.get_state(),
            counters={
                "actions": self._actions,
                "stood": self._stood,
                "over": self._over,
                "score": self._score,
            },
            streams=(
                copy.deepcopy(self._drops.bit_generator.state),
                copy.deepcopy(self._noise_stream.bit_generator.state),
            ),
        )

    def set_state(self, state: EnvState) -> dict[str, Any]:
        """Continue from a snapshot, also one of another environment with the same settings.

        Returns:
            The observation there, drawn anew.
        """
        self._load(state.problem, state.composition)
        for name, value in state.model_fields.items():
            getattr(self._simulation.model, name)[:] = value
        self._simulation.set_state(state.simulation)
        self._actions, self._stood = state.counters["actions"], state.counters["stood"]
        self._over, self._score = state.counters["over"], state.counters["score"]
        self._drops, self._noise_stream = np.random.default_rng(), np.random.default_rng()
        self._drops.bit_generator.state = state.streams[0]
        self._noise_stream.bit_generator.state = state.streams[1]
        return self._observe()

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """The scene for people: a picture uint8 (480, 640, 3), or a window with ``render_mode="human"``."""
        if self.render_mode is None:
            gym.logger.warn("render() needs render_mode='rgb_array' or 'human' when the environment is made")
            return None
        if self.render_mode == "human":
            from lohovla.envs.render.window import Window

            if self._window is None:
                self._window = Window()
            self._window.show(self._simulation.model, self._simulation.data, self.render_camera)
            return None
        return self.picture(self.render_camera)

    def picture(self, camera: str, width: int = 640, height: int = 480, quality: str = "film") -> np.ndarray:
        """Any camera's colour picture, uint8 (height, width, 3), without noise."""
        return render_color(self._simulation.model, self._simulation.data, camera, width, height, quality)

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._window is not None:
            self._window.close()
            self._window = None


def check_action(action: Any, shape: tuple[int, ...]) -> np.ndarray:
    """``action`` as float64 of ``shape``.

    Raises:
        ActionError: naming the first index that is not a finite number, or the shape that was wanted.
    """
    try:
        array = np.asarray(action, dtype=np.float64)
    except (TypeError, ValueError):
        raise ActionError("the action is not an array of numbers", f"give float32 of shape {shape}") from None
    if array.shape != shape:
        raise ActionError(f"the action has shape {array.shape}, not {shape}", f"give float32 of shape {shape}")
    wrong = np.argwhere(~np.isfinite(array))
    if len(wrong):
        index = tuple(int(i) for i in wrong[0])
        where = index[0] if len(index) == 1 else index
        raise ActionError(f"action[{where}] is {array[index]}", "every value must be a finite number")
    return array


def _composition(problem: Problem, hardware: Mapping[str, str]) -> Composition:
    entities = problem.layout.entities.values()
    return Composition(
        **hardware,
        blocks=tuple((e.name, e.edge) for e in entities if isinstance(e, Block)),
        bowls=tuple(e.name for e in entities if isinstance(e, Bowl)),
        zones=tuple((e.name, e.edge) for e in entities if isinstance(e, Zone)),
    )


def _action_space(control: str) -> gym.spaces.Box:
    if control == "ee":
        low = np.array([*REACH[:, 0], -np.pi, -np.pi, -np.pi, 0.0], np.float32)
        high = np.array([*REACH[:, 1], np.pi, np.pi, np.pi, 1.0], np.float32)
        return gym.spaces.Box(low, high, dtype=np.float32)
    bounds = np.array([WORKSPACE[0], WORKSPACE[1], [0.0, _TALLEST], [-np.pi, np.pi]], np.float32)
    return gym.spaces.Box(np.stack([bounds[:, 0]] * 2), np.stack([bounds[:, 1]] * 2), dtype=np.float32)


def _check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    if value not in choices:
        raise UserError(f"{name} cannot be {value!r}", f"choose one of {', '.join(map(str, choices))}")


__all__ = ["BlocksEnv", "EnvState", "Outcome", "check_action"]
