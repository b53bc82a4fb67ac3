"""The robot's clock is asked for its time until the offset is certain, then seldom; silent topics are told of once."""

import logging
from types import SimpleNamespace

import pytest

from lohovla.ros.session import robot_clock_poll
from lohovla.ros.session.robot_clock_poll import RobotClockPoll
from lohovla.ros.transport.message_types import BadMessage
from lohovla.ros.transport.time_sync import ClockOffset
from lohovla.ros.transport.transport import ServiceFailed

AHEAD = 1000.0  # s that the robot's clock is ahead of this one
SELDOM, OFTEN = 5.0, 1.0  # s between questions


class PollTime:
    """Time that passes only while the poll waits or a robot takes its time to answer; it ends after some waits."""

    def __init__(self, rounds):
        self.now, self.rounds, self.waits = 10.0, rounds, []

    def monotonic(self):
        return self.now

    def event(self):
        return SimpleNamespace(is_set=lambda: len(self.waits) >= self.rounds, wait=self.wait, set=lambda: None)

    def wait(self, seconds):
        self.waits.append(seconds)
        self.now += seconds


class PolledRobot:
    """A robot that answers what its list says: how long each answer takes, or an error."""

    def __init__(self, time, answers, rate=1.0, advice=(), connected=True):
        self._time, self._answers, self._rate, self._advice = time, iter(answers), rate, advice
        self.clock, self.transport, self.feeds = ClockOffset(), self, self
        self.connected, self.asked, self.looked = connected, [], 0

    def call(self, service, kind, request, timeout):
        self.asked.append((service, kind))
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        self._time.now += answer
        remote = AHEAD + self._rate * self._time.now
        return {"time": {"sec": int(remote), "nanosec": int(remote % 1 * 1e9)}}

    def silence_hint(self):
        self.looked += 1
        return list(self._advice)


def poll(monkeypatch, answers, run_time=lambda: 0.0, **robot):
    time = PollTime(len(answers))
    monkeypatch.setattr(robot_clock_poll, "time", time)
    thread = SimpleNamespace(Event=time.event, Thread=lambda target, **_: SimpleNamespace(start=target))
    monkeypatch.setattr(robot_clock_poll, "threading", thread)
    polled = PolledRobot(time, answers, **robot)
    RobotClockPoll(polled, run_time)
    return polled, time.waits


def test_two_quick_answers_make_the_offset_certain(monkeypatch):
    robot, waits = poll(monkeypatch, [0.01, 0.01, 0.01])
    assert waits == [OFTEN, SELDOM, SELDOM]
    assert robot.asked == [("/rosapi/get_time", "rosapi/GetTime")] * 3
    assert robot.clock.offset == pytest.approx(-AHEAD, abs=0.01)


def test_after_slow_answers_it_asks_again_soon(monkeypatch):
    robot, waits = poll(monkeypatch, [0.5, 0.5, 0.5, 0.01])
    assert waits == [OFTEN, OFTEN, OFTEN, SELDOM]
    assert robot.clock.error < 0.1


@pytest.mark.parametrize("error", [ServiceFailed("no rosapi"), BadMessage("no time")])
def test_a_robot_that_does_not_answer_is_asked_again(monkeypatch, error):
    robot, waits = poll(monkeypatch, [error, error])
    assert waits == [OFTEN, OFTEN]
    assert not robot.clock.known


def test_another_rate_is_said_once(monkeypatch, caplog):
    def describe(clock):
        clock.rate = 0.5
        return "its clock runs at 0.50 of ours"

    monkeypatch.setattr(robot_clock_poll, "describe_clock", describe)
    with caplog.at_level(logging.WARNING, "lohovla.ros"):
        poll(monkeypatch, [0.01, 0.01, 0.01])
    assert caplog.messages == ["its clock runs at 0.50 of ours"]


@pytest.mark.parametrize(
    ("run_time", "connected", "advice", "said", "looked"),
    [
        (3.5, True, ["/tool is silent"], ["/tool is silent"], 1),
        (2.5, True, ["/tool is silent"], [], 0),
        (3.5, False, ["/tool is silent"], [], 0),
        (3.5, True, [], [], 3),
    ],
)
def test_silent_topics_are_told_of_once(monkeypatch, caplog, run_time, connected, advice, said, looked):
    with caplog.at_level(logging.WARNING, "lohovla.ros"):
        robot, _ = poll(monkeypatch, [0.01] * 3, lambda: run_time, connected=connected, advice=advice)
    assert caplog.messages == said
    assert robot.looked == looked


def test_closing_ends_the_thread(monkeypatch):
    made = []

    class KeptThread(robot_clock_poll.threading.Thread):
        def __init__(self, **options):
            super().__init__(**options)
            made.append(self)

    monkeypatch.setattr(robot_clock_poll.threading, "Thread", KeptThread)
    still = SimpleNamespace(monotonic=lambda: 0.0)
    poller = RobotClockPoll(PolledRobot(still, [ServiceFailed("nobody")] * 1000), lambda: 0.0)
    poller.close()
    made[0].join(30)
    assert not made[0].is_alive()
