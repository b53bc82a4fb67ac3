"""Two robots on one ROS: their topics, services, guards and pages keep apart."""

import json
import time

import pytest

from lohovla.errors import UserError
from lohovla.ros.transport.in_process_ros import InProcessRos, LocalTransport
from lohovla.ros.transport.namespace import Namespaced, check_namespace, in_namespace, log_format
from lohovla.ros.transport.transport import Subscription


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        ("/lohovla/enable", "/left/lohovla/enable"),
        ("joint_states", "/left/joint_states"),
        ("/joint_states", "/left/joint_states"),
        ("/left/arm", "/left/arm"),
        ("/leftover", "/left/leftover"),
        ("/tf", "/tf"),
        ("/tf_static", "/tf_static"),
        ("/clock", "/clock"),
        ("/diagnostics", "/diagnostics"),
        ("/rosapi/get_time", "/rosapi/get_time"),
        ("/camera/color/image_raw", "/camera/color/image_raw"),
        ("/cameras", "/left/cameras"),
    ],
)
def test_names(name, whole):
    assert Namespaced(LocalTransport(InProcessRos()), "/left", ["camera"]).resolve(name) == whole


@pytest.mark.parametrize(("given", "name"), [("", ""), ("/", ""), ("left", "/left"), ("/cell/left/", "/cell/left")])
def test_namespaces(given, name):
    assert check_namespace(given) == name


@pytest.mark.parametrize("given", ["le ft", "1st", "a//b", "/left;"])
def test_what_is_no_namespace_is_refused(given):
    with pytest.raises(UserError):
        in_namespace(None, given)


def test_everything_that_is_said_and_asked_lies_within():
    graph = InProcessRos()
    own, other = Namespaced(LocalTransport(graph), "/left"), LocalTransport(graph)
    heard = []
    own.advertise("/lohovla/state", "std_msgs/String")
    other.subscribe(Subscription("/left/lohovla/state", "std_msgs/String", heard.append))
    own.publish("/lohovla/state", {"data": "here"})
    assert [message["data"] for message in heard] == ["here"]
    own.subscribe(Subscription("/lohovla/goal", "std_msgs/String", heard.append))
    other.advertise("/left/lohovla/goal", "std_msgs/String")
    other.publish("/left/lohovla/goal", {"data": "stack"})
    assert heard[-1]["data"] == "stack"
    own.offer("/lohovla/start", "std_srvs/Trigger", lambda request: {"success": True, "message": "started"})
    assert other.call("/left/lohovla/start", "std_srvs/Trigger", {}, 1.0)["message"] == "started"
    assert own.call("/lohovla/start", "std_srvs/Trigger", {}, 1.0)["success"]
    assert own.wanted("/lohovla/state")
    own.serve("/gripper", "control_msgs/GripperCommand", heard.append)
    own.act("/gripper", "control_msgs/GripperCommand", {"command": {"position": 1.0, "max_effort": 0.0}})
    assert heard[-1]["command"]["position"] == 1.0
    assert set(graph.types) == {"/left/lohovla/state", "/left/lohovla/goal"}


def test_diagnostics_name_the_robot():
    graph, heard = InProcessRos(), []
    own = Namespaced(LocalTransport(graph), "/left")
    own.advertise("/diagnostics", "diagnostic_msgs/DiagnosticArray")
    own.subscribe(Subscription("/diagnostics", "diagnostic_msgs/DiagnosticArray", heard.append))
    own.publish("/diagnostics", {"status": [{"name": "lohovla: robot"}]})
    assert heard[0]["status"][0]["name"] == "left/lohovla: robot"


def test_two_robots_on_one_graph_do_not_hear_each_other(bench):
    """Two arms, two bridges and two guards on one graph: one moves, the other never."""
    graph = InProcessRos()
    left, right = (bench(graph=graph, guard=True, namespace=name) for name in ("/left", "/right"))
    right.let_go()
    left.start()
    right.start()
    left.moves()
    right.until(lambda: "enable" in right.session.verdict.description)
    assert not right.arm.commands
    assert right.session.peers.other_controller(right.session.clock.now()) == ""
    left.operator.emergency_stop("the left one")
    left.until(lambda: left.guard.waits_for(time.monotonic()))
    assert not right.operator.emergency
    assert all(name.startswith(("/left/", "/right/")) or name == "/diagnostics" for name in graph.types)


def test_what_people_read_names_the_robot(bench):
    run = bench(goal="", guard=True, namespace="/left")
    run.operator.started = False
    run.start()
    run.until(lambda: "/left/lohovla/goal" in run.session.snapshot()["waits_for"])
    run.operator.set_goal("wander about")
    run.until(lambda: "/left/lohovla/start" in run.session.snapshot()["waits_for"])
    run.guard.close()
    run.until(lambda: "/left/lohovla/guard" in run.session.snapshot()["waits_for"])
    assert run.session.snapshot()["namespace"] == "/left"
    run.arm.close()
    run.until(lambda: "/left/sim/" in run.robot.state_fault(run.session.clock.now()))
    assert "nothing has come on /left/sim/gripper_state (std_msgs/Float64)" in run.robot.feeds.silence_hint()
    assert "lohovla.ros /left: " in log_format("left") % {"asctime": "", "name": "lohovla.ros", "message": ""}


def test_the_packed_guard_keeps_its_namespace(tmp_path):
    import zipfile

    from omegaconf import OmegaConf

    from lohovla.commands.ros_guard import run
    from lohovla.settings.hydra_config import compose

    file = tmp_path / "guard.pyz"
    assert run(compose("ros-guard", ["robot=ur5e", f"write={file}", "namespace=left", "shared=[/camera]"])) == 0
    with zipfile.ZipFile(file) as archive:
        main = archive.read("__main__.py").decode()
        assert "lohovla/ros/transport/namespace.py" in archive.namelist()
    assert "'/left', ['/camera']" in main
    json.dumps(OmegaConf.to_container(compose("ros", ["namespace=/left"])))
