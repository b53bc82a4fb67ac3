"""The simulated world's true state as numbers on a topic, so that a teacher can play through ROS.

A teacher plans from the true state, which no robot has. ``lohovla ros-sim`` publishes it, and the bridge rebuilds the
world from it: the problem from its task and seed, the rest from MuJoCo's integration state and what the controllers
and the gripper remember. Numbers only: nothing that comes over a network is unpickled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lohovla.errors import UserError
from lohovla.mujoco_import import mujoco

_STATE = mujoco.mjtState.mjSTATE_INTEGRATION
_HEAD = 8  # stamp, seed, held (index or -1), suction on, suction armed, drops, actions, number of state values


def pack_sim_state(env: Any, seed: int, seconds: float) -> list[float]:
    """The state of a ``BlocksEnv`` as numbers.

    Args:
        env: the environment, mid-episode, with a suction gripper.
        seed: its episode's.
        seconds: the stamp, s since the epoch.
    """
    simulation = env.simulation
    gripper, state = simulation.gripper, simulation.vector()
    held = simulation.block_names.index(gripper.held) if gripper.held else -1
    head = [seconds, seed, held, gripper._on, gripper._armed, gripper.drops, env.episode.actions, len(state)]
    parts = [
        head,
        state,
        simulation.model.eq_data.ravel(),
        simulation.joint_target,
        simulation.joint_step,
        simulation.joint_goal,
    ]
    return [float(value) for part in parts for value in part]


def stamp_and_seed(numbers: Sequence[float]) -> tuple[float, int]:
    """When a packed state was taken, s on the robot's clock, and of which episode it is."""
    return float(numbers[0]), int(numbers[1])


class SimStateMirror:
    """A world that follows another by its numbers.

    Args:
        task: its name.
        settings: of the environment; cameras are left out.
    """

    def __init__(self, task: str, settings: Mapping[str, Any]):
        from lohovla.envs.env import BlocksEnv

        self.env = BlocksEnv(task=task, **{**settings, "cameras": {}})
        self._seed: int | None = None

    @property
    def instruction(self) -> str:
        """The goal sentence of the episode."""
        return self.env.problem.instruction

    def begin(self, seed: int) -> None:
        """Set the table of an episode."""
        if seed != self._seed:
            self.env.reset(seed=seed)
            self._seed = seed

    def follow(self, numbers: Sequence[float]) -> Any:
        """The state (``EnvState``) that the numbers tell.

        Raises:
            ValueError: they belong to another kind of world.
        """
        if len(numbers) < _HEAD:
            raise ValueError("too few numbers for a world")
        values = np.asarray(numbers, float)
        self.begin(int(values[1]))
        simulation = self.env.simulation
        size, shape = mujoco.mj_stateSize(simulation.model, _STATE), simulation.model.eq_data.shape
        welds = int(np.prod(shape))
        if int(values[7]) != size or len(values) != _HEAD + size + welds + 18:
            raise ValueError("the world that is published is of another task or version")
        state, rest = values[_HEAD : _HEAD + size], values[_HEAD + size :]
        mujoco.mj_setState(simulation.model, simulation.data, state, _STATE)
        simulation.model.eq_data[:] = rest[:welds].reshape(shape)
        joints = rest[welds:].reshape(3, 6).copy()
        simulation.joint_target, simulation.joint_step, simulation.joint_goal = joints
        held = int(values[2])
        gripper: Any = simulation.gripper
        gripper.held = simulation.block_names[held] if held >= 0 else None
        gripper._on, gripper._armed, gripper.drops = bool(values[3]), bool(values[4]), int(values[5])
        mujoco.mj_forward(simulation.model, simulation.data)
        self.env.episode.actions, self.env.episode.over = int(values[6]), False
        return self.env.get_state()


def mirror_of(
    policy: str, keys: Sequence[str], topic: str, task: str, settings: Mapping[str, Any]
) -> SimStateMirror | None:
    """The mirror for a policy that reads the true state; None for another, so that nobody subscribes to it for nothing.

    Args:
        policy: its name.
        keys: what it observes.
        topic: on which a simulator tells the true state, or "".
        task: its name.
        settings: of the environment.

    Raises:
        UserError: the policy reads the true state, and nobody tells it.
    """
    if "world" not in keys:
        return None
    if not topic:
        raise UserError(f"policy {policy} reads the true state", "only robot=sim publishes it")
    return SimStateMirror(task, settings)
