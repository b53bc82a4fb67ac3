"""Messages to and from what ROS 1 and ROS 2 servers carry.

ROS 1 writes ``secs`` and ``nsecs`` where ROS 2 and this package write ``sec`` and ``nanosec``, ``D K R P`` for
``d k r p``, and a ``seq`` in each header.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from lohovla.ros.transport.message_types import TIMES, TYPES, BadMessage, Message, array_of, blank_message, blank_value

UPPER = {"sensor_msgs/CameraInfo": {"d": "D", "k": "K", "r": "R", "p": "P"}}  # as ROS 1 writes them
_INTEGERS = {
    "uint8": (0, 2**8 - 1),
    "int8": (-(2**7), 2**7 - 1),
    "byte": (-(2**7), 2**8 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1),
}


def to_wire(
    name: str, message: Mapping[str, Any], ros_version: int, binary: bool = False, finite: bool = True
) -> Message:
    """A complete message as rosbridge carries it: what is not given is zero.

    Args:
        name: its type.
        message: as this package has it; fields may be missing.
        ros_version: 1 or 2.
        binary: whether ``uint8[]`` stays bytes (CBOR) or becomes base64 (JSON).
        finite: whether numbers must be finite, as in all that this package commands; a server hands on what it gets.

    Raises:
        BadMessage: a field is unknown, has another type, or is not finite.
    """
    return _Writer(ros_version, binary, finite).struct(TYPES[name], name, {**blank_message(name), **message})


class _Writer:
    """Checks values and writes them as a generation of ROS has them; the arguments are those of :func:`to_wire`."""

    def __init__(self, ros_version: int, binary: bool, finite: bool):
        self._ros_version, self._binary, self._finite = ros_version, binary, finite

    def struct(self, fields: Mapping[str, str], name: str, message: Mapping[str, Any]) -> Message:
        """A message or a part of one, of the type ``name``."""
        if unknown := set(message) - set(fields):
            raise BadMessage(f"{name} has no field {sorted(unknown)[0]!r}")
        upper = UPPER.get(name, {}) if self._ros_version == 1 else {}
        wire = {}
        for field, kind in fields.items():
            value = message.get(field, blank_value(kind))
            wire[upper.get(field, field)] = self.value(kind, value, f"{name}.{field}")
        if name == "std_msgs/Header" and self._ros_version == 1:
            wire["seq"] = 0
        return wire

    def value(self, kind: str, value: Any, where: str) -> Any:
        """A field's value; ``where`` names it in errors."""
        base, count = array_of(kind)
        if count is not None:
            return self._array(base, count, value, where)
        if kind in TYPES:
            if not isinstance(value, Mapping):
                raise BadMessage(f"{where} is {value!r}, not a {kind}")
            return self.struct(TYPES[kind], kind, {**blank_message(kind), **value})
        if kind in TIMES:
            names = ("secs", "nsecs") if self._ros_version == 1 else TIMES[kind]
            return dict(zip(names, (int(value["sec"]), int(value["nanosec"]))))
        return _scalar(kind, value, where, self._finite)

    def _array(self, base: str, count: int, value: Any, where: str) -> Any:
        if base == "uint8":
            data = bytes(value)
            return data if self._binary else base64.b64encode(data).decode("ascii")
        if count and len(value) != count:
            raise BadMessage(f"{where} has {len(value)} numbers, not {count}")
        if base.startswith("float"):
            numbers = np.asarray(value, dtype=np.float64)
            if numbers.ndim != 1 or (self._finite and not np.isfinite(numbers).all()):
                raise BadMessage(f"{where} is not a row of finite numbers")
            return numbers.tolist()
        return [self.value(base, entry, where) for entry in value]


def _scalar(kind: str, value: Any, where: str, finite: bool) -> Any:
    if kind == "bool":
        if not isinstance(value, (bool, np.bool_)):
            raise BadMessage(f"{where} is {value!r}, not true or false")
        return bool(value)
    if kind == "string":
        if not isinstance(value, str):
            raise BadMessage(f"{where} is {value!r}, not a string")
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise BadMessage(f"{where} is {value!r}, not a number")
    if kind.startswith("float"):
        if finite and not math.isfinite(value):
            raise BadMessage(f"{where} is {value}")
        return float(value)
    low, high = _INTEGERS[kind]
    if not math.isfinite(value) or value != int(value) or not low <= value <= high:
        raise BadMessage(f"{where} is {value!r}, not {kind}")
    return int(value)


def from_wire(name: str, wire: Any, null: bool = True) -> Message:
    """A message of either generation as this package has it; what it does not carry is zero.

    Floats need not be finite: drivers fill what they do not measure with NaN. Whoever uses a number checks it.

    Args:
        name: its type.
        wire: as it came.
        null: whether a float may be null, which servers write for NaN in JSON; it is NaN then.

    Raises:
        BadMessage: a field is unknown or has another type.
    """
    return _struct_from_wire(name, wire, name, null)


def _struct_from_wire(name: str, wire: Any, where: str, null: bool) -> Message:
    if not isinstance(wire, Mapping):
        raise BadMessage(f"{where} is {wire!r}, not a {name}")
    lower = {big: small for small, big in UPPER.get(name, {}).items()}
    message, fields = blank_message(name), TYPES[name]
    for key, value in wire.items():
        field = lower.get(key, key)
        if name == "std_msgs/Header" and key == "seq":
            continue
        if field not in fields:
            raise BadMessage(f"{where} has no field {key!r}")
        message[field] = _value_from_wire(fields[field], value, f"{where}.{field}", null)
    return message


def _value_from_wire(kind: str, value: Any, where: str, null: bool = True) -> Any:
    base, count = array_of(kind)
    if count is not None:
        return _array_from_wire(base, count, value, where, null)
    if kind in TYPES:
        return _struct_from_wire(kind, value, where, null)
    if kind in TIMES:
        return _time_from_wire(value, where)
    if value is None and null and kind.startswith("float"):
        return math.nan
    return _scalar(kind, value, where, finite=False)


def _time_from_wire(value: Any, where: str) -> Message:
    if not isinstance(value, Mapping):
        raise BadMessage(f"{where} is {value!r}, not a time")
    known = {"sec", "nanosec", "secs", "nsecs"}
    if set(value) - known:
        raise BadMessage(f"{where} has no field {sorted(set(value) - known)[0]!r}")
    sec, nanosec = value.get("sec", value.get("secs", 0)), value.get("nanosec", value.get("nsecs", 0))
    return {"sec": _scalar("int32", sec, where, True), "nanosec": _scalar("uint32", nanosec, where, True)}


def _array_from_wire(base: str, count: int, value: Any, where: str, null: bool) -> Any:
    if base == "uint8":
        if isinstance(value, str):
            try:
                return base64.b64decode(value, validate=True)
            except binascii.Error:
                raise BadMessage(f"{where} is no base64") from None
        if isinstance(value, (list, bytes, bytearray, memoryview, np.ndarray)):
            try:
                return bytes(value)
            except (TypeError, ValueError):
                pass
        raise BadMessage(f"{where} is not bytes")
    if not isinstance(value, (list, tuple, np.ndarray)):
        raise BadMessage(f"{where} is {value!r}, not a list")
    if count and len(value) != count:
        raise BadMessage(f"{where} has {len(value)} entries, not {count}")
    if isinstance(value, np.ndarray):
        return value.astype(np.float64).tolist() if base.startswith("float") else value.tolist()
    return [_value_from_wire(base, entry, where, null) for entry in value]


def service_from_wire(fields: Mapping[str, str], values: Mapping[str, Any]) -> Message:
    """A service's request or response of either generation as this package has it; what it does not carry is zero.

    Raises:
        BadMessage: a field has another type.
    """
    return {
        field: _value_from_wire(kind, values[field], field) if field in values else blank_value(kind)
        for field, kind in fields.items()
    }


def service_value(fields: Mapping[str, str], values: Mapping[str, Any], ros_version: int) -> Message:
    """A service's request or response as that generation writes it."""
    writer = _Writer(ros_version, binary=False, finite=True)
    return {field: writer.value(kind, values.get(field, blank_value(kind)), field) for field, kind in fields.items()}
