"""Actions relative to the state, and rotations as columns: there and back, and what is the same from other places."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lohovla.errors import UserError
from lohovla.model.action.action_representation import ActionRepresentation, relative_numbers

ACTION, STATE = ("x", "y", "rx", "ry", "rz", "gripper"), ("ee.y", "ee.x", "ee.rx", "ee.ry", "ee.rz", "q")
BASES = {"x": "ee.x", "y": "ee.y", "rx": "ee.rx", "ry": "ee.ry", "rz": "ee.rz"}
TURN = [["rx", "ry", "rz"]]


def drawn(seed, count=40, steps=3):
    rng = np.random.default_rng(seed)
    state, action = rng.normal(size=(count, 1, 6)), rng.normal(size=(count, steps, 6))
    return action.astype(np.float32), state.astype(np.float32)


@pytest.mark.parametrize("relative", [{}, {"x": "ee.x"}, BASES])
@pytest.mark.parametrize("rotations", [[], TURN])
def test_there_and_back(relative, rotations):
    representation = ActionRepresentation(ACTION, STATE, relative, rotations)
    action, state = drawn(0)
    action[:, :, 2:5] *= 0.8 * np.pi / np.linalg.norm(action[:, :, 2:5], axis=-1, keepdims=True)
    learned = representation.encode(action, state)
    assert learned.shape[-1] == len(representation.names) == 6 + 3 * len(rotations)
    np.testing.assert_allclose(representation.decode(learned, state), action, atol=1e-5)


def test_a_relative_action_is_the_same_from_every_place():
    representation = ActionRepresentation(ACTION, STATE, BASES, TURN)
    action, state = drawn(1)
    moved_action, moved_state = action.copy(), state.copy()
    moved_action[..., :2] += [0.3, -0.2]
    moved_state[..., [1, 0]] += [0.3, -0.2]
    turn = Rotation.from_rotvec([0.4, -1.0, 0.2])
    for numbers in (moved_action, moved_state):
        own = (turn * Rotation.from_rotvec(numbers[..., 2:5].reshape(-1, 3))).as_rotvec()
        numbers[..., 2:5] = own.reshape(*numbers.shape[:-1], 3)
    assert not np.allclose(moved_action, action, atol=0.1)
    expected = representation.encode(action, state)
    np.testing.assert_allclose(representation.encode(moved_action, moved_state), expected, atol=1e-5)
    assert np.array_equal(expected[..., representation.names.index("gripper")], action[..., 5])


def test_a_rotation_does_not_jump_at_half_a_turn():
    representation = ActionRepresentation(ACTION, STATE, {}, TURN)
    near = np.zeros((2, 1, 6), np.float32)
    near[0, 0, 4], near[1, 0, 4] = np.pi - 0.01, -np.pi + 0.01
    learned = representation.encode(near, near)
    assert np.abs(learned[0] - learned[1]).max() < 0.03


def test_rotations_need_not_be_exact_to_be_read():
    representation = ActionRepresentation(ACTION, STATE, BASES, TURN)
    action, state = drawn(2)
    learned = representation.encode(action, state) + np.random.default_rng(0).normal(0, 0.01, (40, 3, 9))
    again = representation.encode(representation.decode(learned.astype(np.float32), state), state)
    assert np.abs(again - learned).max() < 0.1


def test_the_state_has_the_number_by_name():
    assert relative_numbers(None, ACTION, STATE, [5]) == {}
    assert relative_numbers("all", ACTION, STATE, [5]) == BASES
    same = relative_numbers("all", ("a.pos", "grip.pos"), ("a.pos", "grip.pos"), [1])
    assert same == {"a.pos": "a.pos"}
    assert relative_numbers(["x"], ("x",), ("x",), []) == {"x": "x"}
    assert relative_numbers({"action_0": "state_1"}, ("action_0",), ("state_0", "state_1"), []) == {
        "action_0": "state_1"
    }


@pytest.mark.parametrize(
    ("relative", "rotations", "line"),
    [
        ({"z": "ee.x"}, [], "relative_actions names 'z', which the action has not"),
        ({"x": "x"}, [], "relative_actions names 'x', which the state has not"),
        ({"rx": "ee.rx"}, TURN, "relative in part"),
        ({}, [["rx", "ry"]], "rotation_actions has"),
        ({}, [["rx", "ry", "rz"], ["rz", "x", "y"]], "rotation_actions has"),
        ({}, [["rx", "ry", "yaw"]], "rotation_actions names 'yaw'"),
    ],
)
def test_what_is_not_there_is_refused(relative, rotations, line):
    with pytest.raises(UserError, match=line):
        ActionRepresentation(ACTION, STATE, relative, rotations)
    with pytest.raises(UserError, match="finds no number"):
        relative_numbers("all", ("action_0",), ("state_0",), [])
