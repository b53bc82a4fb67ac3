"""One seed in, everything follows: the same bytes again, in another process, and from a snapshot."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from collections.abc import Iterable

import numpy as np
import pytest

from lohovla.envs.env import BlocksEnv
from lohovla.envs.errors import EpisodeOver

NOISE = {"color": 2.0, "depth": 0.002, "camera_position": 0.005, "camera_rotation": 0.01, "light": 0.1}
SETTINGS = {
    "cameras": {"top": {"width": 96, "height": 48, "depth": True}, "wrist": {"width": 32, "height": 32}},
    "noise": NOISE,
    "drop_probability": 0.3,
}


def digest(results: Iterable) -> str:
    """A hash of every byte of observations, rewards and infos."""
    sha = hashlib.sha256()
    for result in results:
        for value in [*result[0].values(), *result[1:]]:
            sha.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
    return sha.hexdigest()


def sweep(env: BlocksEnv, steps: int, seed: int) -> list:
    """Steps of a tool that wanders just above the table, suction on: it grips what it meets."""
    rng = np.random.default_rng(seed)
    targets = rng.uniform((0.3, -0.3, 0.03, 0, 0, -1, 1), (0.7, 0.3, 0.1, 0, 0, 1, 1), size=(steps // 10 + 1, 7))
    return [env.step(targets[step // 10].astype(np.float32)) for step in range(steps)]


def carrying(env: BlocksEnv, seed: int) -> None:
    """Start an episode and play until a block hangs in the air."""
    env.reset(seed=seed)
    x, y, _ = env.scene().centre("block0")
    for height in np.linspace(0.2, 0.036, 60):
        if env.simulation.held is None:
            env.step(np.array([x, y, height, 0, 0, 0, 1], np.float32))
    for _ in range(6):
        env.step(np.array([x, y, 0.2, 0, 0, 0.3, 1], np.float32))


@pytest.mark.parametrize("control", ["ee", "pick_place"])
def test_the_same_seed_and_actions_give_the_same_bytes(control, oracle_action):
    def play(env: BlocksEnv) -> str:
        start = env.reset(seed=401)
        if control == "ee":
            return digest([start, *sweep(env, 60, seed=1)])
        return digest([start, *(env.step(oracle_action(env)) for _ in range(4))])

    env = BlocksEnv("E", control=control, **SETTINGS)
    first = play(env)
    assert play(env) == first
    assert play(BlocksEnv("E", control=control, **SETTINGS)) == first


def test_another_seed_gives_other_bytes():
    env = BlocksEnv("E", **SETTINGS)
    assert len({digest([env.reset(seed=seed)]) for seed in range(402, 410)}) == 8


SCRIPT = """
import hashlib

import numpy as np
from lohovla.envs.env import BlocksEnv

env = BlocksEnv("B", noise={"color": 2.0, "light": 0.1}, drop_probability=0.3)
rng, sha = np.random.default_rng(3), hashlib.sha256()
steps = [env.reset(seed=411), *(env.step(action) for action in rng.uniform(0.0, 0.7, (30, 7)))]
for observation, *rest in steps:
    for value in [*observation.values(), *rest]:
        sha.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
result = sha.hexdigest()
"""


def test_other_processes_give_the_same_bytes():
    here: dict = {}
    exec(SCRIPT, here)
    command = [sys.executable, "-c", SCRIPT + "print(result)"]
    there = [subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() for _ in range(2)]
    assert there == [here["result"]] * 2


def test_what_the_cameras_are_does_not_change_what_happens():
    paths = []
    for settings in (SETTINGS, {**SETTINGS, "cameras": {}}, {**SETTINGS, "cameras": {"front": {}}, "noise": {}}):
        env = BlocksEnv("E", **settings)
        env.reset(seed=412)
        paths.append([(reward, info) for _, reward, _, _, info in sweep(env, 60, seed=2)])
        paths[-1].append(env.simulation.data.qpos.tobytes())
    assert paths[0] == paths[1] == paths[2]


def test_settings_of_drops_and_words_do_not_change_the_scene(blind):
    layouts = []
    for settings in ({}, {"drop_probability": 0.5}, {"gripper": "jaw"}, {"control": "ee"}, {"noise": NOISE}):
        env = blind("K", **settings)
        env.reset(seed=413)
        layouts.append((env.problem.layout.poses, env.problem.layout.entities))
    assert all(layout == layouts[0] for layout in layouts)


# -- snapshots ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [{}, NOISE], ids=["clean", "noisy"])
@pytest.mark.parametrize("way", ["same environment", "another environment", "pickled"])
def test_from_a_snapshot_an_episode_goes_on_with_the_same_bytes(way, noise):
    """In the middle of carrying a block, which is dropped later on."""
    settings = {**SETTINGS, "noise": noise, "seconds_per_action": 100}
    env = BlocksEnv("E", **settings)
    carrying(env, seed=414)
    assert env.simulation.held
    state = env.get_state()
    expected = digest(sweep(env, 80, seed=3))
    assert env.simulation.gripper.drops > 0
    if way != "same environment":
        env = BlocksEnv("E", **settings)
    if way == "pickled":
        state = pickle.loads(pickle.dumps(state))
    for _ in range(2):  # it can be gone back to more than once
        env.set_state(state)
        assert digest(sweep(env, 80, seed=3)) == expected


@pytest.mark.parametrize("gripper", ["suction", "jaw"])
def test_snapshots_hold_with_either_gripper_and_in_pick_place(blind, oracle_action, gripper):
    env = blind("K", gripper=gripper, drop_probability=0.2)
    env.reset(seed=416)
    env.step(oracle_action(env))
    state = env.get_state()
    expected = digest([env.step(oracle_action(env)) for _ in range(2)])
    env.reset(seed=417)
    env.set_state(state)
    assert digest([env.step(oracle_action(env)) for _ in range(2)]) == expected


def test_the_observation_of_a_snapshot_is_that_of_its_moment():
    env = BlocksEnv("E", **{**SETTINGS, "noise": {}})
    env.reset(seed=418)
    then = sweep(env, 15, seed=5)[-1][0]
    state = env.get_state()
    sweep(env, 30, seed=6)
    assert digest([(env.set_state(state),)]) == digest([(then,)])


def test_a_snapshot_of_the_end_stays_at_the_end(blind, solve):
    env = blind("A")
    env.reset(seed=419)
    _, info = solve(env)
    state = env.get_state()
    env.reset(seed=420)
    env.set_state(state)
    assert env.problem.goal.score(env.scene()) == info["score"]
    with pytest.raises(EpisodeOver):
        env.step(np.zeros((2, 4)))
