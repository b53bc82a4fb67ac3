"""Policies keep the contract: spec, seed, decisions."""

import inspect
import sys

import numpy as np
import pytest

from lohovla.envs.env import BlocksEnv
from lohovla.errors import UserError
from lohovla.policies.base import Context
from lohovla.policies.registry import make_policy


@pytest.mark.parametrize("control", ["ee", "pick_place"])
@pytest.mark.parametrize("name", ["oracle", "random"])
def test_a_decision_is_a_chunk_of_actions_of_the_spec(name, control):
    env = BlocksEnv("pick-and-place-primitive", control=control, cameras={})
    observation, _ = env.reset(seed=3)
    policy = make_policy(name, env)
    policy.reset(3)
    decision = policy.act(observation, Context(world=env))
    assert decision.actions.shape == (policy.spec.horizon, *env.action_space.shape)
    assert decision.actions.dtype == np.float32
    assert all(env.action_space.contains(action) for action in decision.actions)


def test_the_oracle_says_its_subtask_when_it_begins_one():
    env = BlocksEnv("pick-and-place-primitive", cameras={})
    observation, _ = env.reset(seed=3)
    policy = make_policy("oracle", env)
    policy.reset(3)
    first, second = (policy.act(observation, Context(world=env)) for _ in range(2))
    assert first.planned
    assert first.subtask.startswith("Pick up the ")
    assert not second.planned
    assert second.subtask == first.subtask


def test_random_actions_follow_from_the_seed():
    env = BlocksEnv("pick-and-place-primitive", cameras={})
    policy = make_policy("random", env)
    drawn = []
    for seed in (5, 5, 6):
        policy.reset(seed)
        drawn.append(policy.act({}, Context()).actions)
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_the_oracle_without_the_world_says_what_it_lacks():
    env = BlocksEnv("pick-and-place-primitive", cameras={})
    with pytest.raises(ValueError, match="true world"):
        make_policy("oracle", env).act({}, Context())


def test_an_unknown_policy_gives_the_nearest():
    env = BlocksEnv("pick-and-place-primitive", cameras={})
    with pytest.raises(UserError, match="did you mean 'oracle'"):
        make_policy("orcale", env)


def test_settings_reach_the_policy_and_others_are_refused(monkeypatch, tmp_path):
    (tmp_path / "my_robots.py").write_text(
        "from lohovla.policies.random import RandomPolicy\n"
        "def make(env, scale=1.0):\n"
        "    return RandomPolicy(env.control, scale * env.action_space.low, scale * env.action_space.high, 20.0)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    env = BlocksEnv("pick-and-place-primitive", cameras={})
    policy = make_policy("custom", env, factory="my_robots:make", scale=0.0)
    policy.reset(1)
    assert not policy.act({}, Context()).actions.any()
    for name, settings, message in (
        ("custom", {"factory": "my_robots:make", "size": 2}, "unexpected keyword argument 'size'"),
        ("custom", {"factory": "my_robots:build"}, "has no attribute 'build'"),
        ("custom", {"factory": "robots_of_nobody:make"}, "No module named 'robots_of_nobody'"),
        ("custom", {"factory": None}, "policy.factory=package.module:function"),
        ("oracle", {"host": "here"}, "unexpected keyword argument 'host'"),
        ("lohovla", {"steps": 2}, "policy.steps is called policy.num_inference_steps now"),
        ("remote", {"url": "ws://127.0.0.1:9", "coding": "png"}, "policy.coding is called policy.image_encoding now"),
        ("lohovla", {"replan": "patient"}, "policy.replan=patient is called policy.replan=after_k_failures now"),
        ("teacher", {}, "policy=teacher is called policy=chunked-oracle now"),
    ):
        with pytest.raises(UserError, match=message):
            make_policy(name, env, **settings)


def test_a_policy_of_the_working_folder_is_found(tmp_path, monkeypatch):
    (tmp_path / "policy_of_this_folder.py").write_text(
        "from lohovla.policies.random_waypoints import RandomWaypointPolicy\n"
        "def make(env): return RandomWaypointPolicy()\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [place for place in sys.path if place])  # as of the installed command
    env = BlocksEnv("pick-and-place-primitive", cameras={})
    with pytest.raises(UserError, match="a module in this folder"):
        make_policy("custom", env, factory="policy_of_nobody:make")
    assert str(tmp_path) not in sys.path
    assert make_policy("custom", env, factory="policy_of_this_folder:make").spec


def test_each_file_of_settings_names_its_policy_and_fits_it():
    from hydra import compose, initialize_config_module

    from lohovla.policies.registry import _POLICIES, split_settings

    with initialize_config_module("lohovla.configs", version_base="1.3"):
        for name, factory in _POLICIES.items():
            found, settings = split_settings(compose("rollout", [f"policy={name}"]).policy)
            assert found == name
            inspect.signature(factory).bind(None, **settings)
