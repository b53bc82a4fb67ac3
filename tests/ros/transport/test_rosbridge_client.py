"""The client against the server: both generations, silence, restarts, two clients."""

import json
import logging
import math
import threading
import time

import cbor2
import numpy as np
import pytest
from websockets.sync.client import connect as open_socket

from lohovla.ros.transport.in_process_ros import InProcessRos, LocalTransport
from lohovla.ros.transport.message_types import BadMessage, blank_message, service_name, type_name
from lohovla.ros.transport.rosbridge_client import Rosbridge
from lohovla.ros.transport.rosbridge_server import RosbridgeServer
from lohovla.ros.transport.rosbridge_server_connection import ServedConnection
from lohovla.ros.transport.subscriptions import Subscriptions
from lohovla.ros.transport.time_sync import ClockOffset
from lohovla.ros.transport.transport import ServiceFailed, Subscription
from lohovla.ros.vision.image_messages import image

WAIT = 10.0
DIAGNOSIS = "diagnostic_msgs/DiagnosticStatus"


class Inbox:
    """Messages that came; waits for them."""

    def __init__(self):
        self.messages, self._changed = [], threading.Condition()

    def __call__(self, message):
        with self._changed:
            self.messages.append(message)
            self._changed.notify_all()

    def wait(self, count=1):
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.messages) >= count, WAIT), f"{len(self.messages)} came"
        return self.messages


def until(true):
    end = time.monotonic() + WAIT
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture(params=[1, 2])
def ros_version(request):
    return request.param


@pytest.fixture
def graph():
    return InProcessRos()


@pytest.fixture
def server(graph, ros_version):
    server = RosbridgeServer(graph, ros_version, port=0).start()
    yield server
    server.close()


@pytest.fixture
def client(server):
    client = Rosbridge(server.url)
    assert client.wait(WAIT)
    yield client
    client.close()


def test_finds_the_generation_out(client, ros_version):
    assert client.ros_version == ros_version


def test_pictures_are_sent_as_binary_frames_and_the_rest_as_text(client, graph, monkeypatch):
    """The server of ROS 1 takes a whole core to check the letters of a camera's pictures as text."""
    frames, take = [], ServedConnection.take

    def note(self, frame):
        frames.append(frame)
        take(self, frame)

    monkeypatch.setattr(ServedConnection, "take", note)
    picture, heard = image(np.full((160, 320, 3), 7, np.uint8), "rgb8", 5.0, "top"), Inbox()
    client.advertise("/picture", "sensor_msgs/Image")
    client.advertise("/words", "std_msgs/String")
    until(lambda: {"/picture", "/words"} <= set(graph.types))
    node = LocalTransport(graph)
    node.subscribe(Subscription("/picture", "sensor_msgs/Image", heard))
    node.subscribe(Subscription("/words", "std_msgs/String", heard))
    client.publish("/picture", picture)
    client.publish("/words", {"data": "on"})
    first, second = heard.wait(2)
    assert bytes(first["data"]) == bytes(picture["data"])
    assert second["data"] == "on"
    kinds = {json.loads(frame)["topic"]: type(frame) for frame in frames if json.loads(frame)["op"] == "publish"}
    assert kinds == {"/picture": bytes, "/words": str}


def test_asks_for_the_generation_until_it_is_known(graph, monkeypatch, caplog):
    """rosapi is a node of its own, that may start later than its server, or not at all."""
    monkeypatch.setattr("lohovla.ros.transport.rosbridge_client._ASK_FOR", 0.3)
    monkeypatch.setattr("lohovla.ros.transport.rosbridge_client._ASK_LATER", 0.02)
    server, inbox = RosbridgeServer(graph, 1, port=0).start(), Inbox()
    answer = graph.withdraw("/rosapi/get_time")
    with caplog.at_level(logging.WARNING):
        client = Rosbridge(server.url)
        client.subscribe(Subscription("/words", "std_msgs/String", inbox))
        assert client.wait(WAIT)
    assert "does not tell which ROS it is" in caplog.text
    assert "ROS 2 is assumed" in caplog.text
    assert client.ros_version == 2
    assert not graph.listened("/words")  # ROS 1 does not know std_msgs/msg/String
    graph.offer("/rosapi/get_time", *answer)
    until(lambda: graph.listened("/words"))
    assert client.ros_version == 1
    assert "is ROS 1, not 2" in caplog.text
    graph.publish("/words", {"data": "hello"})
    assert inbox.wait() == [{"data": "hello"}]
    client.close()
    server.close()


def test_a_generation_that_is_given_is_not_asked_for(graph, caplog):
    server = RosbridgeServer(graph, 1, port=0).start()
    graph.withdraw("/rosapi/get_time")
    client = Rosbridge(server.url, ros_version=1)
    assert client.wait(WAIT)
    assert client.ros_version == 1
    assert not caplog.text
    client.close()
    server.close()


def test_takes_its_services_and_topics_back_when_it_closes(graph, server):
    """Real servers go on to offer the services of a client that is gone, and a call to one hangs."""
    client, inbox = Rosbridge(server.url), Inbox()
    assert client.wait(WAIT)
    client.offer("/here", "std_srvs/Trigger", lambda request: {"success": True, "message": ""})
    client.advertise("/words", "std_msgs/String")
    client.subscribe(Subscription("/number", "std_msgs/Int64", inbox))
    until(lambda: graph.service_type("/here") and server.advertised == {"/words"} and graph.listened("/number"))
    client.close()
    until(lambda: not graph.service_type("/here") and not server.advertised and not graph.listened("/number"))


def test_what_a_client_that_is_gone_advertised_stays_without_an_answer(graph, server, ros_version, monkeypatch):
    monkeypatch.setattr("lohovla.ros.transport.rosbridge_server_connection._ANSWER_WITHIN", 0.05)
    with open_socket(server.url) as socket:
        kind = service_name("std_srvs/Trigger", ros_version)
        socket.send(json.dumps({"op": "advertise_service", "service": "/here", "type": kind}))
        socket.send(
            json.dumps({"op": "advertise", "topic": "/words", "type": type_name("std_msgs/String", ros_version)})
        )
        until(lambda: graph.service_type("/here") and server.advertised)
    until(lambda: not server.clients)
    assert (graph.service_type("/here"), server.advertised) == ("std_srvs/Trigger", {"/words"})
    with pytest.raises(ServiceFailed, match="not answered"):
        graph.call("/here", {})


JOINTS = {"name": ["elbow", "wrist"], "position": [0.5, -1.0], "velocity": [0.0, 0.1], "effort": [math.nan, math.nan]}
INFO = {"width": 64, "height": 48, "k": [50.0, 0.0, 32.0, 0.0, 50.0, 24.0, 0.0, 0.0, 1.0], "d": [0.1, 0.0]}


@pytest.mark.parametrize("compression", ["none", "png", "cbor"])
def test_everything_of_a_robot_arrives_whatever_servers_cannot_send(graph, server, compression):
    client = Rosbridge(server.url, compression=compression)
    assert client.wait(WAIT)
    for topic, kind, sent in (
        ("/joint_states", "sensor_msgs/JointState", JOINTS),
        ("/info", "sensor_msgs/CameraInfo", INFO),
        ("/diagnostics", "diagnostic_msgs/DiagnosticArray", {"status": [{**blank_message(DIAGNOSIS), "level": 1}]}),
    ):
        inbox = Inbox()
        client.subscribe(Subscription(topic, kind, inbox))
        until(lambda topic=topic: graph.listened(topic))
        graph.publish(topic, {**blank_message(kind), **sent})
        np.testing.assert_equal({key: inbox.wait()[0][key] for key in sent}, sent)
    client.close()


@pytest.mark.parametrize(
    ("kind", "sent", "lost_on"),
    [
        ("sensor_msgs/JointState", JOINTS, {1}),
        ("sensor_msgs/CameraInfo", INFO, {1, 2}),
        ("diagnostic_msgs/DiagnosticStatus", {"level": 1}, {2}),
        ("trajectory_msgs/JointTrajectory", {"joint_names": ["elbow"]}, {1}),
        ("sensor_msgs/Image", {"height": 1, "data": b"12"}, set()),
        ("std_msgs/Float64MultiArray", {"data": [1.0]}, set()),
    ],
)
def test_servers_lose_what_their_cbor_does_not_know(graph, server, ros_version, kind, sent, lost_on):
    with open_socket(server.url) as socket:
        wanted = {"op": "subscribe", "topic": "/it", "type": type_name(kind, ros_version), "compression": "cbor"}
        socket.send(json.dumps(wanted))
        until(lambda: graph.listened("/it"))
        graph.publish("/it", {**blank_message(kind), **sent})
        if ros_version in lost_on:
            with pytest.raises(TimeoutError):
                socket.recv(timeout=0.1)
        else:
            assert cbor2.loads(socket.recv(timeout=WAIT))["topic"] == "/it"


def test_what_is_not_a_number_is_null_in_json(graph, server, ros_version):
    with open_socket(server.url) as socket:
        kind = type_name("std_msgs/Float64MultiArray", ros_version)
        socket.send(json.dumps({"op": "subscribe", "topic": "/it", "type": kind}))
        until(lambda: graph.listened("/it"))
        graph.publish("/it", {**blank_message("std_msgs/Float64MultiArray"), "data": [1.0, math.nan, math.inf]})
        assert json.loads(socket.recv(timeout=WAIT))["msg"]["data"] == [1.0, None, None]


@pytest.mark.parametrize("compression", ["none", "png", "cbor"])
def test_hears(graph, server, compression):
    client, inbox, node = Rosbridge(server.url, compression=compression), Inbox(), LocalTransport(graph)
    node.advertise("/picture", "sensor_msgs/Image")
    assert client.wait(WAIT)
    client.subscribe(Subscription("/picture", "sensor_msgs/Image", inbox))
    until(lambda: graph.listened("/picture"))
    node.publish("/picture", {"header": {"stamp": {"sec": 3, "nanosec": 4}}, "height": 1, "data": bytes(range(256))})
    message = inbox.wait()[0]
    client.close()
    assert message["data"] == bytes(range(256))
    assert message["header"]["stamp"] == {"sec": 3, "nanosec": 4}


def test_speaks(graph, client):
    inbox, node = Inbox(), LocalTransport(graph)
    node.subscribe(Subscription("/target", "geometry_msgs/PoseStamped", inbox))
    client.advertise("/target", "geometry_msgs/PoseStamped")
    client.publish("/target", {"pose": {"position": {"x": 0.5, "y": 0.0, "z": 0.0}}})
    assert inbox.wait()[0]["pose"]["position"]["x"] == 0.5
    with pytest.raises(BadMessage):
        client.publish("/target", {"pose": {"position": {"x": float("nan"), "y": 0.0, "z": 0.0}}})


def test_services_both_ways(graph, client):
    node = LocalTransport(graph)
    node.offer("/there", "std_srvs/Trigger", lambda request: {"success": True, "message": "there"})
    assert client.call("/there", "std_srvs/Trigger", {}, WAIT) == {"success": True, "message": "there"}
    client.offer("/here", "std_srvs/SetBool", lambda request: {"success": request["data"], "message": "here"})
    until(lambda: graph.service_type("/here"))
    assert node.call("/here", "std_srvs/SetBool", {"data": True}, WAIT) == {"success": True, "message": "here"}
    with pytest.raises(ServiceFailed, match="does not exist"):
        client.call("/nobody", "std_srvs/Trigger", {}, WAIT)


def test_topics_of_another_type_and_topics_that_never_come_are_told(graph, client):
    LocalTransport(graph).advertise("/words", "std_msgs/String")
    feeds = Subscriptions(client, ClockOffset())
    feeds.subscribe("/words", "std_msgs/Bool")
    feeds.subscribe("/gripper/state", "std_msgs/Float64")
    feeds.subscribe("/heard", "std_msgs/Float64")
    until(lambda: graph.listened("/heard"))
    graph.publish("/heard", {"data": 1.0})
    until(lambda: feeds.subscribe("/heard", "std_msgs/Float64").count)
    told = feeds.silence_hint()
    assert told[0] == "/words is a std_msgs/String, the profile takes it for a std_msgs/Bool"
    assert told[1].startswith("nothing has come on /gripper/state (std_msgs/Float64)")
    assert len(told) == 2
    graph.withdraw("/rosapi/topic_type")
    assert "nothing has come on /gripper/state (std_msgs/Float64)" in feeds.silence_hint()


def test_a_callback_s_mistake_does_not_end_the_connection(graph, client):
    inbox, node = Inbox(), LocalTransport(graph)
    node.advertise("/words", "std_msgs/String")
    client.subscribe(Subscription("/words", "std_msgs/String", lambda message: inbox(message) or 1 / 0))
    until(lambda: graph.listened("/words"))
    for words in ("one", "two"):
        node.publish("/words", {"data": words})
    assert [message["data"] for message in inbox.wait(2)] == ["one", "two"]


def test_mistakes_are_answered_by_silence(graph, server, ros_version):
    inbox, node = Inbox(), LocalTransport(graph)
    node.subscribe(Subscription("/number", "std_msgs/Float64", inbox))
    kind = "std_msgs/Float64" if ros_version == 1 else "std_msgs/msg/Float64"
    wrong = "std_msgs/msg/Float64"  # which ROS 1 does not know
    with open_socket(server.url) as socket:
        if ros_version == 1:
            socket.send(json.dumps({"op": "advertise", "topic": "/number", "type": wrong}))
            socket.send(json.dumps({"op": "publish", "topic": "/number", "msg": {"data": 0.0}}))
        socket.send(json.dumps({"op": "advertise", "topic": "/number", "type": kind}))
        for message in ({"date": 1.0}, {"data": "1"}, {"data": None}, [], {"data": 1.0, "more": 2}):
            socket.send(json.dumps({"op": "publish", "topic": "/number", "msg": message}))
        for frame in ("{", "[]", '{"op":"dance"}', '{"op":"publish"}', b"\xff\xfe"):
            socket.send(frame)
        socket.send(json.dumps({"op": "publish", "topic": "/number", "msg": {"data": 7.0}}))
        assert inbox.wait() == [{"data": 7.0}]
        with pytest.raises(TimeoutError):
            socket.recv(timeout=0.05)


def test_comes_back_when_the_server_was_restarted(graph, ros_version):
    server = RosbridgeServer(graph, ros_version, port=0).start()
    client, inbox, back, node = Rosbridge(server.url), Inbox(), Inbox(), LocalTransport(graph)
    assert client.wait(WAIT)
    node.advertise("/there", "std_msgs/Int64")
    node.subscribe(Subscription("/back", "std_msgs/Int64", back))
    client.subscribe(Subscription("/there", "std_msgs/Int64", inbox))
    client.advertise("/back", "std_msgs/Int64")
    server.close()
    until(lambda: not client.connected)
    client.publish("/back", {"data": 1})  # into the void: a command for later is no command
    again = RosbridgeServer(graph, ros_version, port=server.port).start()
    until(lambda: client.connected and graph.listened("/there"))
    node.publish("/there", {"data": 5})
    client.publish("/back", {"data": 2})
    assert inbox.wait()[0] == {"data": 5}
    assert back.wait()[0] == {"data": 2}
    assert client.losses == 1
    client.close()
    again.close()


def test_two_clients_hear_the_same(graph, server, client):
    other, node, inboxes = Rosbridge(server.url), LocalTransport(graph), [Inbox(), Inbox()]
    assert other.wait(WAIT)
    node.advertise("/number", "std_msgs/Int64", latch=True)
    node.publish("/number", {"data": 3})
    for one, inbox in zip((client, other), inboxes, strict=True):
        one.subscribe(Subscription("/number", "std_msgs/Int64", inbox))
    assert [inbox.wait()[0] for inbox in inboxes] == [{"data": 3}] * 2
    other.close()
    node.publish("/number", {"data": 4})
    assert inboxes[0].wait(2)[1] == {"data": 4}
