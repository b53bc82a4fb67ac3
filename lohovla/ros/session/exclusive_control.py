"""Other bridges on the same robot: at most one may move it."""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from typing import Any

from lohovla.ros.transport.message_types import Message
from lohovla.ros.transport.transport import Subscription

STATE = "/lohovla/state"
_GONE = 1.0  # s of silence after which another bridge is taken to be gone


class ExclusiveControl:
    """Hears what other bridges say of themselves on ``/lohovla/state``.

    Of two bridges the one that already moves the arm goes on; if neither does, the one whose name comes first. So
    they agree without exchanging messages.

    Attributes:
        name: of this bridge.
    """

    def __init__(self, transport: Any):
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self._heard: dict[str, tuple[float, bool]] = {}  # when, and whether it moves the arm
        self.moving = False
        transport.subscribe(Subscription(STATE, "std_msgs/String", self._take))

    def _take(self, message: Message) -> None:
        try:
            said = json.loads(message["data"])
            name, moving = str(said["bridge"]), bool(said["moving"])
        except (ValueError, KeyError, TypeError):
            return
        if name != self.name:
            self._heard[name] = time.monotonic(), moving

    def other_controller(self, now: float) -> str:
        """The bridge that has the arm in place of this one, or ""."""
        for name, (when, moving) in sorted(self._heard.items()):
            first = moving if moving != self.moving else name < self.name
            if first and now - when < _GONE:
                return name
        return ""
