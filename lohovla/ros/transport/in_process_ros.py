"""A ROS graph in this process: topics with types, publishers, subscribers, services. No sockets, no ROS."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from lohovla.ros.transport.message_conversion import from_wire, service_from_wire, service_value, to_wire
from lohovla.ros.transport.message_types import ACTIONS, SERVICES, Message, check_type
from lohovla.ros.transport.transport import Callback, Handler, ServiceFailed, Subscription


class InProcessRos:
    """What the nodes of one ROS system share. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.types: dict[str, str] = {}
        self._listeners: dict[str, list[Callback]] = defaultdict(list)
        self._latched: dict[str, Message] = {}
        self._services: dict[str, tuple[str, Callable[[Message], Message]]] = {}
        self._actions: dict[str, tuple[str, Callable[[Message], None]]] = {}

    def declare(self, topic: str, type: str) -> bool:
        """Give a topic its type; returns whether it has that type now."""
        with self._lock:
            return self.types.setdefault(topic, type) == type

    def publish(self, topic: str, message: Message, latch: bool = False) -> None:
        """Hand a message to all that listen; a latched one also to those that come later."""
        with self._lock:
            listeners = list(self._listeners[topic])
            if latch:
                self._latched[topic] = message
        for listener in listeners:
            listener(message)

    def listen(self, topic: str, callback: Callback) -> None:
        """Hear a topic from now on."""
        with self._lock:
            self._listeners[topic].append(callback)
            latched = self._latched.get(topic)
        if latched is not None:
            callback(latched)

    def unlisten(self, topic: str, callback: Callback) -> None:
        """Hear it no more."""
        with self._lock:
            if callback in self._listeners[topic]:
                self._listeners[topic].remove(callback)

    def listened(self, topic: str) -> bool:
        """Whether anybody hears it."""
        with self._lock:
            return bool(self._listeners[topic])

    def offer(self, service: str, type: str, handler: Handler) -> None:
        """Have a service answered; the last to offer it answers."""
        with self._lock:
            self._services[service] = type, handler

    def withdraw(self, service: str) -> tuple[str, Handler] | None:
        """Have it answered no more; returns its type and who answered, or None where nobody did."""
        with self._lock:
            return self._services.pop(service, None)

    def service_type(self, service: str) -> str | None:
        """Its type, or None where nobody answers."""
        with self._lock:
            found = self._services.get(service)
        return found[0] if found else None

    def call(self, service: str, request: Message) -> Message:
        """Ask a service, in this thread.

        Raises:
            ServiceFailed: nobody offers it.
        """
        with self._lock:
            found = self._services.get(service)
        if found is None:
            raise ServiceFailed(f"service {service} does not exist")
        return found[1](request)

    def serve(self, action: str, type: str, handler: Callable[[Message], None]) -> None:
        """Have an action's goals carried out."""
        with self._lock:
            self._actions[action] = type, handler

    def act(self, action: str, type: str, goal: Message) -> None:
        """Give an action a goal.

        Raises:
            ServiceFailed: nobody serves it, or it is of another type.
        """
        with self._lock:
            found = self._actions.get(action)
        if found is None or found[0] != type:
            raise ServiceFailed(f"action {action} is not served")
        found[1](goal)


class LocalTransport:
    """A node of a :class:`InProcessRos` in this process.

    Args:
        graph: the graph.
        ros_version: of ROS that it plays.
    """

    connected = True

    def __init__(self, graph: InProcessRos, ros_version: int = 2):
        self.graph, self.ros_version = graph, ros_version
        self._latch: dict[str, bool] = {}
        self._heard: list[Subscription] = []

    def advertise(self, topic: str, type: str, latch: bool = False) -> None:
        self.graph.declare(topic, check_type(type))
        self._latch[topic] = latch

    def publish(self, topic: str, message: Mapping[str, Any], newest: bool = False) -> None:
        name = self.graph.types[topic]
        whole = from_wire(name, to_wire(name, message, 2, binary=True))
        self.graph.publish(topic, whole, self._latch[topic])

    def wanted(self, topic: str) -> bool:
        """Whether anybody hears it."""
        return self.graph.listened(topic)

    def subscribe(self, subscription: Subscription) -> None:
        self.graph.declare(subscription.topic, check_type(subscription.type))
        self._heard.append(subscription)
        self.graph.listen(subscription.topic, subscription.callback)

    def offer(self, service: str, type: str, handler: Handler) -> None:
        assert type in SERVICES
        self.graph.offer(service, type, handler)

    def call(self, service: str, type: str, request: Mapping[str, Any], timeout: float) -> Message:
        return service_from_wire(SERVICES[type][1], self.graph.call(service, dict(request)))

    def act(self, action: str, type: str, goal: Mapping[str, Any]) -> None:
        self.graph.act(action, type, service_value(ACTIONS[type], goal, 2))

    def serve(self, action: str, type: str, handler: Callable[[Message], None]) -> None:
        """Carry an action's goals out; the handler is called with each."""
        self.graph.serve(action, type, handler)

    def close(self) -> None:
        for subscription in self._heard:
            self.graph.unlisten(subscription.topic, subscription.callback)
