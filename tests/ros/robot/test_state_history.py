"""The arm's state of the moment at which a picture was taken."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lohovla.ros.robot.state_history import StateHistory


def state(x, turn=0.0, gripper=0.0):
    return np.array([x, 0.0, 0.3, 0.0, 0.0, turn, gripper])


def test_between_two_moments_it_is_between_two_states():
    history = StateHistory()
    for k in range(5):
        history.add(1.0 + 0.02 * k, state(0.03 * k, gripper=0.1 * k))
    np.testing.assert_allclose(history.state_at(1.05), state(0.075, gripper=0.25), atol=1e-9)
    np.testing.assert_allclose(history.state_at(0.5), state(0.0))
    np.testing.assert_allclose(history.state_at(2.0), state(0.12, gripper=0.4))


def test_a_rotation_vector_that_changes_its_sign_is_no_turn():
    history = StateHistory()
    history.add(1.0, state(0.0, math.pi - 0.01))
    history.add(1.1, state(0.0, -math.pi + 0.01))
    assert abs(history.state_at(1.05)[5]) == pytest.approx(math.pi, abs=1e-6)


def test_what_is_old_is_forgotten_and_a_clock_that_is_set_back_begins_anew():
    history = StateHistory()
    with pytest.raises(LookupError):
        history.state_at(1.0)
    for k in range(1000):
        history.add(0.01 * k, state(0.01 * k))
    assert history.state_at(0.0)[0] > 8.9
    history.add(5.0, state(7.0))
    np.testing.assert_allclose(history.state_at(9.0), state(7.0))
    history.add(4.9, state(8.0))  # late, and so of no use
    np.testing.assert_allclose(history.state_at(4.9), state(7.0))
