"""Finding the ROS that is installed, and a node of it: ``rospy_node`` or ``rclpy_node``, imported when asked for."""

from __future__ import annotations

import contextlib
import importlib
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lohovla.errors import SetupError

_DEBIAN = Path("/usr/lib/python3/dist-packages")  # where Debian and Ubuntu keep rospy


def native(ros_version: int | None = None) -> Any:
    """A node of the ROS that is installed.

    Raises:
        SetupError: there is none, or not of that generation.
        UserError: no ROS master answers.
    """
    if ros_version != 1 and importable("rclpy"):
        from lohovla.ros.transport.rclpy_node import Rclpy

        return Rclpy()
    if ros_version != 2:
        _prefer_debian_messages()
        if importable("rospy"):
            from lohovla.ros.transport.rospy_node import Rospy

            return Rospy()
    wanted = {1: "rospy", 2: "rclpy"}.get(ros_version or 0, "rclpy or rospy")
    raise SetupError(f"there is no {wanted} for this Python", "source your ROS, or use transport=rosbridge")


def importable(name: str) -> bool:
    """Import a module; that of Debian's own Python counts too, behind everything that is installed here."""
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
        return True
    if not (_DEBIAN / name).is_dir() or str(_DEBIAN) in sys.path:
        return False
    sys.path.append(str(_DEBIAN))
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
        return True
    return False


class _DebianMessages(MetaPathFinder):
    """Finds the message packages of Debian's ROS 1 before those of the same names that ROS 2 has installed here."""

    def __init__(self) -> None:
        self.names = {p.name for p in _DEBIAN.iterdir() if (p / "msg").is_dir() or (p / "srv").is_dir()}

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if path is None and fullname in self.names:
            return PathFinder.find_spec(fullname, [str(_DEBIAN)])
        return None


def _prefer_debian_messages() -> None:
    """Have ``std_msgs`` and the like come from where rospy does, if that is Debian's.

    Raises:
        SetupError: those of ROS 2 are loaded already; a process can have one kind.
    """
    found = find_spec("rospy")
    elsewhere = found is not None and not str(found.origin).startswith(str(_DEBIAN))
    if elsewhere or not (_DEBIAN / "rospy").is_dir() or any(isinstance(f, _DebianMessages) for f in sys.meta_path):
        return
    finder = _DebianMessages()
    for name in sorted(finder.names & sys.modules.keys()):
        if not str(getattr(sys.modules[name], "__file__", "")).startswith(str(_DEBIAN)):
            raise SetupError(f"this process has ROS 2's {name} loaded", "run ROS 1 in a process of its own")
    sys.meta_path.insert(0, finder)
