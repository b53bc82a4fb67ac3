"""A rosbridge server in front of a ``InProcessRos``: for the simulated robot, and for tests.

It behaves as real servers were seen to: whatever is wrong (a field, a type, a frame, an operation) is answered by
silence; the total of fragments is a float; a client that reads slowly gets old frames, because what was sent to it
waits in the connection's buffers whatever ``queue_length`` says; types are strict, ROS 1 knows no ``pkg/msg/Type``;
a client that is gone stops nothing; what their CBOR does not know is never sent, and NaN is null in JSON.
"""

from __future__ import annotations

import asyncio
import threading
import time

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from lohovla.errors import UserError
from lohovla.ros.transport.in_process_ros import InProcessRos
from lohovla.ros.transport.message_types import Message, stamp_of, type_name
from lohovla.ros.transport.rosbridge_server_connection import ServedConnection

_BUFFER = 2**28  # bytes that wait in a connection before sending is held up, as the real ones let wait


class RosbridgeServer:
    """Serves a graph in a thread of its own.

    Args:
        graph: what is served.
        ros_version: of ROS that it plays: 1 or 2.
        host: address to listen at; loopback unless somebody decides otherwise.
        port: 0 takes a free one.
        clock_offset: s that its clock is ahead of this machine's, as another machine's may be.

    Attributes:
        clients: how many are there.
        advertised: topics that clients advertised and did not take back; one that is gone takes nothing back.
    """

    def __init__(
        self,
        graph: InProcessRos,
        ros_version: int = 2,
        host: str = "127.0.0.1",
        port: int = 9090,
        clock_offset: float = 0.0,
    ):
        self.graph, self.ros_version, self._host, self.port = graph, ros_version, host, port
        self._offset, self.advertised, self.clients = clock_offset, set[str](), 0
        self._loop = asyncio.new_event_loop()
        self._ready, self._stop = threading.Event(), asyncio.Event()
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="rosbridge-server", daemon=True)

    def start(self) -> RosbridgeServer:
        """Listen; returns itself.

        Raises:
            UserError: the address is taken or not this machine's.
        """
        self.graph.offer("/rosapi/get_time", "rosapi/GetTime", lambda request: {"time": self._now()})
        self.graph.offer("/rosapi/topic_type", "rosapi/TopicType", self._topic_type)
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            raise UserError(f"cannot listen at {self._host}:{self.port}: {self._error.strerror}", "choose another port")
        return self

    @property
    def url(self) -> str:
        """Where it is."""
        return f"ws://{self._host}:{self.port}"

    def close(self) -> None:
        """Drop all clients and end."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(5.0)

    def _now(self) -> Message:
        return stamp_of(time.time() + self._offset)

    def _topic_type(self, request: Message) -> Message:
        known = self.graph.types.get(str(request.get("topic")))
        return {"type": type_name(known, self.ros_version) if known else ""}

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        try:
            listener = await serve(
                self._attend,
                self._host,
                self.port,
                compression=None,
                max_size=10 * 2**20,
                write_limit=_BUFFER,
                ping_interval=None,
            )
        except OSError as error:
            self._error = error
            self._ready.set()
            return
        self.port = listener.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        listener.close(close_connections=False)
        for connection in list(listener.connections):
            connection.transport.abort()  # as a server does that is killed
        await listener.wait_closed()

    async def _attend(self, socket: ServerConnection) -> None:
        client = ServedConnection(self.graph, self.ros_version, self.advertised, socket, self._loop)
        self.clients += 1
        sender = asyncio.ensure_future(client.send_all())
        try:
            async for frame in socket:
                client.take(frame)
        except ConnectionClosed:
            pass
        finally:
            sender.cancel()
            client.leave()
            self.clients -= 1
