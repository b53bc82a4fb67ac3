"""What the bridge hears of the guard on the robot's side."""

from __future__ import annotations

import json
import logging
import math
import time
from typing import Any

from lohovla.ros.guard.guard import STATE
from lohovla.ros.transport.message_types import Message
from lohovla.ros.transport.namespace import full_name
from lohovla.ros.transport.transport import Subscription

_log = logging.getLogger("lohovla.ros")


class GuardStatus:
    """The guard's last word.

    Attributes:
        topic: where it speaks.
        said: its state, or empty before the first word.
    """

    def __init__(self, transport: Any):
        self.topic = full_name(transport, STATE)
        self.said: dict[str, Any] = {}
        self._heard = -math.inf
        transport.subscribe(Subscription(STATE, "std_msgs/String", self._take))

    def _take(self, message: Message) -> None:
        try:
            said = json.loads(message["data"])
            if not isinstance(said["state"], str):
                raise TypeError
        except (ValueError, KeyError, TypeError):
            _log.warning("a word of the guard's that cannot be read")
            return
        self.said, self._heard = said, time.monotonic()

    def age(self, now: float) -> float:
        """How old it is, s; infinite before the first."""
        return now - self._heard

    @property
    def braking(self) -> bool:
        """Whether it is bringing the arm to rest, or keeping it there for a moment."""
        return self.said.get("state") in ("braking", "stopped")

    @property
    def refuses(self) -> str:
        """Why it lets no command pass though they come, or ""."""
        return str(self.said.get("refuses", ""))

    @property
    def cause(self) -> str:
        """Why it last braked."""
        return str(self.said.get("cause", ""))
