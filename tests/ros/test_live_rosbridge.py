"""Real rosbridge servers, where `LOHOVLA_ROSBRIDGE_URL` names some (separated by commas; of either generation)."""

import json
import math
import os
import secrets
import subprocess
import sys
import threading
import time
from pathlib import Path

import cbor2
import numpy as np
import pytest
from websockets.sync.client import connect as open_socket

from lohovla.ros.transport.message_types import blank_message, type_name
from lohovla.ros.transport.rosbridge_client import Rosbridge
from lohovla.ros.transport.rosbridge_server_limits import lost_in_cbor
from lohovla.ros.transport.transport import ServiceFailed, Subscription

URLS = [url.strip() for url in os.environ.get("LOHOVLA_ROSBRIDGE_URL", "").split(",") if url.strip()]
pytestmark = pytest.mark.skipif(not URLS, reason="LOHOVLA_ROSBRIDGE_URL names no rosbridge server")
WAIT = 30.0
JOINTS = {"name": ["elbow", "wrist"], "position": [0.5, -1.0], "velocity": [0.0, 0.25], "effort": [1.0, 2.0]}
PICTURE = {"height": 2, "width": 3, "encoding": "rgb8", "step": 9, "data": bytes(range(18))}
SENT = {
    "sensor_msgs/JointState": JOINTS,
    "sensor_msgs/CameraInfo": {"width": 64, "height": 48, "k": [50.0, 0.0, 32.0, 0.0, 50.0, 24.0, 0.0, 0.0, 1.0]},
    "sensor_msgs/Image": PICTURE,
    "sensor_msgs/CompressedImage": {"format": "jpeg", "data": bytes(range(256))},
    "geometry_msgs/PoseStamped": {"header": {"stamp": {"sec": 3, "nanosec": 4}, "frame_id": "base"}},
    "std_msgs/Float64MultiArray": {"data": [1.0, -2.0]},
    "diagnostic_msgs/DiagnosticStatus": {"level": 1, "name": "arm"},
}


def until(true, limit=WAIT):
    end = time.monotonic() + limit
    while not (found := true()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


@pytest.fixture(scope="module", params=URLS or [None])
def url(request):
    return request.param


@pytest.fixture
def client(url):
    """Makes clients, and ends them."""
    made = []

    def make(**settings):
        made.append(Rosbridge(url, **settings))
        assert made[-1].wait(WAIT), made[-1].trouble
        return made[-1]

    yield make
    for one in made:
        one.close()


def name_of(what):
    """A name that no other test has: servers remember types for a while."""
    return f"/lohovla_test_{secrets.token_hex(3)}/{what}"


def test_the_generation_is_found_out(client):
    assert client()._known


@pytest.mark.parametrize("compression", ["cbor", "none", "png"])
def test_everything_of_a_robot_arrives(client, compression):
    here, there = client(compression=compression), client()
    came = {}
    for kind, sent in SENT.items():
        topic = name_of(kind.partition("/")[2])
        there.advertise(topic, kind)
        here.subscribe(Subscription(topic, kind, lambda message, kind=kind: came.update({kind: message})))

        def arrives(topic=topic, sent=sent, kind=kind):
            there.publish(topic, sent)
            time.sleep(0.05)
            return came.get(kind)

        message = until(arrives)
        np.testing.assert_equal({key: message[key] for key in sent}, sent)


def test_a_picture_in_a_binary_frame_arrives_between_texts(client):
    """Whatever is large is sent as binary: the server takes it for the same JSON, and goes on with text."""
    here, there, came, topics = client(), client(), {}, [name_of("picture"), name_of("words")]
    data = np.random.default_rng(0).integers(0, 255, 160 * 320 * 3, np.uint8).tobytes()
    large = {"height": 160, "width": 320, "encoding": "rgb8", "step": 960, "data": data}
    for topic, kind in zip(topics, ("sensor_msgs/Image", "std_msgs/String"), strict=True):
        there.advertise(topic, kind)
        here.subscribe(Subscription(topic, kind, lambda message, topic=topic: came.update({topic: message})))

    def arrives():
        there.publish(topics[0], large)
        there.publish(topics[1], {"data": "on"})
        time.sleep(0.05)
        return len(came) == 2

    until(arrives)
    assert bytes(came[topics[0]]["data"]) == data
    assert came[topics[1]]["data"] == "on"


def test_numbers_that_nobody_measures_do_not_keep_joints_away(client, url):
    here, came, topic = client(), [], name_of("joint_states")
    here.subscribe(Subscription(topic, "sensor_msgs/JointState", came.append))
    with open_socket(url) as socket:
        kind = type_name("sensor_msgs/JointState", here.ros_version)
        socket.send(json.dumps({"op": "advertise", "topic": topic, "type": kind}))
        message = {**JOINTS, "effort": [math.nan, math.nan]}

        def arrives():
            socket.send(json.dumps({"op": "publish", "topic": topic, "msg": message}))
            time.sleep(0.05)
            return came

        until(arrives)
    assert came[0]["position"] == JOINTS["position"]
    assert np.isnan(came[0]["effort"]).all()


def test_services_both_ways_and_none_after_the_client_has_closed(client):
    here, there, service = client(), client(), name_of("service")
    there.offer(service, "std_srvs/SetBool", lambda request: {"success": request["data"], "message": "heard"})

    def answers():
        try:
            return here.call(service, "std_srvs/SetBool", {"data": True}, 5.0)
        except ServiceFailed:
            return None

    assert until(answers) == {"success": True, "message": "heard"}
    there.close()

    def gone():
        try:
            here.call(service, "std_srvs/SetBool", {"data": True}, 10.0)
        except ServiceFailed as error:
            return str(error)
        return ""

    assert "did not answer" not in until(gone)


@pytest.mark.parametrize("kind", sorted(SENT))
def test_our_own_server_loses_what_real_ones_lose(client, url, kind):
    there, topic = client(), name_of("it")
    lost = lost_in_cbor(kind, {**blank_message(kind), **SENT[kind]}, there.ros_version)
    there.advertise(topic, kind)
    with open_socket(url, max_size=None) as socket:
        wanted = {"op": "subscribe", "topic": topic, "type": type_name(kind, there.ros_version)}
        socket.send(json.dumps(wanted))
        frames = []

        def hear():
            try:
                while True:
                    frames.append(socket.recv(timeout=WAIT))
            except Exception:  # the end
                return

        thread = threading.Thread(target=hear, daemon=True)
        thread.start()

        def told(kind):
            there.publish(topic, SENT["sensor_msgs/JointState"] if kind is None else SENT[kind])
            time.sleep(0.05)
            return [frame for frame in frames if isinstance(frame, bytes)] or len(frames) > 2

        until(lambda: told(kind))  # as JSON it arrives
        socket.send(json.dumps({"op": "unsubscribe", "topic": topic}))
        socket.send(json.dumps({**wanted, "compression": "cbor"}))
        time.sleep(0.5)
        frames.clear()
        for _ in range(20):
            there.publish(topic, SENT[kind])
            time.sleep(0.05)
        binary = [cbor2.loads(frame) for frame in frames if isinstance(frame, bytes)]
    if lost and binary and there.ros_version == 2:
        pytest.skip("a server with the correction of 2026-02-26")
    assert bool(binary) == (not lost)


def test_a_policy_drives_the_simulated_robot_through_it_with_the_defaults(client, url, tmp_path):
    """Pictures as CBOR and states as JSON to the policy, its commands back; the enable, the state, the end."""
    client().close()
    words = [sys.executable, "-m", "lohovla.cli"]
    with subprocess.Popen(
        [*words, "ros-sim", "transport=rosbridge", f"url={url}", "camera_hz=5"], stdout=subprocess.DEVNULL, cwd=tmp_path
    ) as simulator:
        try:
            run = subprocess.run(
                [
                    *words,
                    "ros",
                    "robot=sim",
                    f"url={url}",
                    "policy=chunked-oracle",
                    "enable=always",
                    "seconds=6",
                    "robot.max_age.state=2",
                    "robot.max_age.camera=2",
                    "robot.max_age.observation=1",
                    "loop.safety.clock_jump_threshold=2",
                    "page.serve=false",
                    "record=false",
                    "output=run",
                ],
                cwd=tmp_path,
                timeout=300,
                capture_output=True,
                text=True,
            )
        finally:
            simulator.terminate()
    assert run.returncode == 0, run.stderr
    episode = json.loads(Path(tmp_path / "run" / "result.json").read_text())["episodes"][0]
    assert episode["ending"] in ("time", "judged"), episode
    assert episode["commands"] > 100
    assert episode["loop"]["chunks"]["count"] > 0
