"""Keyframes are found in demonstrations alone."""

import numpy as np

from lohovla.data.keyframes import gripper_dimensions, keyframes, next_keyframe

FPS = 10


def of_gripper(command, others=2):
    actions = np.column_stack([np.random.default_rng(0).normal(size=(len(command), others)), command])
    low, high = actions.min(axis=0), actions.max(axis=0)
    return keyframes(actions, np.zeros((len(command), 3)), [others], low, high, FPS).tolist()


def test_grippers_are_found_by_name_or_by_their_two_values():
    actions = np.random.default_rng(0).normal(size=(50, 4))
    assert gripper_dimensions(("a", "left_gripper.pos", "b", "right_gripper.pos"), actions) == [1, 3]
    assert gripper_dimensions(("a", "b", "c", "d"), actions) == []
    actions[:, 1] = np.arange(50) % 2  # no gripper does that
    assert gripper_dimensions(("a", "b", "c", "d"), actions) == []
    actions[:, 3] = np.where(np.arange(50) > 20, 255.0, 0.0)
    assert gripper_dimensions(("a", "b", "c", "d"), actions) == [3]


def test_each_change_of_the_command_is_one_and_so_is_the_end():
    assert of_gripper([0, 0, 0, 1, 1, 1, 0, 0]) == [3, 6, 7]
    assert of_gripper([1, 1, -1, -1, -1]) == [2, 4]


def test_a_slow_or_noisy_gripper_changes_once():
    slow = np.clip(np.linspace(-1, 2, 31), 0, 1) * 100
    assert of_gripper(slow) == [int(np.argmax(slow >= 200 / 3)), 30]
    wobbly = [0, 0.1, 0.5, 0.4, 0.6, 0.5, 0.9, 0.6, 0.5, 1.0]
    assert of_gripper(wobbly) == [6, 9]


def test_an_episode_has_its_own_open_and_closed():
    command = np.array([0.0, 0.0, 0.6, 0.6, 0.0])
    low, high = np.array([-1.0]), np.array([1.0])  # of the data set, whose other tasks close with all their force
    found = keyframes(command[:, None], np.zeros((5, 3)), [0], low, high, FPS)
    assert found.tolist() == [2, 4]
    noise = np.array([0.0, 0.1, 0.0, 0.1, 0.0])
    assert keyframes(noise[:, None], np.zeros((5, 3)), [0], low, high, FPS).tolist() == [4]


def test_a_gripper_that_never_moves_leaves_the_end():
    assert of_gripper([0.5] * 6) == [5]


def test_without_a_gripper_stops_are_keyframes():
    position = np.concatenate([np.linspace(0, 1, 11), np.full(5, 1.0), np.linspace(1, 3, 11), np.full(4, 3.0)])
    state = np.column_stack([position, -position])
    actions = np.zeros((len(state), 2))
    found = keyframes(actions, state, [], actions.min(axis=0), actions.max(axis=0), FPS)
    assert found.tolist() == [10, 26, 30]
    assert keyframes(actions[:1], state[:1], [], actions[0], actions[0], FPS).tolist() == [0]


def test_the_next_keyframe_lies_ahead():
    assert next_keyframe(np.array([3, 5]), 6).tolist() == [3, 3, 3, 5, 5, 5]
