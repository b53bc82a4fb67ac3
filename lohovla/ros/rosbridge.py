"""A rosbridge v2 client: one code path for both generations of ROS, and no ROS installation beside the model.

Two threads a connection: one reads without pause, so that nothing grows old in the socket, and one writes, so that a
slow network never holds a command up. A lost connection is made anew, and everything advertised, offered and
subscribed is said again. Servers answer mistakes with silence: types are checked here, before they are sent.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as open_socket

from lohovla.errors import UserError
from lohovla.ros.conversion import service_from_wire, service_value, to_wire
from lohovla.ros.messages import (
    ACTIONS,
    SERVICES,
    Message,
    action_goal,
    action_name,
    check_type,
    service_name,
    type_name,
)
from lohovla.ros.transport import Handler, ServiceFailed, Subscription, respond
from lohovla.ros.wire import BadFrame, Unpacker, pack

_log = logging.getLogger("lohovla.ros")
COMPRESSIONS = ("none", "png", "cbor")
_WAITING = 200  # messages that may wait to be sent; then the oldest is dropped
_PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0)  # s between attempts to connect


class Rosbridge:
    """A connection to a rosbridge server that mends itself.

    Args:
        url: such as ``ws://127.0.0.1:9090``.
        generation: 1 or 2; None finds out from how the server writes the time, and takes 2 where it does not tell.
        compression: in what the server sends: ``cbor`` (best), ``png`` or ``none``.

    Attributes:
        trouble: why there is no connection, in words.
        losses: how often a connection was lost.
        refused: messages that came and did not fit their type.
    """

    def __init__(self, url: str, generation: int | None = None, compression: str = "cbor"):
        if compression not in COMPRESSIONS:
            raise UserError(f"compression cannot be {compression!r}", f"choose one of {', '.join(COMPRESSIONS)}")
        self.url, self._compression = url, compression
        self._told, self.generation = generation, generation or 2
        self.trouble, self.losses, self.refused = "not connected yet", 0, 0
        self._advertised: dict[str, tuple[str, bool]] = {}
        self._latched: dict[str, Mapping[str, Any]] = {}
        self._subscribed: list[Subscription] = []
        self._offered: dict[str, tuple[str, Handler]] = {}
        self._numbers, self._calls = itertools.count(1), {}
        self._urgent: OrderedDict[str, Message] = OrderedDict()
        self._waiting: deque[dict[str, Any]] = deque(maxlen=_WAITING)
        self._changed = threading.Condition()
        self._up, self._closed = threading.Event(), False
        self._socket: ClientConnection | None = None
        self._thread = threading.Thread(target=self._run, name="rosbridge", daemon=True)
        self._thread.start()

    @property
    def connected(self) -> bool:
        """Whether a server is there."""
        return self._up.is_set()

    def wait(self, timeout: float) -> bool:
        """Wait for a server; returns whether one is there."""
        return self._up.wait(timeout)

    # -- what the bridge asks ------------------------------------------------------------------------------

    def advertise(self, topic: str, type: str, latch: bool = False) -> None:
        self._advertised[topic] = check_type(type), latch
        self._say(self._advertisement(topic))

    def publish(self, topic: str, message: Mapping[str, Any], newest: bool = False) -> None:
        name, latch = self._advertised[topic]
        wire = to_wire(name, message, self.generation)
        if latch:
            self._latched[topic] = message
        if not self.connected:
            return  # a command for later is no command
        with self._changed:
            if newest:
                self._urgent[topic] = wire
            else:
                self._waiting.append({"op": "publish", "topic": topic, "msg": wire})
            self._changed.notify()

    def subscribe(self, subscription: Subscription) -> None:
        check_type(subscription.type)
        self._subscribed.append(subscription)
        self._say(self._request(len(self._subscribed) - 1))

    def offer(self, service: str, type: str, handler: Handler) -> None:
        self._offered[service] = type, handler
        self._say(self._offering(service))

    def call(self, service: str, type: str, request: Mapping[str, Any], timeout: float) -> Message:
        if not self.connected:
            raise ServiceFailed(f"{service}: {self.trouble}")
        return service_from_wire(SERVICES[type][1], self._call(service, type, request, timeout))

    def _call(self, service: str, type: str, request: Mapping[str, Any], timeout: float) -> Message:
        key, done, answer = f"call{next(self._numbers)}", threading.Event(), {}
        self._calls[key] = answer, done
        args = service_value(SERVICES[type][0], request, self.generation)
        self._say({"op": "call_service", "id": key, "service": service, "args": args}, always=True)
        came = done.wait(timeout)
        self._calls.pop(key, None)
        if not came:
            raise ServiceFailed(f"{service} did not answer in {timeout:g} s")
        if not answer.get("result", True) or not isinstance(answer.get("values"), Mapping):
            raise ServiceFailed(f"{service}: {answer.get('values')}")
        return dict(answer["values"])

    def act(self, action: str, type: str, goal: Mapping[str, Any]) -> None:
        if self.generation == 1:  # where an action is a set of topics
            topic, kind = f"{action}/goal", f"{type}ActionGoal"
            if topic not in self._advertised:
                self.advertise(topic, kind)
            self.publish(topic, action_goal(goal, f"lohovla{next(self._numbers)}", time.time()), newest=True)
            return
        self._say({
            "op": "send_action_goal", "id": f"goal{next(self._numbers)}", "action": action,
            "action_type": action_name(type), "args": service_value(ACTIONS[type], goal, 2), "feedback": False,
        })  # fmt: skip

    def close(self) -> None:
        self._closed = True
        with self._changed:
            self._changed.notify_all()
        self._hang_up()
        self._thread.join(3.0)

    def flush(self, timeout: float = 0.5) -> None:
        """Wait until everything is sent, at most ``timeout`` seconds: before a last word and the end."""
        until = time.monotonic() + timeout
        while (self._waiting or self._urgent) and self.connected and time.monotonic() < until:
            time.sleep(0.002)

    # -- what is said --------------------------------------------------------------------------------------

    def _advertisement(self, topic: str) -> dict[str, Any]:
        name, latch = self._advertised[topic]
        kind = type_name(name, self.generation)
        return {"op": "advertise", "topic": topic, "type": kind, "latch": latch, "queue_size": 1}

    def _request(self, index: int) -> dict[str, Any]:
        wanted = self._subscribed[index]
        return {
            "op": "subscribe", "id": f"sub{index}", "topic": wanted.topic,
            "type": type_name(wanted.type, self.generation), "throttle_rate": round(1000 * wanted.throttle),
            "queue_length": 1, "compression": self._compression,
        }  # fmt: skip

    def _offering(self, service: str) -> dict[str, Any]:
        kind = service_name(self._offered[service][0], self.generation)
        return {"op": "advertise_service", "service": service, "type": kind}

    def _say(self, operation: dict[str, Any], always: bool = False) -> None:
        if self.connected or always:
            with self._changed:
                self._waiting.append(operation)
                self._changed.notify()

    # -- the connection ------------------------------------------------------------------------------------

    def _run(self) -> None:
        attempt = 0
        while not self._closed:
            try:
                with open_socket(
                    self.url, max_size=None, open_timeout=3.0, close_timeout=0.5, compression=None,
                    ping_interval=2.0, ping_timeout=4.0,
                ) as self._socket:  # fmt: skip
                    attempt = 0
                    self._serve(self._socket)
            except InvalidURI as error:
                self.trouble = str(error)
                return
            except (OSError, TimeoutError, InvalidHandshake, EOFError) as error:
                self.trouble = str(error) or type(error).__name__
                time.sleep(_PAUSES[min(attempt, len(_PAUSES) - 1)])
                attempt += 1

    def _serve(self, socket: ClientConnection) -> None:
        """Talk over one connection until it ends."""
        with self._changed:
            self._urgent.clear()
            self._waiting.clear()
        ended = threading.Event()
        writer = threading.Thread(target=self._write, args=(socket, ended), name="rosbridge-write", daemon=True)
        opener = threading.Thread(target=self._introduce, name="rosbridge-open", daemon=True)
        writer.start()
        opener.start()
        cause = self._read(socket)
        ended.set()
        with self._changed:
            self._changed.notify_all()
        if self._up.is_set():
            self._up.clear()
            self.losses += 1
            self.trouble = cause
            if not self._closed:
                _log.warning("connection to %s lost: %s", self.url, cause)
        for answer, done in list(self._calls.values()):
            answer.update(result=False, values="the connection was lost")
            done.set()
        with contextlib.suppress(Exception):
            socket.close()

    def _introduce(self) -> None:
        """Find the generation out, and say everything that is wanted."""
        if self._told is None:
            with contextlib.suppress(ServiceFailed):
                answer = self._call("/rosapi/get_time", "rosapi/GetTime", {}, 1.0)
                self.generation = 1 if "secs" in answer.get("time", {}) else 2
        everything = [self._advertisement(topic) for topic in self._advertised]
        everything += [self._offering(service) for service in self._offered]
        everything += [self._request(index) for index in range(len(self._subscribed))]
        everything += [
            {"op": "publish", "topic": topic, "msg": to_wire(self._advertised[topic][0], message, self.generation)}
            for topic, message in self._latched.items()
        ]
        with self._changed:
            self._waiting.extend(everything)
            self._up.set()
            self._changed.notify()

    def _hang_up(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(Exception):
                self._socket.close()

    def _write(self, socket: ClientConnection, ended: threading.Event) -> None:
        while not ended.is_set():
            with self._changed:
                while not (self._urgent or self._waiting or ended.is_set()):
                    self._changed.wait()
                if ended.is_set():
                    return
                if self._waiting:
                    operation = self._waiting.popleft()
                else:
                    topic, wire = self._urgent.popitem(last=False)
                    operation = {"op": "publish", "topic": topic, "msg": wire}
            try:
                socket.send(pack(operation))
            except (ConnectionClosed, OSError):
                return
            except ValueError as error:
                _log.error("not sent: %s", error)

    def _read(self, socket: ClientConnection) -> str:
        unpack = Unpacker()
        while True:
            try:
                operation = unpack(socket.recv())
            except ConnectionClosed as error:
                return str(error) or "closed"
            except (OSError, EOFError) as error:
                return str(error) or "closed"
            except BadFrame as error:
                self.refused += 1
                _log.warning("a frame that cannot be read: %s", error)
                continue
            if operation is not None:
                self._take(operation)

    def _take(self, operation: dict[str, Any]) -> None:
        kind = operation.get("op")
        if kind == "publish":
            self._hear(operation)
        elif kind == "service_response":
            found = self._calls.get(str(operation.get("id")))
            if found is not None:
                found[0].update(operation)
                found[1].set()
        elif kind == "call_service":
            self._answer(operation)
        elif kind == "action_result" and not operation.get("result", True):
            _log.warning("action %s: %s", operation.get("action"), operation.get("values"))

    def _hear(self, operation: dict[str, Any]) -> None:
        topic = operation.get("topic")
        for subscription in self._subscribed:
            if subscription.topic == topic and not subscription.deliver(operation.get("msg")):
                self.refused += 1

    def _answer(self, operation: dict[str, Any]) -> None:
        name = str(operation.get("service"))
        if name not in self._offered:
            return
        type, handler = self._offered[name]
        found = respond(name, type, handler, operation.get("args") or {})
        values = {} if found is None else service_value(SERVICES[type][1], found, self.generation)
        response = {"op": "service_response", "service": name, "values": values, "result": found is not None}
        if "id" in operation:
            response["id"] = operation["id"]
        self._say(response)
