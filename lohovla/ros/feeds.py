"""What came from the robot, newest only, and when it was taken on our clock."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lohovla.ros.clocks import ClockOffset
from lohovla.ros.messages import Message, seconds_of
from lohovla.ros.transport import Subscription


@dataclass(frozen=True)
class Arrival:
    """A message and its times, s on the loop's clock.

    Attributes:
        message: as it came.
        taken: when it was stamped, on our clock; when it came, if it has no stamp.
        came: when it came.
        order: counts up.
    """

    message: Message
    taken: float
    came: float
    order: int


class Feed:
    """One topic: its newest message. An older one that comes later is dropped.

    Args:
        topic: its name.
        clock: maps its stamps.
        on_new: called after a message was kept, in the transport's thread.
    """

    def __init__(self, topic: str, clock: ClockOffset, on_new: Callable[[], None] | None = None):
        self.topic, self._clock, self._on_new = topic, clock, on_new
        self.newest: Arrival | None = None
        self.count = self.late = 0

    def __call__(self, message: Message) -> None:
        """Take a message."""
        came = time.monotonic()
        stamp = seconds_of(message["header"]["stamp"]) if "header" in message else 0.0
        taken = came
        if stamp > 0.0:
            self._clock.heard(stamp, came)
            taken = self._clock.local(stamp)
        self.count += 1
        if self.newest is not None and taken < self.newest.taken - 1.0:
            pass  # the sender's clock was set back: go on from there
        elif self.newest is not None and taken < self.newest.taken:
            self.late += 1
            return
        self.newest = Arrival(message, taken, came, self.count)
        if self._on_new is not None:
            self._on_new()

    def age(self, now: float) -> float:
        """How old the newest is, s; infinite before the first."""
        return math.inf if self.newest is None else now - self.newest.taken


class Feeds:
    """All topics that are heard, by name."""

    def __init__(self, transport: Any, clock: ClockOffset):
        self._transport, self._clock = transport, clock
        self._feeds: dict[str, Feed] = {}
        self._lock = threading.Lock()

    def hear(self, topic: str, type: str, throttle: float = 0.0, on_new: Callable[[], None] | None = None) -> Feed:
        """Subscribe; the same topic again gives the same feed."""
        with self._lock:
            if topic not in self._feeds:
                self._feeds[topic] = Feed(topic, self._clock, on_new)
                self._transport.subscribe(Subscription(topic, type, self._feeds[topic], throttle))
            return self._feeds[topic]

    def __iter__(self) -> Any:
        return iter(list(self._feeds.values()))
