"""Histograms of parts add up to that of the whole, and tell quantiles to within a hundredth of the range."""

import functools
import operator

import numpy as np
import pytest

from lohovla.data import histogram
from lohovla.data.histogram import ValueHistogram

RNG = np.random.default_rng(5)
SPREADS = {
    "normal": lambda n: RNG.normal(3.0, 0.2, n),
    "two far apart": lambda n: np.where(RNG.random(n) < 0.5, -1.0, 1.0) + RNG.normal(0, 1e-3, n),
    "gripper": lambda n: RNG.integers(0, 2, n).astype(float),
    "constant": lambda n: np.full(n, 1e6),
    "mostly nothing": lambda n: np.where(np.arange(n) == 200, -1e-3, 0.0),
    "counting": lambda n: np.arange(n) + 1e9,
    "long tail": lambda n: RNG.exponential(1.0, n) ** 4,
    "fingerprints": lambda n: RNG.integers(-(2**62), 2**62, n).astype(float),
    "tiny": lambda n: RNG.normal(0, 1e-12, n),
}


@pytest.mark.parametrize("kind", SPREADS)
def test_parts_add_up_in_any_order(kind):
    parts = [SPREADS[kind](int(n)) for n in (1, 50, 300, 7)]
    whole = ValueHistogram.from_values(np.concatenate(parts))
    for order in (parts, parts[::-1]):
        together = functools.reduce(operator.add, map(ValueHistogram.from_values, order))
        assert (together.low, together.high, together.exponent) == (whole.low, whole.high, whole.exponent)
        np.testing.assert_array_equal(together.bins, whole.bins)
        np.testing.assert_array_equal(together.counts, whole.counts)


@pytest.mark.parametrize("kind", SPREADS)
def test_quantiles_are_within_a_hundredth_of_the_range(kind):
    values = SPREADS[kind](500)
    summed = ValueHistogram.from_values(values[:100]) + ValueHistogram.from_values(values[100:])
    for share in (0.01, 0.1, 0.5, 0.9, 0.99):
        told = summed.quantile(share)
        low, high = (np.quantile(values, share, method=method) for method in ("lower", "higher"))
        assert low - summed.tolerance <= told <= high + summed.tolerance
        assert summed.admits(share, told, summed.tolerance)
        assert summed.admits(share, float(np.quantile(values, share)), summed.tolerance + 1e-6 * abs(told))


def test_what_is_no_quantile_is_refused():
    values = np.linspace(0.0, 1.0, 1001)
    spread = ValueHistogram.from_values(values)
    assert spread.admits(0.9, 0.9, spread.tolerance)
    for wrong in (0.87, 0.93, 90.0, -9.0, float("nan")):
        assert not spread.admits(0.9, wrong, spread.tolerance)


def test_json_and_back():
    one = ValueHistogram.from_values(RNG.normal(0.0, 1.0, 300))
    (back,) = histogram.from_lists(histogram.histogram_lists([one]))
    assert (back.low, back.high, back.exponent) == (one.low, one.high, one.exponent)
    np.testing.assert_array_equal(back.bins, one.bins)
    np.testing.assert_array_equal(back.counts, one.counts)
