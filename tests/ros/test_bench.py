"""The benchmark of the bridge: what it measures is what comes back."""

import numpy as np
import pytest

from lohovla.benchmarks.ros import page_stop, ros, ros_stops
from lohovla.errors import UserError


def test_every_picture_is_answered():
    answered = []

    def echo(client, seconds):
        """For as long as it takes on a busy machine."""
        publish = client.publish
        client.publish = lambda topic, *message, **how: (answered.append(topic), publish(topic, *message, **how))
        for _ in range(20):
            ros.echo(client, seconds, "jpeg")
            if len(answered) >= 20:
                break
        return {}

    found = ros.measure(echo, "jpeg", 3.0, 5.0)
    assert len(answered) >= 20
    # Two cameras at 5 Hz, and what a busy machine leaves of that.
    assert 1.0 < found["pictures_hz"] < 12.0
    assert 0.5 < found["commands_hz"] < 2.0 * found["pictures_hz"]
    assert 0.0 < found["median_ms"] < 3000.0


@pytest.mark.parametrize(("seconds", "rate", "cause"), [(1.0, 30.0, "seconds"), (5.0, 0.0, "camera_hz")])
def test_settings_out_of_range(seconds, rate, cause):
    with pytest.raises(UserError, match=cause):
        ros.run(seconds, rate, None)


def motion(*legs):
    """Samples every 10 ms of legs of so many seconds at so many m/s, from 0.5 s of 0.25 m/s before 0."""
    place, rows, now = 0.0, [], -0.5
    for seconds, speed in ((0.5, 0.25), *legs):
        for _ in range(round(seconds / 0.01)):
            now, place = now + 0.01, place + speed * 0.01
            rows.append((now, place, 0.0, 0.0))
    return np.array(rows)


def test_a_stop_is_measured_to_where_the_arm_rests():
    found = ros_stops.judge_stop(motion((0.1, 0.25), (0.1, 0.1), (1.0, 0.0)), 0.0)
    assert found["rests"]
    assert found["mm"] == pytest.approx(35.0, abs=3.0)
    assert found["s"] == pytest.approx(0.2, abs=0.06)
    assert found["again"] == 0


def test_an_arm_that_goes_on_or_sets_off_again_is_seen():
    found = ros_stops.judge_stop(motion((1.5, 0.25)), 0.0)
    assert not found["rests"]
    assert found["mm"] == pytest.approx(375.0, abs=5.0)
    lurch = ros_stops.judge_stop(motion((0.1, 0.25), (0.2, 0.0), (0.1, 0.24), (1.0, 0.0)), 0.0)
    assert (lurch["rests"], lurch["again"]) == (True, 1)
    assert lurch["mm"] == pytest.approx(49.0, abs=3.0)
    swing = ros_stops.judge_stop(motion((0.1, 0.25), (0.2, 0.0), (0.1, 0.01), (1.0, 0.0)), 0.0)
    assert swing["again"] == 0


@pytest.mark.parametrize(("kinds", "trials", "cause"), [(["wish"], 1, "wish"), (["pose"], 0, "trials")])
def test_stops_that_cannot_be_measured(kinds, trials, cause):
    with pytest.raises(UserError, match=cause):
        ros_stops.run(kinds, trials)


def twists(*speeds, before=5):
    """When twists came, 10 ms apart, and how fast they were: the press is at 0, after so many of them."""
    return np.array([((k - before + 0.5) * 0.01, speed) for k, speed in enumerate(speeds)])


def test_a_press_is_measured_to_the_brake_and_to_rest():
    even = [0.25] * 8
    brake, rest = page_stop.brake_of(twists(*even, 0.2, 0.1, 0.0, 0.0), 0.0)
    assert (brake, rest) == pytest.approx((0.035, 0.055))
    faster = [0.1, 0.12, 0.14, 0.16, 0.18, 0.2, 0.22, 0.24]  # the policy speeds up until the brake
    assert page_stop.brake_of(twists(*faster, 0.2, 0.1, 0.0), 0.0) == pytest.approx((0.035, 0.055))
    slower = [0.25, 0.24, 0.23, 0.22, 0.21, 0.2, 0.19]  # it slows down anyway: no later than the press
    assert page_stop.brake_of(twists(*slower, 0.1, 0.0), 0.0) == pytest.approx((0.005, 0.035))
    assert page_stop.brake_of(twists(*[0.25] * 5, 0.0), 0.0) == pytest.approx((0.005, 0.005))


def test_presses_that_cannot_be_made():
    with pytest.raises(UserError, match="presses"):
        page_stop.run(0)
