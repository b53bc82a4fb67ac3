"""Whatever goes wrong, no limit is exceeded and the arm rests within the stated time."""

import numpy as np
import pytest

from lohovla.benchmarks.control.fault_injection import FAULTS, FINAL
from lohovla.benchmarks.control.faults import play_with_fault, violations
from lohovla.control.motion_limits import MotionLimits
from lohovla.control.simulated_robots import SimulatedArm

LIMITS = MotionLimits(low=(-1, -1, -1), high=(1, 1, 1))
LONG = 3600  # episodes of the slow run


SIGNS = {
    "silent model": "model stuck",
    "killed model": "model died",
    "failing model": "model error",
    "nan": "bad chunk",
    "wrong shape": "bad chunk",
    "leaping model": "change bound",
    "frozen camera": "frozen camera images.wrist",
    "stale camera": "stale camera images.wrist",
    "clock set": "clock jump",
    "suspended": "clock jump",
    "garbage commands": "refused command",
    "dead sender": "watchdog",
    "deadman": "deadman",
    "emergency stop": "emergency stop",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_kind_of_fault(fault):
    outcomes = [
        play_with_fault(1000 * FAULTS.index(fault) + k, fault=fault, rates=(50.0,), forever=k < 2) for k in range(3)
    ]
    assert [outcome for outcome in outcomes if outcome.bad] == []
    assert any(outcome.moved > 0.05 for outcome in outcomes)
    if fault in SIGNS:
        assert any(outcome.events.get(SIGNS[fault]) for outcome in outcomes)
    if fault in FINAL:
        assert any(outcome.forever for outcome in outcomes)


def test_the_check_sees_what_it_should():
    """A path that breaks each limit in turn is found out."""
    still = np.zeros((50, 6))
    assert violations(still, 0.01, LIMITS) == []
    ramp = np.cumsum(np.cumsum(np.full(50, 16.0 * 1e-4)))
    quick = still.copy()
    quick[:, 0] = np.minimum(ramp, 0.9)
    assert any(found.startswith("acceleration") for found in violations(quick, 0.01, LIMITS))
    outside = still.copy()
    outside[:, 2] = 1.001
    assert "workspace" in violations(outside, 0.01, LIMITS)
    turned = still.copy()
    turned[25:, 5] = 0.05
    assert {found.split()[0] for found in violations(turned, 0.01, LIMITS)} == {
        "turn_velocity",
        "turn_acceleration",
        "turn_jerk",
    }


def mujoco_arm(seed):
    from lohovla.envs.env import BlocksEnv

    env = BlocksEnv("pick-and-place-primitive", control_hz=100.0, cameras={}, seconds_per_action=60.0)
    env.reset(seed=10001 + 2 * seed)
    return SimulatedArm(env)


@pytest.mark.parametrize("fault", ["killed model", "dead sender", "emergency stop", "leaping model", "suspended"])
def test_in_the_mujoco_environment_too(fault):
    arms = []

    def make(seed):
        arms.append(mujoco_arm(seed))
        return arms[-1]

    outcome = play_with_fault(5, make, fault, (50.0,))
    assert not outcome.bad
    speed = np.linalg.norm(arms[0]._env.simulation.data.qvel[:6])
    if outcome.forever:
        assert speed < 0.01  # rad/s, the arm itself


@pytest.mark.slow
@pytest.mark.parametrize("part", range(6))
def test_thousands_of_faults(part):
    size = LONG // 6
    outcomes = [play_with_fault(10_000 + seed) for seed in range(part * size, (part + 1) * size)]
    assert [outcome for outcome in outcomes if outcome.bad] == []
    assert {outcome.fault for outcome in outcomes} == set(FAULTS)


@pytest.mark.slow
def test_a_hundred_faults_in_the_mujoco_environment():
    outcomes = [play_with_fault(20_000 + seed, mujoco_arm, rates=(100.0,)) for seed in range(108)]
    assert [outcome for outcome in outcomes if outcome.bad] == []
