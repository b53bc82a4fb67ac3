"""Continuous commands: tracked to the millimetre, within limits, and refused where they are not numbers."""

from __future__ import annotations

import numpy as np
import pytest

from lohovla.envs.control.end_effector import REACH, EndEffectorController
from lohovla.envs.errors import ActionError, EpisodeOver
from lohovla.envs.scene.arm import MAX_JOINT_SPEED
from lohovla.geometry.rotations import matrix_from_rotvec, rotvec_from_matrix
from lohovla.geometry.workspace import WORKSPACE

STILL = (0.45, 0.1, 0.3, 0.0, 0.0, 0.0, 0.0)


@pytest.fixture
def env(blind):
    made = blind("stack-blocks-of-same-color", control="ee", seconds_per_action=1000)
    made.reset(seed=61)
    return made


def go(env, action, seconds: float = 2.0) -> dict:
    info = {}
    for _ in range(round(seconds * env.control_hz)):
        info = env.step(np.array(action, np.float32))[4]
    return info


def fingerprint(env) -> bytes:
    data = env.simulation.data
    return data.qpos.tobytes() + data.qvel.tobytes() + np.float64(data.time).tobytes()


# -- tracking ----------------------------------------------------------------------------------------


def test_poses_are_reached_to_the_millimetre(env):
    rng = np.random.default_rng(62)
    for _ in range(15):
        position = rng.uniform((0.3, -0.35, 0.15), (0.6, 0.35, 0.4))
        rotvec = rng.uniform((-0.4, -0.4, -2.5), (0.4, 0.4, 2.5))
        info = go(env, [*position, *rotvec, 0.0])
        reached, rotation = env.simulation.tcp()
        assert np.linalg.norm(reached - position) < 1e-3
        assert np.linalg.norm(rotvec_from_matrix(rotation.T @ matrix_from_rotvec(rotvec))) < 5e-3
        assert not info["clamped"]
        assert not info["slowed"]


def test_zero_rotation_is_straight_down_and_the_state_says_so(env):
    go(env, STILL)
    _, rotation = env.simulation.tcp()
    np.testing.assert_allclose(rotation, np.eye(3), atol=1e-4)
    observation = env.step(np.array(STILL, np.float32))[0]
    np.testing.assert_allclose(observation["state"][:7], STILL, atol=1e-3)
    np.testing.assert_allclose(observation["state"][7:], env.simulation.joints, atol=1e-6)


def test_a_moving_target_is_followed_without_lag(env):
    """The servos are fed forward: at 0.3 m/s the tool is within 2 mm of its target, not a servo's lag behind."""
    go(env, (0.45, -0.2, 0.3, 0, 0, 0, 0))
    errors = []
    for y in np.arange(-0.2, 0.2, 0.015):
        go(env, (0.45, y, 0.3, 0, 0, 0, 0), seconds=0.05)
        errors.append(np.linalg.norm(env.simulation.tcp()[0] - (0.45, y, 0.3)))
    assert max(errors[5:]) < 2e-3


@pytest.mark.parametrize("control_hz", [10, 20, 50])
def test_a_step_takes_one_control_period_of_simulated_time(blind, control_hz):
    env = blind(control="ee", control_hz=control_hz)
    env.reset(seed=63)
    for steps in range(1, 6):
        info = env.step(np.array(STILL, np.float32))[4]
        assert info["time"] == pytest.approx(steps / control_hz)


# -- limits ------------------------------------------------------------------------------------------


def wild_targets(seed: int, n: int = 200) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.uniform((0.0, -0.7, -0.1, -3, -3, -3, 0), (0.9, 0.7, 0.7, 3, 3, 3, 1), size=(n, 7))


def test_joint_targets_never_move_faster_than_the_joints_may(env):
    slowed = 0
    for action in wild_targets(64):
        before = env.simulation.joint_target.copy()
        slowed += env.step(action)[4]["slowed"]
        speed = np.abs(env.simulation.joint_target - before).max() / env.simulation.period
        assert speed <= MAX_JOINT_SPEED * (1 + 1e-9)
    assert slowed > 100


def test_joints_never_move_faster_than_they_may(env):
    fastest = 0.0
    for position in wild_targets(65, 20)[:, :3]:
        for _ in range(20):
            env.step(np.array([*position, 0, 0, 0, 0]))
            fastest = max(fastest, np.abs(env.simulation.data.qvel[:6]).max())
    assert fastest <= 1.02 * MAX_JOINT_SPEED


def test_wild_targets_leave_the_arm_within_its_joint_limits(env):
    limits = env.simulation.model.jnt_range[:6]
    for action in wild_targets(66):
        env.step(action)
        assert (env.simulation.joints >= limits[:, 0] - 0.01).all()
        assert (env.simulation.joints <= limits[:, 1] + 0.01).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("side", [0, 1])
def test_a_target_outside_the_reach_is_clamped_to_it_and_info_says_so(env, axis, side):
    target = np.array(STILL)
    target[axis] = REACH[axis, side] + (0.3 if side else -0.3)
    for _ in range(40):
        info = env.step(target)[4]
        assert info["clamped"]
    reached = env.simulation.tcp()[0]
    if axis != 2 or side:  # downwards the table is in the way
        assert reached[axis] == pytest.approx(REACH[axis, side], abs=2e-3)
    assert (reached > REACH[:, 0] - 0.02).all()
    assert (reached < REACH[:, 1] + 0.02).all()


def test_a_pose_that_the_arm_cannot_take_is_approached_and_info_says_so(env):
    assert go(env, (0.8, 0.5, 0.55, 0, 0, 0, 0))["clamped"]
    assert np.linalg.norm(env.simulation.tcp()[0] - (0.8, 0.5, 0.55)) < 0.3


def test_the_reach_holds_the_workspace():
    assert (REACH[:, 0] <= WORKSPACE[:, 0]).all()
    assert (REACH[:, 1] >= WORKSPACE[:, 1]).all()


def test_by_joints_the_way_is_straight_and_within_the_speed_limit(set_table):
    simulation = set_table()
    controller, rng = EndEffectorController(simulation), np.random.default_rng(0)
    start = simulation.joint_target.copy()
    way = np.array([1.2, 0.1, -0.3, 0.2, 0.0, 0.5])
    targets, arrived = [start], False
    while not arrived:
        arrived = controller.go_to_joints(start + way, 0.0, rng)
        targets.append(simulation.joint_target.copy())
    steps = np.diff(targets, axis=0)
    np.testing.assert_allclose(targets[-1], start + way, atol=1e-3)
    np.testing.assert_allclose(np.outer(steps[:, 0], way / way[0]), steps, atol=1e-9)
    assert np.abs(steps).max() <= MAX_JOINT_SPEED * simulation.period


@pytest.mark.parametrize("target", [(0.5, 0.0, 0.1), (0.5, 0.0, 0.4), (0.4, -0.3, 0.2), (0.6, 0.3, 0.2)])
def test_a_far_target_given_at_once_is_not_overshot(set_table, target):
    """By more than 10 mm; the tool is at full speed on the way, and there within a second."""
    simulation = set_table()
    controller, rng, path = EndEffectorController(simulation), np.random.default_rng(0), []
    way = np.array(target) - simulation.tcp()[0]
    for _ in range(20):
        controller.command(np.array(target), np.zeros(3), 0.0, rng)
        path.append(simulation.tcp()[0] - target)
    assert (np.array(path) @ way).max() / np.linalg.norm(way) < 0.010
    assert np.linalg.norm(path[-1]) < 1e-3


# -- what is no action -------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("index", range(7))
def test_an_ee_value_that_is_not_finite_is_refused_by_its_index(env, index, value):
    action = np.array(STILL, np.float32)
    action[index] = value
    before = fingerprint(env)
    with pytest.raises(ActionError, match=rf"action\[{index}\] is {value}"):
        env.step(action)
    assert fingerprint(env) == before


@pytest.mark.parametrize("index", [(0, 0), (0, 3), (1, 2)])
def test_a_pick_place_value_that_is_not_finite_is_refused_by_its_index(blind, index):
    env = blind(control="pick_place")
    env.reset(seed=67)
    action = np.full((2, 4), 0.4)
    action[index] = np.nan
    before = fingerprint(env)
    with pytest.raises(ActionError, match=rf"action\[\({index[0]}, {index[1]}\)\] is nan"):
        env.step(action)
    assert fingerprint(env) == before


@pytest.mark.parametrize(
    "action",
    [np.zeros(6), np.zeros(8), np.zeros((1, 7)), np.zeros((2, 4)), 0.5, [], None, "up", [print] * 7, [[1], [1, 2]]],
)
def test_what_is_no_array_of_seven_numbers_is_refused(env, action):
    before = fingerprint(env)
    with pytest.raises(ActionError, match=r"shape \(7,\)"):
        env.step(action)
    assert fingerprint(env) == before


def test_after_a_refused_action_the_episode_goes_on_as_if_it_had_not_been_given(blind):
    envs = [blind(control="ee") for _ in range(2)]
    for env in envs:
        env.reset(seed=68)
    for bad in (np.full(7, np.nan), np.zeros(3)):
        with pytest.raises(ActionError):
            envs[0].step(bad)
    for action in wild_targets(69, 10):
        for env in envs:
            env.step(action)
        assert fingerprint(envs[0]) == fingerprint(envs[1])


@pytest.mark.parametrize("huge", [[0.45, 0.1, 0.3, 1e200, 0, 0, 0], [0.45, 0.1, 0.3, 1e160, 1e160, 0, 0], [1e300] * 7])
def test_a_huge_finite_action_does_no_lasting_harm(env, huge):
    assert env.step(np.array(huge))[4]["clamped"]
    go(env, STILL)
    assert np.linalg.norm(env.simulation.tcp()[0] - STILL[:3]) < 1e-3


def test_an_action_before_the_first_reset_is_refused(blind):
    with pytest.raises(EpisodeOver, match="reset"):
        blind(control="ee").step(np.array(STILL))


def test_an_action_after_the_end_is_refused(blind):
    env = blind("stack-blocks-of-same-color", control="ee", seconds_per_action=0.1)
    env.reset(seed=70)
    truncated = False
    while not truncated:
        _, _, _, truncated, info = env.step(np.array(STILL))
    before = fingerprint(env)
    with pytest.raises(EpisodeOver, match="over"):
        env.step(np.array(STILL))
    assert fingerprint(env) == before
    assert info["reason"] == "time limit"
    env.reset(seed=70)
    env.step(np.array(STILL))
