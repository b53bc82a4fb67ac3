"""Sums of diagnoses: a share of nothing is no share."""

from dataclasses import asdict

import numpy as np

from lohovla.evaluate.failure_analysis import Diagnosis, FailureAnalyzer, as_table, summary_by_task
from lohovla.policies.base import Decision


def test_what_was_never_judged_is_neither_right_nor_wrong():
    silent = Diagnosis()
    planned = Diagnosis(plans=4, right=3, as_oracle=2, progress_right=0, progress_wrong=2, pick_mm=[1.0, 3.0])
    found = summary_by_task({"task": task, "diagnosis": asdict(one)} for task, one in (("A", silent), ("B", planned)))
    assert found["A"] == {"plans": 0, "as_oracle": None, "right": None, "missed": None, "progress": None}
    assert (found["B"]["right"], found["B"]["progress"], found["B"]["missed"]) == (0.75, 0.0, 0.0)
    header, (empty, full) = as_table(found)
    assert empty == ["A", "0", *["-"] * 8]
    row = dict(zip(header, full, strict=False))
    assert (row["right %"], row["progress right %"], row["place mm"]) == ("75.0%", "0.0%", "-")


def test_plans_are_kept_with_the_oracles_and_what_came_of_them(blind):
    env = blind("put-block-into-matching-bowl")
    env.reset(seed=10001)
    right = env.problem.goal.next(env.scene()).text
    watcher = FailureAnalyzer(env, judges=False)
    nowhere = np.zeros((1, 2, 4), np.float32)
    watcher.decided(Decision(nowhere, right, planned=True), 0.0)
    watcher.decided(Decision(nowhere, "Dance.", planned=True), 0.0)
    watcher.decided(Decision(nowhere, "Sing.", planned=True), 0.0)
    found = watcher.finish(0.5, {})  # the last one gained something
    assert found.said == [(right, right, True), ("Dance.", right, False), ("Sing.", right, True)]
    assert (found.plans, found.right) == (3, 2)
