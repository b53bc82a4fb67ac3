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


def test_pictures_have_a_statistic_a_colour_in_unit_range():
    red = [np.full((8, 8, 3), (255, 0, 51), np.uint8)] * 5
    stats = statistics.of_pictures(red)
    assert stats["mean"].shape == (3, 1, 1)
    np.testing.assert_allclose(stats["mean"].ravel(), [1.0, 0.0, 0.2])
    assert stats["count"] == [5]


def test_json_and_back():
    stats = {"x": statistics.of_values(RNG.random((9, 2)))}
    back = statistics.as_arrays(statistics.as_lists(stats))
    np.testing.assert_array_equal(back["x"]["std"], stats["x"]["std"])
