"""What people want, said badly: by two at once, too often, at too great length."""

import logging

import pytest

from lohovla.ros.session.operator_interface import OperatorInterface
from lohovla.ros.transport.in_process_ros import InProcessRos, LocalTransport
from lohovla.ros.transport.transport import Subscription


@pytest.fixture
def desk(monkeypatch):
    """An operator on a graph, time made by hand, and what it says of emergencies."""

    class Desk:
        now = 100.0

        def __init__(self):
            monkeypatch.setattr("lohovla.ros.session.operator_interface.time.monotonic", lambda: self.now)
            graph, self.emergencies = InProcessRos(), []
            self.operator = OperatorInterface("topic", 0.5, "")
            self.operator.attach(LocalTransport(graph))
            self.node = LocalTransport(graph)
            for name, kind in (("enable", "Bool"), ("goal", "String"), ("emergency_stop", "Bool")):
                self.node.advertise(f"/lohovla/{name}", f"std_msgs/{kind}")
            heard = lambda message: self.emergencies.append(message["data"])  # noqa: E731
            self.node.subscribe(Subscription("/lohovla/emergency", "std_msgs/Bool", heard))

        def say(self, name, data):
            self.node.publish(f"/lohovla/{name}", {"data": data})

        @property
        def enabled(self):
            return self.operator.enabled(self.now)

    return Desk()


def test_of_two_that_send_the_enable_the_one_counts_that_lets_go(desk, caplog):
    with caplog.at_level(logging.WARNING):
        for tick in range(200):
            desk.now += 0.01
            desk.say("enable", tick % 2 == 0)
            assert tick < 2 or not desk.enabled
    assert desk.operator.contradicted
    assert len([record for record in caplog.records if "by turns" in record.message]) == 1
    for _ in range(10):  # the other has gone
        desk.now += 0.1
        desk.say("enable", True)
    assert desk.enabled
    assert not desk.operator.contradicted


def test_one_who_lets_go_and_holds_again_is_no_contradiction(desk):
    desk.say("enable", True)
    desk.now += 0.1
    desk.say("enable", False)
    assert not desk.enabled
    for _ in range(7):
        desk.now += 0.1
        desk.say("enable", True)
    assert desk.enabled
    assert not desk.operator.contradicted


def test_a_long_goal_is_refused_for_its_length_and_said_once(desk, caplog):
    with caplog.at_level(logging.WARNING):
        for _ in range(50):
            desk.say("goal", "put the red block in the red bowl, " * 10)
    assert desk.operator.goal == ""
    assert [record.message for record in caplog.records] == [
        "a goal is refused: it is 349 characters long, at most 160 are understood"
    ]
    assert "empty" in desk.operator.set_goal("  ")
    assert desk.operator.set_goal("put the red block in the red bowl") == ""


def test_an_emergency_stop_that_is_repeated_is_told_once_at_first_and_then_now_and_then(desk, caplog):
    causes = []
    desk.operator.on_emergency = causes.append
    desk.emergencies.clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(100):
            desk.now += 0.02
            desk.say("emergency_stop", True)
    assert len([record for record in caplog.records if "emergency stop" in record.message]) == 1
    assert 1 < len(desk.emergencies) <= 5
    assert all(desk.emergencies)
    assert len(causes) == 100  # the loop is told each time: it costs nothing, and may have been released
