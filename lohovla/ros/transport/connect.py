"""A connection to ROS, of the kind that a person chose."""

from __future__ import annotations

from typing import Any

from lohovla.errors import UserError
from lohovla.ros.transport.installed_ros import native


def connect(kind: str, url: str, ros_version: int | None = None, compression: str = "cbor") -> Any:
    """A connection to ROS.

    Args:
        kind: ``rosbridge``, or ``native`` where ROS is installed.
        url: of the rosbridge server.
        ros_version: 1 or 2; None asks the server, or takes what is installed.
        compression: what the server sends messages in.

    Raises:
        UserError: nobody answers there, or there is no ROS.
    """
    if kind == "native":
        return native(ros_version)
    if kind != "rosbridge":
        raise UserError(f"transport cannot be {kind!r}", "choose rosbridge or native")
    from lohovla.ros.transport.rosbridge_client import Rosbridge

    transport = Rosbridge(url, ros_version, compression)
    if not transport.wait(5.0):
        trouble = transport.trouble
        transport.close()
        raise UserError(f"no rosbridge answers at {url}: {trouble}", "start one there, or give url=ws://HOST:9090")
    return transport
