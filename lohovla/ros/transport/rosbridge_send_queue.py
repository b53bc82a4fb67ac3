"""What a rosbridge client has to send, and the service calls that it waits for; both may be used by any thread."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lohovla.ros.transport.message_types import Message
from lohovla.ros.transport.transport import ServiceFailed

_WAITING = 200  # operations that may wait to be sent; then the oldest is dropped


class SendQueue:
    """Operations in their order, and of some topics the newest message alone, which go out when no operation waits."""

    def __init__(self) -> None:
        self._newest: OrderedDict[str, Message] = OrderedDict()
        self._waiting: deque[dict[str, Any]] = deque(maxlen=_WAITING)
        self._changed = threading.Condition()
        self._sending = False

    @property
    def empty(self) -> bool:
        """Whether all has been sent."""
        return not (self._waiting or self._newest or self._sending)

    def put(self, operation: dict[str, Any]) -> None:
        """Have an operation sent."""
        with self._changed:
            self._waiting.append(operation)
            self._changed.notify()

    def put_all(self, operations: Sequence[dict[str, Any]], unless: threading.Event) -> bool:
        """Have operations sent, unless the connection they are for has ended; returns whether they will be."""
        with self._changed:
            if unless.is_set():
                return False
            self._waiting.extend(operations)
            self._changed.notify()
            return True

    def put_newest(self, topic: str, message: Message) -> None:
        """Have a message sent in place of an older one of its topic that still waits."""
        with self._changed:
            self._newest[topic] = message
            self._changed.notify()

    def clear(self) -> None:
        """Forget what waits."""
        with self._changed:
            self._newest.clear()
            self._waiting.clear()

    def wake(self) -> None:
        """Have :meth:`take` look at its ``ended`` again."""
        with self._changed:
            self._changed.notify_all()

    def take(self, ended: threading.Event) -> tuple[str | None, dict[str, Any]] | None:
        """Wait for what is to be sent next; :meth:`sent` has to follow.

        Returns:
            None and an operation, or a topic and its newest message; None once ``ended`` is set.
        """
        with self._changed:
            while not (self._newest or self._waiting or ended.is_set()):
                self._changed.wait()
            if ended.is_set():
                return None
            self._sending = True
            return (None, self._waiting.popleft()) if self._waiting else self._newest.popitem(last=False)

    def sent(self) -> None:
        """What was taken is sent."""
        self._sending = False


class PendingCalls:
    """Calls of services that are not answered yet."""

    def __init__(self) -> None:
        self._calls: dict[str, tuple[dict[str, Any], threading.Event]] = {}

    def call(self, service: str, key: str, send: Callable[[], None], timeout: float) -> Message:
        """Send a call and wait for its answer.

        Args:
            service: its name.
            key: that the answer will have.
            send: sends it.
            timeout: s.

        Raises:
            ServiceFailed: no answer came in time, or the service failed.
        """
        answer: dict[str, Any] = {}
        done = threading.Event()
        self._calls[key] = answer, done
        send()
        came = done.wait(timeout)
        self._calls.pop(key, None)
        if not came:
            raise ServiceFailed(f"{service} did not answer in {timeout:g} s")
        if not answer.get("result", True) or not isinstance(answer.get("values"), Mapping):
            raise ServiceFailed(f"{service}: {answer.get('values')}")
        return dict(answer["values"])

    def answer(self, response: Mapping[str, Any]) -> None:
        """Take the answer to one of the calls."""
        found = self._calls.get(str(response.get("id")))
        if found is not None:
            found[0].update(response)
            found[1].set()

    def fail_all(self, cause: str) -> None:
        """No answer will come any more."""
        for answer, done in list(self._calls.values()):
            answer.update(result=False, values=cause)
            done.set()
