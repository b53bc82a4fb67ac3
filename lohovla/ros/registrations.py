"""What a rosbridge client publishes, hears and answers, as the operations that tell a server so, and take it back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lohovla.ros.conversion import to_wire
from lohovla.ros.messages import Message, check_type, service_name, type_name
from lohovla.ros.transport import Handler, Subscription

# Real servers cannot send every message as CBOR (lohovla.ros.server_limits), and drop what they cannot without a word.
# Pictures they can, and pictures are what it is for: the rest is small.
_PICTURES = ("sensor_msgs/Image", "sensor_msgs/CompressedImage")


class Registrations:
    """Kept for as long as the client lives, and said again on every connection.

    Args:
        compression: ``cbor`` (pictures as CBOR, the rest as JSON), ``png`` or ``none``, of what is heard.

    Attributes:
        advertised: topics, with their type and whether the last message is kept for those who come later.
        latched: the last message of those.
        subscribed: what is heard.
        offered: services, with their type and who answers.
    """

    def __init__(self, compression: str):
        self._compression = compression
        self.advertised: dict[str, tuple[str, bool]] = {}
        self.latched: dict[str, Mapping[str, Any]] = {}
        self.subscribed: list[Subscription] = []
        self.offered: dict[str, tuple[str, Handler]] = {}

    def advertise(self, topic: str, type: str, latch: bool, generation: int) -> Message:
        """Add a topic that is published; returns the operation."""
        self.advertised[topic] = check_type(type), latch
        return self._advertisement(topic, generation)

    def subscribe(self, subscription: Subscription, generation: int) -> Message:
        """Add a topic that is heard; returns the operation."""
        check_type(subscription.type)
        self.subscribed.append(subscription)
        return self._request(len(self.subscribed) - 1, generation)

    def offer(self, service: str, type: str, handler: Handler, generation: int) -> Message:
        """Add a service that is answered; returns the operation."""
        self.offered[service] = type, handler
        return self._offering(service, generation)

    def everything(self, generation: int) -> list[Message]:
        """All of it, for a new connection."""
        operations = [self._advertisement(topic, generation) for topic in self.advertised]
        operations += [self._offering(service, generation) for service in self.offered]
        operations += [self._request(index, generation) for index in range(len(self.subscribed))]
        operations += [
            {"op": "publish", "topic": topic, "msg": to_wire(self.advertised[topic][0], message, generation)}
            for topic, message in self.latched.items()
        ]
        return operations

    def withdrawal(self) -> list[Message]:
        """All of it taken back: servers go on to advertise what a client that is gone had advertised.

        Whoever calls such a service waits for ever.
        """
        operations = [{"op": "unadvertise_service", "service": service} for service in self.offered]
        operations += [
            {"op": "unsubscribe", "id": f"sub{index}", "topic": wanted.topic}
            for index, wanted in enumerate(self.subscribed)
        ]
        return operations + [{"op": "unadvertise", "topic": topic} for topic in self.advertised]

    def _advertisement(self, topic: str, generation: int) -> Message:
        name, latch = self.advertised[topic]
        return {
            "op": "advertise", "topic": topic, "type": type_name(name, generation), "latch": latch, "queue_size": 1,
        }  # fmt: skip

    def _request(self, index: int, generation: int) -> Message:
        wanted = self.subscribed[index]
        pictures = wanted.type in _PICTURES
        return {
            "op": "subscribe", "id": f"sub{index}", "topic": wanted.topic,
            "type": type_name(wanted.type, generation), "throttle_rate": round(1000 * wanted.throttle),
            "queue_length": 1,
            "compression": "none" if self._compression == "cbor" and not pictures else self._compression,
        }  # fmt: skip

    def _offering(self, service: str, generation: int) -> Message:
        kind = service_name(self.offered[service][0], generation)
        return {"op": "advertise_service", "service": service, "type": kind}
