"""A client's connection to the rosbridge server: its topics, subscriptions, services and actions."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from lohovla.ros.transport.in_process_ros import InProcessRos
from lohovla.ros.transport.message_conversion import from_wire, service_value, to_wire
from lohovla.ros.transport.message_types import ACTIONS, SERVICES, TYPES, BadMessage, Message
from lohovla.ros.transport.rosbridge_codec import fragments, pack, pack_cbor, pack_png
from lohovla.ros.transport.rosbridge_server_limits import finite_json, lost_in_cbor
from lohovla.ros.transport.transport import ServiceFailed

_log = logging.getLogger("lohovla.ros.server")
_ANSWER_WITHIN = 5.0  # s, for services that a client offers


class ServedSubscription:
    """One subscription of one client."""

    def __init__(self, client: ServedConnection, type: str, options: dict[str, Any]):
        self.client, self.type = client, type
        self.topic: str = options["topic"]
        self.compression = options.get("compression", "none")
        self.throttle = float(options.get("throttle_rate") or 0) / 1000.0
        self.fragment = options.get("fragment_size")
        self._last, self._failed = 0.0, False
        self._numbers = itertools.count()

    def __call__(self, message: Message) -> None:
        """Called in the publisher's thread."""
        now = time.monotonic()
        if now - self._last < self.throttle:
            return
        self._last = now
        for frame in self.frames(message):
            self.client.post(frame)

    def frames(self, message: Message) -> list[str | bytes]:
        ros_version, binary = self.client.ros_version, self.compression == "cbor"
        wire = to_wire(self.type, message, ros_version, binary, finite=False)
        operation = {"op": "publish", "topic": self.topic, "msg": wire}
        if binary:
            lost = lost_in_cbor(self.type, message, ros_version)
            if lost:
                if not self._failed:  # the real ones say so at every message
                    _log.error("%s cannot be sent as cbor: AttributeError at %s", self.topic, lost)
                self._failed = True
                return []
            return [pack_cbor(operation)]
        text = pack({**operation, "msg": finite_json(wire)})
        if self.compression == "png":
            if ros_version == 2:  # where they cannot write the bytes as JSON
                return []
            text = pack({"op": "png", "data": pack_png(text)})
        if self.fragment and len(text) > self.fragment:
            return list(fragments(text, f"{self.topic}{next(self._numbers)}", int(self.fragment)))
        return [text]


class ServedConnection:
    """One connection. Whatever is wrong in what it says is ignored.

    Args:
        graph: what is served.
        ros_version: of ROS that the server plays.
        advertised: topics that clients advertised; its own are added and taken away.
        socket: to the client.
        loop: in which the server runs.
    """

    def __init__(
        self,
        graph: InProcessRos,
        ros_version: int,
        advertised: set[str],
        socket: ServerConnection,
        loop: asyncio.AbstractEventLoop,
    ):
        self.graph, self.ros_version, self._advertised = graph, ros_version, advertised
        self._socket, self._loop = socket, loop
        self._outbox: asyncio.Queue[str | bytes] = asyncio.Queue()
        self._publishes: dict[str, tuple[str, bool]] = {}
        self._listeners: list[ServedSubscription] = []
        self._asked: dict[str, tuple[dict[str, Any], threading.Event]] = {}
        self._numbers = itertools.count(1)

    def post(self, frame: str | bytes) -> None:
        """Have a frame sent; from any thread."""
        with contextlib.suppress(RuntimeError):  # the server has ended
            self._loop.call_soon_threadsafe(self._outbox.put_nowait, frame)

    async def send_all(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self._socket.send(await self._outbox.get())

    def take(self, frame: str | bytes) -> None:
        """Do what a frame asks, or nothing."""
        try:
            operation = json.loads(frame)  # binary frames of clients are text too
            handler: Callable[..., None] | None = getattr(self, f"_do_{operation['op']}", None)
        except (ValueError, KeyError, TypeError):
            return
        if handler is not None:
            with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
                handler(operation)

    def leave(self) -> None:
        """Forget what it hears. Its services stay, as with real servers: nobody answers them any more."""
        for listener in self._listeners:
            self.graph.unlisten(listener.topic, listener)
        for answer, done in self._asked.values():
            answer.update(result=False)
            done.set()

    def _type(self, name: str) -> str | None:
        """A type's name here, or None where this generation does not write it so."""
        short = name.replace("/msg/", "/")
        if short not in TYPES or (self.ros_version == 1 and "/msg/" in name):
            return None
        return short

    def _do_advertise(self, operation: dict[str, Any]) -> None:
        name = self._type(operation["type"])
        if name is not None and self.graph.declare(operation["topic"], name):
            self._publishes[operation["topic"]] = name, bool(operation.get("latch"))
            self._advertised.add(operation["topic"])

    def _do_unadvertise(self, operation: dict[str, Any]) -> None:
        if self._publishes.pop(operation["topic"], None):
            self._advertised.discard(operation["topic"])

    def _do_publish(self, operation: dict[str, Any]) -> None:
        name, latch = self._publishes[operation["topic"]]
        wire = operation["msg"]
        if self._foreign(wire):
            return
        with contextlib.suppress(BadMessage):
            self.graph.publish(operation["topic"], from_wire(name, wire, null=False), latch)

    def _foreign(self, wire: Any) -> bool:
        """Whether it has the other generation's fields for time."""
        if isinstance(wire, dict):
            others = {"sec", "nanosec"} if self.ros_version == 1 else {"secs", "nsecs", "seq"}
            return bool(others & set(wire)) or any(self._foreign(value) for value in wire.values())
        return isinstance(wire, list) and any(self._foreign(value) for value in wire[:4])

    def _do_subscribe(self, operation: dict[str, Any]) -> None:
        known = self.graph.types.get(operation["topic"])
        name = self._type(operation["type"]) if "type" in operation else known
        if name is None or (known is not None and known != name):
            return
        self.graph.declare(operation["topic"], name)
        listener = ServedSubscription(self, name, operation)
        self._listeners.append(listener)
        self.graph.listen(operation["topic"], listener)

    def _do_unsubscribe(self, operation: dict[str, Any]) -> None:
        for listener in [one for one in self._listeners if one.topic == operation["topic"]]:
            self._listeners.remove(listener)
            self.graph.unlisten(listener.topic, listener)

    def _do_call_service(self, operation: dict[str, Any]) -> None:
        threading.Thread(target=self._call, args=(operation,), daemon=True).start()

    def _call(self, operation: dict[str, Any]) -> None:
        service = operation["service"]
        type = self.graph.service_type(service)
        answer: dict[str, Any] = {"op": "service_response", "service": service}
        if "id" in operation:
            answer["id"] = operation["id"]
        try:
            values = self.graph.call(service, dict(operation.get("args") or {}))
            answer |= {
                "values": service_value(SERVICES[type or ""][1], values, self.ros_version),
                "result": True,
            }
        except Exception as error:  # as rosapi does: the cause as a string
            answer |= {"values": str(error), "result": False}
        self.post(pack(answer))

    def _do_send_action_goal(self, operation: dict[str, Any]) -> None:
        """ROS 2 only; in ROS 1 an action is a set of topics."""
        name = str(operation["action_type"]).replace("/action/", "/")
        if self.ros_version == 1 or name not in ACTIONS:
            return
        answer = {"op": "action_result", "id": operation.get("id"), "action": operation["action"]}
        try:
            self.graph.act(operation["action"], name, service_value(ACTIONS[name], dict(operation["args"]), 2))
            answer |= {"values": {}, "status": 4, "result": True}
        except (ServiceFailed, BadMessage) as error:
            answer |= {"values": str(error), "status": 6, "result": False}
        self.post(pack(answer))

    def _do_advertise_service(self, operation: dict[str, Any]) -> None:
        service, kind = operation["service"], operation["type"]
        short = kind.replace("/srv/", "/").replace("rosapi_msgs/", "rosapi/")
        if short in SERVICES and ("/srv/" in kind) == (self.ros_version == 2):
            self.graph.offer(service, short, lambda request: self._ask(service, request))

    def _do_unadvertise_service(self, operation: dict[str, Any]) -> None:
        self.graph.withdraw(operation["service"])

    def _ask(self, service: str, request: Message) -> Message:
        """Have the client answer, as rosbridge does for services that clients offer."""
        key, answer, done = f"service_request:{service}:{next(self._numbers)}", {}, threading.Event()
        self._asked[key] = answer, done
        self.post(pack({"op": "call_service", "id": key, "service": service, "args": request}))
        came = done.wait(_ANSWER_WITHIN)
        self._asked.pop(key, None)
        if not came or not answer.get("result"):
            raise ServiceFailed(f"{service} was not answered")
        return dict(answer["values"])

    def _do_service_response(self, operation: dict[str, Any]) -> None:
        answer, done = self._asked[operation["id"]]
        answer.update(operation)
        done.set()
