"""The client against the server: both generations, silence, restarts, two clients."""

import json
import threading
import time

import pytest
from websockets.sync.client import connect as open_socket

from lohovla.ros.clocks import ClockOffset
from lohovla.ros.feeds import Feeds
from lohovla.ros.graph import Graph, LocalTransport
from lohovla.ros.messages import BadMessage
from lohovla.ros.rosbridge import Rosbridge
from lohovla.ros.server import RosbridgeServer
from lohovla.ros.transport import ServiceFailed, Subscription

WAIT = 10.0


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
def generation(request):
    return request.param


@pytest.fixture
def graph():
    return Graph()


@pytest.fixture
def server(graph, generation):
    server = RosbridgeServer(graph, generation, port=0).start()
    yield server
    server.close()


@pytest.fixture
def client(server):
    client = Rosbridge(server.url)
    assert client.wait(WAIT)
    yield client
    client.close()


def test_finds_the_generation_out(client, generation):
    assert client.generation == generation


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


def test_a_topic_of_another_type_is_told(graph, client):
    LocalTransport(graph).advertise("/words", "std_msgs/String")
    feeds = Feeds(client, ClockOffset())
    feeds.hear("/words", "std_msgs/Bool")
    feeds.hear("/switch", "std_msgs/Bool")
    assert feeds.advice() == ["/words is a std_msgs/String, the profile takes it for a std_msgs/Bool"]


def test_a_callback_s_mistake_does_not_end_the_connection(graph, client):
    inbox, node = Inbox(), LocalTransport(graph)
    node.advertise("/words", "std_msgs/String")
    client.subscribe(Subscription("/words", "std_msgs/String", lambda message: inbox(message) or 1 / 0))
    until(lambda: graph.listened("/words"))
    for words in ("one", "two"):
        node.publish("/words", {"data": words})
    assert [message["data"] for message in inbox.wait(2)] == ["one", "two"]


def test_mistakes_are_answered_by_silence(graph, server, generation):
    inbox, node = Inbox(), LocalTransport(graph)
    node.subscribe(Subscription("/number", "std_msgs/Float64", inbox))
    kind = "std_msgs/Float64" if generation == 1 else "std_msgs/msg/Float64"
    wrong = "std_msgs/msg/Float64"  # which ROS 1 does not know
    with open_socket(server.url) as socket:
        if generation == 1:
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


def test_comes_back_when_the_server_was_restarted(graph, generation):
    server = RosbridgeServer(graph, generation, port=0).start()
    client, inbox, back, node = Rosbridge(server.url), Inbox(), Inbox(), LocalTransport(graph)
    assert client.wait(WAIT)
    node.advertise("/there", "std_msgs/Int64")
    node.subscribe(Subscription("/back", "std_msgs/Int64", back))
    client.subscribe(Subscription("/there", "std_msgs/Int64", inbox))
    client.advertise("/back", "std_msgs/Int64")
    server.close()
    until(lambda: not client.connected)
    client.publish("/back", {"data": 1})  # into the void: a command for later is no command
    again = RosbridgeServer(graph, generation, port=server.port).start()
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
