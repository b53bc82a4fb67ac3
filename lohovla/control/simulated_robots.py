"""What the loop sees of a robot, and two that are simulated: a kinematic stand-in and the MuJoCo environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from lohovla.control.event_log import EventLog
from lohovla.control.poses import POSE, shortest_rotation
from lohovla.control.safety.camera_check import CameraVisibility
from lohovla.control.safety.command_receiver import Command, CommandReceiver
from lohovla.control.settings import LoopSettings
from lohovla.geometry.workspace import TOP_CEILING, WORKSPACE

_MARGIN = 0.01  # m


@dataclass(frozen=True)
class TimedObservation:
    """An observation and when its parts were taken.

    Attributes:
        observation: the flat mapping; ``state`` begins with the tool's position, rotation vector and gripper.
        taken: s on the loop's clock.
        stamps: when each picture was taken, by the observation's key.
        world: a copy of the true state, for oracles; None on a robot.
    """

    observation: Mapping[str, Any]
    taken: float
    stamps: Mapping[str, float] = field(default_factory=dict)
    world: Any = None


class Robot(Protocol):
    """A robot as the loop drives it. No method may wait."""

    reward: float  # that has come since the start
    ended: bool  # whether the episode is over

    @property
    def sight(self) -> Mapping[str, CameraVisibility]:
        """How cameras see the tool, by their keys; one that is not listed sees every motion."""
        ...

    def start(self, now: float, settings: LoopSettings, log: EventLog) -> None:
        """Get ready for commands."""
        ...

    def command(self, command: Command, now: float) -> None:
        """Send a command."""
        ...

    def advance(self, now: float) -> None:
        """Let time pass up to ``now``; a real robot does that by itself."""
        ...

    def observe(self, now: float, world: bool) -> TimedObservation:
        """The latest observation, with the true state if ``world`` and if there is one."""
        ...

    def pose(self) -> np.ndarray:
        """The tool's pose (6,) as measured."""
        ...


class _Simulated:
    """A receiver in simulated time that asks for a target every ``dt`` seconds."""

    reward = 0.0
    ended = False
    sight: Mapping[str, CameraVisibility] = {}

    def __init__(self, dt: float):
        self._dt = dt
        self.receiver: CommandReceiver

    def start(self, now: float, settings: LoopSettings, log: EventLog) -> None:
        self.receiver = CommandReceiver(settings.limits, self._dt, settings.safety.watchdog, log)
        self.receiver.start(self.pose(), 0.0, now)
        self._time = now

    def command(self, command: Command, now: float) -> None:
        self.receiver.receive(command, now)

    def advance(self, now: float) -> None:
        while self._time + self._dt <= now + 1e-9 and not self.ended:
            self._move(self.receiver.target(self._time), self.receiver.gripper)
            self._time += self._dt

    def shift(self, seconds: float) -> None:
        """The loop's clock was set by ``seconds``, but the robot goes by its own."""
        self._time += seconds
        self.receiver.shift(seconds)

    def pose(self) -> np.ndarray:
        raise NotImplementedError

    def _move(self, target: np.ndarray, gripper: float) -> None:
        raise NotImplementedError


class KinematicArm(_Simulated):
    """A stand-in that goes exactly where it is told, and remembers every target.

    Args:
        pose: where it starts (6,).
        dt: s between its targets.
    """

    def __init__(self, pose: np.ndarray, dt: float = 0.01):
        super().__init__(dt)
        self.targets = [np.array(pose, dtype=np.float64)]
        self.gripper = 0.0

    def pose(self) -> np.ndarray:
        return self.targets[-1]

    def _move(self, target: np.ndarray, gripper: float) -> None:
        self.targets.append(target)
        self.gripper = gripper

    def observe(self, now: float, world: bool) -> TimedObservation:
        """Proprioception, and a picture whose pixels are the pose."""
        state = np.append(self.pose(), self.gripper).astype(np.float32)
        picture = np.frombuffer(state.tobytes(), np.uint8).reshape(2, 14)
        return TimedObservation(
            {"state": state, "images.wrist": picture, "instruction": "wander"}, now, {"images.wrist": now}
        )


def seen_from_above(tool_length: float) -> CameraVisibility:
    """What the top camera sees of a tool of that length (flange to tip, m).

    Its view is cut off at a height, so that the arm can get out of its way: parts that reach above are not drawn.
    Straight from above, going up and down changes nothing.
    """
    (x, y, _), (x1, y1, _) = WORKSPACE.T.tolist()
    return CameraVisibility((x, y, -np.inf), (x1, y1, TOP_CEILING - tool_length - _MARGIN), (1.0, 1.0, 0.0))


class SimulatedArm(_Simulated):
    """The MuJoCo environment as a robot: it moves on while the loop and the model think.

    Args:
        env: a :class:`lohovla.envs.env.BlocksEnv` with ``ee`` actions, reset; wrapped or not.
        observation: what its reset gave.
        on_step: told of every step: reward, terminated, truncated, info.
    """

    def __init__(self, env: Any, on_step: Callable[[float, bool, bool, Mapping[str, Any]], None] | None = None):
        self._env = env.unwrapped
        super().__init__(1.0 / self._env.control_hz)
        self.sight = {"images.top": seen_from_above(self._env.tool_length)}
        self._on_step = on_step

    def pose(self) -> np.ndarray:
        return np.asarray(self._env.observe_state()[:POSE], dtype=np.float64)

    def _move(self, target: np.ndarray, gripper: float) -> None:
        action = np.concatenate([target[:3], shortest_rotation(target[3:]), [gripper]])
        reward, terminated, truncated, info = self._env.advance(action)
        self.reward += reward
        self.ended = terminated or truncated
        if self._on_step is not None:
            self._on_step(reward, terminated, truncated, info)

    def observe(self, now: float, world: bool) -> TimedObservation:
        observation = self._env.observe()
        stamps = {key: now for key in observation if key.startswith("images.")}
        return TimedObservation(observation, now, stamps, self._env.get_state() if world else None)
