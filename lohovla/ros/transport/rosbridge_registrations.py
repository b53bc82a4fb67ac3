"""What a rosbridge client publishes, hears and answers, as the operations that tell a server so, and take it back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lohovla.ros.transport.message_conversion import service_value, to_wire
from lohovla.ros.transport.message_types import SERVICES, Message, check_type, service_name, type_name
from lohovla.ros.transport.transport import Handler, Subscription, respond

# Real servers cannot send every message as CBOR (see rosbridge_server_limits), and drop the others silently.
# Pictures they can, and pictures are what it is for: the rest is small.
_PICTURES = ("sensor_msgs/Image", "sensor_msgs/CompressedImage")


class Registrations:
    """Kept for as long as the client lives, and said again on every connection.

    Args:
        compression: ``cbor`` (pictures as CBOR, the rest as JSON), ``png`` (ROS 1 only) or ``none``, of what is heard.

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

    def advertise(self, topic: str, type: str, latch: bool, ros_version: int) -> Message:
        """Add a topic that is published; returns the operation."""
        self.advertised[topic] = check_type(type), latch
        return self._advertisement(topic, ros_version)

    def subscribe(self, subscription: Subscription, ros_version: int) -> Message:
        """Add a topic that is heard; returns the operation."""
        check_type(subscription.type)
        self.subscribed.append(subscription)
        return self._request(len(self.subscribed) - 1, ros_version)

    def offer(self, service: str, type: str, handler: Handler, ros_version: int) -> Message:
        """Add a service that is answered; returns the operation."""
        self.offered[service] = type, handler
        return self._offering(service, ros_version)

    def everything(self, ros_version: int) -> list[Message]:
        """All of it, for a new connection."""
        operations = [self._advertisement(topic, ros_version) for topic in self.advertised]
        operations += [self._offering(service, ros_version) for service in self.offered]
        operations += [self._request(index, ros_version) for index in range(len(self.subscribed))]
        operations += [
            self.publication(topic, to_wire(self.advertised[topic][0], message, ros_version))
            for topic, message in self.latched.items()
        ]
        return operations

    def publication(self, topic: str, wire: Message) -> Message:
        """A message on its way. Without ``latch`` servers take it for another kind of publisher, and warn each time."""
        return {"op": "publish", "topic": topic, "msg": wire, "latch": self.advertised[topic][1]}

    def withdrawal(self) -> list[Message]:
        """All of it taken back: servers go on to advertise what a client that is gone had advertised.

        Whoever calls such a service waits for ever.
        """
        operations = [
            {"op": "unsubscribe", "id": f"sub{index}", "topic": wanted.topic}
            for index, wanted in enumerate(self.subscribed)
        ]
        operations += [{"op": "unadvertise", "topic": topic} for topic in self.advertised]
        return operations + [{"op": "unadvertise_service", "service": service} for service in self.offered]

    def _advertisement(self, topic: str, ros_version: int) -> Message:
        name, latch = self.advertised[topic]
        kind = type_name(name, ros_version)
        return {"op": "advertise", "topic": topic, "type": kind, "latch": latch, "queue_size": 1}

    def _request(self, index: int, ros_version: int) -> Message:
        wanted = self.subscribed[index]
        # ROS 2's servers (seen in 2.1.0) do not send png: they fail to write its bytes as JSON.
        lost = ros_version == 2 if self._compression == "png" else wanted.type not in _PICTURES
        # A queue is a thread in the server, which on ROS 2 (until 2024-12-22, rosbridge_suite #891) does not end with
        # its client if a message waits: it sends that for ever, and the server answers nobody any more.
        queue = 1 if ros_version == 1 else 0
        kind = type_name(wanted.type, ros_version)
        operation = {"op": "subscribe", "id": f"sub{index}", "topic": wanted.topic, "type": kind, "queue_length": queue}
        throttle = round(1000 * wanted.throttle)
        return {**operation, "throttle_rate": throttle, "compression": "none" if lost else self._compression}

    def _offering(self, service: str, ros_version: int) -> Message:
        kind = service_name(self.offered[service][0], ros_version)
        return {"op": "advertise_service", "service": service, "type": kind}

    def deliver(self, operation: Mapping[str, Any]) -> int:
        """Give a published message to its subscriptions; returns for how many it did not fit their type."""
        topic = operation.get("topic")
        heard = [subscription for subscription in self.subscribed if subscription.topic == topic]
        return sum(not subscription.deliver(operation.get("msg")) for subscription in heard)

    def response(self, operation: Mapping[str, Any], ros_version: int) -> dict[str, Any] | None:
        """The answer to a call of a service that is offered; None of one that is not."""
        name = str(operation.get("service"))
        if name not in self.offered:
            return None
        type, handler = self.offered[name]
        found = respond(name, type, handler, operation.get("args") or {})
        values = {} if found is None else service_value(SERVICES[type][1], found, ros_version)
        response = {"op": "service_response", "service": name, "values": values, "result": found is not None}
        return {**response, "id": operation["id"]} if "id" in operation else response
