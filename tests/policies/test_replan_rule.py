"""The rule of re-planning, by itself: what evaluation, real time and robots go by."""

import pytest

from lohovla.control.settings import LoopSettings
from lohovla.policies.policy_config import LoHoVLAPolicyConfig
from lohovla.policies.replan_rule import SubtaskFailures, failures_allowed


@pytest.mark.parametrize(
    ("replan", "k", "given_up"),
    [("never", 1, "00000"), ("always", 1, "11111"), ("after_k_failures", 0, "11111"), ("after_k_failures", 2, "00100")],
)
def test_a_subtask_is_given_up_after_more_than_k_failures_in_a_row(replan, k, given_up):
    failures = SubtaskFailures(failures_allowed(replan, k))
    for wanted in given_up:
        assert failures.next_gives_up == (wanted == "1")
        assert failures.add() == (wanted == "1")


def test_a_success_and_another_subtask_begin_the_count_again():
    failures = SubtaskFailures(1)
    assert [failures.add(), failures.clear(), failures.add(), failures.add()] == [False, None, False, True]
    failures.exhaust()
    assert failures.add()
    never = SubtaskFailures(failures_allowed("never", 1))
    never.exhaust()
    assert not never.add()


def test_the_loop_and_the_policy_have_the_same_default():
    assert LoopSettings().max_subtask_failures == LoHoVLAPolicyConfig().failures_allowed == 1
