"""The oracle solves every task in both action spaces, and recovers from drops and misses."""

import pytest

from lohovla.envs.control.motion import MotionOutcome
from lohovla.envs.env import BlocksEnv
from lohovla.envs.oracle import Oracle
from lohovla.envs.tasks.names import TASKS
from lohovla.evaluate.episode_runner import run_episode
from lohovla.policies.registry import make_policy

SEEDS = (10001, 10003)


def play(task, seed, **settings):
    env = BlocksEnv(task, **{"cameras": {}, **settings})
    return run_episode(env, make_policy("oracle", env), seed)


@pytest.mark.parametrize("control", ["ee", "pick_place"])
@pytest.mark.parametrize("task", TASKS)
def test_it_solves_every_task(task, control):
    for seed in SEEDS:
        result = play(task, seed, control=control)
        assert result.success, (task, seed, result.reason, result.score)
        assert result.reason == "success"


@pytest.mark.parametrize("control", ["ee", "pick_place"])
def test_it_recovers_from_drops(control):
    results = [
        play("put-block-into-matching-bowl", 10001 + 2 * k, control=control, drop_probability=0.3) for k in range(8)
    ]
    lossy = [result for result in results if result.drops]
    assert len(lossy) >= 4
    assert sum(result.success for result in lossy) >= len(lossy) - 3


def test_what_was_dropped_is_picked_up_again():
    env = BlocksEnv("put-even-blocks-in-same-color-zone", cameras={}, drop_probability=0.5)
    _, info = env.reset(seed=10007)
    oracle = Oracle(env)
    lost, picked, held, ended = [], [], "", False
    while not ended:
        drops, plans = info["drops"], oracle.plans
        *_, terminated, truncated, info = env.step(oracle.act())
        if info["drops"] > drops:
            lost.append((held, oracle.plans))
        if oracle.plans > plans:
            picked.append((oracle.subtask.pick, oracle.plans))
        held, ended = info["held"], terminated or truncated
    assert info["success"]
    assert any(block in [pick for pick, later in picked if later > when] for block, when in lost)


def test_a_tower_that_was_knocked_over_is_built_again():
    env = BlocksEnv("stack-blocks-with-alternate-color", control="pick_place", cameras={})
    env.reset(seed=10001)
    oracle = Oracle(env)
    for _ in range(2):
        *_, info = env.step(oracle.act())
    assert info["score"] == pytest.approx(0.5)
    upper = max(env.scene().blocks, key=lambda block: env.scene().centre(block)[2])
    joint = env.simulation.model.joint(upper)
    env.simulation.data.qpos[joint.qposadr[0]] += 0.03  # pushed half off
    env.simulation.data.qvel[joint.dofadr[0]] = 0.01  # and awake
    terminated = truncated = False
    while not (terminated or truncated):
        _, _, terminated, truncated, info = env.step(oracle.act())
    assert info["success"]


def test_where_nothing_is_left_to_do_it_harms_nothing():
    env = BlocksEnv("pick-and-place-primitive", control="pick_place", cameras={})
    env.reset(seed=10001)
    oracle = Oracle(env)
    *_, info = env.step(oracle.act())
    assert info["success"]
    env.episode.over = False
    *_, info = env.step(oracle.act())
    assert oracle.subtask is None
    assert info["success"]
    assert info["outcome"] == MotionOutcome.MISSED.value
