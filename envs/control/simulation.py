"""One simulated table: model and data, the servo loop, what is held, and exact states.

Time is simulated time. A tick is one control period (50 ms by default): joint targets are interpolated
over its physics steps, then the poses of everything are brought to the same moment and suction is looked at.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lohovla.envs.control.grasp import GRIPPERS, Gripper
from lohovla.envs.scene import arm
from lohovla.envs.scene.world import TIMESTEP, Composition, compile_model
from lohovla.mujoco_import import mujoco

_LAG = np.array(arm.DAMPING) / np.array(arm.STIFFNESS)  # s; a servo follows q + lag * dq/dt without delay
_SETTLE_STEPS = 400
_STILL, _STILL_TURNING = 0.02, 1.0  # m/s, rad/s; a block that leans on a bowl's wall may tremble by less
_ZONE_SHADE = 0.7  # the middle of a zone is a darker shade of its border, so that a block on it stands out
# Counts of bodies that are not asleep, which MuJoCo 4.0 leaves out when it pickles its data.
_AWAKE = ("ntree_awake", "nbody_awake", "nparent_awake", "nv_awake")


@dataclass(frozen=True)
class SimulationState:
    """Everything that decides what happens next, bit for bit: also which bodies sleep. It can be pickled."""

    data: mujoco.MjData
    anchors: np.ndarray
    joint_target: np.ndarray
    joint_step: np.ndarray
    joint_goal: np.ndarray
    gripper: Gripper

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "awake": {name: getattr(self.data, name) for name in _AWAKE}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, count in state.pop("awake").items():
            setattr(state["data"], name, count)
        for name, value in state.items():
            object.__setattr__(self, name, value)


class Simulation:
    """A compiled scene in motion.

    Args:
        composition: what the scene is made of.
        control_hz: ticks a second; the physics step divides the period.
        drop_probability: chance that suction loses a held block within one second of holding it.
    """

    def __init__(self, composition: Composition, *, control_hz: float = 20.0, drop_probability: float = 0.0):
        self.composition = composition
        self.model = compile_model(composition)
        self.data = mujoco.MjData(self.model)
        self.substeps = round(1.0 / control_hz / TIMESTEP)
        self.period = self.substeps * TIMESTEP
        self.block_names = tuple(name for name, _ in composition.blocks)
        self._block_bodies = np.array([self.model.body(name).id for name in self.block_names], int)
        self._tcp, self._flange = self.model.site("tcp").id, self.model.body("flange").id
        gripper = GRIPPERS[composition.gripper]
        self.gripper = gripper(self.model, self.block_names, drop_probability)
        self._rest_joints()
        self.on_tick: Callable[[], None] | None = None  # called after every control period, by whoever films
        self.before_tick: Callable[[], None] | None = None  # called before it, by what disturbs
        self._fractions = (np.arange(self.substeps) + 1.0)[:, None] / self.substeps

    def _rest_joints(self, joints: np.ndarray = arm.HOME) -> None:
        """Forget the motion of the joint targets: all at ``joints`` (6,), rad."""
        self.joint_target, self.joint_step = joints.copy(), np.zeros(6)  # where they are, the last period's step
        self.joint_goal = joints.copy()  # where the last command wanted them

    def arrange(
        self,
        poses: Mapping[str, tuple[float, float, float, float]],
        colors: Mapping[str, tuple[float, float, float]],
        joints: np.ndarray = arm.HOME,
    ) -> None:
        """Put everything in place, and let it come to rest.

        Args:
            poses: (x, y, z, yaw) by name; z is a block's centre, or a bowl's or zone's foot.
            colors: red, green, blue in [0, 1] by name.
            joints: of the arm (6,), rad.
        """
        starts = {}
        for name, (x, y, z, yaw) in poses.items():
            pose = np.array([x, y, z, np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)])
            body = self.model.body(name)
            if name in self.block_names:
                starts[int(self.model.jnt_qposadr[body.jntadr[0]])] = pose
            else:
                self.model.body_pos[body.id], self.model.body_quat[body.id] = pose[:3], pose[3:]
        for name, color in colors.items():
            self._paint(name, color)
        # With sleeping bodies, MuJoCo places fixed ones only when the data is reset.
        mujoco.mj_resetData(self.model, self.data)
        for start, pose in starts.items():
            self.data.qpos[start : start + 7] = pose
        self._rest_joints(joints)
        self.data.qpos[:6] = joints
        self.data.ctrl[:6] = joints
        mujoco.mj_forward(self.model, self.data)
        mujoco.mj_step(self.model, self.data, _SETTLE_STEPS)
        self.data.time = 0.0
        mujoco.mj_forward(self.model, self.data)

    def _paint(self, name: str, color: tuple[float, float, float]) -> None:
        self.model.geom(name).rgba = [*color, 1.0]
        inner = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_GEOM, f"{name}/inner")
        if inner >= 0:
            self.model.geom_rgba[inner] = [*(_ZONE_SHADE * np.array(color)), 1.0]

    def tick(self, joint_target: np.ndarray, closed: float, rng: np.random.Generator) -> None:
        """One control period towards ``joint_target`` (6,), the gripper towards ``closed`` in [0, 1]."""
        if self.before_tick is not None:
            self.before_tick()
        step = joint_target - self.joint_target
        path = self.joint_target + self._fractions * step + _LAG * step / self.period
        self.joint_target, self.joint_step = joint_target, step
        self.gripper.drive(self.data, closed)
        model, data, ctrl = self.model, self.data, self.data.ctrl
        for target in path:
            ctrl[:6] = target
            mujoco.mj_step(model, data)
        # A step ends with new joint positions and leaves the poses as they were before it, by up to 9 mm of the tool.
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        self.gripper.update(self.model, self.data, closed, self.period, rng)
        if self.on_tick is not None:
            self.on_tick()

    def slide_block(self, name: str, dx: float, dy: float) -> None:
        """Shift a block along the table, m; it lies still afterwards."""
        joint = self.model.body(name).jntadr[0]
        position, speed = int(self.model.jnt_qposadr[joint]), int(self.model.jnt_dofadr[joint])
        self.data.qpos[position : position + 2] += dx, dy
        self.data.qvel[speed : speed + 6] = [0.0, 0.0, -0.001, 0.0, 0.0, 0.0]  # a body that moves does not sleep
        mujoco.mj_forward(self.model, self.data)

    def slide_fixture(self, name: str, dx: float, dy: float) -> None:
        """Shift a bowl or zone along the table, m."""
        body, shift = self.model.body(name).id, np.array([dx, dy, 0.0])
        geoms = self.model.geom_bodyid == body
        self.model.body_pos[body] += shift
        # With sleeping bodies, MuJoCo computes the poses of fixed ones only when the data is reset.
        self.data.xpos[body] += shift
        self.data.xipos[body] += shift
        self.data.geom_xpos[geoms] += shift

    def push_flange(self, force: np.ndarray) -> None:
        """Push the flange with a force (3,) in the base frame, N, until another is given."""
        self.data.xfrc_applied[self._flange, :3] = force

    @property
    def time(self) -> float:
        """Simulated seconds since the scene was arranged."""
        return float(self.data.time)

    @property
    def held(self) -> str | None:
        """The block in the gripper, if any."""
        return self.gripper.held

    @property
    def joints(self) -> np.ndarray:
        """Joint positions (6,), rad."""
        return self.data.qpos[:6]

    def tcp(self) -> tuple[np.ndarray, np.ndarray]:
        """Position (3,) and rotation (3, 3) of the tool centre point in the base frame."""
        return self.data.site_xpos[self._tcp].copy(), self.data.site_xmat[self._tcp].reshape(3, 3).copy()

    def block_poses(self) -> tuple[np.ndarray, np.ndarray]:
        """Centres (n, 3) and quaternions (n, 4) of the blocks, in the order of ``block_names``."""
        return self.data.xpos[self._block_bodies], self.data.xquat[self._block_bodies]

    def at_rest(self) -> bool:
        """Whether every block lies still."""
        if not len(self._block_bodies):
            return True
        speeds = np.abs(self.data.qvel[-6 * len(self._block_bodies) :].reshape(-1, 6)).max(axis=0)
        return bool(speeds[:3].max() < _STILL and speeds[3:].max() < _STILL_TURNING)

    def touching(self) -> bool:
        """Whether the tool, or the block that it holds, touches something else."""
        return self.gripper.touching(self.model, self.data)

    def vector(self) -> np.ndarray:
        """MuJoCo's integration state, float64 (n,): time, positions, velocities, controls, what is held."""
        kind = mujoco.mjtState.mjSTATE_INTEGRATION
        values = np.empty(mujoco.mj_stateSize(self.model, kind))
        mujoco.mj_getState(self.model, self.data, values, kind)
        return values

    def get_state(self) -> SimulationState:
        """A snapshot from which :meth:`set_state` continues with the same bytes."""
        return SimulationState(
            copy.copy(self.data),
            self.model.eq_data.copy(),
            self.joint_target.copy(),
            self.joint_step.copy(),
            self.joint_goal.copy(),
            copy.copy(self.gripper),
        )

    def set_state(self, state: SimulationState) -> None:
        """Go back to a snapshot of this scene."""
        self.data = copy.copy(state.data)
        self.model.eq_data[:] = state.anchors
        self.joint_target, self.joint_step = state.joint_target.copy(), state.joint_step.copy()
        self.joint_goal = state.joint_goal.copy()
        self.gripper = copy.copy(state.gripper)
