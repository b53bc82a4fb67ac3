"""The benchmark of the bridge: what it measures is what comes back."""

import pytest

from lohovla.benchmarks import ros
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
