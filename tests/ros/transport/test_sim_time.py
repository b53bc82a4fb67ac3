"""Time from /clock: slower and faster simulators, and those that begin again."""

import pytest

from lohovla.ros.transport.in_process_ros import InProcessRos, LocalTransport
from lohovla.ros.transport.message_types import header, stamp_of
from lohovla.ros.transport.sim_time import RosSimTime
from lohovla.ros.transport.subscriptions import Subscriber


class Simulator:
    """Publishes ``/clock`` a hundred times a second of ours, at a pace."""

    def __init__(self, pace, began=100.0):
        self.graph, self.pace, self.sim, self.now = InProcessRos(), pace, began, 1000.0
        self.node = LocalTransport(self.graph)
        self.node.advertise("/clock", "rosgraph_msgs/Clock")
        self.clock = RosSimTime(LocalTransport(self.graph), lambda: self.now)

    def run(self, seconds):
        for _ in range(round(seconds * 100)):
            self.now += 0.01
            self.sim += 0.01 * self.pace
            self.node.publish("/clock", {"clock": stamp_of(self.sim)})


@pytest.mark.parametrize("pace", [0.3, 1.0, 4.0])
def test_stamps_are_our_moments_at_any_pace(pace):
    simulator = Simulator(pace)
    assert not simulator.clock.known
    simulator.run(30.0)
    clock = simulator.clock
    assert clock.pace == pytest.approx(pace, rel=1e-6)
    assert clock.local(simulator.sim) == pytest.approx(simulator.now)
    assert clock.local(simulator.sim - 2.0 * pace) == pytest.approx(simulator.now - 2.0)
    assert clock.remote(simulator.now + 0.02) == pytest.approx(simulator.sim + 0.02 * pace)
    assert clock.remote(simulator.now - 1.005) == pytest.approx(simulator.sim - 1.005 * pace)


@pytest.mark.parametrize("pace", [0.3, 1.0, 4.0])
def test_the_age_of_a_message_is_in_our_seconds(pace, monkeypatch):
    simulator = Simulator(pace)
    feed = Subscriber("/joint_states", "sensor_msgs/JointState", simulator.clock)
    monkeypatch.setattr("lohovla.ros.transport.subscriptions.time.monotonic", lambda: simulator.now)
    for _ in range(40):
        simulator.run(1.0)
        feed({"header": header(simulator.sim - 0.05 * pace)})
        assert feed.age(simulator.now) == pytest.approx(0.05, abs=1e-3)


def test_before_the_clock_everything_is_too_old(caplog):
    simulator = Simulator(1.0)
    feed = Subscriber("/joint_states", "sensor_msgs/JointState", simulator.clock)
    feed({"header": header(100.0)})
    assert feed.age(simulator.now) > 1e6
    simulator.now += 4.0
    feed({"header": header(104.0)})
    assert "nothing has come on /clock" in caplog.text


def test_a_simulator_that_begins_again():
    simulator = Simulator(1.0)
    simulator.run(5.0)
    simulator.sim = 0.0
    simulator.run(2.0)
    assert simulator.clock.steps == 1
    assert simulator.clock.local(simulator.sim) == pytest.approx(simulator.now)
    assert simulator.clock.remote(simulator.now) == pytest.approx(2.0)


def test_what_rosbridge_says_of_its_own_clock_changes_nothing():
    simulator = Simulator(0.5)
    simulator.run(3.0)
    before = simulator.clock.remote(simulator.now)
    simulator.clock.exchange(simulator.now, 1.8e9, simulator.now)
    simulator.clock.heard(1.8e9, simulator.now)
    assert simulator.clock.remote(simulator.now) == before
