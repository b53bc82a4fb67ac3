"""Running the guard until a signal, and packing it into one file that needs ROS and numpy only."""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
import zipapp
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lohovla.errors import SetupError, UserError
from lohovla.ros.guard.guard import GuardSettings
from lohovla.ros.guard.guard_node import GuardNode

# What the guard is made of: nothing here needs more than numpy, and Python 3.8, which ROS Noetic's Ubuntu has.
MODULES = (
    "__init__",
    "errors",
    "control/__init__",
    "control/motion_limits",
    "control/poses",
    "ros/__init__",
    "ros/guard/__init__",
    "ros/guard/command_monitors",
    "ros/guard/following",
    "ros/guard/guard",
    "ros/guard/guard_main",
    "ros/guard/guard_node",
    "ros/guard/joint_monitors",
    "ros/guard/lifecycle_node",
    "ros/guard/speed_estimator",
    "ros/guard/tool_monitors",
    "ros/robot/__init__",
    "ros/robot/gripper_commands",
    "ros/robot/joint_trajectories",
    "ros/robot/pose_conversion",
    "ros/transport/__init__",
    "ros/transport/installed_ros",
    "ros/transport/message_conversion",
    "ros/transport/message_types",
    "ros/transport/namespace",
    "ros/transport/native_node",
    "ros/transport/rclpy_node",
    "ros/transport/rospy_node",
    "ros/transport/time_sync",
    "ros/transport/transport",
)
_MAIN = '''"""Made by `lohovla ros-guard write=...`: the guard of one robot."""
import sys
from lohovla.ros.guard.guard_main import main
sys.exit(main({settings!r}, {ros_version!r}, {namespace!r}, {shared!r}))
'''


LIFECYCLES = ("auto", "wait", "off")


def guard_robot(transport: Any, settings: GuardSettings) -> int:
    """Guard until SIGINT or SIGTERM; the arm is brought to rest before this returns."""
    stop = threading.Event()
    _until_signal(stop)
    return _guard(GuardNode(transport, settings), transport, stop)


def guard_natively(
    ros_version: int | None, settings: GuardSettings, lifecycle: str, within: Any, namespace: str = ""
) -> int:
    """Guard as a node of the ROS that is installed; on ROS 2 as a managed one, where it has those.

    Args:
        ros_version: 1 or 2; None takes what is installed.
        settings: of the guard.
        lifecycle: ``auto`` configures and activates itself, ``wait`` leaves that to a manager, as launch files have
            it, ``off`` is a plain node.
        within: puts a transport into the robot's namespace.
        namespace: that, of the managed node too: two guards' services of a manager must not have the same names.

    Raises:
        SetupError: there is no ROS, or ``lifecycle`` is ``wait`` and it has no managed nodes.
    """
    from lohovla.ros.transport.installed_ros import native

    managed = _managed(ros_version, settings, lifecycle, within, namespace)
    if managed is None:
        return guard_robot(within(native(ros_version)), settings)
    node, stop = managed
    if lifecycle == "auto":
        node.start()
    else:
        print("the guard waits to be configured and activated", flush=True)
    while node.running is None and not stop.wait(0.05):
        pass
    if node.running is None:
        node.transport.close()
        return 0
    return _guard(node.running, node.transport, stop)


def _managed(ros_version: int | None, settings: GuardSettings, lifecycle: str, within: Any, namespace: str) -> Any:
    """A managed node and its stop, or None where there is to be none."""
    from lohovla.ros.transport.installed_ros import importable

    if lifecycle == "off" or ros_version == 1 or (lifecycle == "auto" and not importable("rclpy")):
        return None
    from lohovla.ros.guard.lifecycle_node import ManagedNode

    stop = threading.Event()
    try:
        node = ManagedNode(lambda transport: GuardNode(within(transport), settings), stop.set, namespace)
    except SetupError:
        if lifecycle == "wait":
            raise
        return None
    _until_signal(stop)
    return node, stop


def _until_signal(stop: threading.Event) -> None:
    """Set ``stop`` at the signals that end a program; after rclpy began, whose own handlers end its publishers."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())


def _guard(node: GuardNode, transport: Any, stop: threading.Event) -> int:
    """Guard until ``stop``; say what, and what came of it.

    Raises:
        UserError: the robot has a guard already.
    """
    topic, command = node.topics
    print(f"guarding {topic}: what comes on {command} passes for {node.guard.settings.ttl:g} s", flush=True)
    try:
        node.run(stop)
    finally:
        transport.close()
        print(f"{node.guard.passed} commands passed, {node.guard.refused} refused", flush=True)
    return 0


def main(settings: str, ros_version: int | None, namespace: str, shared: Sequence[str]) -> int:
    """What the packed file runs; with ``--wait`` it is configured and activated by a manager."""
    from lohovla.ros.transport.namespace import in_namespace, log_format

    logging.basicConfig(format=log_format(namespace), level=logging.INFO, stream=sys.stderr)
    try:
        lifecycle = "wait" if "--wait" in sys.argv else "auto"
        known = GuardSettings.from_json(json.loads(settings))
        return guard_natively(
            ros_version, known, lifecycle, lambda transport: in_namespace(transport, namespace, shared), namespace
        )
    except UserError as error:
        print(f"guard: {error.cause}\n       {error.remedy}", file=sys.stderr)
        return 2


def write_app(
    path: Path, settings: GuardSettings, ros_version: int | None, namespace: str = "", shared: Sequence[str] = ()
) -> None:
    """Write the guard with these settings as one file for ``python3``, 3.8 or newer."""
    package = Path(__file__).resolve().parents[2]
    with TemporaryDirectory() as made:
        root = Path(made)
        for name in MODULES:
            target = root / "lohovla" / f"{name}.py"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((package / f"{name}.py").read_bytes())
        names = {"namespace": namespace, "shared": list(shared)}
        text = _MAIN.format(settings=json.dumps(settings.as_json()), ros_version=ros_version, **names)
        (root / "__main__.py").write_text(text, encoding="utf-8")
        try:
            zipapp.create_archive(root, path, "/usr/bin/env python3")
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}", "name another place with write=FILE") from None
