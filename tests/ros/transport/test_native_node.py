"""Native nodes without a ROS: that of ROS 2 against a stand-in for rclpy, and what neither needs."""

import subprocess
import sys
import threading
import types
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from lohovla.errors import SetupError
from lohovla.ros.guard.guard_node import GuardNode
from lohovla.ros.session.operator_interface import OperatorInterface
from lohovla.ros.transport.in_process_ros import InProcessRos
from lohovla.ros.transport.transport import ServiceFailed, Subscription


@dataclass
class Quality:
    depth: int
    durability: str
    reliability: str


class Text:
    """std_msgs/String, as rclpy has it."""

    def __init__(self):
        self.data = ""

    @classmethod
    def get_fields_and_field_types(cls):
        return {"data": "string"}


class Truth(Text):
    """std_msgs/Bool."""

    def __init__(self):
        self.data = False

    @classmethod
    def get_fields_and_field_types(cls):
        return {"data": "boolean"}


class Stamp:
    def __init__(self, sec=0, nanosec=0):
        self.sec, self.nanosec = sec, nanosec


class Trigger:
    Request = SimpleNamespace

    @staticmethod
    def Response():
        return SimpleNamespace(success=False, message="")


class GetTime:
    Request = SimpleNamespace


@dataclass
class Node:
    """What the stand-in was asked for."""

    publishers: dict[str, Any] = field(default_factory=dict)
    subscriptions: dict[str, Any] = field(default_factory=dict)
    services: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)

    def create_publisher(self, kind, topic, quality):
        self.publishers[topic] = quality
        return SimpleNamespace(publish=lambda message: None)

    def create_subscription(self, kind, topic, callback, quality):
        self.subscriptions[topic] = callback, quality

    def create_service(self, kind, service, callback):
        self.services[service] = callback

    def create_client(self, kind, service):
        def call_async(request):
            future = SimpleNamespace(result=lambda: self.answers[service])
            future.add_done_callback = lambda done: done(future)
            return future

        return SimpleNamespace(wait_for_service=lambda timeout: service in self.answers, call_async=call_async)

    def destroy_client(self, client):
        pass

    def get_topic_names_and_types(self):
        return [("/words", ["std_msgs/msg/String"])]


@pytest.fixture
def node(monkeypatch):
    """A node of ROS 2, and the stand-in below it."""
    made = Node()
    executors = types.ModuleType("rclpy.executors")
    executors.ExternalShutdownException = type("ExternalShutdownException", (Exception,), {})
    ended = threading.Event()
    executors.SingleThreadedExecutor = lambda: SimpleNamespace(add_node=lambda node: None, spin=ended.wait)
    qos = types.ModuleType("rclpy.qos")
    qos.QoSProfile = Quality
    qos.QoSDurabilityPolicy = SimpleNamespace(TRANSIENT_LOCAL="kept", VOLATILE="volatile")
    qos.QoSReliabilityPolicy = SimpleNamespace(RELIABLE="reliable", BEST_EFFORT="best effort")
    rclpy = types.ModuleType("rclpy")
    rclpy.ok, rclpy.create_node, rclpy.executors = (lambda: True), (lambda name: made), executors
    messages = {
        "std_msgs.msg": {"String": Text, "Bool": Truth},
        "std_srvs.srv": {"Trigger": Trigger, "SetBool": Trigger},
        "rosapi_msgs.srv": {"GetTime": GetTime},
    }
    for name, module in {"rclpy": rclpy, "rclpy.executors": executors, "rclpy.qos": qos}.items():
        monkeypatch.setitem(sys.modules, name, module)
    for name, classes in messages.items():
        module = types.ModuleType(name)
        vars(module).update(classes)
        monkeypatch.setitem(sys.modules, name, module)
    from lohovla.ros.transport.rclpy_node import Rclpy

    yield Rclpy(), made
    ended.set()


def test_stops_must_arrive_and_pictures_need_not(node):
    transport, made = node
    transport.subscribe(Subscription("/picture", "std_msgs/String", print))
    assert made.subscriptions["/picture"][1] == Quality(1, "volatile", "best effort")
    OperatorInterface("topic", 0.5, "").attach(transport)
    assert {"/lohovla/emergency_stop", "/lohovla/stop", "/lohovla/enable"} <= set(made.subscriptions)
    for topic, (_, quality) in made.subscriptions.items():
        if topic.startswith("/lohovla/"):
            assert (quality.reliability, quality.depth > 1) == ("reliable", True)
    assert made.publishers["/lohovla/emergency"] == Quality(1, "kept", "reliable")


def test_the_guard_s_stops_must_arrive_too(monkeypatch):
    heard, kept = {}, []

    class Ear:
        def advertise(self, topic, type, latch=False):
            pass

        def subscribe(self, subscription):
            heard[subscription.topic] = subscription.reliable
            kept.extend([subscription.topic] if subscription.latched else [])

    settings = {"kind": "pose", "topic": "/t", "gripper": {"kind": "number", "topic": "/g"}, "hz": 50.0}
    node = object.__new__(GuardNode)
    node._transport, node._settings = Ear(), SimpleNamespace(**settings, tool="/tool", joints="")
    node.guard, node._lock = SimpleNamespace(hear_tool=None), threading.RLock()
    node._listen()
    sure = {topic for topic, reliable in heard.items() if reliable}
    assert sure == {f"/lohovla/{name}" for name in ("enable", "emergency_stop", "release", "emergency")}
    assert kept == ["/lohovla/emergency"]


def test_the_last_message_of_a_publisher_that_keeps_it_is_asked_for(node):
    """And one that keeps nothing is heard too: a subscriber that asks does not match it."""
    transport, made = node
    asked = []
    made.create_subscription = lambda kind, topic, callback, quality: asked.append(quality)
    transport.subscribe(Subscription("/lohovla/emergency", "std_msgs/Bool", print, reliable=True, latched=True))
    assert asked == [Quality(10, "volatile", "reliable"), Quality(10, "kept", "reliable")]


def test_calls_give_plain_values(node):
    transport, made = node
    made.answers["/there"] = SimpleNamespace(success=True, message="there")
    assert transport.call("/there", "std_srvs/Trigger", {}, 1.0) == {"success": True, "message": "there"}
    made.answers["/rosapi/get_time"] = SimpleNamespace(time=Stamp(5, 7))
    answer = transport.call("/rosapi/get_time", "rosapi/GetTime", {}, 1.0)
    assert answer == {"time": {"sec": 5, "nanosec": 7}}
    ask = {"topic": "/words"}
    assert transport.call("/rosapi/topic_type", "rosapi/TopicType", ask, 1.0) == {"type": "std_msgs/String"}
    with pytest.raises(ServiceFailed, match="does not exist"):
        transport.call("/nobody", "std_srvs/Trigger", {}, 0.1)
    with pytest.raises(SetupError, match="rosapi_msgs/srv/TopicType"):
        transport.offer("/mine", "rosapi/TopicType", dict)


def test_a_mistake_in_a_callback_or_a_handler_does_not_end_the_node(node, caplog):
    transport, made = node
    transport.subscribe(Subscription("/words", "std_msgs/String", lambda message: 1 / 0))
    message = Text()
    message.data = "hello"
    made.subscriptions["/words"][0](message)
    assert "/words was not dealt with" in caplog.text
    transport.offer("/mine", "std_srvs/Trigger", lambda request: 1 / 0)
    response = made.services["/mine"](SimpleNamespace(), Trigger.Response())
    assert response.success is False
    assert "/mine was not answered" in caplog.text


_WITHOUT = """
import sys
for name in ("cbor2", "websockets", "rclpy", "rospy"):
    sys.modules[name] = None
from pathlib import Path
from lohovla.ros.transport.installed_ros import native
native._DEBIAN = Path("nowhere")
from lohovla.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (("ros-guard", "robot=sim", "transport=native"), "there is no rclpy or rospy"),
        (("ros-sim", "transport=native"), "there is no rclpy or rospy"),
        (("ros", "robot=sim", "policy=random", "control=ee", "transport=native"), "there is no rclpy or rospy"),
        (("ros", "robot=sim", "policy=chunked-oracle", "transport=rosbridge"), "needs cbor2"),
    ],
)
def test_native_needs_nothing_of_rosbridge(words, cause, tmp_path):
    command = [sys.executable, "-c", _WITHOUT, *words]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert answer.returncode == 2
    assert cause in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_graph_gives_plain_values_too():
    from lohovla.ros.transport.in_process_ros import LocalTransport

    transport = LocalTransport(InProcessRos())
    transport.offer("/time", "rosapi/GetTime", lambda request: {"time": {"secs": 3, "nsecs": 4}})
    assert transport.call("/time", "rosapi/GetTime", {}, 1.0) == {"time": {"sec": 3, "nanosec": 4}}
