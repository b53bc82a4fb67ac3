"""What native nodes of both generations share: messages as objects of ROS's own classes.

:mod:`lohovla.ros.transport.installed_ros` finds a ROS and makes its node, ``rospy_node`` or ``rclpy_node``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from lohovla.errors import SetupError
from lohovla.ros.transport.message_conversion import UPPER, to_wire
from lohovla.ros.transport.message_types import TYPES, Message, check_type
from lohovla.ros.transport.transport import Subscription


class NativeNode:
    """What the nodes of both generations have in common: classes of messages, and publishers."""

    ros_version: int
    trouble = "the node was shut down"

    def __init__(self) -> None:
        self._publishers: dict[str, tuple[str, Any]] = {}
        self._classes: dict[str, Any] = {}

    def _installed(self, name: str) -> tuple[Any, dict[str, str]]:
        """A message's class, and its fields with their types in ROS 1's words.

        Raises:
            SetupError: it is not installed.
        """
        raise NotImplementedError

    def _class(self, name: str) -> Any:
        """The class of a type, after its fields were compared with ours.

        Raises:
            SetupError: it is not installed, or is another than this package knows.
        """
        if name not in self._classes:
            known, fields = self._installed(check_type(name))
            check_definition(name, fields)
            self._classes[name] = known
        return self._classes[name]

    def _make(self, name: str) -> Any:
        return self._class(name)()

    def publish(self, topic: str, message: Mapping[str, Any], newest: bool = False) -> None:
        name, publisher = self._publishers[topic]
        wire = to_wire(name, message, self.ros_version, binary=True)
        publisher.publish(fill_message(name, self._make(name), wire, self.ros_version, self._make))

    def flush(self, timeout: float = 0.5) -> None:
        """Messages were handed over already."""


class Throttle:
    """A subscriber's callback: leaves out what comes too often, and hands the rest on as plain values."""

    def __init__(self, wanted: Subscription):
        self._wanted, self._last = wanted, -1e9

    def __call__(self, native: Any) -> None:
        now = time.monotonic()
        if now - self._last >= self._wanted.throttle:
            self._last = now
            self._wanted.deliver(from_native(self._wanted.type, native))


def from_native(name: str, native: Any) -> Message:
    """A message object of either ROS as a mapping in this package's names."""
    upper = UPPER.get(name, {})
    values = {}
    for field, kind in TYPES[name].items():
        value = getattr(native, field) if hasattr(native, field) else getattr(native, upper.get(field, field))
        values[field] = _from_value(kind, value)
    return values


def _from_value(kind: str, value: Any) -> Any:
    base, bracket, _ = kind.partition("[")
    if bracket:
        if base == "uint8":
            return bytes(value)
        return [_from_value(base, entry) for entry in value] if base in TYPES else list(value)
    if kind in TYPES:
        return from_native(kind, value)
    if kind in ("time", "duration"):
        whole = getattr(value, "secs", None)
        if whole is None:
            return {"sec": value.sec, "nanosec": value.nanosec}
        return {"sec": whole, "nanosec": value.nsecs}
    return value[0] if isinstance(value, bytes) else value  # rclpy has a byte as bytes of length 1


def service_from_native(fields: Mapping[str, str], native: Any) -> Message:
    """A service's request or response, an object of either ROS, as plain values."""
    return {field: _from_value(kind, getattr(native, field)) for field, kind in fields.items()}


def fill_message(name: str, native: Any, wire: Mapping[str, Any], ros_version: int, make: Any) -> Any:
    """Set a message object's fields from a mapping as ``to_wire`` makes it.

    Args:
        name: the type.
        native: the object.
        wire: the complete message in that generation's names.
        ros_version: 1 or 2.
        make: gives an empty object of a type.
    """
    for field, kind in TYPES[name].items():
        key = field if field in wire else field.upper()
        target = field if hasattr(native, field) else key
        setattr(native, target, _to_value(kind, wire[key], ros_version, make, getattr(native, target)))
    return native


def fill_service(native: Any, fields: Mapping[str, str], wire: Mapping[str, Any], ros_version: int, make: Any) -> Any:
    """Set the fields of a service's request or response; the arguments are those of :func:`fill_message`."""
    for field, kind in fields.items():
        setattr(native, field, _to_value(kind, wire[field], ros_version, make, getattr(native, field)))
    return native


def _to_value(kind: str, value: Any, ros_version: int, make: Any, blank: Any) -> Any:
    base, bracket, _ = kind.partition("[")
    if bracket:
        if base in TYPES:
            return [fill_message(base, make(base), entry, ros_version, make) for entry in value]
        return value
    if kind in TYPES:
        return fill_message(kind, make(kind), value, ros_version, make)
    if kind in ("time", "duration"):
        names = ("secs", "nsecs") if ros_version == 1 else ("sec", "nanosec")
        for name in names:
            setattr(blank, name, value[name])
        return blank
    return bytes([value]) if kind == "byte" and ros_version == 2 else value


def check_definition(name: str, installed: Mapping[str, str]) -> None:
    """Compare an installed type with this package's.

    Args:
        name: the type.
        installed: its fields and their types, in ROS 1's words.

    Raises:
        SetupError: they differ; markers may have more fields than ours, as ROS 2's do.
    """
    ours = {field.lower(): _plain(kind) for field, kind in TYPES[name].items()}
    theirs = {field.lower(): _plain(kind) for field, kind in installed.items() if field != "seq"}
    if name == "visualization_msgs/Marker":
        theirs = {field: kind for field, kind in theirs.items() if field in ours}
    if ours != theirs:
        odd = sorted(set(ours.items()) ^ set(theirs.items()))[0]
        raise SetupError(f"{name} is another here: {odd[0]} {odd[1]}", "say which ROS this is in an issue, please")


def _plain(kind: str) -> str:
    """A field's type in one spelling: ``Header``, ``std_msgs/Header``; ``byte``, ``int8``, ``octet``."""
    base, bracket, count = kind.partition("[")
    base = {"Header": "std_msgs/Header", "char": "uint8", "octet": "byte", "int8": "byte"}.get(base, base)
    return base + bracket + count
