"""openpi's side of serving: its published client, and a server that does what openpi's does.

The server is not in the published package. As openpi's own, this one answers each message in the event loop that reads
it, without compression, and sends its metadata first.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parent.parent))
from openpi_client import msgpack_numpy  # type: ignore[import-not-found]
from openpi_client.websocket_client_policy import WebsocketClientPolicy  # type: ignore[import-not-found]
from turn_process import repeat, serve_turns  # type: ignore[import-not-found]
from websockets.asyncio.server import serve


def _server(port: Any) -> None:
    packer, chunk = msgpack_numpy.Packer(), np.zeros((16, 7), np.float32)

    async def talk(socket: Any) -> None:
        await socket.send(packer.pack({}))
        async for message in socket:
            msgpack_numpy.unpackb(message)
            await socket.send(packer.pack({"actions": chunk}))

    async def run() -> None:
        async with serve(talk, "127.0.0.1", 0, compression=None, max_size=None) as server:
            port.send(server.sockets[0].getsockname()[1])
            await asyncio.Future()

    asyncio.run(run())


def prepare(threads: int, shapes: dict[str, Any]) -> Any:
    """Start the server in a process of its own, and connect."""
    ours, theirs = multiprocessing.Pipe()
    multiprocessing.Process(target=_server, args=(theirs,), daemon=True).start()
    client = WebsocketClientPolicy("127.0.0.1", ours.recv())
    seen = {key: np.zeros(shape, kind) for key, (shape, kind) in shapes.items()}
    return repeat(lambda: client.infer({**seen, "instruction": "Stack the blocks."})), {}


if __name__ == "__main__":
    serve_turns(prepare)
