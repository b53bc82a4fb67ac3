"""Native nodes: rclpy where ROS 2 is sourced, rospy where ROS 1 is installed. Imported only when asked for.

Messages are this package's own mappings (:mod:`lohovla.ros.messages`) on both; their types are compared with the
definitions that are installed before anything is sent.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lohovla.errors import SetupError, UserError
from lohovla.ros.messages import (
    ACTIONS,
    SERVICES,
    TYPES,
    BadMessage,
    Message,
    action_goal,
    check_type,
    from_wire,
    to_wire,
)
from lohovla.ros.transport import Handler, ServiceFailed, Subscription

_log = logging.getLogger("lohovla.ros")
_DEBIAN = Path("/usr/lib/python3/dist-packages")  # where Debian and Ubuntu keep rospy
_BUFFER = 2**24  # bytes that rospy reads at once; less than a picture makes it fall behind
_ANSWER = 5.0  # s to find a service


def native(generation: int | None = None) -> Any:
    """A node of the ROS that is installed.

    Raises:
        SetupError: there is none, or not of that generation.
        UserError: no ROS master answers.
    """
    if generation != 1 and _importable("rclpy"):
        return Rclpy()
    if generation != 2 and _importable("rospy"):
        return Rospy()
    wanted = {1: "rospy", 2: "rclpy"}.get(generation or 0, "rclpy or rospy")
    raise SetupError(f"there is no {wanted} for this Python", "source your ROS, or use transport=rosbridge")


def _importable(name: str) -> bool:
    """Import a module; that of Debian's own Python counts too, behind everything that is installed here."""
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
        return True
    if not (_DEBIAN / name).is_dir() or str(_DEBIAN) in sys.path:
        return False
    sys.path.append(str(_DEBIAN))
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
        return True
    return False


class _Throttle:
    """A subscriber's callback: converts, keeps malformed messages out, leaves out what comes too often."""

    def __init__(self, wanted: Subscription, generation: int):
        self._wanted, self._generation, self._last = wanted, generation, -1e9
        self.refused = 0

    def __call__(self, native: Any) -> None:
        now = time.monotonic()
        if now - self._last < self._wanted.throttle:
            return
        self._last = now
        try:
            message = from_wire(self._wanted.type, from_native(self._wanted.type, native))
        except BadMessage as error:
            self.refused += 1
            _log.warning("%s: %s", self._wanted.topic, error)
            return
        self._wanted.callback(message)


def from_native(name: str, native: Any) -> Message:
    """A message object of either ROS as a mapping in this package's names."""
    upper = {"d": "D", "k": "K", "r": "R", "p": "P"} if name == "sensor_msgs/CameraInfo" else {}
    values = {}
    for field, kind in TYPES[name].items():
        value = getattr(native, field) if hasattr(native, field) else getattr(native, upper.get(field, field))
        values[field] = _from_value(kind, value)
    return values


def _from_value(kind: str, value: Any) -> Any:
    base, bracket, _ = kind.partition("[")
    if bracket:
        if base == "uint8":
            return bytes(value)
        return [_from_value(base, entry) for entry in value] if base in TYPES else list(value)
    if kind in TYPES:
        return from_native(kind, value)
    if kind in ("time", "duration"):
        whole = getattr(value, "secs", None)
        if whole is None:
            return {"sec": value.sec, "nanosec": value.nanosec}
        return {"sec": whole, "nanosec": value.nsecs}
    return value[0] if isinstance(value, bytes) else value  # rclpy has a byte as bytes of length 1


def fill(name: str, native: Any, wire: Mapping[str, Any], generation: int, make: Any) -> Any:
    """Set a message object's fields from a mapping as :func:`~lohovla.ros.messages.to_wire` makes it.

    Args:
        name: the type.
        native: the object.
        wire: the complete message in that generation's names.
        generation: 1 or 2.
        make: gives an empty object of a type.
    """
    for field, kind in TYPES[name].items():
        key = field if field in wire else field.upper()
        target = field if hasattr(native, field) else key
        setattr(native, target, _to_value(kind, wire[key], generation, make, getattr(native, target)))
    return native


def _to_value(kind: str, value: Any, generation: int, make: Any, blank: Any) -> Any:
    base, bracket, _ = kind.partition("[")
    if bracket:
        if base in TYPES:
            return [fill(base, make(base), entry, generation, make) for entry in value]
        return value
    if kind in TYPES:
        return fill(kind, make(kind), value, generation, make)
    if kind in ("time", "duration"):
        names = ("secs", "nsecs") if generation == 1 else ("sec", "nanosec")
        for name in names:
            setattr(blank, name, value[name])
        return blank
    return bytes([value]) if kind == "byte" and generation == 2 else value


class Rospy:
    """A ROS 1 node in this process; a process can have one."""

    generation = 1

    def __init__(self, name: str = "lohovla"):
        import rosgraph  # pyright: ignore[reportMissingImports]
        import roslib.message  # pyright: ignore[reportMissingImports]
        import rospy  # pyright: ignore[reportMissingImports]

        self._rospy, self._roslib = rospy, roslib.message
        if not rosgraph.is_master_online():
            where = os.environ.get("ROS_MASTER_URI", "ROS_MASTER_URI, which is not set")
            raise UserError(f"no ROS master answers at {where}", "start roscore")
        rospy.init_node(name, anonymous=True, disable_signals=True)
        logging.getLogger("rosout").setLevel(logging.WARNING)
        self._publishers: dict[str, tuple[str, Any]] = {}
        self._classes: dict[str, Any] = {}
        self._kept: list[Any] = []
        self._goals = 0

    @property
    def connected(self) -> bool:
        return not self._rospy.is_shutdown()

    trouble = "the node was shut down"

    def _make(self, name: str) -> Any:
        return self._class(name)()

    def _class(self, name: str) -> Any:
        """The class of a type, after its fields were compared with ours.

        Raises:
            SetupError: it is not installed, or is another than this package knows.
        """
        if name not in self._classes:
            known = self._roslib.get_message_class(check_type(name))
            if known is None:
                raise SetupError(f"this ROS has no {name}", f"install {name.partition('/')[0]}")
            check_definition(name, dict(zip(known.__slots__, known._slot_types, strict=True)))
            self._classes[name] = known
        return self._classes[name]

    def advertise(self, topic: str, type: str, latch: bool = False) -> None:
        publisher = self._rospy.Publisher(topic, self._class(type), queue_size=1, latch=latch, tcp_nodelay=True)
        self._publishers[topic] = type, publisher

    def publish(self, topic: str, message: Mapping[str, Any], newest: bool = False) -> None:
        name, publisher = self._publishers[topic]
        publisher.publish(fill(name, self._make(name), to_wire(name, message, 1, binary=True), 1, self._make))

    def wanted(self, topic: str) -> bool:
        """Whether anybody hears it."""
        return self._publishers[topic][1].get_num_connections() > 0

    def subscribe(self, subscription: Subscription) -> None:
        callback = _Throttle(subscription, 1)
        self._kept.append(
            self._rospy.Subscriber(
                subscription.topic, self._class(subscription.type), callback, queue_size=1, buff_size=_BUFFER,
                tcp_nodelay=True,
            )
        )  # fmt: skip

    def offer(self, service: str, type: str, handler: Handler) -> None:
        known = self._service(type)
        asked, answered = SERVICES[type]

        def answer(request: Any) -> Any:
            values = handler({field: getattr(request, field) for field in asked})
            return known._response_class(**{field: values[field] for field in answered})

        self._kept.append(self._rospy.Service(service, known, answer))

    def _service(self, type: str) -> Any:
        known = self._roslib.get_service_class(type)
        if known is None:
            raise ServiceFailed(f"this ROS has no service type {type}")
        return known

    def call(self, service: str, type: str, request: Mapping[str, Any], timeout: float) -> Message:
        known, rospy = self._service(type), self._rospy
        try:
            rospy.wait_for_service(service, timeout)
            answer = rospy.ServiceProxy(service, known)(**request)
        except (rospy.ROSException, rospy.ServiceException) as error:
            raise ServiceFailed(f"{service}: {error}") from None
        return {field: getattr(answer, field) for field in SERVICES[type][1]}

    def act(self, action: str, type: str, goal: Mapping[str, Any]) -> None:
        topic = f"{action}/goal"
        if topic not in self._publishers:
            self.advertise(topic, f"{type}ActionGoal")
        self._goals += 1
        self.publish(topic, action_goal(goal, f"lohovla{self._goals}", time.time()))

    def flush(self, timeout: float = 0.5) -> None:
        """Messages were handed to the sockets already."""

    def close(self) -> None:
        self._rospy.signal_shutdown("the end")


class Rclpy:
    """A ROS 2 node in this process, with an executor in a thread of its own."""

    generation = 2
    trouble = "the node was shut down"

    def __init__(self, name: str = "lohovla"):
        import rclpy  # pyright: ignore[reportMissingImports]
        from rclpy.executors import MultiThreadedExecutor  # pyright: ignore[reportMissingImports]

        self._rclpy = rclpy
        if not rclpy.ok():
            rclpy.init()
        self._node = rclpy.create_node(f"{name}_{os.getpid()}")
        self._executor = MultiThreadedExecutor(num_threads=4)
        self._executor.add_node(self._node)
        self._publishers: dict[str, tuple[str, Any]] = {}
        self._classes: dict[str, Any] = {}
        self._actions: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._spin, name="lohovla-rclpy", daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        with contextlib.suppress(self._rclpy.executors.ExternalShutdownException):
            self._executor.spin()

    @property
    def connected(self) -> bool:
        return self._rclpy.ok()

    def _make(self, name: str) -> Any:
        return self._class(name)()

    def _class(self, name: str) -> Any:
        """The class of a type, after its fields were compared with ours.

        Raises:
            SetupError: it is not installed, or is another than this package knows.
        """
        if name not in self._classes:
            known = self._load(check_type(name), "msg")
            fields = {k: _ros2_type(v) for k, v in known.get_fields_and_field_types().items()}
            check_definition(name, fields)
            self._classes[name] = known
        return self._classes[name]

    def _load(self, name: str, part: str) -> Any:
        package, _, kind = name.partition("/")
        try:
            return getattr(importlib.import_module(f"{package}.{part}"), kind)
        except (ImportError, AttributeError):
            raise SetupError(f"this ROS has no {package}/{part}/{kind}", f"install ros-*-{package}") from None

    def _quality(self, latch: bool) -> Any:
        from rclpy.qos import QoSDurabilityPolicy, QoSProfile  # pyright: ignore[reportMissingImports]

        kinds = QoSDurabilityPolicy
        return QoSProfile(depth=1, durability=kinds.TRANSIENT_LOCAL if latch else kinds.VOLATILE)

    def advertise(self, topic: str, type: str, latch: bool = False) -> None:
        publisher = self._node.create_publisher(self._class(type), topic, self._quality(latch))
        self._publishers[topic] = type, publisher

    def publish(self, topic: str, message: Mapping[str, Any], newest: bool = False) -> None:
        name, publisher = self._publishers[topic]
        publisher.publish(fill(name, self._make(name), to_wire(name, message, 2, binary=True), 2, self._make))

    def wanted(self, topic: str) -> bool:
        """Whether anybody hears it."""
        return self._publishers[topic][1].get_subscription_count() > 0

    def subscribe(self, subscription: Subscription) -> None:
        from rclpy.qos import qos_profile_sensor_data  # pyright: ignore[reportMissingImports]

        # Best effort hears reliable publishers too; cameras are often only that.
        callback = _Throttle(subscription, 2)
        self._node.create_subscription(
            self._class(subscription.type), subscription.topic, callback, qos_profile_sensor_data
        )

    def offer(self, service: str, type: str, handler: Handler) -> None:
        asked, answered = SERVICES[type]

        def answer(request: Any, response: Any) -> Any:
            values = handler({field: getattr(request, field) for field in asked})
            for field in answered:
                setattr(response, field, values[field])
            return response

        self._node.create_service(self._load(type, "srv"), service, answer)

    def call(self, service: str, type: str, request: Mapping[str, Any], timeout: float) -> Message:
        try:
            known = self._load(type, "srv")
        except SetupError as error:
            raise ServiceFailed(error.cause) from None
        client = self._node.create_client(known, service)
        try:
            if not client.wait_for_service(timeout):
                raise ServiceFailed(f"{service} does not exist")
            asked, done = known.Request(), threading.Event()
            for field, value in request.items():
                setattr(asked, field, value)
            future = client.call_async(asked)
            future.add_done_callback(lambda _: done.set())
            if not done.wait(timeout):
                raise ServiceFailed(f"{service} did not answer in {timeout:g} s")
            return {field: getattr(future.result(), field) for field in SERVICES[type][1]}
        finally:
            self._node.destroy_client(client)

    def act(self, action: str, type: str, goal: Mapping[str, Any]) -> None:
        from rclpy.action import ActionClient  # pyright: ignore[reportMissingImports]

        known = self._load(type, "action")
        if action not in self._actions:
            self._actions[action] = ActionClient(self._node, known, action)
        native = known.Goal()
        for field, kind in ACTIONS[type].items():
            wire = to_wire(kind, goal[field], 2, binary=True)
            setattr(native, field, fill(kind, getattr(native, field), wire, 2, self._make))
        if self._actions[action].server_is_ready():
            self._actions[action].send_goal_async(native)
        else:
            _log.warning("action %s is not served", action)

    def flush(self, timeout: float = 0.5) -> None:
        """Messages were handed over already."""

    def close(self) -> None:
        self._executor.shutdown(timeout_sec=1.0)
        self._node.destroy_node()
        if self._rclpy.ok():
            self._rclpy.shutdown()


def check_definition(name: str, installed: Mapping[str, str]) -> None:
    """Compare an installed type with this package's.

    Args:
        name: the type.
        installed: its fields and their types, in ROS 1's words.

    Raises:
        SetupError: they differ.
    """
    ours = {field.lower(): _plain(kind) for field, kind in TYPES[name].items()}
    theirs = {field.lower(): _plain(kind) for field, kind in installed.items() if field != "seq"}
    if ours != theirs:
        odd = sorted(set(ours.items()) ^ set(theirs.items()))[0]
        raise SetupError(f"{name} is another here: {odd[0]} {odd[1]}", "say which ROS this is in an issue, please")


def _plain(kind: str) -> str:
    """A field's type in one spelling: ``Header``, ``std_msgs/Header``; ``byte``, ``int8``, ``octet``."""
    base, bracket, count = kind.partition("[")
    base = {"Header": "std_msgs/Header", "char": "uint8", "octet": "byte", "int8": "byte"}.get(base, base)
    return base + bracket + count


def _ros2_type(kind: str) -> str:
    """A field's type as rclpy writes it, in ROS 1's words."""
    simple = {"double": "float64", "float": "float32", "boolean": "bool", "octet": "byte"}
    if kind.startswith("sequence<"):
        return _ros2_type(kind.removeprefix("sequence<").removesuffix(">").partition(",")[0]) + "[]"
    base, bracket, count = kind.partition("[")
    base = {"builtin_interfaces/Time": "time", "builtin_interfaces/Duration": "duration"}.get(base, base)
    return simple.get(base, base) + bracket + count
