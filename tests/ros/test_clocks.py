"""Clock offsets, with clocks made by hand."""

import pytest

from lohovla.ros.clocks import ClockOffset


def test_one_way_is_the_quickest_message():
    clock = ClockOffset()
    for k, delay in enumerate((0.03, 0.005, 0.05)):
        clock.heard(1000.0 + k, 10.0 + k + delay)
    assert clock.local(1000.0) == pytest.approx(10.005)


def test_slow_ways_are_forgotten_after_a_while():
    clock = ClockOffset()
    clock.heard(1000.0, 10.0)
    clock.heard(1020.5, 31.0)  # the clocks have drifted apart
    assert clock.local(1020.5) == pytest.approx(31.0)


def test_exchange_knows_its_error_and_the_better_one_is_kept():
    clock = ClockOffset()
    clock.exchange(10.0, 1000.02, 10.04)
    assert clock.local(1000.0) == pytest.approx(10.0)
    assert clock.error == pytest.approx(0.02)
    clock.exchange(11.0, 1001.3, 11.5)
    assert clock.local(1000.0) == pytest.approx(10.0)


def test_a_message_cannot_come_before_it_was_sent():
    clock = ClockOffset()
    clock.exchange(10.0, 1000.05, 10.1)  # offset -990.0 +- 0.05
    clock.heard(1001.0, 10.98)
    assert clock.local(1001.0) == pytest.approx(10.98)


def test_a_clock_that_was_set_is_noticed():
    clock = ClockOffset()
    clock.exchange(10.0, 1000.0, 10.002)
    clock.exchange(15.0, 2005.0, 15.002)
    assert clock.steps == 1
    assert clock.local(2005.0) == pytest.approx(15.001)
