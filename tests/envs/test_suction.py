"""Suction: grips what it touches, holds it, lets go, and loses it as often as it was told to."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lohovla.envs.control.end_effector import EndEffectorController
from lohovla.envs.control.simulation import Simulation
from lohovla.envs.env import BlocksEnv
from lohovla.errors import UserError

BLOCK = (0.5, 0.0, 0.02, 0.3, 0.04)
TOP = 0.04


class Hand:
    """Moves the tool of a simulation and lets time pass."""

    def __init__(self, simulation: Simulation, seed: int = 0):
        self.simulation, self.rng = simulation, np.random.default_rng(seed)
        self.controller = EndEffectorController(simulation)

    def go(self, *position: float, suction: float, seconds: float = 1.0, yaw: float = 0.0) -> None:
        for _ in range(round(seconds / self.simulation.period)):
            self.controller.command(np.array(position), np.array([0, 0, yaw]), suction, self.rng)

    def lift(self, x: float = 0.5, y: float = 0.0) -> None:
        """Grip what lies at a point and raise it by 20 cm."""
        self.go(x, y, TOP + 0.05, suction=0)
        for height in np.linspace(0.05, -0.003, 20):
            self.go(x, y, TOP + height, suction=1, seconds=self.simulation.period)
        self.go(x, y, TOP + 0.2, suction=1)


def center(simulation: Simulation, block: str = "block0") -> np.ndarray:
    return simulation.data.body(block).xpos.copy()


def test_it_grips_nothing_that_it_does_not_touch(set_table):
    simulation = set_table(blocks=(BLOCK,))
    hand = Hand(simulation)
    hand.go(0.5, 0.0, TOP + 0.004, suction=1, seconds=2)
    assert simulation.held is None
    hand.go(0.5, 0.0, TOP - 0.002, suction=1)
    assert simulation.held == "block0"


@pytest.mark.parametrize(("x", "y"), [(0.2, 0.3), (0.5, 0.3)], ids=["table", "bowl"])
def test_table_and_bowls_are_not_gripped(set_table, x, y):
    simulation = set_table(blocks=(BLOCK,), bowls=((0.5, 0.3),))
    hand = Hand(simulation)
    hand.go(x, y, 0.06, suction=1)
    hand.go(x, y, -0.002, suction=1)
    assert simulation.touching()
    assert simulation.held is None


def test_of_two_neighbours_it_lifts_the_one_it_is_on(set_table):
    simulation = set_table(blocks=(BLOCK, (0.5, 0.06, 0.02, 0.0, 0.04)))
    Hand(simulation).lift(0.5, 0.06)
    assert simulation.held == "block1"
    assert center(simulation, "block1")[2] > 0.2
    assert center(simulation, "block0")[2] < 0.021


def test_it_seals_on_the_face_before_it_not_on_one_beside_it(set_table):
    simulation = set_table(blocks=((0.5, 0.0, 0.02, 0.0, 0.04),))
    hand = Hand(simulation)
    hand.go(0.5, -0.06, 0.02, suction=1)
    for y in np.linspace(-0.06, 0.02, 40):  # push the block along, with suction on
        hand.go(0.5, y, 0.02, suction=1, seconds=simulation.period)
        assert simulation.held is None
    assert center(simulation)[1] > 0.02


def test_without_suction_nothing_is_lifted(set_table):
    simulation = set_table(blocks=(BLOCK,))
    hand = Hand(simulation)
    hand.go(0.5, 0.0, TOP - 0.003, suction=0.49)
    hand.go(0.5, 0.0, TOP + 0.2, suction=0.49)
    assert simulation.held is None
    assert center(simulation)[2] < 0.021


def test_what_is_held_keeps_the_place_at_the_cup_where_it_was_met(set_table):
    x, y, *_ = BLOCK
    simulation = set_table(blocks=(BLOCK,))
    hand = Hand(simulation)
    hand.lift(x + 0.008, y - 0.005)
    offset = np.array([-0.008, 0.005, -0.02])
    position, _ = simulation.tcp()
    np.testing.assert_allclose(center(simulation) - position, offset, atol=1e-3)
    rng = np.random.default_rng(41)
    for _ in range(20):
        hand.go(*rng.uniform((0.3, -0.35, 0.1), (0.65, 0.35, 0.4)), suction=1, yaw=rng.uniform(-3, 3), seconds=0.4)
        position, rotation = simulation.tcp()
        np.testing.assert_allclose(rotation.T @ (center(simulation) - position), offset, atol=2e-3)
    assert simulation.held == "block0"


def test_it_lets_go_when_suction_goes_off(set_table):
    simulation = set_table(blocks=(BLOCK,))
    hand = Hand(simulation)
    hand.lift()
    hand.go(0.5, 0.0, TOP + 0.2, suction=0)
    assert simulation.held is None
    assert simulation.gripper.drops == 0  # it was released, not lost
    assert center(simulation)[2] < 0.05


def test_with_drop_probability_zero_it_never_drops(set_table):
    simulation = set_table(blocks=(BLOCK,), drop_probability=0.0)
    hand = Hand(simulation)
    hand.lift()
    hand.go(0.5, 0.0, TOP + 0.2, suction=1, seconds=120)
    assert simulation.held == "block0"


@pytest.mark.parametrize("control_hz", [10.0, 50.0])
@pytest.mark.parametrize(("probability", "seconds"), [(0.1, 2.0), (0.5, 1.0), (0.8, 0.4)])
def test_holding_for_t_seconds_succeeds_with_probability_1_minus_p_to_the_t(
    set_table, probability, seconds, control_hz
):
    simulation = set_table(blocks=(BLOCK,), drop_probability=probability, control_hz=control_hz)
    hand = Hand(simulation)
    hand.go(0.5, 0.0, TOP + 0.01, suction=0)
    for _ in range(round(1 / simulation.period)):
        if simulation.held is None:
            hand.go(0.5, 0.0, TOP - 0.003, suction=1, seconds=simulation.period)
    assert simulation.held
    start, trials, held = simulation.get_state(), 300, 0
    for trial in range(trials):
        simulation.set_state(start)
        rng = np.random.default_rng([42, trial])
        for _ in range(round(seconds / simulation.period)):
            simulation.tick(simulation.joint_target, 1.0, rng)
            if simulation.held is None:
                break
        held += simulation.held is not None
    survival = (1 - probability) ** seconds
    bound = 4 * math.sqrt(survival * (1 - survival) / trials)  # four standard deviations: fails once in 16,000
    assert held / trials == pytest.approx(survival, abs=bound)


def test_after_a_drop_it_grips_again_only_when_suction_was_off(set_table):
    simulation = set_table(blocks=(BLOCK,), drop_probability=0.9)
    hand = Hand(simulation)
    hand.go(0.5, 0.0, TOP - 0.003, suction=1)
    hand.go(0.5, 0.0, TOP - 0.003, suction=1, seconds=6)  # it stays in touch, and loses the block
    assert simulation.held is None
    assert simulation.gripper.drops == 1
    assert simulation.touching()
    hand.go(0.5, 0.0, TOP - 0.003, suction=1, seconds=2)
    assert simulation.held is None
    hand.go(0.5, 0.0, TOP - 0.003, suction=0, seconds=simulation.period)
    hand.go(0.5, 0.0, TOP - 0.003, suction=1, seconds=simulation.period)
    assert simulation.held == "block0"


def test_what_is_dropped_falls_and_info_says_so(blind):
    env = blind(control="ee", drop_probability=0.95)
    env.reset(seed=43)
    x, y, _ = env.scene().centre("block0")
    path = [(0.10, 0)] * 30 + [(TOP - 0.003, 1)] * 8 + [(0.3, 1)] * 60
    infos = [env.step(np.array([x, y, z, 0, 0, 0, suction]))[4] for z, suction in path]
    assert "block0" in [info["held"] for info in infos]
    assert infos[-1]["held"] == ""
    assert infos[-1]["drops"] == 1
    assert infos[0]["drops"] == 0
    assert env.scene().centre("block0")[2] < 0.08


@pytest.mark.parametrize("probability", [-0.1, 1.0, 2.0, float("nan")])
def test_a_drop_probability_that_is_none_is_refused(probability):
    with pytest.raises(UserError, match="drop_probability"):
        BlocksEnv(drop_probability=probability)
