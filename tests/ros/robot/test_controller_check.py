"""A joint trajectory controller that begins every trajectory at the measured state is noticed."""

from types import SimpleNamespace

import pytest

from lohovla.control.event_log import EventLog
from lohovla.ros.robot.controller_check import PARAMETERS, ControllerCheck
from lohovla.ros.transport.in_process_ros import InProcessRos, LocalTransport
from lohovla.ros.transport.namespace import in_namespace
from lohovla.ros.transport.rosbridge_client import Rosbridge
from lohovla.ros.transport.rosbridge_server import RosbridgeServer

COMMAND = {"kind": "trajectory", "topic": "/scaled_joint_trajectory_controller/joint_trajectory"}
SERVICE = "/scaled_joint_trajectory_controller/get_parameters"
NEW, OLD = PARAMETERS


def controller(graph, parameters, service=SERVICE):
    """Answers as rclcpp does: nothing at all where one of the names is not known."""

    def answer(request):
        known = [name for name in request["names"] if name in parameters]
        values = [{"type": 1, "bool_value": parameters[name]} for name in known]
        return {"values": values if len(known) == len(request["names"]) else []}

    graph.offer(service, "rcl_interfaces/GetParameters", answer)


def watched(check):
    """What a session is told by the check, which has asked."""
    paused = []
    operator, clock = SimpleNamespace(pause=lambda: paused.append(True)), SimpleNamespace(now=lambda: 1.0)
    session = SimpleNamespace(operator=operator, clock=clock, log=EventLog())
    for _ in range(3):
        check(session)
        check.wait(30.0)
    assert len(paused) == session.log.counts["controller in doubt"]
    return [event.cause for event in session.log.events]


@pytest.mark.parametrize(
    ("parameters", "doubt"),
    [
        ({NEW: True}, ""),
        ({NEW: False}, NEW),
        ({NEW: False, OLD: True}, ""),
        ({NEW: False, OLD: False}, NEW),
        ({OLD: False}, OLD),
        ({OLD: True}, ""),
        ({}, ""),
    ],
)
def test_where_trajectories_begin_is_asked(parameters, doubt):
    graph = InProcessRos()
    controller(graph, parameters)
    told = watched(ControllerCheck(LocalTransport(graph), COMMAND))
    assert len(told) == bool(doubt)
    assert all(f"{doubt} is false" in words for words in told)


def test_over_rosbridge_in_a_namespace():
    graph = InProcessRos()
    controller(graph, {NEW: False}, f"/left{SERVICE}")
    server = RosbridgeServer(graph, port=0).start()
    transport = in_namespace(Rosbridge(server.url, 2), "/left")
    try:
        assert transport.wait(30.0)
        assert len(watched(ControllerCheck(transport, COMMAND))) == 1
    finally:
        transport.close()
        server.close()


@pytest.mark.parametrize(
    "command", [{**COMMAND, "kind": "joint_position"}, {**COMMAND, "topic": "/trajectories"}, COMMAND]
)
def test_who_does_not_answer_is_not_in_doubt(command):
    """Other kinds are not asked; on ROS 1 nothing is."""
    graph = InProcessRos()
    if command == COMMAND:
        controller(graph, {NEW: False})
    assert watched(ControllerCheck(LocalTransport(graph, 1), command)) == []
