"""The guard as a node: of two guards of one robot the later ends, and what people read names the robot."""

import json
import threading
import time
from dataclasses import asdict

import pytest

from lohovla.control.motion_limits import MotionLimits
from lohovla.envs.scene.arm import JOINTS as NAMES
from lohovla.errors import UserError
from lohovla.ros.guard.guard import STATE, GuardSettings
from lohovla.ros.guard.guard_node import GuardNode
from lohovla.ros.guard.guard_status import GuardStatus
from lohovla.ros.transport.in_process_ros import InProcessRos, LocalTransport
from lohovla.ros.transport.namespace import in_namespace
from lohovla.ros.transport.transport import Subscription

LIMITS = MotionLimits((0.2, -0.5, 0.0), (0.8, 0.5, 0.5), 0.3, 2.0, 40.0)
SETTINGS = GuardSettings(
    "pose", "/target", {"kind": "number", "topic": "/hand"}, "base", "/tool", "", tuple(NAMES), asdict(LIMITS)
)


def node_of(graph, namespace="", begun=0.0):
    """A guard that has run for ``begun`` seconds."""
    node = GuardNode(in_namespace(LocalTransport(graph), namespace), SETTINGS)
    node._begun -= begun
    return node


def say(*nodes, times=3):
    """Each says what it does."""
    for k in range(times):
        for node in nodes:
            node._said = -1.0
            node.tick(time.monotonic() + 0.02 * k)


@pytest.mark.parametrize("namespace", ["", "/left"])
def test_of_two_guards_the_later_ends(namespace):
    graph = InProcessRos()
    older, newer = node_of(graph, namespace, 5.0), node_of(graph, namespace)
    say(newer, older)
    assert (older.rival, newer.rival) == ("", older.name)
    with pytest.raises(UserError, match="guards this robot already") as refused:
        newer.run(threading.Event())
    assert f"{namespace}{STATE}" in refused.value.cause
    assert "namespace" in refused.value.remedy


def test_of_two_that_begin_together_one_ends():
    graph = InProcessRos()
    both = node_of(graph), node_of(graph)
    both[1]._begun = both[0]._begun
    say(*both)
    assert [bool(node.rival) for node in both].count(True) == 1


def test_guards_of_two_robots_let_each_other_be():
    graph = InProcessRos()
    both = node_of(graph, "/left", 5.0), node_of(graph, "/right")
    say(*both)
    assert [node.rival for node in both] == ["", ""]
    assert both[1].topics == ("/right/target", "/right/lohovla/guarded/command")


def test_a_guard_that_was_killed_is_no_rival_of_the_next():
    """Its last word may be kept for a while and be heard by the next, again and again."""
    graph = InProcessRos()
    heard, server = [], LocalTransport(graph)
    server.subscribe(Subscription(STATE, "std_msgs/String", heard.append))
    say(node_of(graph, begun=100.0), times=1)
    graph = InProcessRos()
    newer, server = node_of(graph), LocalTransport(graph)
    server.advertise(STATE, "std_msgs/String")
    for _ in range(3):
        server.publish(STATE, heard[0])
    assert newer.rival == ""
    server.publish(STATE, {"data": json.dumps({**json.loads(heard[0]["data"]), "for": 101.0})})
    assert newer.rival != ""


def test_what_the_bridge_says_of_the_guard_names_the_robot():
    assert GuardStatus(in_namespace(LocalTransport(InProcessRos()), "/left")).topic == "/left/lohovla/guard"
