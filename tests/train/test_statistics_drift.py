"""Fine-tuning: a line for each number whose statistics on the new data are off the checkpoint's."""

import pytest

from lohovla.data.features import RobotFeatures
from lohovla.train.statistics_drift import drift_lines


def features(state=(0.0, 1.0), action=(0.0, 1.0)):
    """With a mean and a deviation of the one number of each."""
    statistics = {kind: {"mean": [mean], "std": [std]} for kind, (mean, std) in (("state", state), ("action", action))}
    return RobotFeatures((), ("x",), ("dx",), 20.0, statistics)


def test_equal_statistics_need_no_line():
    assert drift_lines(features(), features()) == []


@pytest.mark.parametrize("new", [(0.49, 1.0), (-0.49, 1.0), (0.0, 1.99), (0.0, 0.51)])
def test_small_differences_need_no_line(new):
    assert drift_lines(features(), features(new, new)) == []


@pytest.mark.parametrize("new", [(0.51, 1.0), (-0.51, 1.0), (0.0, 2.01), (0.0, 0.49)])
def test_a_mean_or_a_deviation_that_is_off_is_told(new):
    (line,) = drift_lines(features(), features(state=new))
    assert line.startswith("state x: ")
    (line,) = drift_lines(features(), features(action=new))
    assert line.startswith("action dx: ")


def test_the_shift_is_in_the_checkpoints_deviations():
    (line,) = drift_lines(features(state=(1.0, 0.1)), features(state=(1.2, 0.1)))
    assert "mean 1 -> 1.2 (+2.0 deviations), deviation 0.1 -> 0.1" in line
    assert line.endswith("the checkpoint's statistics are kept")


def test_a_number_that_never_changed_is_told_once_it_does():
    assert drift_lines(features(state=(0.0, 0.0)), features(state=(0.0, 0.1)))
