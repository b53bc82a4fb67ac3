"""A robot that goes where it is told, and the bridge in front of it, in real time."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from omegaconf import OmegaConf

from lohovla.control.inference.inference_worker import BackgroundWorker
from lohovla.control.settings import LoopSettings
from lohovla.policies.base import Decision, Policy, PolicySpec
from lohovla.ros.guard.guard_node import GuardNode
from lohovla.ros.guard.guard_profile import guard_settings
from lohovla.ros.robot.pose_conversion import pose_message, pose_of
from lohovla.ros.robot.robot_profile import Profile
from lohovla.ros.session.operator_interface import OperatorInterface
from lohovla.ros.session.robot_session import RobotSession
from lohovla.ros.session.ros_robot import RosRobot
from lohovla.ros.transport.in_process_ros import InProcessRos, LocalTransport
from lohovla.ros.transport.message_types import header
from lohovla.ros.transport.namespace import in_namespace
from lohovla.ros.transport.transport import Subscription
from lohovla.ros.ui.status_publisher import StatusPublisher
from lohovla.ros.vision.image_messages import image
from lohovla.settings.hydra_config import compose

START = np.array([0.47, 0.01, 0.29, 0.0, 0.0, 0.0])
NAMES = [f"{n}_joint" for n in ("shoulder_pan", "shoulder_lift", "elbow", "wrist_1", "wrist_2", "wrist_3")]


class Glide(Policy):
    """Goes to and fro between two places for ever; sees the top view, and thinks for ``seconds``."""

    def __init__(self, seconds=0.0):
        keys = ("state", "images.top")
        self.spec = PolicySpec(keys, "ee", (7,), 16, 20.0, frozenset({"subtask", "subgoal", "progress"}))
        self._seconds, self._goals, self._begun = seconds, [np.array([0.5, y, 0.3]) for y in (0.15, -0.15)], False

    def reset(self, seed, slot=0):
        self._begun = False

    def act(self, observation, context):
        time.sleep(self._seconds)
        at, actions = np.array(observation["state"][:3], float), np.zeros((16, 7), np.float32)
        turned = np.linalg.norm(self._goals[0] - at) < 0.02
        if turned:
            self._goals.reverse()
        for action in actions:
            way = self._goals[0] - at
            at = at + way * min(0.006 / max(np.linalg.norm(way), 1e-9), 1.0)
            action[:3] = at
        planned, self._begun = turned or not self._begun, True
        words = "Go left." if self._goals[0][1] > 0 else "Go right."
        subgoal = np.full((32, 64, 3), 80 if words == "Go left." else 160, np.uint8)
        return Decision(actions, words, planned, subgoal, 0.5)


class Arm:
    """Goes at once to the pose that it is sent; tells its state, and shows noise."""

    def __init__(self, graph, camera_hz=20.0, node=None):
        self.node, self.pose, self.commands, self.state, self.camera = (
            node or LocalTransport(graph),
            START,
            [],
            True,
            True,
        )
        self.gripper, self.frames, self.stuck = [], 0, False
        self.twists = []
        for topic, kind in (
            ("/joint_states", "sensor_msgs/JointState"),
            ("/sim/tool_pose", "geometry_msgs/PoseStamped"),
            ("/camera/top/color/image_raw", "sensor_msgs/Image"),
            ("/camera/top/depth/image_raw", "sensor_msgs/Image"),
        ):
            self.node.advertise(topic, kind)
        self.node.subscribe(Subscription("/sim/tool_target", "geometry_msgs/PoseStamped", self._take))
        self.node.subscribe(Subscription("/sim/tool_twist", "geometry_msgs/TwistStamped", self._follow))
        self.node.subscribe(Subscription("/sim/gripper", "std_msgs/Float64MultiArray", self._grip))
        rng = np.random.default_rng(0)
        self._pictures = [rng.integers(0, 255, (160, 320, 3), np.uint8) for _ in range(7)]
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(0.03, self._tell), daemon=True),
            threading.Thread(target=self._run, args=(1.0 / camera_hz, self._show), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _take(self, message):
        self.pose = pose_of(message["pose"])
        self.commands.append((time.monotonic(), self.pose))

    def _follow(self, message):
        now = time.monotonic()
        if self.twists and not self.stuck:
            self.pose = self.pose + self.twists[-1][1] * min(now - self.twists[-1][0], 0.1)
            self.commands.append((now, self.pose))
        values = [message["twist"][part][axis] for part in ("linear", "angular") for axis in "xyz"]
        self.twists.append((now, np.array(values)))

    def _grip(self, message):
        self.gripper.append(message["data"][0])

    def _run(self, period, what):
        while not self._stop.wait(period):
            what()

    def _tell(self):
        if self.state:
            head = header(time.time())
            self.node.publish("/joint_states", {"header": head, "name": NAMES[::-1], "position": [0.1] * 6})
            self.node.publish("/sim/tool_pose", {"header": head, "pose": pose_message(self.pose)})

    def _show(self):
        if self.camera:
            self.frames += 1
            color, now = self._pictures[self.frames % len(self._pictures)], time.time()
            self.node.publish("/camera/top/color/image_raw", image(color, "rgb8", now, "top"))
            depth = np.zeros((160, 320), np.uint16)
            depth[0, 0] = self.frames % 7  # noise
            self.node.publish("/camera/top/depth/image_raw", image(depth, "16UC1", now, "top"))

    def close(self):
        self._stop.set()
        for thread in self._threads:
            thread.join()


def profile_of(guard=False, acted=0.5, twist=False, status=None):
    """The simulator's profile with slack for a busy machine."""
    settings = OmegaConf.to_container(compose("ros", []).robot)
    settings |= {
        "world": "",
        "max_age": {"state": 1.0, "camera": 1.0, "enable": 1.0, "guard": 1.0, "observation": acted},
    }
    settings["guard"] |= {"use": bool(guard), "ttl": 0.3, "speed_tolerance": 2.0}
    if twist:
        settings["command"] = {"kind": "twist", "topic": "/sim/tool_twist", "gain": 4.0}
    settings["status"] = status or {}
    settings["start"] = {"speed": 0.15, "initial_speed_fraction": 0.5, "ramp_time": 0.5}
    return Profile.from_config(settings)


def loop_of(profile):
    return LoopSettings.from_config(
        profile.loop_settings({"chunking_mode": "ensemble", "safety": {"clock_jump_threshold": 2.0}})
    )


class RunningGuard:
    """A guard's node on a graph, in a thread."""

    def __init__(self, graph, enable, node=None):
        profile = profile_of(guard=True)
        self.node = GuardNode(node or LocalTransport(graph), guard_settings(profile, loop_of(profile).limits, enable))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self.node.run, args=(self._ended,), daemon=True)
        self._thread.start()

    def __getattr__(self, name):
        return getattr(self.node.guard, name)

    def close(self):
        self._ended.set()
        self._thread.join(5.0)


class Bench:
    """The whole path; ``run`` goes on in a thread of its own."""

    def __init__(
        self,
        enable="topic",
        dry=False,
        goal="wander about",
        graph=None,
        arm=None,
        transport=None,
        guard=False,
        policy=Glide,
        camera_hz=20.0,
        acted=0.5,
        twist=False,
        namespace="",
        status=None,
    ):
        self.profile = profile_of(guard, acted, twist, status)
        loop = loop_of(self.profile)
        self.graph = graph or InProcessRos()
        self.own, self.node = arm is None, lambda: in_namespace(LocalTransport(self.graph), namespace)
        self.arm = Arm(self.graph, camera_hz, self.node()) if arm is None else arm
        self.worker = BackgroundWorker(policy, "thread")
        spec = self.worker.wait()
        self.operator = OperatorInterface(enable, self.profile.max_age.enable, goal)
        self.transport = transport or self.node()
        self.guard = RunningGuard(self.graph, enable, self.node()) if guard is True else None
        self.robot = RosRobot(self.transport, self.profile, loop.limits, goal, dry=dry)
        self.session = RobotSession(self.robot, spec, self.worker, loop, self.operator)
        self.operator.attach(self.transport)
        self.reporter = StatusPublisher(self.session, self.transport)
        self.outcome = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._held = threading.Event()
        self._holder = None
        self.hold()

    def _run(self):
        self.outcome = self.session.run(1)

    def _hold(self, held):
        node = self.node()
        node.advertise("/lohovla/enable", "std_msgs/Bool")
        while not held.wait(0.05):
            node.publish("/lohovla/enable", {"data": True})

    def hold(self):
        self._held = threading.Event()
        self._holder = threading.Thread(target=self._hold, args=(self._held,), daemon=True)
        self._holder.start()

    def start(self):
        self._thread.start()
        return self

    def let_go(self):
        self._held.set()
        self._holder.join()

    def until(self, true, limit=30.0):
        end = time.monotonic() + limit
        while not true():
            assert time.monotonic() < end, self.session.snapshot()
            time.sleep(0.01)

    def moves(self):
        """Wait until the policy moves the arm."""
        begin = self.session.loop.latency_stats
        self.until(lambda: self.session.phase == "running" and self.robot.allowed and begin.chunks)
        count = len(self.arm.commands)
        at = self.arm.pose[:3]
        self.until(lambda: len(self.arm.commands) > count + 5 and np.linalg.norm(self.arm.pose[:3] - at) > 0.002)

    def rests(self):
        """Whether no command has come for a while."""
        return time.monotonic() - self.arm.commands[-1][0] > 0.7

    def finish(self):
        self.operator.stop("the test is over")
        self._thread.join(20.0)
        assert not self._thread.is_alive()
        return self.outcome

    def close(self):
        self.let_go()
        self.operator.stop("closed")
        if self._thread.is_alive():
            self._thread.join(20.0)
        self.reporter.close()
        self.session.close()
        self.robot.eyes.close()
        if self.guard is not None:
            self.guard.close()
        if self.own:
            self.arm.close()
        self.worker.close()


@pytest.fixture
def parts():
    """What benches are made of."""
    return SimpleNamespace(Arm=Arm, Glide=Glide, RunningGuard=RunningGuard, profile_of=profile_of, loop_of=loop_of)


@pytest.fixture
def bench():
    """Makes benches, and ends them."""
    made = []

    def make(**settings):
        made.append(Bench(**settings))
        return made[-1]

    yield make
    for one in made[::-1]:
        one.close()


@pytest.fixture(scope="module")
def shared():
    """One run that several tests disturb, one after the other; each leaves it going on."""
    one = Bench().start()
    yield one
    one.close()
