"""Episodes of the simulated robot: set the table by its seed, and hear how it went."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any

from lohovla.ros.messages import Message
from lohovla.ros.transport import Subscription

_log = logging.getLogger("lohovla.ros")
_AGAIN = 2.0  # s after which a reset is said again


class SimulatedEpisodes:
    """What ``lohovla ros-sim`` says of its episode.

    Attributes:
        success: whether the goal stood at the end.
        score: at the last word.
        ended: why it is over, or "".
    """

    def __init__(self, transport: Any):
        self._transport = transport
        self._seed: int | None = None
        self._result: dict[str, Any] = {}
        transport.advertise("/sim/reset", "std_msgs/Int64")
        transport.subscribe(Subscription("/sim/result", "std_msgs/String", self._take))

    def _take(self, message: Message) -> None:
        try:
            result = json.loads(message["data"])
            if int(result["seed"]) == self._seed:
                self._result = result
        except (ValueError, KeyError, TypeError):
            _log.warning("a result that cannot be read")

    @property
    def ended(self) -> str:
        return str(self._result.get("reason", "")) if self._result.get("ended") else ""

    @property
    def success(self) -> bool:
        return bool(self._result.get("success"))

    @property
    def score(self) -> float:
        return float(self._result.get("score", 0.0))

    def begin(self, seed: int, cancelled: Callable[[], bool]) -> str:
        """Set the table; returns the goal sentence, or "" if it was cancelled."""
        self._seed, self._result = seed, {}
        said = 0.0
        while not cancelled():
            now = time.monotonic()
            if now - said > _AGAIN:
                self._transport.publish("/sim/reset", {"data": seed})
                said = now
            if self._result and not self._result["ended"] and self._result["time"] < 1.0:
                return str(self._result["instruction"])
            time.sleep(0.02)
        return ""
