"""A run on a robot that goes where it is told, through topics, in real time."""

import threading
import time

import numpy as np
import pytest
from omegaconf import OmegaConf

from lohovla.control.settings import LoopSettings
from lohovla.control.worker import BackgroundWorker
from lohovla.policies.wander import WanderPolicy
from lohovla.ros.frames import pose_message, pose_of
from lohovla.ros.graph import Graph, LocalTransport
from lohovla.ros.images import image
from lohovla.ros.messages import header
from lohovla.ros.operator import Operator
from lohovla.ros.profile import Profile
from lohovla.ros.robot import RosRobot
from lohovla.ros.session import Session
from lohovla.ros.transport import Subscription
from lohovla.settings import compose

START = np.array([0.45, 0.05, 0.25, 0.0, 0.0, 0.0])


class Arm:
    """Goes at once to the pose that it is sent; tells its state, and shows noise."""

    def __init__(self, graph):
        self.node, self.pose, self.commands, self.state, self.camera = LocalTransport(graph), START, [], True, True
        for topic, kind in (
            ("/joint_states", "sensor_msgs/JointState"),
            ("/sim/tool_pose", "geometry_msgs/PoseStamped"),
            ("/camera/top/color/image_raw", "sensor_msgs/Image"),
            ("/camera/top/depth/image_raw", "sensor_msgs/Image"),
        ):
            self.node.advertise(topic, kind)
        self.node.subscribe(Subscription("/sim/tool_target", "geometry_msgs/PoseStamped", self._take))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _take(self, message):
        self.pose = pose_of(message["pose"])
        self.commands.append((time.monotonic(), self.pose))

    def _run(self):
        rng = np.random.default_rng(0)
        names = [f"{n}_joint" for n in ("shoulder_pan", "shoulder_lift", "elbow", "wrist_1", "wrist_2", "wrist_3")]
        while not self._stop.wait(0.02):
            head = header(time.time())
            if self.state:
                self.node.publish("/joint_states", {"header": head, "name": names[::-1], "position": [0.1] * 6})
                self.node.publish("/sim/tool_pose", {"header": head, "pose": pose_message(self.pose)})
            if self.camera:
                color = rng.integers(0, 255, (160, 320, 3), np.uint8)
                self.node.publish("/camera/top/color/image_raw", image(color, "rgb8", time.time(), "top"))
                depth = np.zeros((160, 320), np.uint16)
                self.node.publish("/camera/top/depth/image_raw", image(depth, "16UC1", time.time(), "top"))

    def close(self):
        self._stop.set()
        self._thread.join()


class Bench:
    """The whole path; ``run`` goes on in a thread of its own."""

    def __init__(self, enable="topic", dry=False, goal="wander about"):
        settings = OmegaConf.to_container(compose("ros", []).robot)
        settings |= {"world": "", "fresh": {"state": 1.0, "camera": 1.0, "enable": 1.0, "acted": 0.5}}
        self.profile = Profile.of(settings)
        loop = LoopSettings.of(self.profile.loop_settings({"join": "ensemble", "safety": {"late": 2.0}}))
        self.graph = Graph()
        self.arm = Arm(self.graph)
        self.worker = BackgroundWorker(WanderPolicy, "thread")
        spec = self.worker.wait()
        self.operator = Operator(enable, self.profile.fresh.enable, goal)
        transport = LocalTransport(self.graph)
        self.robot = RosRobot(transport, self.profile, loop.limits, goal, dry=dry)
        self.session = Session(self.robot, spec, self.worker, loop, self.operator)
        self.operator.attach(transport)
        self.outcome = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._held = threading.Event()
        self._holder = threading.Thread(target=self._hold, daemon=True)
        self._holder.start()

    def _run(self):
        self.outcome = self.session.run(1)

    def _hold(self):
        node = LocalTransport(self.graph)
        node.advertise("/lohovla/enable", "std_msgs/Bool")
        while not self._held.wait(0.05):
            node.publish("/lohovla/enable", {"data": True})

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

    def rests(self):
        """Whether no command came for a while."""
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
        self.session.close()
        self.robot.eyes.close()
        self.arm.close()
        self.worker.close()


@pytest.fixture
def bench():
    made = []

    def make(**settings):
        made.append(Bench(**settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_goes_home_slowly_then_the_policy_plays(bench):
    run = bench().start()
    run.until(lambda: run.session.phase == "running" and run.session.loop.accounts.chunks)
    home = [pose for _, pose in run.arm.commands]
    run.until(lambda: np.linalg.norm(run.arm.pose[:3] - np.array(run.profile.home[:3])) > 0.03)
    steps = np.linalg.norm(np.diff([pose[:3] for pose in home], axis=0), axis=1)
    assert steps.max() <= np.sqrt(3) * run.profile.start.speed / run.profile.command_hz * 1.01 + 0.001
    assert run.finish().cause == "the test is over"


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (lambda run: run.let_go(), "not enabled"),
        (lambda run: setattr(run.arm, "camera", False), "camera lost"),
        (lambda run: setattr(run.arm, "state", False), "state lost"),
        (lambda run: run.operator.pause(), "paused"),
        (lambda run: run.operator.emergency_stop("test"), "emergency stop"),
    ],
)
def test_every_loss_ends_in_a_stop_that_the_log_shows(bench, fault, kind):
    run = bench().start()
    run.until(lambda: run.session.phase == "running" and run.robot.allowed and run.session.loop.accounts.chunks)
    before = run.session.log.counts[kind]  # a machine that is busy may lose things by itself
    fault(run)
    run.until(lambda: run.session.log.counts[kind] > before)
    run.until(run.rests)
    last = [pose[:3] for _, pose in run.arm.commands[-3:]]
    np.testing.assert_allclose(last[0], last[2], atol=1e-6)  # it came to rest before the commands ended
    assert any(event.kind == kind and event.cause for event in run.finish().events)


def test_nothing_moves_before_the_enable(bench):
    run = bench()
    run.let_go()
    run.operator.let_go()
    run.start()
    run.until(lambda: run.session.verdict.kind == "not enabled")
    assert not run.operator.enabled(time.monotonic())
    assert run.arm.commands == []


def test_a_dry_run_sends_nothing(bench):
    run = bench(dry=True).start()
    run.until(lambda: run.session.phase == "running" and run.robot.sent > 50)
    assert run.arm.commands == []
    assert run.robot.last_message[0] == "/sim/tool_target"
