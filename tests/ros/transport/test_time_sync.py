"""Clock offsets, with clocks made by hand."""

import math

import pytest

from lohovla.ros.transport.subscriptions import Subscriber
from lohovla.ros.transport.time_sync import ClockOffset, describe_clock


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


class Line:
    """Messages at 50 Hz whose stamps go by a clock of its own, which come later and later by ``queue`` s a second."""

    def __init__(self, rate=1.0, queue=0.0, exchanges=True, arrival=False):
        self.clock, self.rate, self.queue, self.exchanges, self.now = ClockOffset(), rate, queue, exchanges, 1000.0
        self.feed = Subscriber("/joint_states", "sensor_msgs/JointState", self.clock, arrival=arrival)
        self.asked = -math.inf

    def run(self, monkeypatch, seconds, every=1.0):
        """Goes on; returns how old a message that has just come looked at most, s, and how old it was."""
        monkeypatch.setattr("lohovla.ros.transport.subscriptions.time.monotonic", lambda: self.now)
        looked, was, end = [], [], self.now + seconds
        while self.now < end:
            self.now += 0.02
            late = self.queue * (self.now - 1000.0)
            stamp = 5.0 + self.rate * (self.now - late - 1000.0)
            if self.exchanges and self.now - self.asked > every:
                # The answer waits in the same queue as the messages.
                self.asked = self.now
                self.clock.exchange(
                    self.now - late - 0.002, 5.0 + self.rate * (self.now - late - 0.001 - 1000.0), self.now
                )
            self.feed({"header": {"stamp": {"sec": int(stamp), "nanosec": int(stamp % 1 * 1e9)}}})
            looked.append(self.feed.age(self.now))
            was.append(late)
        return max(looked), max(was)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9, 1.0, 1.3, 3.0])
def test_a_clock_that_runs_at_another_rate_is_followed_and_said(monkeypatch, rate):
    line = Line(rate)
    line.run(monkeypatch, 2.0, every=5.0)
    looked, _ = line.run(monkeypatch, 20.0, every=5.0)
    assert looked < 0.1
    assert line.clock.rate == pytest.approx(rate, abs=0.01)
    words = describe_clock(line.clock)
    assert ("simulated time?" in words) == (rate != 1.0)
    assert rate == 1.0 or f"its clock runs at {rate:.2f} of ours" in words
    line.run(monkeypatch, 5.0, every=5.0)
    assert line.clock.local(line.clock.remote(line.now)) == pytest.approx(line.now)


@pytest.mark.parametrize("queue", [0.1, 0.3])
def test_messages_that_come_later_and_later_are_not_taken_for_a_slow_clock(monkeypatch, queue):
    line = Line(queue=queue)
    looked, was = line.run(monkeypatch, 6.0)
    assert line.clock.rate == 1.0
    assert was > 0.5
    assert looked > 0.4 * was  # answers wait in the queue too: half of it cannot be seen
    assert "later and later" in describe_clock(line.clock)


def test_without_exchanges_a_slow_clock_is_said_and_not_believed(monkeypatch):
    line = Line(0.9, exchanges=False)
    looked, _ = line.run(monkeypatch, 8.0)
    assert line.clock.rate == 1.0
    assert looked > 0.2
    assert "0.90" in describe_clock(line.clock)
    assert "robot.stamps=arrival" in describe_clock(line.clock)


def test_arrival_times_are_taken_where_the_profile_says_so(monkeypatch):
    looked, _ = Line(0.5, exchanges=False, arrival=True).run(monkeypatch, 8.0)
    assert looked == 0.0


def test_a_rate_that_ends_is_forgotten(monkeypatch):
    line = Line(0.8)
    line.run(monkeypatch, 6.0)
    assert line.clock.rate != 1.0
    line.clock.exchange(line.now, 2000.0, line.now + 0.002)
    for k in range(200):
        line.clock.heard(2000.0 + 0.02 * k, line.now + 0.02 * k + 0.005)
    assert line.clock.rate == 1.0
