"""Rotation vectors against matrices, and offsets against their inverse."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lohovla.control.poses import compose_rotations, nearest, shortest_rotation, to_absolute, to_relative, unwrap

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("k", range(20))
def test_compose_is_the_product_of_rotations(k):
    a, b = RNG.normal(0, 1.5, (2, 3))
    product = Rotation.from_rotvec(a) * Rotation.from_rotvec(b)
    assert (Rotation.from_rotvec(compose_rotations(a, b)).inv() * product).magnitude() < 1e-7


@pytest.mark.parametrize("k", range(20))
def test_nearest_and_wrap_keep_the_rotation(k):
    r, near = RNG.normal(0, 4, (2, 3))
    for other in (nearest(r, near), shortest_rotation(r)):
        assert (Rotation.from_rotvec(other).inv() * Rotation.from_rotvec(r)).magnitude() < 1e-7
    assert np.linalg.norm(shortest_rotation(r)) <= np.pi + 1e-12
    axis, angle = r / np.linalg.norm(r), np.linalg.norm(r)
    others = [axis * (angle + 2 * np.pi * turn) for turn in range(-4, 5)]
    assert np.linalg.norm(nearest(r, near) - near) <= min(np.linalg.norm(o - near) for o in others) + 1e-9


def test_a_yaw_that_wraps_moves_on_when_unwrapped():
    actions = np.zeros((30, 7))
    actions[:, 5] = (np.linspace(0, 9, 30) + np.pi) % (2 * np.pi) - np.pi
    np.testing.assert_allclose(unwrap(actions, np.zeros(3))[:, 5], np.linspace(0, 9, 30), atol=1e-12)


def test_offsets_are_undone():
    pose, actions = RNG.normal(0, 0.5, 6), RNG.normal(0, 0.5, (8, 7))
    back = to_absolute(to_relative(actions, pose), pose)
    np.testing.assert_allclose(back, actions, atol=1e-9)
    np.testing.assert_allclose(to_relative(actions, pose)[:, :3], actions[:, :3] - pose[:3])
