"""The guard as a node of a real ROS 2, where its Python packages are installed."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict

import numpy as np
import pytest

from lohovla.control.motion_limits import MotionLimits
from lohovla.ros.guard.guard import COMMAND, GuardSettings
from lohovla.ros.guard.guard_main import write_app
from lohovla.ros.guard.guard_node import GuardNode
from lohovla.ros.robot.pose_conversion import pose_message
from lohovla.ros.transport.message_types import header

pytest.importorskip("rclpy.lifecycle", reason="no ROS 2 here", exc_type=ImportError)
pytest.importorskip("lifecycle_msgs", reason="no lifecycle_msgs here")

LIMITS = MotionLimits((0.2, -0.5, 0.0), (0.8, 0.5, 0.5), 0.3, 2.0, 40.0)
SETTINGS = GuardSettings(
    "pose",
    "/target",
    {"kind": "number", "topic": "/hand"},
    "base",
    "/tool",
    "",
    ("a",),
    asdict(LIMITS),
    enable="always",
    state_timeout=5.0,
    ttl=5.0,
)
HERE = np.array([0.5, 0.0, 0.2, 0.0, 0.0, 0.0])


@pytest.fixture
def world(monkeypatch):
    """A ROS of this test's own: makes nodes, and ends them."""
    monkeypatch.setenv("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    from lohovla.ros.transport.rclpy_node import Rclpy

    made = []

    def make(name):
        made.append(Rclpy(name))
        return made[-1]

    yield make
    for node in made:
        node.close()


def until(true, again=lambda: None, limit=40.0):
    end = time.monotonic() + limit
    while not true():
        assert time.monotonic() < end
        again()
        time.sleep(0.02)


def test_a_guard_that_starts_while_an_emergency_stands_stays_stopped(world):
    bridge = world("bridge")
    bridge.advertise("/lohovla/emergency", "std_msgs/Bool", latch=True)
    bridge.publish("/lohovla/emergency", {"data": True})
    node = GuardNode(world("guard"), SETTINGS)
    until(lambda: node.guard.waits_for(0.0) == "emergency stop (bridge)")
    bridge.publish("/lohovla/emergency", {"data": False})
    until(lambda: node.guard.waits_for(0.0) != "emergency stop (bridge)")


def test_a_manager_configures_and_activates_it(world):
    from lohovla.ros.guard.lifecycle_node import ManagedNode

    robot = world("robot")
    robot.advertise("/tool", "geometry_msgs/PoseStamped")
    robot.advertise(COMMAND, "geometry_msgs/PoseStamped")
    ended = []
    managed = ManagedNode(lambda transport: GuardNode(transport, SETTINGS), lambda: ended.append(True))
    node = managed.transport.node
    assert managed.running is None
    node.trigger_configure()
    guard, stop = managed.running.guard, threading.Event()
    looking = threading.Thread(target=managed.running.run, args=(stop,), daemon=True)
    looking.start()

    def send():
        message = {"header": header(time.time(), "base"), "pose": pose_message(HERE)}
        robot.publish("/tool", message)
        robot.publish(COMMAND, message)

    until(lambda: guard.refused > 3, send)
    assert guard.refusal == "the guard is not active"
    node.trigger_activate()
    until(lambda: guard.passed > 3, send)
    node.trigger_deactivate()
    assert guard.state != "relaying"
    passed, refused = guard.passed, guard.refused
    until(lambda: guard.refused > refused + 3, send)
    assert guard.passed == passed
    node.trigger_activate()
    until(lambda: guard.passed > passed, send)
    node.trigger_shutdown()
    assert ended
    stop.set()
    looking.join(10.0)
    managed.transport.close()


def test_the_services_of_a_manager_lie_in_the_robot_s_namespace(world):
    """Two guards that are managed: each is switched by its own."""
    from lohovla.ros.guard.lifecycle_node import ManagedNode

    watcher = world("watcher").node
    nodes = [ManagedNode(lambda transport: None, lambda: None, name) for name in ("/left", "/cell/right", "")]
    wanted = {f"{name}/lohovla_guard/change_state" for name in ("/left", "/cell/right", "")}
    until(lambda: wanted <= set(dict(watcher.get_service_names_and_types())))
    for one in nodes:
        one.transport.close()


@pytest.mark.parametrize("words", [(), ("--wait",)])
def test_the_packed_guard_is_a_managed_node(world, tmp_path, words):
    file = tmp_path / "guard.pyz"
    write_app(file, SETTINGS, 2)
    watcher = world("watcher")
    process = subprocess.Popen(
        [sys.executable, str(file), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        names = lambda: dict(watcher.node.get_topic_names_and_types())  # noqa: E731
        assert process.stdout is not None
        first = process.stdout.readline()
        assert ("waits to be configured" if words else "guarding /target") in first
        until(lambda: "/lohovla_guard/transition_event" in names())
        if not words:
            until(lambda: COMMAND in names())
        else:
            assert COMMAND not in names()
        process.send_signal(signal.SIGTERM)
        told, errors = process.communicate(timeout=30.0)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    assert ("0 commands passed" in told) == (not words)
