"""Policies keep the contract: spec, seed, decisions."""

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
