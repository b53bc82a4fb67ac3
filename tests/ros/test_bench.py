"""The benchmark of the bridge: what it measures is what comes back."""

from functools import partial

import pytest

from lohovla.benchmarks import ros
from lohovla.errors import UserError


def test_every_picture_is_answered():
    found = ros.measure(partial(ros.echo, kind="jpeg"), "jpeg", 3.0, 5.0)
    # Two cameras at 5 Hz, and what a busy machine leaves of that.
    assert 1.0 < found["pictures_hz"] < 12.0
    assert 0.5 < found["commands_hz"] < 2.0 * found["pictures_hz"]
    assert 0.0 < found["median_ms"] < 3000.0


@pytest.mark.parametrize(("seconds", "rate", "cause"), [(1.0, 30.0, "seconds"), (5.0, 0.0, "camera_hz")])
def test_settings_out_of_range(seconds, rate, cause):
    with pytest.raises(UserError, match=cause):
        ros.run(seconds, rate, None)
