"""The pick-and-place primitive: where it puts a block, how it ends, and the time it counts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lohovla.envs.control.motion import MotionOutcome
from lohovla.geometry.rotations import quarter_turn

TASK = "stack-blocks-of-same-color"  # nothing but blocks on the table


def put(env, block: str, x: float, y: float, z: float, yaw: float) -> dict:
    """One action that brings a block to a place; returns the info."""
    scene = env.scene()
    u, v, _ = scene.centre(block)
    pick = (u, v, scene.top(block), scene.yaw(block))
    return env.step(np.array([pick, (x, y, z, yaw)], np.float32))[4]


def free_places(env, n: int, seed: int) -> list[tuple[float, float]]:
    """Places at least 9 cm from every block."""
    rng, found = np.random.default_rng(seed), []
    while len(found) < n:
        x, y = rng.uniform((0.3, -0.4), (0.7, 0.4))
        if all(math.dist((x, y), env.scene().centre(block)[:2]) > 0.09 for block in env.scene().blocks):
            found.append((x, y))
    return found


def test_a_block_comes_to_rest_where_and_how_it_was_asked(blind):
    env, rng, errors = blind(TASK), np.random.default_rng(101), []
    for seed in range(101, 125):
        env.reset(seed=seed)
        ((x, y),), yaw = free_places(env, 1, seed), rng.uniform(-math.pi / 4, math.pi / 4)
        info = put(env, "block0", x, y, 0.0, yaw)
        assert info["outcome"] == MotionOutcome.PLACED.value
        assert not info["clamped"]
        assert info["held"] == ""
        u, v, w = env.scene().centre("block0")
        assert w == pytest.approx(0.02, abs=1e-3)
        assert abs(quarter_turn(env.scene().yaw("block0") - yaw)) < math.radians(2)
        errors.append(math.dist((x, y), (u, v)))
    assert max(errors) < 2e-3


def test_a_block_is_put_on_another(blind):
    env = blind(TASK)
    env.reset(seed=107)
    scene = env.scene()
    x, y, _ = scene.centre("block0")
    put(env, "block1", x, y, scene.top("block0"), scene.yaw("block0"))
    upper, lower = env.scene().centre("block1"), env.scene().centre("block0")
    assert math.dist(upper[:2], lower[:2]) < 2e-3
    assert upper[2] - lower[2] == pytest.approx(0.04, abs=1e-3)


def test_a_block_is_set_down_not_dropped(blind):
    env = blind(TASK)
    env.reset(seed=108)
    heights = []
    env.simulation.on_tick = lambda: heights.append((env.simulation.held, env.scene().centre("block0")[2]))
    put(env, "block0", *free_places(env, 1, 108)[0], 0.0, 0.0)
    held = [height for name, height in heights if name == "block0"]
    assert max(held) > 0.06
    assert held[-1] == pytest.approx(0.02, abs=3e-3)


def test_other_blocks_stay_where_they_are(blind):
    env = blind(TASK)
    env.reset(seed=109)
    before = env.scene().positions.copy()
    put(env, "block0", *free_places(env, 1, 109)[0], 0.0, 0.0)
    np.testing.assert_allclose(env.scene().positions[1:], before[1:], atol=5e-4)


def test_a_pick_beside_every_block_misses_and_moves_nothing(blind):
    env = blind(TASK)
    env.reset(seed=111)
    before = env.scene().positions.copy()
    x, y = free_places(env, 1, 111)[0]
    info = env.step(np.array([(x, y, 0.0, 0.0), (0.5, 0.0, 0.0, 0.0)], np.float32))[4]
    assert info["outcome"] == MotionOutcome.MISSED.value
    assert info["actions"] == 1  # it counts all the same
    np.testing.assert_allclose(env.scene().positions, before, atol=5e-4)


def test_a_block_lost_on_the_way_is_reported(blind):
    env = blind(TASK, drop_probability=0.98)
    env.reset(seed=113)
    info = put(env, "block0", *max(free_places(env, 10, 113), key=lambda p: abs(p[1])), 0.0, 0.0)
    assert info["outcome"] == MotionOutcome.DROPPED.value
    assert info["held"] == ""


@pytest.mark.parametrize("wrong", [0.03, 0.015, -0.015, -0.02])
def test_heights_that_are_a_little_wrong_are_felt_by_contact(blind, wrong):
    env = blind(TASK)
    env.reset(seed=115)
    scene = env.scene()
    (x, y), (u, v, _) = free_places(env, 1, 115)[0], scene.centre("block0")
    place = max(0.0, wrong)
    info = env.step(np.array([(u, v, scene.top("block0") + wrong, 0.0), (x, y, place, 0.0)], np.float32))[4]
    assert info["outcome"] == MotionOutcome.PLACED.value
    assert env.scene().centre("block0")[2] == pytest.approx(0.02, abs=1e-3)
    assert math.dist(env.scene().centre("block0")[:2], (x, y)) < 5e-3


def test_a_place_outside_the_workspace_is_clamped_and_info_says_so(blind):
    env = blind(TASK)
    env.reset(seed=118)
    info = put(env, "block0", 0.5, 0.9, 0.0, 0.0)
    assert info["clamped"]
    assert env.scene().centre("block0")[1] == pytest.approx(0.5, abs=2e-3)


def test_the_arm_ends_at_home_with_an_empty_tool(blind):
    env = blind(TASK)
    env.reset(seed=119)
    home = env.simulation.joints.copy()
    put(env, "block0", *free_places(env, 1, 119)[0], 0.0, 0.0)
    np.testing.assert_allclose(env.simulation.joints, home, atol=0.02)
    assert env.simulation.held is None
    assert env.simulation.at_rest()


def test_the_time_it_counts_is_simulated(blind):
    env = blind(TASK)
    env.reset(seed=121)
    ticks = []
    env.simulation.on_tick = lambda: ticks.append(env.simulation.time)
    info = put(env, "block0", *free_places(env, 1, 121)[0], 0.0, 0.0)
    assert info["time"] == pytest.approx(len(ticks) * 0.05)
    np.testing.assert_allclose(np.diff(ticks), 0.05)
    assert 1.0 < info["time"] < 6.0


def test_a_high_tower_is_cleared_on_the_way(blind):
    """A block carried across a tower of four must not touch it."""
    env = blind("stack-all-blocks-on-a-zone")
    env.reset(seed=123)
    names = list(env.scene().blocks)
    poses = {name: (0.5, 0.0, 0.02 + 0.04 * layer, 0.0) for layer, name in enumerate(names[1:])}
    env.simulation.arrange({**poses, names[0]: (0.5, -0.3, 0.02, 0.0)}, {})
    tower = env.scene().positions[1:].copy()
    put(env, names[0], 0.5, 0.3, 0.0, 0.0)
    np.testing.assert_allclose(env.scene().positions[1:], tower, atol=1e-3)
    assert env.scene().centre(names[0])[:2] == pytest.approx((0.5, 0.3), abs=2e-3)
