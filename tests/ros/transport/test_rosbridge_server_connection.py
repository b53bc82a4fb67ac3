"""A client's connection to the rosbridge server, frame by frame: no sockets, no threads but those of services."""

import asyncio
import json
import math
import threading

import cbor2
import pytest

from lohovla.ros.transport import rosbridge_server_connection
from lohovla.ros.transport.in_process_ros import InProcessRos
from lohovla.ros.transport.rosbridge_server_connection import ServedConnection
from lohovla.ros.transport.transport import ServiceFailed


class Client(ServedConnection):
    """Keeps the frames that are sent to it."""

    def __init__(self, ros_version=2, graph=None):
        self.advertised = set()
        loop = asyncio.new_event_loop()
        super().__init__(graph or InProcessRos(), ros_version, self.advertised, None, loop)
        loop.close()
        self.frames, self.came = [], threading.Condition()

    def post(self, frame):
        with self.came:
            self.frames.append(frame)
            self.came.notify_all()

    def say(self, **operation):
        self.take(json.dumps(operation))

    def heard(self, count=1):
        """The operations that it was sent, once there are so many."""
        with self.came:
            assert self.came.wait_for(lambda: len(self.frames) >= count, 30)
            return [json.loads(frame) if isinstance(frame, str) else cbor2.loads(frame) for frame in self.frames]


@pytest.mark.parametrize(
    "frame", ["", "{", "[]", "null", '{"op": 5}', '{"op": "nothing"}', '{"op": "publish"}', b"\xff"]
)
def test_a_frame_that_is_none_is_ignored(frame):
    client = Client()
    client.take(frame)
    assert client.frames == []


def test_a_topic_that_was_advertised_is_published():
    client, heard = Client(), []
    client.say(op="publish", topic="/words", msg={"data": "too early"})
    client.say(op="advertise", topic="/words", type="std_msgs/msg/String")
    assert client.advertised == {"/words"}
    client.graph.listen("/words", heard.append)
    client.say(op="publish", topic="/words", msg={"data": "hello"})
    client.say(op="publish", topic="/words", msg={"data": 5})
    assert heard == [{"data": "hello"}]
    client.say(op="unadvertise", topic="/words")
    client.say(op="publish", topic="/words", msg={"data": "too late"})
    assert (len(heard), client.advertised) == (1, set())


def test_a_latched_message_reaches_those_that_come_later():
    client, heard = Client(), []
    client.say(op="advertise", topic="/words", type="std_msgs/String", latch=True)
    client.say(op="publish", topic="/words", msg={"data": "hello"})
    client.graph.listen("/words", heard.append)
    assert heard == [{"data": "hello"}]


@pytest.mark.parametrize(
    ("ros_version", "type", "known"),
    [
        (1, "std_msgs/String", True),
        (1, "std_msgs/msg/String", False),
        (2, "std_msgs/msg/String", True),
        (2, "std_msgs/String", True),
        (2, "my_msgs/msg/String", False),
    ],
)
def test_types_are_written_as_the_generation_does(ros_version, type, known):
    client = Client(ros_version)
    client.say(op="advertise", topic="/words", type=type)
    assert (client.advertised == {"/words"}) is known


@pytest.mark.parametrize(
    ("ros_version", "stamp", "taken"),
    [
        (1, {"secs": 1, "nsecs": 2}, True),
        (1, {"sec": 1, "nanosec": 2}, False),
        (2, {"sec": 1, "nanosec": 2}, True),
        (2, {"secs": 1, "nsecs": 2}, False),
    ],
)
def test_times_of_the_other_generation_are_dropped(ros_version, stamp, taken):
    client, heard = Client(ros_version), []
    client.say(op="advertise", topic="/pose", type="geometry_msgs/PoseStamped")
    client.graph.listen("/pose", heard.append)
    client.say(op="publish", topic="/pose", msg={"header": {"stamp": stamp}})
    assert bool(heard) is taken


def test_a_subscription_hears_until_it_is_given_up():
    client = Client()
    client.say(op="subscribe", topic="/words", type="std_msgs/msg/String")
    client.graph.publish("/words", {"data": "hello"})
    assert client.heard() == [{"op": "publish", "topic": "/words", "msg": {"data": "hello"}}]
    client.say(op="unsubscribe", topic="/words")
    client.graph.publish("/words", {"data": "again"})
    assert len(client.frames) == 1
    assert not client.graph.listened("/words")


def test_a_topic_of_another_type_is_not_heard():
    client = Client()
    client.graph.declare("/words", "std_msgs/String")
    client.say(op="subscribe", topic="/words", type="std_msgs/msg/Bool")
    assert not client.graph.listened("/words")
    client.say(op="subscribe", topic="/words")
    assert client.graph.listened("/words")


def test_a_throttled_subscription_leaves_messages_out(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(rosbridge_server_connection.time, "monotonic", lambda: now[0])
    client = Client()
    client.say(op="subscribe", topic="/words", type="std_msgs/String", throttle_rate=50)
    for moment in (100.0, 100.049, 100.051, 100.09, 100.102):
        now[0] = moment
        client.graph.publish("/words", {"data": f"{moment}"})
    assert [one["msg"]["data"] for one in client.heard()] == ["100.0", "100.051", "100.102"]


def test_numbers_that_are_not_finite_are_null_in_json():
    client = Client()
    client.say(op="subscribe", topic="/number", type="std_msgs/msg/Float64")
    client.graph.publish("/number", {"data": math.nan})
    assert client.heard()[0]["msg"] == {"data": None}


def test_cbor_is_binary_and_what_servers_cannot_write_is_dropped(caplog):
    client = Client(ros_version=1)
    client.say(op="subscribe", topic="/words", type="std_msgs/String", compression="cbor")
    client.graph.publish("/words", {"data": "hello"})
    assert isinstance(client.frames[0], bytes)
    assert client.heard()[0]["msg"] == {"data": "hello"}
    client.say(op="subscribe", topic="/joints", type="sensor_msgs/JointState", compression="cbor")
    for _ in range(2):
        client.graph.publish("/joints", {"name": ["elbow"], "position": [0.5]})
    assert len(client.frames) == 1
    assert [record.levelname for record in caplog.records] == ["ERROR"], "said once"


@pytest.mark.parametrize(("ros_version", "count"), [(1, 1), (2, 0)])
def test_png_is_of_ros_1(ros_version, count):
    client = Client(ros_version)
    client.say(op="subscribe", topic="/words", type="std_msgs/String", compression="png")
    client.graph.publish("/words", {"data": "hello"})
    assert [one["op"] for one in client.heard(count)] == ["png"] * count


def test_long_messages_come_in_fragments():
    client = Client()
    client.say(op="subscribe", topic="/words", type="std_msgs/String", fragment_size=40)
    client.graph.publish("/words", {"data": "x" * 100})
    parts = client.heard()
    assert {part["op"] for part in parts} == {"fragment"}
    assert [part["num"] for part in parts] == list(range(len(parts)))
    assert "x" * 100 in "".join(part["data"] for part in parts)


def test_a_service_is_called_and_its_failure_is_told():
    client = Client()
    client.graph.offer("/start", "std_srvs/Trigger", lambda request: {"success": True, "message": "begun"})
    client.say(op="call_service", service="/start", id="7")
    assert client.heard() == [
        {
            "op": "service_response",
            "service": "/start",
            "id": "7",
            "values": {"success": True, "message": "begun"},
            "result": True,
        }
    ]
    client.say(op="call_service", service="/nowhere")
    answer = client.heard(2)[1]
    assert (answer["result"], "id" in answer) == (False, False)
    assert "/nowhere" in answer["values"]


def ask_in_thread(client, service):
    """Call a service that the client offers; the list that fills with the answer, and the thread."""
    answers = []

    def ask():
        try:
            answers.append(client.graph.call(service, {}))
        except ServiceFailed as error:
            answers.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    return answers, thread


def test_a_service_that_the_client_offers_is_answered_by_it():
    client = Client()
    client.say(op="advertise_service", service="/mine", type="std_srvs/srv/Trigger")
    answers, thread = ask_in_thread(client, "/mine")
    call = client.heard()[0]
    assert (call["op"], call["service"], call["args"]) == ("call_service", "/mine", {})
    client.say(op="service_response", id=call["id"], values={"success": True, "message": ""}, result=True)
    thread.join(30)
    assert answers == [{"success": True, "message": ""}]
    client.say(op="unadvertise_service", service="/mine")
    assert client.graph.service_type("/mine") is None


def test_a_client_that_leaves_answers_and_hears_nothing_more(monkeypatch):
    monkeypatch.setattr(rosbridge_server_connection, "_ANSWER_WITHIN", 1000.0)
    client = Client()
    client.say(op="advertise_service", service="/mine", type="std_srvs/srv/Trigger")
    client.say(op="subscribe", topic="/words", type="std_msgs/String")
    answers, thread = ask_in_thread(client, "/mine")
    client.heard()
    client.leave()
    thread.join(30)
    assert not thread.is_alive()
    assert isinstance(answers[0], ServiceFailed)
    assert not client.graph.listened("/words")


@pytest.mark.parametrize(("ros_version", "type"), [(1, "std_srvs/srv/Trigger"), (2, "std_srvs/Trigger")])
def test_services_of_the_other_generation_are_not_offered(ros_version, type):
    client = Client(ros_version)
    client.say(op="advertise_service", service="/mine", type=type)
    assert client.graph.service_type("/mine") is None


ACTION = "control_msgs/GripperCommand"


@pytest.mark.parametrize(
    ("ros_version", "served", "status"), [(2, True, 4), (2, False, 6), (1, True, None)], ids=["done", "nobody", "ros 1"]
)
def test_a_goal_of_an_action(ros_version, served, status):
    client, goals = Client(ros_version), []
    if served:
        client.graph.serve("/gripper", ACTION, goals.append)
    client.say(
        op="send_action_goal",
        id="g",
        action="/gripper",
        action_type="control_msgs/action/GripperCommand",
        args={"command": {"position": 0.1, "max_effort": 5.0}},
    )
    results = client.heard(0)
    assert [one["status"] for one in results] == ([] if status is None else [status])
    assert len(goals) == (status == 4)


def test_frames_are_sent_in_order_by_the_servers_loop():
    sent = []

    class Socket:
        async def send(self, frame):
            sent.append(frame)
            if len(sent) == 2:
                raise asyncio.CancelledError

    async def serve():
        connection = ServedConnection(InProcessRos(), 2, set(), Socket(), asyncio.get_running_loop())
        threading.Thread(target=lambda: [connection.post(frame) for frame in ("a", "b")]).start()
        with pytest.raises(asyncio.CancelledError):
            await connection.send_all()
        return connection

    connection = asyncio.run(serve())
    assert sent == ["a", "b"]
    connection.post("c")  # the loop has ended: nothing happens
