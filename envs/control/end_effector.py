"""Continuous commands: a tool pose and a gripper value, at a fixed rate, within the arm's limits."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lohovla.envs.control.simulation import Simulation
from lohovla.envs.scene.arm import HOME, MAX_JOINT_SPEED
from lohovla.envs.scene.grippers import TOOL_LENGTH
from lohovla.geometry import ur5e_kinematics
from lohovla.geometry.rotations import matrix_from_rotvec
from lohovla.geometry.ur5e_kinematics import TCP_IN_FLANGE

# Where the tool centre point may go, metres in the base frame: the workspace and a margin around it.
REACH = np.array([[0.18, 0.82], [-0.58, 0.58], [-0.005, 0.60]])


# Targets stay below the joints' limits, and change their speed no faster than the motors can follow: a servo
# whose target jumps runs into its torque limit, falls behind, and then catches up too fast.
_SHARE_OF_SPEED = 0.8
_ACCELERATION = 30.0  # rad/s^2
_CLOSING = 0.6  # share of the way to a resting goal that is made in one period


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
        self._largest_change = _ACCELERATION * simulation.period**2

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
        solution = ur5e_kinematics.inverse_kinematics(flange, rotation @ TCP_IN_FLANGE.T, now)
        slowed = self._approach(solution.joints, self._largest_step, gripper, rng)
        clamped = not solution.reachable or bool(np.any(inside != position))
        return CommandReport(clamped, slowed)

    def joints_near_home(self, away: np.ndarray, turn: float) -> np.ndarray:
        """Joint positions (6,) at which the tool is ``away`` from home, m (3,), and turned by ``turn`` rad."""
        position, rotation = ur5e_kinematics.forward_kinematics(HOME)
        rotation = matrix_from_rotvec(np.array([0.0, 0.0, turn])) @ rotation
        return ur5e_kinematics.inverse_kinematics(position + away, rotation, HOME).joints

    def go_to_joints(self, joints: np.ndarray, gripper: float, rng: np.random.Generator) -> bool:
        """Spend one control period on the straight way to ``joints``, at six tenths of full speed."""
        self._approach(joints, 0.6 * self._largest_step, gripper, rng)
        return bool(np.abs(joints - self.simulation.joint_target).max() < 1e-3)

    def _approach(self, goal: np.ndarray, largest: float, gripper: float, rng: np.random.Generator) -> bool:
        """Tick with the targets moved towards ``goal``; returns whether the speed limit held them back.

        They follow a moving goal without lag, come to a resting one in ever smaller steps, and never go faster
        than they can still brake from (v^2 = 2 a d).
        """
        simulation = self.simulation
        way = goal - simulation.joint_target
        motion = goal - simulation.joint_goal  # of the goal, since the last command
        step = motion + _CLOSING * (way - motion)
        fastest = float(np.abs(step).max())
        braking = math.sqrt(2.0 * _ACCELERATION * float(np.abs(way).max())) * simulation.period
        allowed = min(largest, braking)
        if fastest > allowed:
            step *= allowed / fastest
        change = step - simulation.joint_step
        steepest = float(np.abs(change).max())
        if steepest > self._largest_change:
            change *= self._largest_change / steepest
        simulation.joint_goal = goal
        simulation.tick(simulation.joint_target + simulation.joint_step + change, gripper, rng)
        return fastest > largest
