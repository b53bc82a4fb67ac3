"""A simulated robot's sensors publish at their own rates, and pictures only where somebody listens."""

from lohovla.ros.sim.simulated_sensors import SimulatedSensors


class Listening:
    """A transport that keeps what is published, with listeners of some topics."""

    def __init__(self, wanted):
        self._wanted, self.topics = wanted, []

    def wanted(self, topic):
        return topic in self._wanted

    def advertise(self, topic, kind, latch=False):
        self.topics.append(topic)

    def publish(self, topic, message, newest=False):
        self.topics.append(topic)


def test_something_is_due_once_in_a_period(blind, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("lohovla.ros.sim.simulated_sensors.time.monotonic", lambda: now[0])
    sensors = SimulatedSensors(blind(control="ee").unwrapped, Listening(()), 15.0)
    found = []
    for _ in range(20):
        found.append(sensors.is_due("state", 5.0))
        now[0] += 0.05
    assert sum(found) == 5
    assert found[0]


def test_the_arm_is_published_and_pictures_only_where_they_are_wanted(blind):
    env = blind(control="ee").unwrapped
    env.reset(seed=10001)
    transport = Listening(())
    sensors = SimulatedSensors(env, transport, 15.0)
    sensors.advertise()
    assert transport.topics[:3] == ["/joint_states", "/sim/tool_pose", "/sim/gripper_state"]
    transport.topics.clear()
    sensors.publish_state(5.0)
    for name in env.sensors.cameras:
        sensors.publish_camera(name, 5.0)
    assert transport.topics == ["/joint_states", "/sim/tool_pose", "/sim/gripper_state"]
