"""The mean of several chunks at a moment, old ones weighted more."""

import numpy as np
import pytest

from lohovla.control.chunks.chunk_blending import Setpoint
from lohovla.control.chunks.temporal_ensembling import ensemble_setpoints, ensemble_weights


def test_weights_fall_exponentially_from_the_oldest_chunk():
    weights = ensemble_weights(3, 0.5)
    assert weights.sum() == pytest.approx(1.0)
    assert weights[1:] / weights[:-1] == pytest.approx(np.exp(-0.5))


def test_the_mean_of_turns_across_half_a_turn_is_near_them():
    points = [Setpoint(np.array([x, 0, 0, 0, 0, turn]), np.zeros(6), np.zeros(6), 0.0) for x, turn in ((0, 3), (1, -3))]
    mean = ensemble_setpoints(points, 0.0)
    assert mean.pose[0] == pytest.approx(0.5)
    assert abs(mean.pose[5]) == pytest.approx(np.pi)
