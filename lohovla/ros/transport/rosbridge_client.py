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
from collections.abc import Mapping
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as open_socket

from lohovla.errors import UserError
from lohovla.ros.transport.message_conversion import service_from_wire, service_value, to_wire
from lohovla.ros.transport.message_types import ACTIONS, SERVICES, Message, action_goal, action_name
from lohovla.ros.transport.rosbridge_codec import BadFrame, Unpacker, pack
from lohovla.ros.transport.rosbridge_registrations import Registrations
from lohovla.ros.transport.rosbridge_send_queue import PendingCalls, SendQueue
from lohovla.ros.transport.transport import Handler, ServiceFailed, Subscription

_log = logging.getLogger("lohovla.ros")
COMPRESSIONS = ("none", "png", "cbor")
# Characters from which a frame is sent as binary: servers read the same JSON from it. That of ROS 1 checks the letters
# of text at 6 MB a second and does nothing else meanwhile, so that the pictures of a camera would keep it busy.
_LARGE = 2**14
_PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0)  # s between attempts to connect
_LEAVE, _LEAVE_SERVICE = 1.0, 1.2  # s for the server to take a client's topics back, and each service: ROS 1 needs 1 s
# s: how long the first questions about the generation may take, one of them, and the pauses before and after that.
# rosapi is a node of its own, which starts later than the server and takes over a second for its first answer.
_ASK_FOR, _ASK_ONCE, _ASK_AGAIN, _ASK_LATER = 4.0, 3.0, 0.2, 2.0


class Rosbridge:
    """A connection to a rosbridge server that mends itself.

    Args:
        url: such as ``ws://127.0.0.1:9090``.
        ros_version: 1 or 2; None finds out from how the server writes the time. Where it does not tell for some
            seconds, 2 is assumed and said so in the log, and it is asked on.
        compression: in what the server sends: ``cbor`` (best: pictures as CBOR, the rest as JSON), ``png``
            (ROS 1; ROS 2 sends JSON then) or ``none``.

    Attributes:
        trouble: why there is no connection, in words.
        losses: how often a connection was lost.
        refused: messages that came and did not fit their type.
    """

    def __init__(self, url: str, ros_version: int | None = None, compression: str = "cbor"):
        if compression not in COMPRESSIONS:
            raise UserError(f"compression cannot be {compression!r}", f"choose one of {', '.join(COMPRESSIONS)}")
        self.url, self._registered = url, Registrations(compression)
        self._known, self.ros_version = ros_version is not None, ros_version or 2
        self.trouble, self.losses, self.refused = "not connected yet", 0, 0
        self._numbers, self._calls, self._queue = itertools.count(1), PendingCalls(), SendQueue()
        self._up, self._reached, self._closed = threading.Event(), threading.Event(), False
        self._socket: ClientConnection | None = None
        self._thread = threading.Thread(target=self._run, name="rosbridge", daemon=True)
        self._thread.start()

    @property
    def connected(self) -> bool:
        """Whether a server is there."""
        return self._up.is_set()

    def wait(self, timeout: float) -> bool:
        """Wait for a server; returns whether one is there.

        One that took the connection may take some seconds more to tell which ROS it is.
        """
        return self._up.wait(timeout) or (self._reached.is_set() and self._up.wait(_ASK_FOR + _ASK_ONCE))

    # -- what the bridge asks ------------------------------------------------------------------------------

    def advertise(self, topic: str, type: str, latch: bool = False) -> None:
        self._say(self._registered.advertise(topic, type, latch, self.ros_version))

    def publish(self, topic: str, message: Mapping[str, Any], newest: bool = False) -> None:
        name, latch = self._registered.advertised[topic]
        wire = to_wire(name, message, self.ros_version)
        if latch:
            self._registered.latched[topic] = message
        if not self.connected:
            return  # a command for later is no command
        if newest:
            self._queue.put_newest(topic, wire)
        else:
            self._queue.put(self._registered.publication(topic, wire))

    def subscribe(self, subscription: Subscription) -> None:
        self._say(self._registered.subscribe(subscription, self.ros_version))

    def offer(self, service: str, type: str, handler: Handler) -> None:
        self._say(self._registered.offer(service, type, handler, self.ros_version))

    def call(self, service: str, type: str, request: Mapping[str, Any], timeout: float) -> Message:
        if not self.connected:
            raise ServiceFailed(f"{service}: {self.trouble}")
        return service_from_wire(SERVICES[type][1], self._call(service, type, request, timeout))

    def _call(self, service: str, type: str, request: Mapping[str, Any], timeout: float) -> Message:
        args = service_value(SERVICES[type][0], request, self.ros_version)
        key = f"call{next(self._numbers)}"
        return self._calls.call(
            service,
            key,
            lambda: self._queue.put({"op": "call_service", "id": key, "service": service, "args": args}),
            timeout,
        )

    def act(self, action: str, type: str, goal: Mapping[str, Any]) -> None:
        if self.ros_version == 1:  # where an action is a set of topics
            topic, kind = f"{action}/goal", f"{type}ActionGoal"
            if topic not in self._registered.advertised:
                self.advertise(topic, kind)
            self.publish(topic, action_goal(goal, f"lohovla{next(self._numbers)}", time.time()), newest=True)
            return
        self._say(
            {
                "op": "send_action_goal",
                "id": f"goal{next(self._numbers)}",
                "action": action,
                "action_type": action_name(type),
                "args": service_value(ACTIONS[type], goal, 2),
                "feedback": False,
            }
        )

    def close(self) -> None:
        self._withdraw()
        self._closed = True
        self._queue.wake()
        if self._socket is not None:
            with contextlib.suppress(Exception):
                self._socket.close()
        self._thread.join(3.0)

    def _withdraw(self) -> None:
        """Take back what was said, and wait until the server has done so: it forgets what waits when a client leaves.

        It does one thing after the other, so that an answer to anything, a refusal too, says that it has come so far.
        """
        operations = self._registered.withdrawal()
        if not self.connected or not operations:
            return
        for operation in operations:
            self._say(operation)
        patience = _LEAVE + _LEAVE_SERVICE * len(self._registered.offered)
        with contextlib.suppress(ServiceFailed):
            self._call("/rosapi/get_time", "rosapi/GetTime", {}, patience)

    def flush(self, timeout: float = 0.5) -> None:
        """Wait until everything is sent, at most ``timeout`` seconds: before a last word and the end."""
        until = time.monotonic() + timeout
        while not self._queue.empty and self.connected and time.monotonic() < until:
            time.sleep(0.002)

    # -- what is said --------------------------------------------------------------------------------------

    def _say(self, operation: dict[str, Any]) -> None:
        if self.connected:
            self._queue.put(operation)

    # -- the connection ------------------------------------------------------------------------------------

    def _run(self) -> None:
        attempt = 0
        while not self._closed:
            try:
                with open_socket(
                    self.url,
                    max_size=None,
                    open_timeout=3.0,
                    close_timeout=0.5,
                    compression=None,
                    ping_interval=2.0,
                    ping_timeout=4.0,
                ) as self._socket:
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
        self._queue.clear()
        ended = threading.Event()
        writer = threading.Thread(target=self._write, args=(socket, ended), name="rosbridge-write", daemon=True)
        opener = threading.Thread(target=self._introduce, args=(ended,), name="rosbridge-open", daemon=True)
        self._reached.set()
        writer.start()
        opener.start()
        cause = self._read(socket)
        ended.set()
        self._queue.wake()
        self._reached.clear()
        if self._up.is_set():
            self._up.clear()
            self.losses += 1
            self.trouble = cause
            if not self._closed:
                _log.warning("connection to %s lost: %s", self.url, cause)
        self._calls.fail_all("the connection was lost")
        with contextlib.suppress(Exception):
            socket.close()

    def _introduce(self, ended: threading.Event) -> None:
        """Find the generation out, and say everything that is wanted."""
        until, cause = time.monotonic() + _ASK_FOR, ""
        while not self._known and time.monotonic() < until and not ended.is_set():
            cause = self._ask_generation()
            ended.wait(0.0 if self._known else _ASK_AGAIN)
        if not self._known and not ended.is_set():
            _log.warning(
                "%s does not tell which ROS it is (%s): ROS %d is assumed until it does; robot.ros_version says it",
                self.url,
                cause,
                self.ros_version,
            )
        self._say_everything(ended)
        assumed = self.ros_version
        while not self._known and not ended.wait(_ASK_LATER):
            self._ask_generation()
        if self.ros_version != assumed:
            _log.warning("%s is ROS %d, not %d: all is said again", self.url, self.ros_version, assumed)
            self._say_everything(ended)

    def _ask_generation(self) -> str:
        """Ask once; returns why it is not known, or ""."""
        try:
            now = self._call("/rosapi/get_time", "rosapi/GetTime", {}, _ASK_ONCE).get("time")
        except ServiceFailed as error:
            return str(error)
        if not isinstance(now, Mapping) or not {"sec", "secs"} & set(now):
            return f"its time is {now!r}"
        self.ros_version, self._known = 1 if "secs" in now else 2, True
        _log.info("%s is ROS %d", self.url, self.ros_version)
        return ""

    def _say_everything(self, ended: threading.Event) -> None:
        if self._queue.put_all(self._registered.everything(self.ros_version), unless=ended):
            self._up.set()

    def _write(self, socket: ClientConnection, ended: threading.Event) -> None:
        while (taken := self._queue.take(ended)) is not None:
            topic, content = taken
            try:
                frame = pack(content if topic is None else self._registered.publication(topic, content))
                socket.send(frame.encode() if len(frame) > _LARGE else frame)
            except (ConnectionClosed, OSError):
                return
            except ValueError as error:
                _log.error("not sent: %s", error)
            finally:
                self._queue.sent()

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
            self.refused += self._registered.deliver(operation)
        elif kind == "service_response":
            self._calls.answer(operation)
        elif kind == "call_service":
            if (response := self._registered.response(operation, self.ros_version)) is not None:
                self._say(response)
        elif kind == "action_result" and not operation.get("result", True):
            _log.warning("action %s: %s", operation.get("action"), operation.get("values"))
