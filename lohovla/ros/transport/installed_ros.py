"""Finding the ROS that is installed, and a node of it: ``rospy_node`` or ``rclpy_node``, imported when asked for."""

from __future__ import annotations

import contextlib
import importlib
import sys
from pathlib import Path
from typing import Any

from lohovla.errors import SetupError

_DEBIAN = Path("/usr/lib/python3/dist-packages")  # where Debian and Ubuntu keep rospy


def native(generation: int | None = None) -> Any:
    """A node of the ROS that is installed.

    Raises:
        SetupError: there is none, or not of that generation.
        UserError: no ROS master answers.
    """
    if generation != 1 and importable("rclpy"):
        from lohovla.ros.transport.rclpy_node import Rclpy

        return Rclpy()
    if generation != 2 and importable("rospy"):
        from lohovla.ros.transport.rospy_node import Rospy

        return Rospy()
    wanted = {1: "rospy", 2: "rclpy"}.get(generation or 0, "rclpy or rospy")
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
