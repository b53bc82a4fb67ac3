"""The record of an episode says what happened in it."""

from dataclasses import replace

import numpy as np
import pytest

from lohovla.envs.env import BlocksEnv
from lohovla.evaluate.episode_runner import run_episode
from lohovla.policies.base import Decision, Policy, PolicySpec
from lohovla.policies.registry import make_policy


def test_an_oracles_episode():
    env = BlocksEnv("stack-blocks-with-alternate-color", cameras={})
    seen = []
    result = run_episode(env, make_policy("oracle", env), 10001, on_subtask=seen.append)
    assert result.success
    assert result.score == 1.0
    assert result.reason == "success"
    assert result.instruction == "Stack blocks in alternate colors."
    assert result.subtasks == seen
    assert [span.score for span in seen] == pytest.approx([0.0, 0.25, 0.5, 0.75])
    assert result.simulated_seconds == pytest.approx(result.steps * 0.05)


def test_a_random_policys_episode_ends_at_the_limit():
    env = BlocksEnv("pick-and-place-primitive", control="pick_place", cameras={})
    result = run_episode(env, make_policy("random", env), 10001)
    assert result.reason == "action limit"
    assert result.actions == 3
    assert result.subtasks == []


class _Chunks(Policy):
    """Holds still in chunks of seven, and counts how often it is asked."""

    def __init__(self):
        self.spec = PolicySpec((), "ee", (7,), 7, 20.0)
        self.asked = []

    def act(self, observation, context):
        self.asked.append(context.step)
        return Decision(np.tile(np.array([0.5, 0.1, 0.3, 0, 0, 0, 0], np.float32), (7, 1)))


def test_a_chunk_is_carried_out_before_the_policy_is_asked_again():
    env = BlocksEnv("pick-and-place-primitive", cameras={}, seconds_per_action=0.5)
    policy = _Chunks()
    result = run_episode(env, policy, 10001)
    assert result.steps == 30  # three actions of half a second at 20 Hz, not rounded up to whole chunks
    assert policy.asked == [0, 7, 14, 21, 28]


def test_clamped_commands_are_counted():
    env = BlocksEnv("pick-and-place-primitive", cameras={}, seconds_per_action=0.2)

    class _Far(_Chunks):
        def act(self, observation, context):
            return Decision(np.array([[2.0, 0, 0.3, 0, 0, 0, 0]], np.float32))

    assert run_episode(env, _Far(), 10001).clamped == 12


def test_a_policy_hears_of_every_reward_since_it_was_asked():
    env = BlocksEnv("pick-and-place-primitive", cameras={})

    class _Slow(_Chunks):
        """The oracle, in chunks of seven."""

        def __init__(self):
            super().__init__()
            self.rewards, self.left = [], []
            self.oracle = make_policy("chunked-oracle", env)

        def reset(self, seed, slot=0):
            self.oracle.reset(seed, slot)

        def act(self, observation, context):
            self.rewards.append(context.reward)
            return Decision(self.oracle.act(observation, context).actions[:7])

    policy = _Slow()
    result = run_episode(env, policy, 10001)
    assert result.success
    steps = [point.step for point in result.scores[1:]]
    assert [k for k, reward in enumerate(policy.rewards) if reward] == [-(-step // 7) for step in steps]
    assert sum(policy.rewards) == pytest.approx(result.score)


@pytest.mark.parametrize("over", ["done", "nothing"])
def test_a_policy_that_may_end_an_episode_ends_it(over):
    env = BlocksEnv("pick-and-place-primitive", cameras={})

    class _Ends(_Chunks):
        def act(self, observation, context):
            decision = super().act(observation, context)
            return replace(decision, over=over, planned=True, subtask="That is it.") if context.step else decision

    result = run_episode(env, _Ends(), 10001)
    assert (result.steps, result.reason, result.success) == (7, f"the policy said {over}", False)
    assert result.subtasks[-1].text == "That is it."
