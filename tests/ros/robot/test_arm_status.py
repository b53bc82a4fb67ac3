"""What stops a UR is named, and the bridge rests meanwhile."""

import pytest

from lohovla.errors import SetupError
from lohovla.ros.robot.arm_status import ArmStatus
from lohovla.ros.session.stop_reasons import StopReason
from lohovla.ros.transport.in_process_ros import InProcessRos, LocalTransport

TOPICS = {name: f"/ur/{name}" for name in ("program", "safety", "mode", "scaling")}


@pytest.fixture
def told():
    """A status, and a way to tell it things."""
    node = LocalTransport(InProcessRos())
    node.advertise("/ur/program", "std_msgs/Bool", latch=True)
    node.publish("/ur/program", {"data": False})  # before anybody listened
    status = ArmStatus(node, TOPICS)

    def tell(name, **message):
        node.publish(f"/ur/{name}", message)
        return status.fault

    for name in ("safety", "mode", "scaling"):
        node._latch[f"/ur/{name}"] = False
    return status, tell


def test_each_cause_has_a_name(told):
    status, tell = told
    assert status.fault == "the pendant's program does not run"
    assert tell("safety", mode=3) == "protective stop"
    assert tell("safety", mode=7) == "emergency stop of the robot"
    assert tell("safety", mode=1) == "the pendant's program does not run"
    assert tell("program", data=True) == ""
    assert tell("scaling", data=0.0) == "the speed is scaled to 0"
    assert tell("scaling", data=40.0) == ""
    assert tell("mode", mode=-1) == "no controller"
    assert tell("mode", mode=5) == "brakes are not released"
    assert tell("mode", mode=7) == ""
    assert tell("safety", mode=99) == "safety mode 99"
    assert tell("safety", mode=2) == ""  # reduced


def test_a_driver_without_these_messages_is_no_fault(caplog):
    class Poor:
        def subscribe(self, subscription):
            if subscription.type.startswith("ur_dashboard_msgs"):
                raise SetupError("this ROS has no ur_dashboard_msgs", "install it")

    status = ArmStatus(Poor(), TOPICS)
    assert status.fault == ""
    assert "/ur/safety is not heard" in caplog.text


def test_the_bridge_rests_and_says_why(bench):
    run = bench(status=TOPICS).start()
    node = LocalTransport(run.graph)
    node.advertise("/ur/safety", "ur_dashboard_msgs/SafetyMode")
    run.moves()
    node.publish("/ur/safety", {"mode": 3})
    run.until(run.rests)
    assert run.session.verdict.reason is StopReason.ROBOT_STOPPED
    assert run.session.verdict.cause == "protective stop"
    node.publish("/ur/safety", {"mode": 1})
    run.moves()
    assert run.finish().counts["robot stopped"] == 1
