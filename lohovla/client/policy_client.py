"""The client of a policy server: one session, which outlives its connections."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Mapping
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.sync.client import ClientConnection, connect

from lohovla.client.msgpack_codec import pack_message, unpack_message
from lohovla.client.request_error import RequestError
from lohovla.errors import UserError

REQUEST_PREFIX = "request."  # of what in a request is for the server and not for the policy
_LOG = logging.getLogger(__name__)
_FIRST_WAIT, _LONGEST_WAIT = 0.05, 2.0  # s between attempts to connect
_MOST_STRAYS = 3  # replies that nothing was asked for, before the server is given up
_RETRIED = (429, 502, 503, 504)  # what a server or the proxy before it answers while it cannot
_LOST = (ConnectionClosed, OSError, EOFError, TimeoutError)


class PolicyClient:
    """Asks a policy server, ours or another one that speaks the same wire.

    Every request says which episode it belongs to and with which seed that began. A connection that breaks is
    made again, to whichever server then answers, and the request is sent again; a server that has not seen
    the episode begins it there, with that seed. A policy's memory of the episode is then lost, which
    :attr:`interruptions` counts.

    Args:
        url: ``ws://host:port`` or ``wss://...``.
        api_key: what the server asks for, if it does.
        timeout: seconds to wait for a reply before the connection counts as broken.
        reconnect_timeout: seconds to go on trying to connect again.
        connect_timeout: the same for the first connection, which is made here.

    Raises:
        UserError: there is no server, or it refuses.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        timeout: float = 10.0,
        reconnect_timeout: float = 30.0,
        connect_timeout: float = 0.0,
    ):
        self.url, self._timeout, self._reconnect_timeout = url, timeout, reconnect_timeout
        self._headers = {"Authorization": f"Api-Key {api_key}"} if api_key else {}
        self._socket: ClientConnection | None = None
        self._pending: bytes | None = None
        self._sent_at, self._number = 0.0, 0
        self._seed: int | None = None
        self._episode = 0
        self.interruptions = self.strays = 0
        self.metadata: dict[str, Any] = {}
        self._connect(connect_timeout)
        self.is_ours = self.metadata.get("server") == "lohovla"

    def reset(self, seed: int | None = None) -> None:
        """Begin an episode with the next request; a server of others is met anew, as a new client."""
        self._episode, self._seed = self._episode + 1, seed
        if not self.is_ours:
            self.close()

    def infer(self, observation: Mapping[str, Any], **extras: Any) -> dict[str, Any]:
        """Send an observation and wait for the reply: :meth:`send`, then :meth:`receive`."""
        self.send(observation, **extras)
        return self.receive()

    def send(self, observation: Mapping[str, Any], **extras: Any) -> None:
        """Send a request.

        Args:
            observation: what the server's policy reads, by key.
            extras: ``request.*`` for a server of ours, such as ``step`` and ``reward``.
        """
        self._number += 1
        message = dict(observation)
        if self.is_ours:
            extras = {"id": self._number, "timestamp": time.time(), "episode": self._episode, **extras}
            if self._seed is not None:
                extras["seed"] = self._seed
            message |= {f"{REQUEST_PREFIX}{key}": value for key, value in extras.items()}
        self._pending, self._sent_at = pack_message(message), time.monotonic()
        self._throw_away()
        try:
            self._open().send(self._pending)
        except _LOST as error:
            self._lose(error)  # receive() makes up for it

    def receive(self) -> dict[str, Any]:
        """The reply to the request sent last, with ``round_trip_ms`` added.

        Raises:
            RequestError: the server refused the request.
            UserError: no server could be reached for ``patience`` seconds.
        """
        if self._pending is None:
            raise RuntimeError("nothing was sent")
        deadline = time.monotonic() + self._reconnect_timeout
        while True:
            try:
                reply = self._read()
                break
            except _LOST as error:
                self._lose(error)
                if time.monotonic() > deadline:
                    raise UserError(f"{self.url} keeps breaking off: {_words(error)}", "see the server's log") from None
                self._again(deadline)
        self._pending = None
        found = reply.get(f"{REQUEST_PREFIX}id", self._number if not self.is_ours else None)
        if found != self._number:
            self.close()
            raise RequestError(f"the reply is for request {found}, not {self._number}")
        return {**reply, "round_trip_ms": 1000 * (time.monotonic() - self._sent_at)}

    def _throw_away(self) -> None:
        """Meet a server anew that has sent more than it was asked for: its next reply would be to an earlier request.

        Servers of others do not number their replies, so that nothing else tells which request one belongs to.

        Raises:
            UserError: it does so again and again.
        """
        if self._socket is None or self.is_ours:
            return
        try:
            frame = self._socket.recv(0)
        except _LOST:  # nothing is there, or nobody: the request will find out
            return
        self.strays += 1
        _LOG.warning("%s sent a reply that nothing was asked for (%d bytes); connecting anew", self.url, len(frame))
        if self.strays >= _MOST_STRAYS:
            raise UserError(
                f"{self.url} sends more replies than it is asked for: {self.strays} so far",
                "the server must send exactly one reply for each request",
            )
        self.close()

    def close(self) -> None:
        """Leave the server. The next request connects again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _read(self) -> dict[str, Any]:
        if self._socket is None:
            raise EOFError("not connected")
        frame = self._socket.recv(self._timeout)
        if isinstance(frame, str):
            expired = self._reason() == "expired"
            self.close()
            if expired:  # the next forward may come sooner
                raise TimeoutError(frame)
            raise RequestError(frame)
        return unpack_message(frame)

    def _reason(self) -> str:
        """Why the server closes, after its last words."""
        assert self._socket is not None
        try:
            self._socket.recv(self._timeout)
        except ConnectionClosed as closed:
            return closed.rcvd.reason if closed.rcvd else ""
        except TimeoutError:
            pass
        return ""

    def _lose(self, error: Exception) -> None:
        if self._socket is not None:
            _LOG.warning("lost %s: %s", self.url, _words(error))
            self._socket.close_timeout = 0  # nobody is there to say goodbye to
            self.close()

    def _again(self, deadline: float) -> None:
        """Connect and send the pending request once more."""
        assert self._pending is not None
        self._connect(deadline - time.monotonic())
        self.interruptions += 1
        try:
            self._open().send(self._pending)
        except _LOST as error:
            self._lose(error)

    def _open(self) -> ClientConnection:
        if self._socket is None:
            self._connect(self._reconnect_timeout)
        assert self._socket is not None
        return self._socket

    def _connect(self, patience: float) -> None:
        """Connect and read the metadata, waiting longer after each attempt that fails."""
        deadline, wait = time.monotonic() + patience, _FIRST_WAIT
        while True:
            try:
                opening = connect(
                    self.url,
                    compression=None,
                    max_size=None,
                    proxy=None,
                    additional_headers=self._headers,
                    open_timeout=self._timeout,
                    close_timeout=1.0,
                )
                self._socket = opening.__enter__()  # left by close(): the session outlives any block
                greeting = self._socket.recv(self._timeout)
                if isinstance(greeting, str):
                    raise UserError(f"{self.url} refuses: {greeting}", "see the server's log")
                self.metadata = unpack_message(greeting)
                return
            except (*_LOST, InvalidHandshake, InvalidURI) as error:
                self._lose(error)
                _refuse_for_good(self.url, error)
                wait = min(2 * wait, _LONGEST_WAIT) * random.uniform(0.5, 1.0)  # not all clients at once
                if time.monotonic() + wait > deadline:
                    raise UserError(
                        f"there is no policy server at {self.url}: {_words(error)}",
                        "`lohovla serve policy` starts one; policy.url=ws://HOST:PORT says where",
                    ) from None
                time.sleep(wait)


def _refuse_for_good(url: str, error: Exception) -> None:
    """Raise if trying again would not help."""
    if isinstance(error, InvalidURI):
        raise UserError(f"{url!r} is not a server's address", "it looks like ws://HOST:PORT or wss://HOST/PATH")
    if isinstance(error, InvalidStatus) and error.response.status_code not in _RETRIED:
        status = error.response.status_code
        remedy = "put the API key into LOHOVLA_API_KEY" if status == 401 else "see its log, or its proxy's"
        raise UserError(f"{url} answers {status}", remedy)


def _words(error: Exception) -> str:
    if isinstance(error, InvalidStatus) and error.response.body:
        return f"HTTP {error.response.status_code}, {bytes(error.response.body).decode(errors='replace').strip():.80}"
    return str(error) or type(error).__name__
