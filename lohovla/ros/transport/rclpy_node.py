"""A ROS 2 node in this process. Imported only where rclpy was found."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import threading
from collections.abc import Mapping
from typing import Any, Callable

from lohovla.errors import SetupError
from lohovla.ros.transport.message_conversion import service_value, to_wire
from lohovla.ros.transport.message_types import (
    ACTIONS,
    SERVICES,
    Message,
    action_name,
    service_name,
    short_name,
    type_name,
)
from lohovla.ros.transport.native_node import NativeNode, Throttle, fill_message, fill_service, service_from_native
from lohovla.ros.transport.transport import Handler, ServiceFailed, Subscription, respond

_log = logging.getLogger("lohovla.ros")
_RELIABLE_DEPTH = 10  # messages that each must arrive, and may come faster than they are taken


class Rclpy(NativeNode):
    """A ROS 2 node in this process, with an executor in a thread of its own.

    Args:
        name: of the node; a plain one has the number of its process behind it.
        make: makes a node of another kind of that name.
        namespace: of the node; the names of topics and services are whole, and do not change with it.
    """

    ros_version = 2

    def __init__(self, name: str = "lohovla", make: Callable[..., Any] | None = None, namespace: str = ""):
        super().__init__()
        # By name, as it is there on some machines only: types are checked alike on all.
        self._rclpy = rclpy = importlib.import_module("rclpy")
        self._executors = importlib.import_module("rclpy.executors")
        if not rclpy.ok():
            _init(rclpy)
        within = {"namespace": namespace} if namespace else {}
        self._node = make(name, **within) if make is not None else rclpy.create_node(f"{name}_{os.getpid()}", **within)
        # Callbacks are quick, and the executor with several threads takes a multiple of the processor time.
        self._executor = self._executors.SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._actions: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._spin, name="lohovla-rclpy", daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        with contextlib.suppress(self._executors.ExternalShutdownException):
            self._executor.spin()

    @property
    def node(self) -> Any:
        """The node itself."""
        return self._node

    @property
    def connected(self) -> bool:
        return self._rclpy.ok()

    def _installed(self, name: str) -> tuple[Any, dict[str, str]]:
        known = self._load(type_name(name, 2))
        return known, {field: _ros2_type(kind) for field, kind in known.get_fields_and_field_types().items()}

    def _load(self, name: str) -> Any:
        """A class by its whole name, such as ``std_srvs/srv/Trigger``."""
        package, part, kind = name.split("/")
        try:
            return getattr(importlib.import_module(f"{package}.{part}"), kind)
        except (ImportError, AttributeError):
            raise SetupError(f"this ROS has no {name}", f"install ros-*-{package}") from None

    def _quality(self, depth: int = 1, reliable: bool = True, latch: bool = False) -> Any:
        from rclpy.qos import (  # pyright: ignore[reportMissingImports]
            QoSDurabilityPolicy,
            QoSProfile,
            QoSReliabilityPolicy,
        )

        kept, sure = QoSDurabilityPolicy, QoSReliabilityPolicy
        return QoSProfile(
            depth=depth,
            durability=kept.TRANSIENT_LOCAL if latch else kept.VOLATILE,
            reliability=sure.RELIABLE if reliable else sure.BEST_EFFORT,
        )

    def advertise(self, topic: str, type: str, latch: bool = False) -> None:
        publisher = self._node.create_publisher(self._class(type), topic, self._quality(latch=latch))
        self._publishers[topic] = type, publisher

    def wanted(self, topic: str) -> bool:
        """Whether anybody hears it."""
        return self._publishers[topic][1].get_subscription_count() > 0

    def subscribe(self, subscription: Subscription) -> None:
        # Best effort hears reliable publishers too; cameras are often only that. A stop may not be lost on its way.
        sure = subscription.reliable
        qualities = [self._quality(_RELIABLE_DEPTH if sure else 1, sure)]
        if subscription.latched:  # and the other beside it: this one does not hear publishers that keep nothing
            qualities.append(self._quality(_RELIABLE_DEPTH if sure else 1, True, latch=True))
        for quality in qualities:
            self._node.create_subscription(
                self._class(subscription.type), subscription.topic, Throttle(subscription), quality
            )

    def offer(self, service: str, type: str, handler: Handler) -> None:
        known, (asked, answered) = self._load(service_name(type, 2)), SERVICES[type]

        def reply(request: Any, response: Any) -> Any:
            values = respond(service, type, handler, service_from_native(asked, request))
            if values is None:
                return response  # blank: no success
            return fill_service(response, answered, service_value(answered, values, 2), 2, self._make)

        self._node.create_service(known, service, reply)

    def call(self, service: str, type: str, request: Mapping[str, Any], timeout: float) -> Message:
        asked, answered = SERVICES[type]
        if type == "rosapi/TopicType":  # the graph knows it, with rosapi or without
            kinds = dict(self._node.get_topic_names_and_types()).get(str(request["topic"])) or [""]
            return {"type": short_name(kinds[0])}
        try:
            known = self._load(service_name(type, 2))
        except SetupError as error:
            raise ServiceFailed(error.cause) from None
        client = self._node.create_client(known, service)
        try:
            if not client.wait_for_service(timeout):
                raise ServiceFailed(f"{service} does not exist")
            native = fill_service(known.Request(), asked, service_value(asked, request, 2), 2, self._make)
            future, done = client.call_async(native), threading.Event()
            future.add_done_callback(lambda _: done.set())
            if not done.wait(timeout):
                raise ServiceFailed(f"{service} did not answer in {timeout:g} s")
            return service_from_native(answered, future.result())
        finally:
            self._node.destroy_client(client)

    def act(self, action: str, type: str, goal: Mapping[str, Any]) -> None:
        known = self._load(action_name(type))
        if action not in self._actions:
            self._actions[action] = importlib.import_module("rclpy.action").ActionClient(self._node, known, action)
        native = known.Goal()
        for field, kind in ACTIONS[type].items():
            wire = to_wire(kind, goal[field], 2, binary=True)
            setattr(native, field, fill_message(kind, getattr(native, field), wire, 2, self._make))
        if self._actions[action].server_is_ready():
            self._actions[action].send_goal_async(native)
        else:
            _log.warning("action %s is not served", action)

    def close(self) -> None:
        self._executor.shutdown(timeout_sec=1.0)
        self._node.destroy_node()
        if self._rclpy.ok():
            self._rclpy.shutdown()
        if self._thread is not threading.current_thread():
            self._thread.join(2.0)  # a thread that is left within rclpy aborts the process at its end


def _init(rclpy: Any) -> None:
    """Begin with ROS 2, without handlers of its own for signals: they would end the context before the arm rests."""
    try:
        none = importlib.import_module("rclpy.signals").SignalHandlerOptions.NO
    except ImportError:  # before Humble
        rclpy.init()
        return
    rclpy.init(signal_handler_options=none)


def _ros2_type(kind: str) -> str:
    """A field's type as rclpy writes it, in ROS 1's words."""
    simple = {"double": "float64", "float": "float32", "boolean": "bool", "octet": "byte"}
    if kind.startswith("sequence<"):
        return _ros2_type(kind[len("sequence<") : -1].partition(",")[0]) + "[]"
    base, bracket, count = kind.partition("[")
    base = {"builtin_interfaces/Time": "time", "builtin_interfaces/Duration": "duration"}.get(base, base)
    return simple.get(base, base) + bracket + count
