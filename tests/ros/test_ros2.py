"""Real ROS 2, where its wheels install (`lohovla[ros2]`): the bridge, the guard and the simulator as nodes of rclpy."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from omegaconf import OmegaConf

from lohovla.control.settings import LoopSettings
from lohovla.errors import SetupError
from lohovla.ros.guard.guard import COMMAND, STATE
from lohovla.ros.guard.guard_main import write_app
from lohovla.ros.guard.guard_profile import guard_settings
from lohovla.ros.robot.controller_check import ControllerCheck
from lohovla.ros.robot.pose_conversion import pose_message, pose_of
from lohovla.ros.robot.robot_profile import Profile
from lohovla.ros.transport.installed_ros import native
from lohovla.ros.transport.message_types import TYPES, header, type_name
from lohovla.ros.transport.transport import ServiceFailed, Subscription
from lohovla.settings.hydra_config import compose


def lacks(*packages):
    return [name for name in packages if importlib.util.find_spec(name) is None]


LACKING = lacks("rclpy", "sensor_msgs", "geometry_msgs", "trajectory_msgs", "diagnostic_msgs", "std_srvs")
pytestmark = pytest.mark.skipif(
    bool(LACKING), reason=f"no ROS 2 here ({', '.join(LACKING)}): pip install 'lohovla[ros2]' on Python 3.11 or 3.12"
)


def needs(package):
    return pytest.mark.skipif(bool(lacks(package)), reason=f"no {package} here, of which there are no wheels")


KINDS = [
    pytest.param(name, marks=needs(name.partition("/")[0]))
    for name in sorted(TYPES)
    if not name.endswith(("ActionGoal", "GripperCommandGoal"))  # which are ROS 1's form of an action
]


def until(true, limit=90.0):
    end = time.monotonic() + limit
    while not (found := true()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


@pytest.fixture(scope="module")
def domain():
    """A domain of our own, on this machine only, in the environment of every node that is started."""
    own = {"ROS_DOMAIN_ID": str(1 + os.getpid() % 100), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    before = {key: os.environ.get(key) for key in own}
    os.environ.update(own)
    yield own
    for key, value in before.items():
        os.environ.pop(key) if value is None else os.environ.update({key: value})


@pytest.fixture(scope="module")
def node(domain):
    """The bridge's own node."""
    made = native(2)
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


@pytest.mark.parametrize("name", KINDS)
def test_types_are_those_that_are_installed(node, name):
    package, _, kind = type_name(name, 2).partition("/msg/")
    assert (node._class(name).__module__.partition(".")[0], node._class(name).__name__) == (package, kind)


def test_a_type_that_is_another_here_is_refused(node, monkeypatch):
    monkeypatch.setitem(TYPES, "std_msgs/Int64", {"data": "int32"})
    node._classes.pop("std_msgs/Int64", None)
    with pytest.raises(SetupError, match="another here"):
        node.advertise("/number", "std_msgs/Int64")


_ECHO = """
import threading
import rclpy
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger
rclpy.init()
node = rclpy.create_node("echo")
for name, kind in (("pose", PoseStamped), ("picture", Image), ("joints", JointState)):
    out = node.create_publisher(kind, f"/{name}/back", 1)
    node.create_subscription(kind, f"/{name}/there", out.publish, 1)
def switch(request, response):
    response.success, response.message = request.data, "switched"
    return response
node.create_service(SetBool, "/switch", switch)
node.declare_parameter("interpolate_from_desired_state", False)
heard = node.create_publisher(String, "/heard", 1)
client = node.create_client(Trigger, "/ours")
def ask():
    if client.service_is_ready():
        client.call_async(Trigger.Request()).add_done_callback(
            lambda f: heard.publish(String(data=f"{f.result().success} {f.result().message}")))
node.create_timer(0.2, ask)
try:
    rclpy.spin(node)
except BaseException:
    pass
"""


@pytest.fixture(scope="module")
def echo(domain):
    """A node that knows nothing of this project."""
    one = subprocess.Popen([sys.executable, "-c", _ECHO])
    yield one
    one.kill()
    one.wait()


def test_messages_there_and_back(node, echo):
    came = {}
    pose = {"header": header(12.5, "base"), "pose": pose_message(np.array([0.4, 0.1, 0.2, 0.0, 0.0, 1.0]))}
    bits = np.random.default_rng(0).integers(0, 255, 120 * 160 * 3, np.uint8).tobytes()  # one datagram: none is lost
    picture = {"header": header(5.25, "eye"), "height": 120, "width": 160, "encoding": "rgb8", "step": 480}
    joints = {"header": header(1.5), "name": ["elbow", "wrist"], "position": [0.5, -1.0]}
    sent = {
        "pose": ("geometry_msgs/PoseStamped", pose),
        "picture": ("sensor_msgs/Image", {**picture, "is_bigendian": 0, "data": bits}),
        "joints": ("sensor_msgs/JointState", {**joints, "velocity": [], "effort": []}),
    }
    for name, (kind, _) in sent.items():
        node.advertise(f"/{name}/there", kind)
        node.subscribe(Subscription(f"/{name}/back", kind, lambda message, name=name: came.update({name: message})))

    def all_came():
        # Only what has not come, and slowly: on a busy machine a flood of large pictures leaves none of them whole.
        for name in sent.keys() - came.keys():
            node.publish(f"/{name}/there", sent[name][1])
        time.sleep(0.2)
        return len(came) == len(sent)

    until(all_came)
    assert came == {name: message for name, (_, message) in sent.items()}


def test_joints_with_nan_arrive_from_a_node(node, domain, program):
    came = []
    node.subscribe(Subscription("/half", "sensor_msgs/JointState", came.append))
    words = "n.create_timer(0.05, lambda: p.publish(JointState(name=['a'], position=[0.5], effort=[float('nan')])))"
    program(
        sys.executable,
        "-c",
        "import rclpy; from sensor_msgs.msg import JointState; rclpy.init(); n = rclpy.create_node('half');"
        f"p = n.create_publisher(JointState, '/half', 1); {words}; rclpy.spin(n)",
    )
    until(lambda: came)
    assert came[0]["position"] == [0.5]
    assert np.isnan(came[0]["effort"]).all()


def test_services_give_plain_values_both_ways(node, echo):
    answer = node.call("/switch", "std_srvs/SetBool", {"data": True}, 60.0)
    assert answer == {"success": True, "message": "switched"}
    heard = []
    node.subscribe(Subscription("/heard", "std_msgs/String", heard.append))
    node.offer("/ours", "std_srvs/Trigger", lambda request: {"success": True, "message": "heard"})
    until(lambda: heard)
    assert heard[0] == {"data": "True heard"}
    with pytest.raises(ServiceFailed, match="does not exist"):
        node.call("/nobody", "std_srvs/Trigger", {}, 0.2)


def test_a_controller_s_parameters_are_asked_of_itself(node, echo):
    """As they are of a joint trajectory controller; rclpy answers for a parameter that it does not know, too."""
    check = ControllerCheck(node, {"kind": "trajectory", "topic": "/echo/joint_trajectory"})
    told, clock = [], SimpleNamespace(now=lambda: 1.0)
    log = SimpleNamespace(add=lambda now, kind, cause: told.append(cause))
    session = SimpleNamespace(operator=SimpleNamespace(pause=lambda: None), clock=clock, log=log)
    until(lambda: check(session) or told)
    assert "/echo begins every trajectory where the joints are measured: interpolate_from_desired_state" in told[0]


def test_what_a_topic_s_type_is(node, echo):
    ask = lambda topic: node.call("/rosapi/topic_type", "rosapi/TopicType", {"topic": topic}, 5.0)  # noqa: E731
    until(lambda: ask("/picture/back") == {"type": "sensor_msgs/Image"})
    assert ask("/nothing") == {"type": ""}


def test_one_thread_of_callbacks(node):
    """The executor with several threads takes most of a core for two topics at 50 Hz."""
    from rclpy.executors import SingleThreadedExecutor

    assert isinstance(node._executor, SingleThreadedExecutor)


_GRIPPER = """
import rclpy
from control_msgs.action import GripperCommand
from rclpy.action import ActionServer
from std_msgs.msg import Float64
rclpy.init()
node = rclpy.create_node("gripper")
told = node.create_publisher(Float64, "/told", 10)
def execute(goal):
    told.publish(Float64(data=goal.request.command.position))
    goal.succeed()
    return GripperCommand.Result(reached_goal=True)
server = ActionServer(node, GripperCommand, "/gripper_cmd", execute)
rclpy.spin(node)
"""


@needs("control_msgs")
def test_a_gripper_is_closed_by_its_action(node, domain, program):
    told = []
    node.subscribe(Subscription("/told", "std_msgs/Float64", told.append))
    program(sys.executable, "-c", _GRIPPER)

    def closes():
        node.act("/gripper_cmd", "control_msgs/GripperCommand", {"command": {"position": 0.25, "max_effort": 40.0}})
        time.sleep(0.2)
        return told

    assert until(closes)[0] == {"data": 0.25}


def test_the_packed_guard_stops_the_arm_when_its_client_is_silent(node, program, tmp_path):
    settings = OmegaConf.to_container(compose("ros", []).robot)
    settings["guard"] |= {"ttl": 0.5}  # slack for a busy machine, as the two below
    profile = Profile.from_config({**settings, "max_age": {**settings["max_age"], "state": 2.0, "enable": 2.0}})
    limits = LoopSettings.from_config(profile.loop_settings({})).limits
    file = tmp_path / "guard.pyz"
    write_app(file, guard_settings(profile, limits, "topic"), 2)
    program(sys.executable, str(file), cwd=tmp_path)
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


def three_nodes(program, folder, *words):
    """A policy, a guard and the simulated robot; what the run's record says."""
    run = lambda *command: program(sys.executable, "-m", "lohovla.cli", *command, cwd=folder)  # noqa: E731
    slack = ["robot.max_age.state=2", "robot.max_age.camera=2", "robot.max_age.guard=2", "robot.guard.ttl=1"]
    simulator = run("ros-sim", "transport=native", "camera_hz=5")
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
        "page.serve=false",
        "output=run",
        *words,
    )
    assert bridge.wait(400) == 0
    simulator.send_signal(signal.SIGINT)
    simulator.wait(60)
    return json.loads(Path(folder / "run" / "result.json").read_text())["episodes"][0]


def test_a_policy_a_guard_and_the_simulated_robot_as_three_nodes(domain, program, tmp_path):
    """The whole path: pictures and states to the policy, its commands through the guard to the robot, a recording."""
    episode = three_nodes(program, tmp_path, "seconds=6")
    assert episode["ending"] in ("time", "judged")
    assert episode["commands"] > 100
    assert episode["subtasks"]
    assert episode["loop"]["chunks"]["count"] > 0
    assert episode["episode"] == 0
    check = [sys.executable, "-m", "lohovla.cli", "data", "check", "run/dataset"]
    assert subprocess.run(check, cwd=tmp_path, capture_output=True, timeout=300).returncode == 0


@pytest.mark.slow
def test_a_whole_task(domain, program, tmp_path):
    episode = three_nodes(program, tmp_path, "seconds=200", "record=false")
    assert (episode["ending"], episode["success"]) == ("judged", True), episode


_SIGNALLED = """
import os, signal, time
from lohovla.ros.transport.installed_ros import native
heard = []
signal.signal(signal.SIGTERM, lambda *_: heard.append("SIGTERM"))
node = native(2)
node.advertise("/words", "std_msgs/String")
os.kill(os.getpid(), signal.SIGTERM)
end = time.monotonic() + 5.0
while not heard and time.monotonic() < end:
    time.sleep(0.01)
time.sleep(0.2)  # for what rclpy's own handler would do
node.publish("/words", {"data": "the arm is told to rest"})
print(heard, node.connected)
node.close()
"""


def test_a_signal_is_the_program_s_and_ends_no_publisher(domain):
    """rclpy's own handler ends its context at once: the arm could not be told to rest any more."""
    answer = subprocess.run([sys.executable, "-c", _SIGNALLED], capture_output=True, text=True, timeout=120)
    assert answer.stdout == "['SIGTERM'] True\n", answer.stderr
