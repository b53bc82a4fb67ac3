"""What came from the robot, newest only, and when it was taken on our clock."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lohovla.ros.transport.message_types import BadMessage, Message, seconds_of, short_name
from lohovla.ros.transport.namespace import full_name
from lohovla.ros.transport.time_sync import ClockOffset
from lohovla.ros.transport.transport import ServiceFailed, Subscription

_RECENT = 6  # messages of a topic that are kept: of a camera at 30 Hz those of 0.2 s


@dataclass(frozen=True)
class ReceivedMessage:
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


class Subscriber:
    """One topic: its newest messages. An older one that comes later is dropped.

    Args:
        topic: its name as ROS has it.
        type: of its messages, as subscribed.
        clock: maps its stamps.
        on_new: called after a message was kept, in the transport's thread.
        each: called there with every message and when it was taken, also with one that is older than the newest:
            a topic may have several publishers, whose messages say different things.
        arrival: take messages for as old as they have been here, whatever their stamps say.

    Attributes:
        recent: the newest messages, oldest first.
    """

    def __init__(
        self,
        topic: str,
        type: str,
        clock: ClockOffset,
        on_new: Callable[[], None] | None = None,
        each: Callable[[Message, float], None] | None = None,
        arrival: bool = False,
    ):
        self.topic, self.type, self._clock, self._on_new = topic, type, clock, on_new
        self._each, self._arrival = each, arrival
        self.recent: tuple[ReceivedMessage, ...] = ()
        self.count = self.late = 0

    @property
    def newest(self) -> ReceivedMessage | None:
        """The newest message; None before the first."""
        return self.recent[-1] if self.recent else None

    def __call__(self, message: Message) -> None:
        """Take a message."""
        came = time.monotonic()
        stamp = seconds_of(message["header"]["stamp"]) if "header" in message else 0.0
        taken = came
        if stamp > 0.0:
            self._clock.heard(stamp, came)
            taken = came if self._arrival else self._clock.local(stamp)
        self.count += 1
        if self._each is not None:
            self._each(message, taken)
        kept = self.recent
        if kept and taken < kept[-1].taken - 1.0:
            kept = ()  # the sender's clock was set back: go on from there
        elif kept and taken < kept[-1].taken:
            self.late += 1
            return
        self.recent = (*kept, ReceivedMessage(message, taken, came, self.count))[-_RECENT:]
        if self._on_new is not None:
            self._on_new()

    def age(self, now: float) -> float:
        """How old the newest is, s; infinite before the first."""
        return math.inf if self.newest is None else now - self.newest.taken


class Subscriptions:
    """All topics that are heard, by name.

    Args:
        transport: to ROS.
        clock: maps stamps to our clock.
        arrival: whether messages are as old as they have been here, whatever their stamps say.
    """

    def __init__(self, transport: Any, clock: ClockOffset, arrival: bool = False):
        self._transport, self._clock, self._arrival = transport, clock, arrival
        self._feeds: dict[str, Subscriber] = {}
        self._lock = threading.Lock()

    def subscribe(
        self,
        topic: str,
        type: str,
        throttle: float = 0.0,
        on_new: Callable[[], None] | None = None,
        each: Callable[[Message, float], None] | None = None,
    ) -> Subscriber:
        """Subscribe; the same topic again gives the same feed."""
        with self._lock:
            if topic not in self._feeds:
                whole = full_name(self._transport, topic)
                self._feeds[topic] = Subscriber(whole, type, self._clock, on_new, each, self._arrival)
                self._transport.subscribe(Subscription(whole, type, self._feeds[topic], throttle))
            return self._feeds[topic]

    def listen(self, topic: str, type: str, callback: Callable[[Message], None], latched: bool = False) -> None:
        """Hear every message of a topic, where the newest is not all: those of several publishers."""
        self._transport.subscribe(Subscription(topic, type, callback, reliable=True, latched=latched))

    def silence_hint(self) -> list[str]:
        """What is known of topics on which nothing ever came: their names, and why, as far as ROS can tell.

        It asks, and so waits. Servers answer a wrong type or name with silence.
        """
        found = []
        for feed in [feed for feed in list(self._feeds.values()) if not feed.count]:
            there = self._type_of(feed.topic)
            if there and there != feed.type:
                found.append(f"{feed.topic} is a {there}, the profile takes it for a {feed.type}")
            else:
                why = {None: "", "": ": nobody publishes it, ROS says"}.get(there, "")
                found.append(f"nothing has come on {feed.topic} ({feed.type}){why}")
        return found

    def _type_of(self, topic: str) -> str | None:
        """The type of a topic; "" if there is no such topic, None if ROS does not say."""
        try:
            answer = self._transport.call("/rosapi/topic_type", "rosapi/TopicType", {"topic": topic}, 1.0)
            return short_name(str(answer["type"])) if answer["type"] else ""
        except (ServiceFailed, BadMessage):
            return None
