"""Statistics are those of the values, also when put together from parts."""

import numpy as np
import pytest

from lohovla.data import statistics

RNG = np.random.default_rng(3)


def test_known_values():
    stats = statistics.of_values(np.arange(101.0))
    assert stats["min"] == [0]
    assert stats["max"] == [100]
    assert stats["mean"] == [50]
    assert stats["q10"] == [10]
    assert stats["q99"] == [99]
    assert stats["count"] == [101]


@pytest.mark.parametrize("split", [1, 40, 99])
def test_parts_together_are_the_whole(split):
    values = RNG.normal(2.0, 3.0, (100, 4))
    parts = [{"x": statistics.of_values(part)} for part in (values[:split], values[split:])]
    together, whole = statistics.combine(*parts)["x"], statistics.of_values(values)
    for key in ("min", "max", "mean", "std", "count"):
        np.testing.assert_allclose(together[key], whole[key], rtol=1e-12)


def test_quantiles_of_a_set_are_those_of_all_its_frames():
    """A policy that scales by q01 and q99 of means of quantiles gets a fifth of the actions out of bounds."""
    parts = [RNG.normal(mean, 0.001, (200, 1)) for mean in (-1.0, 1.0)]
    whole = np.concatenate(parts)
    together = statistics.combine(*({"action": statistics.of_values(part)} for part in parts))["action"]
    for name in ("q01", "q10", "q90", "q99"):
        assert together[name] == pytest.approx(statistics.of_values(whole)[name], abs=0.01 * np.ptp(whole))
    assert np.mean((whole < together["q01"]) | (whole > together["q99"])) < 0.03


def test_without_histograms_there_are_no_quantiles():
    one = {"x": statistics.of_values(RNG.random(9))}
    other = statistics.as_arrays(statistics.statistics_lists(one))
    assert set(statistics.combine(one, other)["x"]) == {"min", "max", "mean", "std", "count"}


def test_pictures_have_a_statistic_a_colour_in_unit_range():
    red = [np.full((8, 8, 3), (255, 0, 51), np.uint8)] * 5
    stats = statistics.of_pictures(red)
    assert stats["mean"].shape == (3, 1, 1)
    np.testing.assert_allclose(stats["mean"].ravel(), [1.0, 0.0, 0.2])
    assert stats["count"] == [5]


def test_json_and_back():
    stats = {"x": statistics.of_values(RNG.random((9, 2)))}
    back = statistics.as_arrays(statistics.statistics_lists(stats))
    np.testing.assert_array_equal(back["x"]["std"], stats["x"]["std"])
    assert back["x"].spread is None
    whole = statistics.as_arrays(statistics.statistics_lists(stats), statistics.spreads_as_lists(stats))
    assert [one.low for one in whole["x"].spread] == stats["x"]["min"].tolist()
