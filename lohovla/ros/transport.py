"""What the bridge asks of ROS, whatever carries it: topics and services in this package's own message form.

Three carry it: :class:`~lohovla.ros.rosbridge.Rosbridge` to a robot elsewhere, :class:`~lohovla.ros.native.Rclpy`
or :class:`~lohovla.ros.native.Rospy` where ROS is installed, and :class:`~lohovla.ros.graph.LocalTransport` to a
graph in this process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lohovla.errors import UserError
from lohovla.ros.messages import Message

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
    """

    topic: str
    type: str
    callback: Callback
    throttle: float = 0.0


class ServiceFailed(RuntimeError):
    """A service that was not there, refused or did not answer in time."""


class Transport(Protocol):
    """A connection to ROS. It may be lost and come back; what was advertised, offered and subscribed stays wanted."""

    generation: int  # 1 or 2

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
        """Answer a service; the handler is called in the transport's thread."""
        ...

    def call(self, service: str, type: str, request: Mapping[str, Any], timeout: float) -> Message:
        """Ask a service and wait.

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


def connect(kind: str, url: str, generation: int | None = None, compression: str = "cbor") -> Any:
    """A connection to ROS.

    Args:
        kind: ``rosbridge``, or ``native`` where ROS is installed.
        url: of the rosbridge server.
        generation: 1 or 2; None asks the server, or takes what is installed.
        compression: what the server sends messages in.

    Raises:
        UserError: nobody answers there, or there is no ROS.
    """
    if kind == "native":
        from lohovla.ros.native import native

        return native(generation)
    if kind != "rosbridge":
        raise UserError(f"transport cannot be {kind!r}", "choose rosbridge or native")
    from lohovla.ros.rosbridge import Rosbridge

    transport = Rosbridge(url, generation, compression)
    if not transport.wait(5.0):
        trouble = transport.trouble
        transport.close()
        raise UserError(f"no rosbridge answers at {url}: {trouble}", "start one there, or give url=ws://HOST:9090")
    return transport
