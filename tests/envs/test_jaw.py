"""The parallel jaw: it closes on a block and lifts it by friction alone."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from lohovla.envs.control.end_effector import EndEffectorController
from lohovla.envs.control.motion import MotionOutcome, PickPlace
from lohovla.envs.control.simulation import Simulation
from lohovla.envs.scene.grippers import JAW_OPENING


def play(simulation: Simulation, pick: tuple, place: tuple, edge: float) -> tuple[MotionOutcome, list[float]]:
    """Runs one pick and place; returns its outcome and block0's height at every tick."""
    controller, rng = EndEffectorController(simulation), np.random.default_rng(0)
    motion, heights = PickPlace(simulation, np.array(pick), np.array(place), edge), []
    for waypoint in motion:
        controller.command(waypoint.position, np.array([0, 0, waypoint.yaw]), waypoint.gripper, rng)
        heights.append(float(simulation.data.body("block0").xpos[2]))
    return motion.outcome, heights


def gap(simulation: Simulation) -> float:
    """Between the pads, metres."""
    pads = [simulation.data.geom(f"{side}_pad").xpos for side in ("left", "right")]
    return float(np.linalg.norm(pads[0] - pads[1])) - 0.012


def test_it_opens_and_shuts(set_table):
    simulation, rng = set_table(gripper="jaw"), np.random.default_rng(0)
    assert gap(simulation) == pytest.approx(JAW_OPENING, abs=1e-3)
    for closed in (1.0, 0.0):
        for _ in range(20):
            simulation.tick(simulation.joint_target, closed, rng)
        assert simulation.gripper.opening(simulation.data) == pytest.approx(closed, abs=0.02)
        assert gap(simulation) == pytest.approx(JAW_OPENING * (1 - closed), abs=2e-3)


@pytest.mark.parametrize("edge", [0.04, 0.06])
@pytest.mark.parametrize("yaw", [0.0, 0.6, -0.5])
def test_it_lifts_a_block_by_friction_and_puts_it_down(set_table, edge, yaw):
    simulation = set_table(blocks=((0.45, -0.1, edge / 2, yaw, edge),), gripper="jaw")
    outcome, heights = play(simulation, (0.45, -0.1, edge, yaw), (0.6, 0.2, 0.0, yaw), edge)
    assert outcome is MotionOutcome.PLACED
    assert max(heights) > edge / 2 + 0.05
    x, y, z = simulation.data.body("block0").xpos
    assert (x, y) == pytest.approx((0.6, 0.2), abs=0.02)
    assert z == pytest.approx(edge / 2, abs=1e-3)
    assert simulation.held is None


@pytest.mark.parametrize("edge", [0.04, 0.06])
def test_it_puts_a_block_where_it_should_to_within_a_centimetre(set_table, edge):
    simulation = set_table(blocks=((0.45, -0.1, edge / 2, 0.0, edge),), gripper="jaw")
    play(simulation, (0.45, -0.1, edge, 0.0), (0.6, 0.2, 0.0, 0.0), edge)
    assert np.hypot(*(simulation.data.body("block0").xpos[:2] - (0.6, 0.2))) < 0.01


@pytest.fixture
def holding(set_table) -> Simulation:
    """A jaw that holds a block of 6 cm in the air."""
    simulation = set_table(blocks=((0.45, -0.1, 0.03, 0.0, 0.06),), gripper="jaw")
    controller, rng = EndEffectorController(simulation), np.random.default_rng(0)
    for height, closed in ((0.12, 0.0), (0.042, 0.0), (0.042, 1.0), (0.2, 1.0)):
        for _ in range(25):
            controller.command(np.array([0.45, -0.1, height]), np.zeros(3), closed, rng)
    return simulation


def test_shut_fingers_stop_at_the_block_and_opened_ones_let_it_fall(holding):
    assert holding.held == "block0"
    assert holding.gripper.opening(holding.data) < 0.6
    assert holding.data.body("block0").xpos[2] > 0.15
    for _ in range(20):
        holding.tick(holding.joint_target, 0.0, np.random.default_rng(0))
    assert holding.held is None
    assert holding.data.body("block0").xpos[2] < 0.05


def test_fingers_do_not_sink_into_the_block(holding):
    assert gap(holding) == pytest.approx(0.06, abs=2e-3)


@pytest.mark.parametrize(("share", "holds"), [(2.0, True), (0.5, False)])
def test_what_holds_is_friction(holding, share, holds):
    """Coulomb: two pads carry a block while friction times their force is at least its weight."""
    assert mujoco.mjtEq.mjEQ_WELD not in holding.model.eq_type
    force = np.abs(holding.data.actuator_force[-2:]).sum()
    needed = 0.01 * 9.81 / force
    for geom in ("block0", "left_pad", "right_pad"):
        holding.model.geom(geom).friction = [share * needed, 1e-4, 1e-4]
    for _ in range(40):
        holding.tick(holding.joint_target, 1.0, np.random.default_rng(0))
    assert (holding.held == "block0") == holds
    assert (holding.data.body("block0").xpos[2] > 0.15) == holds


def test_a_jaw_that_closes_on_nothing_has_missed(set_table):
    simulation = set_table(blocks=((0.6, 0.3, 0.02, 0.0, 0.04),), gripper="jaw")
    outcome, _ = play(simulation, (0.4, -0.2, 0.04, 0.0), (0.6, 0.0, 0.0, 0.0), 0.04)
    assert outcome is MotionOutcome.MISSED
    assert simulation.held is None


def test_the_jaw_solves_a_task_with_pick_and_place_actions(blind, solve):
    env = blind("put-block-into-matching-bowl", gripper="jaw")
    env.reset(seed=52)
    _, info = solve(env)
    assert info["success"]
