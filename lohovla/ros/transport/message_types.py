"""Message types as data, in one form for both generations of ROS.

Inside this package a message is a plain mapping in the names of ROS 2, without ``header.seq``, with ``bytes`` for
``uint8[]``; its type is ``package/Type``, where ROS 2 writes ``package/msg/Type``. ``message_conversion`` turns
it into what servers expect.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Dict

from lohovla.errors import UserError

Message = Dict[str, Any]

_TEXT = """
std_msgs/Header: time stamp, string frame_id
std_msgs/Empty:
std_msgs/String: string data
std_msgs/Bool: bool data
std_msgs/Int64: int64 data
std_msgs/Float64: float64 data
std_msgs/ColorRGBA: float32 r, float32 g, float32 b, float32 a
std_msgs/MultiArrayDimension: string label, uint32 size, uint32 stride
std_msgs/MultiArrayLayout: std_msgs/MultiArrayDimension[] dim, uint32 data_offset
std_msgs/Float64MultiArray: std_msgs/MultiArrayLayout layout, float64[] data
geometry_msgs/Vector3: float64 x, float64 y, float64 z
geometry_msgs/Point: float64 x, float64 y, float64 z
geometry_msgs/Quaternion: float64 x, float64 y, float64 z, float64 w
geometry_msgs/Twist: geometry_msgs/Vector3 linear, geometry_msgs/Vector3 angular
geometry_msgs/TwistStamped: std_msgs/Header header, geometry_msgs/Twist twist
geometry_msgs/Pose: geometry_msgs/Point position, geometry_msgs/Quaternion orientation
geometry_msgs/PoseStamped: std_msgs/Header header, geometry_msgs/Pose pose
geometry_msgs/Transform: geometry_msgs/Vector3 translation, geometry_msgs/Quaternion rotation
geometry_msgs/TransformStamped: std_msgs/Header header, string child_frame_id, geometry_msgs/Transform transform
tf2_msgs/TFMessage: geometry_msgs/TransformStamped[] transforms
sensor_msgs/Image: std_msgs/Header header, uint32 height, uint32 width, string encoding, uint8 is_bigendian, uint32 step, uint8[] data
sensor_msgs/CompressedImage: std_msgs/Header header, string format, uint8[] data
sensor_msgs/RegionOfInterest: uint32 x_offset, uint32 y_offset, uint32 height, uint32 width, bool do_rectify
sensor_msgs/CameraInfo: std_msgs/Header header, uint32 height, uint32 width, string distortion_model, float64[] d, float64[9] k, float64[9] r, float64[12] p, uint32 binning_x, uint32 binning_y, sensor_msgs/RegionOfInterest roi
sensor_msgs/JointState: std_msgs/Header header, string[] name, float64[] position, float64[] velocity, float64[] effort
trajectory_msgs/JointTrajectoryPoint: float64[] positions, float64[] velocities, float64[] accelerations, float64[] effort, duration time_from_start
trajectory_msgs/JointTrajectory: std_msgs/Header header, string[] joint_names, trajectory_msgs/JointTrajectoryPoint[] points
diagnostic_msgs/KeyValue: string key, string value
diagnostic_msgs/DiagnosticStatus: byte level, string name, string message, string hardware_id, diagnostic_msgs/KeyValue[] values
diagnostic_msgs/DiagnosticArray: std_msgs/Header header, diagnostic_msgs/DiagnosticStatus[] status
ur_dashboard_msgs/SafetyMode: uint8 mode
ur_dashboard_msgs/RobotMode: int8 mode
rcl_interfaces/ParameterValue: uint8 type, bool bool_value, int64 integer_value, float64 double_value, string string_value, byte[] byte_array_value, bool[] bool_array_value, int64[] integer_array_value, float64[] double_array_value, string[] string_array_value
visualization_msgs/Marker: std_msgs/Header header, string ns, int32 id, int32 type, int32 action, geometry_msgs/Pose pose, geometry_msgs/Vector3 scale, std_msgs/ColorRGBA color, duration lifetime, bool frame_locked, geometry_msgs/Point[] points, std_msgs/ColorRGBA[] colors, string text
visualization_msgs/MarkerArray: visualization_msgs/Marker[] markers
rosgraph_msgs/Clock: time clock
actionlib_msgs/GoalID: time stamp, string id
control_msgs/GripperCommand: float64 position, float64 max_effort
control_msgs/GripperCommandGoal: control_msgs/GripperCommand command
control_msgs/GripperCommandActionGoal: std_msgs/Header header, actionlib_msgs/GoalID goal_id, control_msgs/GripperCommandGoal goal
"""  # noqa: E501
_SERVICES_TEXT = """
std_srvs/Trigger: -> bool success, string message
std_srvs/SetBool: bool data -> bool success, string message
rcl_interfaces/GetParameters: string[] names -> rcl_interfaces/ParameterValue[] values
rosapi/GetTime: -> time time
rosapi/TopicType: string topic -> string type
"""
_ACTIONS_TEXT = """
control_msgs/GripperCommand: control_msgs/GripperCommand command
"""
TIMES = {"time": ("sec", "nanosec"), "duration": ("sec", "nanosec")}


def _fields(text: str) -> dict[str, str]:
    pairs = [part.split() for part in text.split(",") if part.strip()]
    return {name: kind for kind, name in pairs}


TYPES: dict[str, dict[str, str]] = {
    name: _fields(text) for name, _, text in (line.partition(":") for line in _TEXT.strip().splitlines())
}
SERVICES: dict[str, tuple[dict[str, str], dict[str, str]]] = {}
for _line in _SERVICES_TEXT.strip().splitlines():
    _name, _, _rest = _line.partition(":")
    _asked, _, _answered = _rest.partition("->")
    SERVICES[_name] = _fields(_asked), _fields(_answered)
ACTIONS: dict[str, dict[str, str]] = {  # what their goals hold
    name: _fields(text) for name, _, text in (line.partition(":") for line in _ACTIONS_TEXT.strip().splitlines())
}


class BadMessage(ValueError):
    """A message that its type does not describe; says which field is wrong."""


def check_type(name: str) -> str:
    """``name`` as ``package/Type``, also if it was ``package/msg/Type``.

    Raises:
        UserError: this package does not know the type.
    """
    short = short_name(name)
    if short not in TYPES:
        raise UserError(f"message type {name!r} is not supported", f"supported: {', '.join(sorted(TYPES))}")
    return short


def short_name(name: str) -> str:
    """A type's name as ``package/Type``, however a generation writes it.

    >>> short_name("sensor_msgs/msg/Image")
    'sensor_msgs/Image'
    """
    return name.replace("/msg/", "/")


def type_name(name: str, ros_version: int) -> str:
    """A type as that generation of ROS writes it.

    >>> type_name("std_msgs/String", 2)
    'std_msgs/msg/String'
    """
    return name if ros_version == 1 else name.replace("/", "/msg/", 1)


def service_name(name: str, ros_version: int) -> str:
    """A service type as that generation of ROS writes it; ``rosapi`` became ``rosapi_msgs`` in ROS 2."""
    if ros_version == 1:
        return name
    package, _, kind = name.partition("/")
    return f"{package}_msgs/srv/{kind}" if package == "rosapi" else f"{package}/srv/{kind}"


def action_name(name: str) -> str:
    """An action's type as ROS 2 writes it; ROS 1 has topics instead."""
    return name.replace("/", "/action/", 1)


def stamp_of(seconds: float) -> Message:
    """A time, s since the epoch, as a stamp."""
    whole = math.floor(seconds)
    nanoseconds = round((seconds - whole) * 1e9)
    return {"sec": whole + nanoseconds // 10**9, "nanosec": nanoseconds % 10**9}


def seconds_of(stamp: Mapping[str, Any]) -> float:
    """A stamp as seconds since the epoch; 0 where nothing was filled in."""
    return float(stamp["sec"]) + 1e-9 * float(stamp["nanosec"])


def header(seconds: float, frame: str = "") -> Message:
    """A header with a stamp, s since the epoch."""
    return {"stamp": stamp_of(seconds), "frame_id": frame}


def blank_message(name: str) -> Message:
    """A message of that type with every field there and zero; a quaternion is no rotation."""
    if name == "geometry_msgs/Quaternion":
        return {"x": 0.0, "y": 0.0, "z": 0.0, "w": 1.0}
    return {field: blank_value(kind) for field, kind in TYPES[name].items()}


def blank_value(kind: str) -> Any:
    """A field of that kind as it is where nothing was filled in."""
    base, count = array_of(kind)
    if count is not None:
        if base == "uint8":
            return b""
        return [blank_value(base) for _ in range(count)]
    if kind in TYPES:
        return blank_message(kind)
    if kind in TIMES:
        return {"sec": 0, "nanosec": 0}
    return {"bool": False, "string": ""}.get(kind, 0.0 if kind.startswith("float") else 0)


def array_of(kind: str) -> tuple[str, int | None]:
    """The element's type, and the number of elements: 0 for any, None where it is no array."""
    found = re.fullmatch(r"(.+)\[(\d*)\]", kind)
    return (found[1], int(found[2] or 0)) if found else (kind, None)


def action_goal(goal: Mapping[str, Any], action_id: str, seconds: float) -> Message:
    """An action's goal as ROS 1 has it: on the topic ``<action>/goal``, of the type ``<name>ActionGoal``."""
    stamp = stamp_of(seconds)
    return {"header": {"stamp": stamp}, "goal_id": {"stamp": stamp, "id": action_id}, "goal": dict(goal)}
