"""Names of one robot among several: a transport that puts a namespace before what is this robot's own.

Nothing but the standard library: this runs on the robot's side too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lohovla.errors import UserError
from lohovla.ros.transport.transport import Handler, Subscription

# What a ROS system has once: time, frames, diagnostics, and rosbridge's own services.
_ONCE = ("/clock", "/tf", "/tf_static", "/diagnostics", "/rosapi")


def check_namespace(namespace: str) -> str:
    """A namespace as ROS writes it: "" or ``/left``, ``/cell/left``.

    Raises:
        UserError: it is none.
    """
    name = "/" + namespace.strip("/") if namespace.strip("/") else ""
    if name and not re.fullmatch(r"(/[A-Za-z][A-Za-z0-9_]*)+", name):
        raise UserError(f"namespace cannot be {namespace!r}", "letters, digits and _, such as namespace=/left")
    return name


def in_namespace(transport: Any, namespace: str, shared: Sequence[str] = ()) -> Any:
    """The transport itself without a namespace, else one that puts the namespace before names.

    Args:
        transport: to ROS.
        namespace: of one robot.
        shared: names, or beginnings of names such as ``/camera``, that several robots have together.

    Raises:
        UserError: the namespace is none.
    """
    name = check_namespace(namespace)
    return Namespaced(transport, name, shared) if name else transport


def full_name(transport: Any, name: str) -> str:
    """The name of a topic, service or action as ROS has it: behind the transport's namespace, where it is in one."""
    resolve = getattr(transport, "resolve", None)
    return name if resolve is None else resolve(name)


def log_format(namespace: str) -> str:
    """The form of log lines: they name the robot, where it is one of several."""
    name = check_namespace(namespace)
    return f"%(asctime)s %(name)s{' ' + name if name else ''}: %(message)s"


class Namespaced:
    """A transport whose topics, services and actions lie in a namespace; those that a system has once do not.

    A name that lies in the namespace already stays as it is. On ``/diagnostics``, which all share, the namespace goes
    before the statuses' names.

    Args:
        transport: to ROS.
        namespace: as ``/left``.
        shared: names, or beginnings of names, that stay outside.
    """

    def __init__(self, transport: Any, namespace: str, shared: Sequence[str] = ()):
        self._transport, self.namespace = transport, namespace
        self._outside = (*_ONCE, *(f"/{name.strip('/')}" for name in shared), namespace)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def resolve(self, name: str) -> str:
        """A name as ROS has it."""
        whole = "/" + name.lstrip("/")
        if any(whole == one or whole.startswith(one + "/") for one in self._outside):
            return whole
        return self.namespace + whole

    def advertise(self, topic: str, type: str, latch: bool = False) -> None:
        self._transport.advertise(self.resolve(topic), type, latch)

    def publish(self, topic: str, message: Mapping[str, Any], newest: bool = False) -> None:
        if topic == "/diagnostics":
            named = [{**one, "name": f"{self.namespace[1:]}/{one['name']}"} for one in message["status"]]
            message = {**message, "status": named}
        self._transport.publish(self.resolve(topic), message, newest)

    def wanted(self, topic: str) -> bool:
        """Whether anybody hears it."""
        return self._transport.wanted(self.resolve(topic))

    def subscribe(self, subscription: Subscription) -> None:
        self._transport.subscribe(replace(subscription, topic=self.resolve(subscription.topic)))

    def offer(self, service: str, type: str, handler: Handler) -> None:
        self._transport.offer(self.resolve(service), type, handler)

    def call(self, service: str, type: str, request: Mapping[str, Any], timeout: float) -> Any:
        if type == "rosapi/TopicType":
            request = {**request, "topic": self.resolve(str(request["topic"]))}
        return self._transport.call(self.resolve(service), type, request, timeout)

    def act(self, action: str, type: str, goal: Mapping[str, Any]) -> None:
        self._transport.act(self.resolve(action), type, goal)

    def serve(self, action: str, type: str, handler: Any) -> None:
        """Carry an action's goals out."""
        self._transport.serve(self.resolve(action), type, handler)
