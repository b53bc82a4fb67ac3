"""What came from the robot, newest only, and when it was taken on our clock."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lohovla.ros.clocks import ClockOffset
from lohovla.ros.messages import BadMessage, Message, seconds_of, short_name
from lohovla.ros.transport import ServiceFailed, Subscription


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
        type: of its messages, as subscribed.
        clock: maps its stamps.
        on_new: called after a message was kept, in the transport's thread.
    """

    def __init__(self, topic: str, type: str, clock: ClockOffset, on_new: Callable[[], None] | None = None):
        self.topic, self.type, self._clock, self._on_new = topic, type, clock, on_new
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
                self._feeds[topic] = Feed(topic, type, self._clock, on_new)
                self._transport.subscribe(Subscription(topic, type, self._feeds[topic], throttle))
            return self._feeds[topic]

    def listen(self, topic: str, type: str, callback: Callable[[Message], None], latched: bool = False) -> None:
        """Hear every message of a topic, where the newest is not all: those of several publishers."""
        self._transport.subscribe(Subscription(topic, type, callback, reliable=True, latched=latched))

    def advice(self) -> list[str]:
        """Why nothing comes on topics on which nothing ever came, as far as ROS can tell; asks, and so waits.

        Servers answer a wrong type or name with silence.
        """
        found = []
        for feed in [feed for feed in list(self._feeds.values()) if not feed.count]:
            try:
                answer = self._transport.call("/rosapi/topic_type", "rosapi/TopicType", {"topic": feed.topic}, 1.0)
            except (ServiceFailed, BadMessage):
                return []
            there = short_name(str(answer["type"]))
            if there and there != feed.type:
                found.append(f"{feed.topic} is a {there}, the profile takes it for a {feed.type}")
        return found
