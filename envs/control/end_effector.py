"""Continuous commands: a tool pose and a gripper value, at a fixed rate, within the arm's limits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lohovla.envs.control import kinematics
from lohovla.envs.control.rotations import matrix_from_rotvec
from lohovla.envs.control.simulation import Simulation
from lohovla.envs.scene.arm import MAX_JOINT_SPEED
from lohovla.envs.scene.grippers import TCP_IN_FLANGE, TOOL_LENGTH

# Where the tool centre point may go, metres in the base frame: the workspace and a margin around it.
REACH = np.array([[0.18, 0.82], [-0.58, 0.58], [-0.005, 0.60]])


# Targets move at most this much of the joints' limit: a servo overshoots when the target's speed jumps.
_SHARE_OF_SPEED = 0.75


@dataclass(frozen=True)
class CommandReport:
    """What a command could not have: it was moved into the reach, or slowed to the joints' speed."""

    clamped: bool
    slowed: bool


class EndEffectorController:
    """Turns tool poses into joint targets and ticks the simulation.

    Args:
        simulation: the scene to act in.
    """

    def __init__(self, simulation: Simulation):
        self.simulation = simulation
        self._tool = TOOL_LENGTH[simulation.composition.gripper]
        self._largest_step = _SHARE_OF_SPEED * MAX_JOINT_SPEED * simulation.period

    def command(
        self, position: np.ndarray, rotvec: np.ndarray, gripper: float, rng: np.random.Generator
    ) -> CommandReport:
        """Spend one control period on the way to a pose.

        Args:
            position: tool centre point, metres in the base frame (3,).
            rotvec: rotation vector of the tool, rad (3,); zero is straight down.
            gripper: 0 open (suction off) to 1 closed (suction on).
            rng: the episode's generator (drops).
        """
        inside = np.clip(position, REACH[:, 0], REACH[:, 1])
        rotation = matrix_from_rotvec(rotvec)
        flange = inside + rotation[:, 2] * self._tool
        now = self.simulation.joint_target
        solution = kinematics.inverse(flange, rotation @ TCP_IN_FLANGE.T, now)
        step = solution.joints - now
        fastest = float(np.abs(step).max())
        slowed = fastest > self._largest_step
        if slowed:
            step *= self._largest_step / fastest
        self.simulation.tick(now + step, gripper, rng)
        clamped = not solution.reachable or bool(np.any(inside != position))
        return CommandReport(clamped, slowed)

    def go_to_joints(self, joints: np.ndarray, gripper: float, rng: np.random.Generator) -> bool:
        """Spend one control period on the straight way to ``joints``, at six tenths of full speed."""
        now = self.simulation.joint_target
        step = joints - now
        fastest = float(np.abs(step).max())
        largest = 0.6 * self._largest_step
        if fastest > largest:
            step *= largest / fastest
        self.simulation.tick(now + step, gripper, rng)
        return fastest <= largest
