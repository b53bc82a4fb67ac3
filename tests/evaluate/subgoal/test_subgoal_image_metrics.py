"""Figures of sub-goal pictures, by hand."""

import numpy as np
import pytest
import torch

from lohovla.evaluate.subgoal.subgoal_image_metrics import (
    SubgoalScore,
    blocks_near,
    cases,
    changed_patches,
    judge_picture,
    psnr,
)


def test_patches_that_differ_are_found():
    now = torch.zeros(1, 4, 64, 96)
    after = now.clone()
    after[:, 0, 5:15, 40:50] = 0.5  # within the second patch of the first row
    after[:, 1, 40, 5] = 0.5  # one pixel of another: no change
    after[:, 3, 40:, 70:] = 1.0  # depth alone: none either
    where = changed_patches(now, after)
    assert where[0, 0, :32, 32:64].all()
    assert where.sum() == 32 * 32


def test_decibels_by_hand():
    assert psnr(0.01) == pytest.approx(20.0)
    score = SubgoalScore(
        squares=[0.01, 0.03], depths=[0.0, 0.0004], weights=[3.0, 1.0], judged=4, placed=3, gone=2, agreed=1
    )
    figures = score.figures()
    assert figures["psnr"] == pytest.approx(psnr(0.015))
    assert figures["depth_mm"] == pytest.approx(10.0)
    assert [figures[name] for name in ("placed", "gone", "agreed")] == [0.75, 0.5, 0.25]


def test_a_block_that_is_seen_where_it_should_be_counts():
    points = np.array([[0.4, 0.0, 0, 0, 0.04], [0.6, 0.2, 0, 0, 0.04]])
    true = [(0.601, 0.199, 3), (0.3, 0.3, 1)]
    score = SubgoalScore()
    judge_picture(score, [(0.595, 0.205, 3)], true, points)  # there, and gone from the pick
    judge_picture(score, [(0.595, 0.205, 2)], true, points)  # of another colour
    judge_picture(score, [(0.595, 0.205, 3), (0.401, 0.0, 3)], true, points)  # still at the pick, too
    judge_picture(score, [(0.595, 0.205, 3), (0.401, 0.0, 5)], [*true, (0.4, 0.0, 5)], points)  # one below is bared
    judge_picture(score, [], [(0.3, 0.3, 1)], points)  # not seen in the true picture: no judgement
    assert (score.judged, score.placed, score.gone, score.agreed) == (4, 3, 3, 2)
    assert blocks_near(true, np.array([0.6, 0.214])) == []


def test_cases_are_moves_that_succeeded():
    found = list(cases(("pick-and-place-primitive",), (1, 3)))
    assert len(found) == 2
    for case in found:
        assert case.text.startswith("Pick up the ")
        assert np.isfinite(case.points).all()
        assert (case.after[0] != case.observation["images.top"]).any()
