"""Forward and inverse kinematics against MuJoCo's own model of the arm."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from lohovla.envs.scene import arm
from lohovla.envs.scene.world import Composition, compile_model
from lohovla.geometry import ur5e_kinematics
from lohovla.geometry.rotations import matrix_from_rotvec
from lohovla.geometry.ur5e_kinematics import TCP_IN_FLANGE

DOWN = TCP_IN_FLANGE.T  # the flange's rotation with the tool straight down


@pytest.fixture(scope="module")
def flange_of():
    """MuJoCo's flange position and rotation of six joints."""
    model = compile_model(Composition())
    data = mujoco.MjData(model)

    def pose(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        data.qpos[:6] = joints
        mujoco.mj_kinematics(model, data)
        flange = data.body("flange")
        return flange.xpos.copy(), flange.xmat.reshape(3, 3).copy()

    return pose


def random_joints(seed: int, n: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(*arm.JOINT_LIMITS.T, size=(n, 6))


def test_forward_is_the_models_own(flange_of):
    for joints in random_joints(11, 200):
        position, rotation = flange_of(joints)
        np.testing.assert_allclose(ur5e_kinematics.forward_kinematics(joints)[0], position, atol=1e-9)
        np.testing.assert_allclose(ur5e_kinematics.forward_kinematics(joints)[1], rotation, atol=1e-9)


def test_inverse_undoes_forward_over_all_poses_it_calls_reachable(flange_of):
    reachable = 0
    for joints in random_joints(12, 1500):
        position, rotation = flange_of(joints)
        solution = ur5e_kinematics.inverse_kinematics(position, rotation, near=arm.HOME)
        if solution.reachable:  # some poses belong to the other shoulder only
            reachable += 1
            found_position, found_rotation = flange_of(solution.joints)
            assert np.abs(found_position - position).max() < 1e-6
            assert np.abs(found_rotation - rotation).max() < 1e-6
    assert reachable > 1000


@pytest.mark.parametrize(
    ("high", "tilt"),
    [((0.75, 0.5, 0.15), 0.0), ((0.65, 0.4, 0.28), 0.4)],
    ids=["straight down over the whole table", "tilted, away from the far corners"],
)
def test_every_tool_pose_over_the_table_is_reachable_and_exact(flange_of, high, tilt):
    rng = np.random.default_rng(13)
    for _ in range(500):
        tool = rng.uniform((0.25, -high[1], 0.0), high)
        turn = matrix_from_rotvec(np.array([0, 0, rng.uniform(-np.pi, np.pi)]))
        tool_rotation = matrix_from_rotvec(rng.uniform((-tilt, -tilt, 0), (tilt, tilt, 0))) @ turn
        position, rotation = tool + 0.13 * tool_rotation[:, 2], tool_rotation @ DOWN
        solution = ur5e_kinematics.inverse_kinematics(position, rotation, near=arm.HOME)
        assert solution.reachable
        found_position, found_rotation = flange_of(solution.joints)
        assert np.abs(found_position - position).max() < 1e-6
        assert np.abs(found_rotation - rotation).max() < 1e-6


def test_the_home_branch_gives_the_very_joints_back():
    rng = np.random.default_rng(14)
    for _ in range(500):
        joints = arm.HOME + rng.uniform(-0.5, 0.5, 6)
        solution = ur5e_kinematics.inverse_kinematics(*ur5e_kinematics.forward_kinematics(joints), near=joints)
        assert solution.reachable
        np.testing.assert_allclose(solution.joints, joints, atol=1e-6)


def test_a_path_round_the_base_never_jumps_and_keeps_the_limits():
    joints = arm.HOME.copy()
    jumps = []
    for angle in np.linspace(0, -2.5 * np.pi, 2000):  # one and a quarter turns; the base may turn once from home
        position = np.array([0.5 * np.cos(angle), 0.5 * np.sin(angle), 0.3])
        solution = ur5e_kinematics.inverse_kinematics(position, DOWN, near=joints)
        jumps.append(np.abs(solution.joints - joints).max())
        joints = solution.joints
        assert (arm.JOINT_LIMITS[:, 0] <= joints).all()
        assert (joints <= arm.JOINT_LIMITS[:, 1]).all()
    large = [jump for jump in jumps[1:] if jump > 0.02]
    assert len(large) <= 2  # the pan and the wrist each turn back once, where their limits are
    assert all(jump == pytest.approx(2 * np.pi, abs=0.02) for jump in large)


@pytest.mark.parametrize("turns", [-1, 0, 1])
@pytest.mark.parametrize("joint", [0, 1, 3, 4, 5])
def test_of_the_turns_within_the_limits_the_nearest_is_taken(joint, turns):
    near = np.array([-2.5, -1.5, 1.5, -1.5, -1.5, 0.5])
    pose = ur5e_kinematics.forward_kinematics(near)
    near[joint] += 2 * np.pi * turns
    found = ur5e_kinematics.inverse_kinematics(*pose, near=near).joints
    inside = (arm.JOINT_LIMITS[joint, 0] <= near[joint]) and (near[joint] <= arm.JOINT_LIMITS[joint, 1])
    expected = near[joint] if inside else near[joint] - 2 * np.pi * turns
    assert found[joint] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("target", [(2.0, 0.5, 0.3), (0.8, -1.5, 0.0), (-1.0, 1.0, 1.5)])
def test_out_of_reach_the_arm_stretches_towards_the_target(target):
    solution = ur5e_kinematics.inverse_kinematics(np.array(target), DOWN, near=arm.HOME)
    assert not solution.reachable
    assert solution.joints[2] == pytest.approx(0.0, abs=1e-9)  # the elbow is straight
    position, rotation = ur5e_kinematics.forward_kinematics(solution.joints)
    np.testing.assert_allclose(rotation, DOWN, atol=1e-9)  # the tool still as asked
    assert np.hypot(*position[:2]) > 0.6
    lateral = position[0] * target[1] - position[1] * target[0]
    assert abs(lateral) / np.hypot(*target[:2]) < 0.15  # sideways only by the shoulder's offset
    home, _ = ur5e_kinematics.forward_kinematics(arm.HOME)
    assert np.linalg.norm(position - target) < np.linalg.norm(home - target)


@pytest.mark.parametrize("target", [(0.0, 0.0, 0.3), (0.05, 0.05, 0.1), (0.1, 0.0, 0.4)])
def test_within_the_column_of_the_base_nothing_is_reachable_nor_nan(target):
    solution = ur5e_kinematics.inverse_kinematics(np.array(target), DOWN, near=arm.HOME)
    assert not solution.reachable
    assert np.isfinite(solution.joints).all()
    assert (np.abs(solution.joints) <= arm.JOINT_LIMITS[:, 1]).all()


def test_link_lengths_are_a_ur5es():
    position, _ = ur5e_kinematics.forward_kinematics(np.zeros(6))  # the maker's zero position: stretched along -x
    np.testing.assert_allclose(position, [-0.8172, -0.2329, 0.0628], atol=1e-9)
    farthest = max(
        np.linalg.norm(ur5e_kinematics.forward_kinematics(joints)[0][:2]) for joints in random_joints(15, 3000)
    )
    assert 0.85 < farthest < 0.8172 + 0.0997 + 0.1333 + 0.0996


def test_joint_limits_are_a_ur5es_and_the_models_own():
    model = compile_model(Composition())
    np.testing.assert_allclose(model.jnt_range[:6], arm.JOINT_LIMITS)
    assert model.jnt_limited[:6].all()
    np.testing.assert_allclose(arm.JOINT_LIMITS[2], [-np.pi, np.pi])
    np.testing.assert_allclose(np.delete(arm.JOINT_LIMITS, 2, 0), [[-2 * np.pi, 2 * np.pi]] * 5)
    np.testing.assert_allclose(model.actuator_forcerange[:6, 1], [150, 150, 150, 28, 28, 28])
