"""Perturbations of what is seen: each changes what it says and nothing else, by its strength and the seed."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from lohovla.envs.env import BlocksEnv
from lohovla.envs.perturbations import PerturbSettings
from lohovla.errors import UserError
from lohovla.evaluate.episode_runner import run_episode
from lohovla.policies.oracle import OraclePolicy

B = "put-block-into-matching-bowl"
CAMERAS = {"top": {"width": 96, "height": 48, "depth": True}, "wrist": {"width": 48, "height": 48}}
SEEN_ONLY = ("camera", "light", "table", "sensor", "clutter")


def looked(seed: int = 4, task: str = B, cameras=CAMERAS, **perturb) -> tuple[BlocksEnv, dict]:
    env = BlocksEnv(task, cameras=cameras, perturb=perturb)
    return env, env.reset(seed=seed)[0]


@pytest.mark.parametrize("kind", SEEN_ONLY)
def test_what_is_seen_changes_more_with_strength_and_physics_never(kind):
    plain, still = looked()
    change = []
    for strength in (1, 2, 3):
        env, seen = looked(**{kind: strength})
        assert env.simulation.vector().tobytes() == plain.simulation.vector().tobytes()
        assert seen["instruction"] == still["instruction"]
        change.append(np.abs(seen["images.top"].astype(float) - still["images.top"]).mean())
    assert 0 < change[0] < change[2]
    assert change[1] < change[2]


def test_a_top_camera_out_of_place_still_sees_the_table():
    for seed in range(0, 12, 2):
        _, seen = looked(seed, camera=3)
        assert seen["images.top"].max(2).min() > 5  # nothing is cut off and black
        assert seen["images.wrist"].mean() > 60  # and the wrist camera is not inside the arm


def test_sensor_noise_is_fresh_in_every_picture_and_of_depth_too():
    env, first = looked(sensor=2)
    again = env.observe()
    assert (first["images.top"] != again["images.top"]).any()
    assert 0.0005 < np.abs(first["depth.top"] - again["depth.top"]).mean() < 0.01


def test_light_becomes_brighter_or_darker():
    change = [
        looked(seed, light=2)[1]["images.top"].mean() / looked(seed)[1]["images.top"].mean() for seed in range(10)
    ]
    assert min(change) < 0.9
    assert max(change) > 1.05


def test_the_arm_throws_a_shadow():
    env, seen = looked(2, light=2, cameras={"wrist": {"width": 96, "height": 96}})
    lit = env.picture("wrist", 96, 96, "fast")
    darker = lit.astype(float).sum(2) - seen["images.wrist"].astype(float).sum(2)
    assert (darker > 30).mean() > 0.02


def test_clutter_lies_where_the_task_leaves_room():
    env, _ = looked(2, clutter=3)
    scene, things = env.scene(), env.episode.scenery.clutter
    assert 1 <= len(things) <= 10
    for _, x, y, *_ in things:
        for name, pose in scene.fixture_poses.items():
            assert np.hypot(pose.x - x, pose.y - y) > scene.fixtures[name].radius
        for name in scene.blocks:
            assert np.hypot(*np.subtract(scene.centre(name)[:2], (x, y))) > scene.blocks[name].radius


def test_the_arm_begins_elsewhere():
    home = looked()[1]["state"]
    for strength, metres in ((1, 0.04), (3, 0.12)):
        state = looked(arm=strength)[1]["state"]
        assert np.linalg.norm(state[:3] - home[:3]) == pytest.approx(metres, abs=0.003)
        assert 0.1 < abs(state[5] - home[5]) < 0.8


def test_blocks_have_other_sizes_and_the_same_words():
    task = "stack-smaller-over-bigger-with-same-color"
    plain, still = looked(task=task)
    env, seen = looked(task=task, sizes=3)
    assert seen["instruction"] == still["instruction"]
    for name, block in env.scene().blocks.items():
        before = plain.scene().blocks[name]
        assert abs(block.edge / before.edge - 1) == pytest.approx(0.15)
        assert block.size == before.size
        assert env.scene().centre(name)[2] == pytest.approx(block.edge / 2, abs=1e-3)


def test_everything_at_once_can_be_solved():
    env = BlocksEnv(B, cameras={}, perturb=dict.fromkeys((*SEEN_ONLY, "arm", "sizes"), 3))
    assert run_episode(env, OraclePolicy("ee", (7,), 20.0), 2).success


def test_the_seed_decides_and_a_snapshot_looks_the_same():
    settings = {**dict.fromkeys((*SEEN_ONLY, "arm", "sizes"), 3), "random": True}
    env, seen = looked(6, **settings)
    _, again = looked(6, **settings)
    state = pickle.loads(pickle.dumps(env.get_state()))
    other, _ = looked(8, **settings)
    restored, looking_back = other.set_state(state), env.set_state(state)
    for key in ("images.top", "images.wrist", "depth.top", "state"):
        assert seen[key].tobytes() == again[key].tobytes()
        assert restored[key].tobytes() == looking_back[key].tobytes()


def test_one_kind_does_not_change_what_another_draws():
    one, _ = looked(camera=2)
    both, _ = looked(camera=2, light=3, clutter=3)
    assert one.simulation.model.cam_pos.tobytes() == both.simulation.model.cam_pos.tobytes()


def test_strengths_may_be_drawn_for_each_episode():
    env = BlocksEnv(B, cameras={}, perturb={"camera": 3, "clutter": 1, "random": True})
    drawn = []
    for seed in range(0, 60, 2):
        env.reset(seed=seed)
        drawn.append(env.sensors.perturbation.strengths)
    assert {strengths.camera for strengths in drawn} == {0, 1, 2, 3}
    assert {strengths.clutter for strengths in drawn} == {0, 1}
    assert {strengths.light for strengths in drawn} == {0}


@pytest.mark.parametrize(
    ("perturb", "message"),
    [
        ({"camera": 4}, "perturb.camera cannot be 4"),
        ({"light": -1}, "perturb.light cannot be -1"),
        ({"table": 1.5}, "perturb.table cannot be 1.5"),
        ({"blocks": 1}, "there is no perturb.blocks"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(perturb, message):
    with pytest.raises(UserError, match=message):
        PerturbSettings.from_settings(perturb)
