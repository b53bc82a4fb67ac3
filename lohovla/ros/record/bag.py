"""A run as a bag: every message that the bridge heard and sent, with ROS's own tools to look at it."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lohovla.errors import SetupError, UserError
from lohovla.ros.transport.message_conversion import UPPER, from_wire, to_wire
from lohovla.ros.transport.message_types import TYPES, Message, short_name, type_name
from lohovla.ros.transport.transport import Subscription

_log = logging.getLogger("lohovla.ros")
_WAITING = 2000  # messages that may wait for the disk; then the newest is dropped


class Bag:
    """A bag that is written by a thread of its own: rosbag2 for ROS 2, a ``.bag`` file for ROS 1.

    Args:
        path: the folder, or the file.
        ros_version: of ROS: 1 or 2.

    Raises:
        SetupError: the rosbags package is missing.
        UserError: there is something at that path already.
    """

    def __init__(self, path: Path, ros_version: int):
        try:
            from rosbags.rosbag1 import Writer as Writer1
            from rosbags.rosbag2 import Writer as Writer2
            from rosbags.typesys import Stores, get_types_from_msg, get_typestore
        except ImportError:
            raise SetupError("a bag needs the rosbags package", "pip install 'lohovla[ros]'") from None
        if path.exists():
            raise UserError(f"{path} is there already", "name another folder with output=FOLDER")
        self._ros_version, self.dropped = ros_version, 0
        self._store = get_typestore(Stores.ROS1_NOETIC if ros_version == 1 else Stores.ROS2_HUMBLE)
        known = self._store.fielddefs
        for name, fields in TYPES.items():
            if type_name(name, 2) not in known:
                text = "\n".join(f"{_old(kind, ros_version)} {field}" for field, kind in fields.items())
                self._store.register(get_types_from_msg(text, type_name(name, 2)))
        self._writer: Any = Writer1(path) if ros_version == 1 else Writer2(path, version=9)
        self._connections: dict[tuple[str, str], Any] = {}
        self._queue: queue.Queue = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._run, name="lohovla-bag", daemon=True)
        self._thread.start()

    def put(self, topic: str, type: str, message: Mapping[str, Any]) -> None:
        """Have a message written; never waits."""
        try:
            self._queue.put_nowait((topic, type, message, time.time_ns()))
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Write what waits, and finish the bag."""
        if self._thread.is_alive():
            self._queue.put(None)
        self._thread.join()
        if self.dropped:
            _log.warning("the bag lacks %d messages: the disk was too slow", self.dropped)

    def _run(self) -> None:
        try:
            self._writer.open()  # here: a rosbag2 is a database, which belongs to the thread that opened it
        except Exception as error:
            _log.error("there is no bag: %s", error)
            return
        self._write_all()
        self._writer.close()

    def _write_all(self) -> None:
        while (item := self._queue.get()) is not None:
            topic, type, message, nanoseconds = item
            try:
                self._write(topic, type, message, nanoseconds)
            except Exception as error:  # a bag that fails must not end the run
                _log.error("the bag: %s: %s", topic, error)

    def _write(self, topic: str, type: str, message: Mapping[str, Any], nanoseconds: int) -> None:
        key = topic, type
        if key not in self._connections:
            self._connections[key] = self._writer.add_connection(topic, type_name(type, 2), typestore=self._store)
        native, store = self._native(type, to_wire(type, message, 2, binary=True)), self._store
        pack = store.serialize_ros1 if self._ros_version == 1 else store.serialize_cdr
        self._writer.write(self._connections[key], nanoseconds, pack(native, type_name(type, 2)))

    def _native(self, type: str, message: Mapping[str, Any]) -> Any:
        """A message as the rosbags package has it."""
        make = self._store.types[type_name(type, 2)]
        upper = UPPER.get(type, {}) if self._ros_version == 1 else {}
        values = {upper.get(field, field): self._value(kind, message[field]) for field, kind in TYPES[type].items()}
        if type == "std_msgs/Header" and self._ros_version == 1:
            values["seq"] = 0
        name = type_name(type, 2)
        if type == "visualization_msgs/Marker":  # a generation's own fields beyond those that both have
            values = {**self._blank(name), **values}
        return make(**values) if values else make()

    def _blank(self, name: str) -> dict[str, Any]:
        """The fields of a type, each as it is where nothing was filled in."""
        from rosbags.interfaces import Nodetype

        values: dict[str, Any] = {}
        fields: Any = self._store.fielddefs[name][1]  # name, and a pair of its kind and what that is of
        for field, (kind, of) in fields:
            if kind == Nodetype.NAME:
                values[field] = self._store.types[of](**self._blank(of))
            elif kind == Nodetype.BASE:
                values[field] = {"string": "", "bool": False}.get(of[0], 0.0 if of[0].startswith("float") else 0)
            else:
                values[field] = [] if of[0][0] == Nodetype.NAME else np.zeros(0, of[0][1][0])
        return values

    def _value(self, kind: str, value: Any) -> Any:
        base, bracket, _ = kind.partition("[")
        if bracket:
            if base in TYPES:
                return [self._native(base, entry) for entry in value]
            if base == "string":
                return list(value)
            return np.frombuffer(value, np.uint8) if base == "uint8" else np.asarray(value, base)
        if kind in TYPES:
            return self._native(kind, value)
        if kind in ("time", "duration"):
            return self._store.types[f"builtin_interfaces/msg/{kind.title()}"](**value)
        return value


class RecordingTransport:
    """A transport whose messages also go into a bag.

    Args:
        transport: to ROS.
        bag: for them.
    """

    def __init__(self, transport: Any, bag: Bag):
        self._transport, self._bag = transport, bag
        self._types: dict[str, str] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def advertise(self, topic: str, type: str, latch: bool = False) -> None:
        self._types[topic] = type
        self._transport.advertise(topic, type, latch)

    def publish(self, topic: str, message: Mapping[str, Any], newest: bool = False) -> None:
        self._transport.publish(topic, message, newest)
        self._bag.put(topic, self._types[topic], message)

    def subscribe(self, subscription: Subscription) -> None:
        def both(message: Message) -> None:
            self._bag.put(subscription.topic, subscription.type, message)
            subscription.callback(message)

        self._transport.subscribe(replace(subscription, callback=both))


def read_bag(path: Path, ros_version: int) -> list[tuple[str, int, Message]]:
    """The messages of a bag in this package's form: topic, nanoseconds since the epoch, message."""
    from rosbags.highlevel import AnyReader
    from rosbags.typesys import Stores, get_typestore

    from lohovla.ros.transport.native_node import from_native

    store = get_typestore(Stores.ROS1_NOETIC if ros_version == 1 else Stores.ROS2_HUMBLE)
    with AnyReader([path], default_typestore=store) as reader:
        return [
            (link.topic, when, from_wire(short, from_native(short, reader.deserialize(data, link.msgtype))))
            for link, when, data in reader.messages()
            if (short := short_name(link.msgtype)) in TYPES
        ]


def _old(kind: str, ros_version: int) -> str:
    """A field's type as message definitions have it."""
    if ros_version == 1:
        return kind
    base, bracket, count = kind.partition("[")
    base = {"time": "builtin_interfaces/Time", "duration": "builtin_interfaces/Duration"}.get(base, base)
    return base + bracket + count
