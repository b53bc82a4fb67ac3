"""Suites and seeds are those of the published work."""

import pytest

from lohovla.envs.tasks.names import TASKS
from lohovla.envs.tasks.registry import get_task
from lohovla.errors import UserError
from lohovla.evaluate.protocol import Protocol, seeds_of, tasks_of
from lohovla.evaluate.report import published_results


def letters(suite):
    return "".join(get_task(task).letter or "-" for task in tasks_of(suite))


def test_a_suite_is_checked_beside_tasks_too():
    with pytest.raises(UserError, match="no suite 'foo'"):
        tasks_of("foo", ["B"])


def test_suites_hold_the_tasks_of_the_table():
    assert letters("lohoravens") == "ABCDEFGHIJK"
    assert letters("primitives") == "A---"
    assert letters("seen") == "BCDE"
    assert letters("unseen") == "FGHIJK"
    assert letters("additional") == "-" * 10
    assert set(tasks_of("all")) == set(TASKS)


def test_named_tasks_take_the_suites_place():
    assert tasks_of("all", ["K", "stack-blocks-of-same-color", "a"]) == (
        "stack-blocks-of-same-color",
        "pick-and-place-primitive",
    )
    assert tasks_of("all", "B") == ("put-block-into-matching-bowl",)


def test_seeds_of_the_splits_are_odd_and_apart():
    assert seeds_of("test", 3) == (10001, 10003, 10005)
    assert seeds_of("val", 5000)[:2] == (1, 3)
    assert max(seeds_of("val", 5000)) == 9999
    with pytest.raises(UserError, match="5000 seeds"):
        seeds_of("val", 5001)
    with pytest.raises(UserError, match="train"):
        seeds_of("train", 5)


def test_episodes_are_every_task_with_every_seed():
    protocol = Protocol(("a", "b"), (1, 3), "oracle", {})
    assert protocol.episodes == [("a", 1), ("a", 3), ("b", 1), ("b", 3)]


def test_published_results_are_those_of_the_eleven_tasks():
    assert str(published_results.published_figures("put-block-into-matching-bowl", "lohovla")) == "97.8 / 91.5"
    assert str(published_results.published_figures("stack-blocks-of-same-color", "explicit")) == "4.0"
    assert published_results.published_figures("stack-all-blocks-on-a-zone", "lohovla") is None
    tasks = tasks_of("lohoravens")
    mean = published_results.mean_figures(tasks, "lohovla")
    assert mean is not None
    assert mean.success == pytest.approx((77.5 + 91.5 + 22.5 + 11.5 + 81 + 41 + 25 + 7.5 + 52 + 22 + 54.5) / 11)
    assert published_results.mean_figures([*tasks, "stack-all-blocks-on-a-zone"], "lohovla") is None
