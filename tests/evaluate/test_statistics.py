"""Intervals, tests and curves against values worked out elsewhere."""

import pytest

from lohovla.evaluate.statistics import mcnemar, score_curve, summarise, wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Newcombe (1998), Statistics in Medicine 17, table I: score method without continuity correction.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_as_published(successes, trials, low, high):
    assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)


def test_mcnemar_is_exact_and_two_sided():
    assert mcnemar(2, 10) == pytest.approx(2 * (1 + 12 + 66) / 2**12)
    assert mcnemar(10, 2) == mcnemar(2, 10)
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(4, 4) == 1.0


def test_summary_of_rows(row):
    rows = [row(seed=1), row(seed=3, steps=6, simulated_seconds=10.0, drops=1), row(seed=5, success=False, subtasks=[])]
    summary = summarise(rows)
    assert (summary.episodes, summary.successes) == (3, 2)
    assert summary.rate == pytest.approx(2 / 3)
    assert summary.score == pytest.approx(2.5 / 3)
    assert summary.subtasks == pytest.approx(2 / 3)
    assert summary.steps == pytest.approx(10 / 3)
    assert summary.seconds == pytest.approx(6.0)
    assert summary.drops == pytest.approx(1 / 3)


def test_the_score_curve_is_the_mean_at_each_moment_and_keeps_ended_episodes(row):
    rows = [
        row(scores=[[0, 0.0, 0.0], [1, 2.5, 0.5], [3, 6.0, 1.0]]),
        row(scores=[[0, 0.0, 0.0], [2, 4.0, 0.5], [3, 6.5, 0.0]]),
    ]
    assert score_curve(rows, "step") == [(0.0, 0.0), (1.0, 0.25), (2.0, 0.5), (3.0, 0.5)]
    assert score_curve(rows, "time") == [(0.0, 0.0), (2.5, 0.25), (4.0, 0.5), (6.0, 0.75), (6.5, 0.5)]
