"""Real ROS 1, where Debian's is installed (`make ros`): a roscore, and the bridge, guard and simulator as its nodes."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from lohovla.control.settings import LoopSettings
from lohovla.errors import SetupError, UserError
from lohovla.ros.guard.guard import COMMAND, STATE
from lohovla.ros.guard.guard_main import write_app
from lohovla.ros.guard.guard_profile import guard_settings
from lohovla.ros.robot.pose_conversion import pose_message, pose_of
from lohovla.ros.robot.robot_profile import Profile
from lohovla.ros.transport.installed_ros import native
from lohovla.ros.transport.message_types import TYPES, header
from lohovla.ros.transport.transport import ServiceFailed, Subscription
from lohovla.settings.hydra_config import compose

ROBOT_PYTHON = "/usr/bin/python3"  # the system's own, for which rospy is packaged
LACKING = ("control_msgs/", "ur_dashboard_msgs/", "rcl_interfaces/")  # which Debian does not have

pytestmark = pytest.mark.ros1


@pytest.fixture(scope="module", autouse=True)
def ros1():
    """Skips where there is no ROS 1, or where this process has loaded ROS 2's messages, which have the same names."""
    if shutil.which("roscore") is None:
        pytest.skip("no ROS 1 here: `make ros` installs Debian's")
    try:
        native(1).close()
    except SetupError as error:
        pytest.skip(f"{error.cause}: {error.remedy}")
    except UserError:  # no master yet, which is what the fixture starts
        pass


def until(true, limit=60.0):
    end = time.monotonic() + limit
    while not (found := true()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


@pytest.fixture(scope="module")
def master(tmp_path_factory):
    """A roscore of our own, and what its nodes find in their environment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    known = {"ROS_MASTER_URI": f"http://127.0.0.1:{port}", "ROS_IP": "127.0.0.1"}
    known["ROS_LOG_DIR"] = str(tmp_path_factory.mktemp("ros"))
    before = {key: os.environ.get(key) for key in known}
    os.environ.update(known)
    core = subprocess.Popen(
        ["roscore", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )

    def listens():
        assert core.poll() is None
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return True
        return False

    until(listens)
    yield port
    os.killpg(core.pid, signal.SIGINT)
    core.wait(20)
    for key, value in before.items():
        os.environ.pop(key) if value is None else os.environ.update({key: value})


@pytest.fixture(scope="module")
def node(master):
    """The bridge's own node; a process can have one."""
    made = native(1)
    yield made
    made.close()


@pytest.fixture
def program():
    """Starts programs, and ends them."""
    running = []

    def start(*command, **options):
        running.append(subprocess.Popen(command, text=True, **options))
        return running[-1]

    yield start
    for one in running:
        one.kill()
        one.wait()


@pytest.mark.parametrize("name", sorted(name for name in TYPES if not name.startswith(LACKING)))
def test_types_are_those_that_are_installed(node, name):
    assert node._class(name)._type == name


def test_the_program_s_log_stays_on_the_terminal(master):
    words = (
        "import logging, sys; logging.basicConfig(level=logging.INFO, stream=sys.stderr);"
        "from lohovla.ros.transport.installed_ros import native; native(1);"
        "logging.getLogger('lohovla.ros').info('after the node')"
    )
    answer = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, timeout=120)
    assert answer.stderr.count("after the node") == 1


def test_a_type_that_is_another_here_is_refused(node, monkeypatch):
    monkeypatch.setitem(TYPES, "std_msgs/Int64", {"data": "int32"})
    node._classes.pop("std_msgs/Int64", None)
    with pytest.raises(SetupError, match="another here"):
        node.advertise("/number", "std_msgs/Int64")


_ECHO = """
import rospy
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool, SetBoolResponse, Trigger
rospy.init_node("echo")
poses = rospy.Publisher("/back", PoseStamped, queue_size=1)
pictures = rospy.Publisher("/picture/back", Image, queue_size=1)
rospy.Subscriber("/there", PoseStamped, poses.publish)
rospy.Subscriber("/picture/there", Image, pictures.publish, buff_size=2**24)
rospy.Service("/switch", SetBool, lambda request: SetBoolResponse(request.data, "switched"))
while not rospy.is_shutdown():
    try:
        rospy.wait_for_service("/ours", 0.5)
        answer = rospy.ServiceProxy("/ours", Trigger)()
        rospy.set_param("/heard", [answer.success, answer.message])
    except Exception as error:
        rospy.set_param("/failed", str(error))
    rospy.sleep(0.05)
"""


@pytest.fixture(scope="module")
def echo(master):
    """A node that knows nothing of this project, in the system's own Python."""
    one = subprocess.Popen([ROBOT_PYTHON, "-c", _ECHO])
    yield one
    one.kill()
    one.wait()


def test_messages_there_and_back(node, echo):
    poses, pictures = [], []
    node.advertise("/there", "geometry_msgs/PoseStamped")
    node.advertise("/picture/there", "sensor_msgs/Image")
    node.subscribe(Subscription("/back", "geometry_msgs/PoseStamped", poses.append))
    node.subscribe(Subscription("/picture/back", "sensor_msgs/Image", pictures.append))
    pose = pose_message(np.array([0.4, 0.1, 0.2, 0.0, 0.0, 1.0]))
    bits = np.random.default_rng(0).integers(0, 255, 480 * 640 * 3, np.uint8).tobytes()
    picture = {"header": header(5.25, "eye"), "height": 480, "width": 640, "encoding": "rgb8", "step": 1920}

    def came():
        node.publish("/there", {"header": header(12.5, "base"), "pose": pose})
        node.publish("/picture/there", {**picture, "data": bits})
        return poses and pictures

    until(came)
    assert poses[0] == {"header": header(12.5, "base"), "pose": pose}
    assert pictures[0] == {**picture, "is_bigendian": 0, "data": bits}


def test_services_give_plain_values_both_ways(node, echo):
    import rospy

    answer = node.call("/switch", "std_srvs/SetBool", {"data": True}, 20.0)
    assert answer == {"success": True, "message": "switched"}
    assert type(answer) is dict
    node.offer("/ours", "std_srvs/Trigger", lambda request: {"success": True, "message": "heard"})
    until(lambda: rospy.get_param("/heard", None) == [True, "heard"])
    with pytest.raises(ServiceFailed):
        node.call("/nobody", "std_srvs/Trigger", {}, 0.2)
    with pytest.raises(ServiceFailed, match="no service type"):
        node.call("/rosapi/get_time", "rosapi/GetTime", {}, 0.2)
    with pytest.raises(SetupError, match="no service type"):
        node.offer("/time", "rosapi/GetTime", lambda request: {})


def test_what_a_topic_s_type_is(node, echo):
    ask = lambda topic: node.call("/rosapi/topic_type", "rosapi/TopicType", {"topic": topic}, 5.0)  # noqa: E731
    until(lambda: ask("/picture/back") == {"type": "sensor_msgs/Image"})
    assert ask("/nothing") == {"type": ""}


def test_the_packed_guard_stops_the_arm_when_its_client_is_silent(node, program, tmp_path):
    settings = OmegaConf.to_container(compose("ros", []).robot)
    profile = Profile.from_config({**settings, "max_age": {**settings["max_age"], "state": 1.0, "enable": 1.0}})
    limits = LoopSettings.from_config(profile.loop_settings({})).limits
    file = tmp_path / "guard.pyz"
    write_app(file, guard_settings(profile, limits, "topic"), 1)
    program(ROBOT_PYTHON, str(file), cwd=tmp_path)
    told, said, place, held = [], [], np.array([0.5, -0.4, 0.3, 0.0, 0.0, 0.0]), threading.Event()
    silent = []

    def hear(message):
        told.append((time.monotonic(), pose_of(message["pose"])[1]))

    def braked():
        return [y for when, y in list(told) if silent and when > silent[0]]

    for topic, kind in (
        ("/sim/tool_pose", "geometry_msgs/PoseStamped"),
        (COMMAND, "geometry_msgs/PoseStamped"),
        ("/lohovla/enable", "std_msgs/Bool"),
    ):
        node.advertise(topic, kind)
    node.subscribe(Subscription("/sim/tool_target", "geometry_msgs/PoseStamped", hear))
    node.subscribe(Subscription(STATE, "std_msgs/String", lambda m: said.append(json.loads(m["data"]))))

    silent = []

    def move(seconds):
        place[1] += 0.1 * min(seconds, 0.05)

    def tell():
        """The arm goes on at 100 mm/s when the commands end, until it is told to brake."""
        while not held.wait(0.03):
            if braked():
                place[1] = braked()[-1]
            elif silent:
                move(0.03)
            node.publish("/sim/tool_pose", {"header": header(time.time(), "base_link"), "pose": pose_message(place)})
            node.publish("/lohovla/enable", {"data": True})

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        until(lambda: said and not said[-1]["waits_for"])
        began = last = time.monotonic()
        while said[-1]["passed"] < 20 or said[-1]["state"] != "relaying":
            now = time.monotonic()
            move((now - last) * min(now - began, 1.0))
            last = now
            node.publish(COMMAND, {"header": header(time.time(), "base_link"), "pose": pose_message(place)})
            time.sleep(0.02)
            assert now < began + 90.0, said[-1]
        silent.append(time.monotonic() + 0.15)  # what was relayed has come by then, and the guard has waited longer
        until(lambda: said[-1]["state"] == "idle" and "no command for" in said[-1]["cause"])
    finally:
        held.set()
        teller.join()
    assert len(told) > 10
    # A controller that has stopped by itself is left alone; else the last that it is told is to rest.
    assert np.abs(np.diff(braked()[-3:])).max(initial=0.0) < 1e-5


def test_a_policy_a_guard_and_the_simulated_robot_as_three_nodes(master, program, tmp_path):
    """The whole path: pictures and states to the policy, its commands through the guard to the robot."""
    run = lambda *words: program(sys.executable, "-m", "lohovla.cli", *words, cwd=tmp_path)  # noqa: E731
    slack = ["robot.max_age.state=2", "robot.max_age.camera=2", "robot.max_age.guard=2", "robot.guard.ttl=1"]
    run("ros-sim", "transport=native", "camera_hz=5")
    run("ros-guard", "robot=sim", "transport=native", "enable=always", *slack)
    bridge = run(
        "ros",
        "robot=sim",
        "transport=native",
        "policy=chunked-oracle",
        "enable=always",
        "robot.guard.use=true",
        *slack,
        "robot.max_age.observation=1",
        "loop.safety.clock_jump_threshold=2",
        "seconds=6",
        "page.serve=false",
        "record=false",
        "output=run",
    )
    assert bridge.wait(180) == 0
    episode = json.loads(Path(tmp_path / "run" / "result.json").read_text())["episodes"][0]
    assert episode["ending"] in ("time", "judged")
    assert episode["commands"] > 100
    assert episode["subtasks"]
    assert episode["loop"]["chunks"]["count"] > 0
