"""What real rosbridge servers cannot send, so that tests against the server of this package see it too.

Their CBOR knows a list of field types, and takes whatever is not on it for a message: the whole message is dropped
then, with an AttributeError in the server's own log and nothing for the client. ROS 1 (0.11.17, the last) does not know
``string[]`` and arrays of fixed size (rosbridge_suite issues 526 and 864); ROS 2 before 2026-02-26 (issues 965 and
1161) does not know arrays of fixed size and ``byte``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from lohovla.ros.transport.message_types import TYPES, array_of

_FIXED = re.compile(r"\[\d+\]$")


def lost_in_cbor(name: str, message: Mapping[str, Any], ros_version: int) -> str:
    """The first field that makes a server drop a message that is to go as CBOR, or "".

    >>> lost_in_cbor("sensor_msgs/JointState", {"name": ["elbow"], "position": [0.5]}, 1)
    'name'
    """
    for field, kind in TYPES[name].items():
        value = message.get(field)
        base, count = array_of(kind)
        if base in TYPES:
            parts = value or [] if count is not None else [value or {}]
            inner = next((found for part in parts if (found := lost_in_cbor(base, part, ros_version))), "")
            if inner:
                return f"{field}.{inner}"
        elif (
            _FIXED.search(kind)
            or (ros_version == 1 and kind == "string[]" and value)
            or (ros_version == 2 and kind == "byte")
        ):
            return field
    return ""


def finite_json(value: Any) -> Any:
    """A message's plain values with null where a number is not finite, as servers write them."""
    if isinstance(value, dict):
        return {key: finite_json(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [finite_json(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
