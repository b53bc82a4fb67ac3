"""What the bridge asks of ROS, whatever carries it: topics and services in this package's own message form.

Three carry it: ``Rosbridge`` to a robot elsewhere, ``Rclpy``
or ``Rospy`` where ROS is installed, and ``LocalTransport`` to a
graph in this process.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, Protocol

from lohovla.ros.transport.message_conversion import from_wire, service_from_wire
from lohovla.ros.transport.message_types import SERVICES, BadMessage, Message

_log = logging.getLogger("lohovla.ros")
Callback = Callable[[Message], None]
Handler = Callable[[Message], Message]


@dataclass(frozen=True)
class Subscription:
    """What a subscriber wants of a topic.

    Attributes:
        topic: its name.
        type: ``package/Type``.
        callback: called with each message in the transport's thread; it must be quick.
        throttle: s, the least time between two messages; 0 takes all.
        reliable: whether each must arrive, as a stop must; others are newest only, and one may be lost. ROS 2 tells
            the difference: a reliable subscriber does not hear a publisher that promises best effort only.
        latched: whether the last message of a publisher that keeps it is wanted too, though it was sent before. ROS 1
            and rosbridge give it to every subscriber; on ROS 2 one has to ask.
    """

    topic: str
    type: str
    callback: Callback
    throttle: float = 0.0
    reliable: bool = False
    latched: bool = False

    def deliver(self, wire: Any) -> bool:
        """Hand a message on as it came; returns whether it was one of this type.

        Whatever is wrong with it, or with the callback, is logged: the thread that reads the others must go on.
        """
        try:
            message = from_wire(self.type, wire)
        except BadMessage as error:
            _log.warning("%s: %s", self.topic, error)
            return False
        try:
            self.callback(message)
        except Exception:
            _log.exception("%s was not dealt with", self.topic)
        return True


def respond(service: str, type: str, handler: Handler, wire: Mapping[str, Any]) -> Message | None:
    """What a handler answers to a request as it came; None, and a line in the log, where it fails."""
    try:
        return handler(service_from_wire(SERVICES[type][0], wire))
    except Exception:  # a mistake in one answer must not end the thread that gives the others
        _log.exception("service %s was not answered", service)
        return None


class ServiceFailed(RuntimeError):
    """A service that was not there, refused or did not answer in time."""


class Transport(Protocol):
    """A connection to ROS. It may be lost and come back; what was advertised, offered and subscribed stays wanted."""

    ros_version: int  # 1 or 2

    @property
    def connected(self) -> bool:
        """Whether messages can pass at this moment."""
        ...

    def advertise(self, topic: str, type: str, latch: bool = False) -> None:
        """Say that this side will publish."""
        ...

    def publish(self, topic: str, message: Mapping[str, Any], newest: bool = False) -> None:
        """Publish to an advertised topic, without waiting.

        Args:
            topic: its name.
            message: fields that are missing are zero.
            newest: whether it takes the place of one on the same topic that still waits to be sent.

        Raises:
            BadMessage: the message does not fit its type or holds a number that is not finite.
        """
        ...

    def subscribe(self, subscription: Subscription) -> None:
        """Hear a topic."""
        ...

    def offer(self, service: str, type: str, handler: Handler) -> None:
        """Answer a service; the handler is called in the transport's thread.

        Raises:
            SetupError: this ROS does not know the type.
        """
        ...

    def call(self, service: str, type: str, request: Mapping[str, Any], timeout: float) -> Message:
        """Ask a service and wait; the answer is plain values in this package's names.

        Raises:
            ServiceFailed: there was no good answer in ``timeout`` seconds.
        """
        ...

    def act(self, action: str, type: str, goal: Mapping[str, Any]) -> None:
        """Send an action its goal, without waiting for what comes of it; a goal before it is given up.

        Raises:
            BadMessage: the goal does not fit the action.
        """
        ...

    def close(self) -> None:
        """Leave."""
        ...
