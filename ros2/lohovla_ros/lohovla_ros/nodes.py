"""The executables: a node's ROS parameters are the settings of ``lohovla ros`` and ``lohovla ros-guard``."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

_ROS_OWN = ("qos_overrides", "start_type_description_service")


def settings_of(command: str, parameters: Mapping[str, Any], namespace: str) -> list[str]:
    """Settings for the command line.

    Args:
        command: ``ros`` or ``ros-guard``; the guard needs no clock but its own, so ``use_sim_time`` is not for it.
        parameters: by name; a dot leads into a group, as in ``page.port``. Empty strings and lists keep the default.
        namespace: of the node; it becomes that of every topic.
    """
    words = ["transport=native"]
    if namespace.strip("/"):
        words.append(f"namespace={namespace}")
    for name, value in sorted(parameters.items()):
        given = list(value) if isinstance(value, (list, tuple)) or hasattr(value, "tolist") else value
        own = name.partition(".")[0] in _ROS_OWN or (name == "use_sim_time" and command == "ros-guard")
        if own or given in ("", []):
            continue
        words.append(f"{name}={_text(given)}")
    return words


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ",".join(_text(entry) for entry in value) + "]"
    if isinstance(value, str) and value.replace("_", "").replace("-", "").isalnum():
        return value  # a word, such as a group's choice
    return json.dumps(value, ensure_ascii=False)


def parameters_of_this_node(name: str) -> tuple[dict[str, Any], str]:
    """The parameters that ``ros2 run`` or a launch file gave this process, and its namespace."""
    import rclpy  # pyright: ignore[reportMissingImports]

    rclpy.init(args=sys.argv)
    node = rclpy.create_node(
        name, automatically_declare_parameters_from_overrides=True, start_parameter_services=False, enable_rosout=False
    )
    try:
        found = {key: parameter.value for key, parameter in node.get_parameters_by_prefix("").items()}
        return found, node.get_namespace()
    finally:
        node.destroy_node()
        rclpy.shutdown()


def _run(command: str, name: str) -> int:
    from lohovla.cli import main

    parameters, namespace = parameters_of_this_node(name)
    return main([command, *settings_of(command, parameters, namespace)])


def bridge() -> int:
    """``ros2 run lohovla_ros bridge --ros-args -p robot:=ur5e -p profile:=lab.yaml``."""
    return _run("ros", "lohovla_bridge")


def guard() -> int:
    """``ros2 run lohovla_ros guard --ros-args -p robot:=ur5e -p profile:=lab.yaml``."""
    return _run("ros-guard", "lohovla_guard")
