"""What goes wrong at the other end of a server's sockets: each function is one bad client, and then is gone."""

from __future__ import annotations

import asyncio
import base64
import os
import struct
from collections.abc import Awaitable, Callable

_PATIENCE = 15.0  # s for a server to close what it should close
_HUGE = 100 << 20
LINGER = 5.0  # s that those stay who do nothing


async def shake_hands(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A websocket by hand, so that anything at all can be sent over it."""
    reader, writer = await asyncio.open_connection(host, port)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


def frame_head(size: int, opcode: int = 2, last: bool = True) -> bytes:
    """The head of a masked frame of ``size`` bytes, with a mask of zeros."""
    first = bytes([(0x80 if last else 0) | opcode])
    if size < 126:
        return first + bytes([0x80 | size]) + bytes(4)
    if size < 1 << 16:
        return first + b"\xfe" + struct.pack(">H", size) + bytes(4)
    return first + b"\xff" + struct.pack(">Q", size) + bytes(4)


async def killed_mid_request(host: str, port: int, request: bytes) -> None:
    """Asks and dies before the reply: a reset, no goodbye."""
    _, writer = await shake_hands(host, port)
    writer.write(frame_head(len(request)) + request)
    await writer.drain()
    writer.transport.abort()


async def killed_in_a_frame(host: str, port: int, request: bytes) -> None:
    """Dies in the middle of sending."""
    _, writer = await shake_hands(host, port)
    writer.write(frame_head(len(request)) + request[: len(request) // 2])
    await writer.drain()
    writer.transport.abort()


GARBAGE = (
    b"",
    b"\xc1",
    b"\x00",
    os.urandom(1000),
    b"\x81\xa1a",
    b"\x91" * 5000 + b"\x90",
    b"\xdd\xff\xff\xff\xff",
    b"\xc9\x00\x00\x00\x01\x00\x00",
    b"\xdc\xff\xff" + b"\x90" * 0xFFFF,
    b"\xc6\xff\xff\xff\xff",
    b"\x81\xa1x\x84\xc4\x0b__ndarray__\xc3\xc4\x04data\xc4\x00\xc4\x05dtype\xa1O\xc4\x05shape\x90",
    b"\x81\xa1x\x84\xc4\x0b__ndarray__\xc3\xc4\x04data\xc4\x00\xc4\x05dtype\xa3<f8\xc4\x05shape\x91\xce\x7f\xff\xff\xff",
    b"\x81\xa1x\x83\xc4\x0e__npgeneric__\xc3\xc4\x04data\xce\x7f\xff\xff\xff\xc4\x05dtype\xa2S4",
)


async def garbage(host: str, port: int, request: bytes) -> None:
    """Sends every kind of nonsense as a binary frame, and some as text; the server must close each time."""
    frames = [(2, data) for data in GARBAGE] + [(1, b"hello"), (1, b"\xff\xfe"), (3, b"?")]
    await asyncio.gather(*[_send_one(host, port, opcode, data) for opcode, data in frames])


async def _send_one(host: str, port: int, opcode: int, data: bytes) -> None:
    reader, writer = await shake_hands(host, port)
    writer.write(frame_head(len(data), opcode) + data)
    await _until_closed(reader)
    writer.close()


async def huge_frame(host: str, port: int, request: bytes) -> None:
    """Sends 100 MB in one frame, as far as the server lets it."""
    reader, writer = await shake_hands(host, port)
    writer.write(frame_head(_HUGE))
    await _pour(writer, bytes(1 << 20), _HUGE >> 20)
    await _until_closed(reader)
    writer.close()


async def huge_fragments(host: str, port: int, request: bytes) -> None:
    """Sends 100 MB in fragments of 1 MB that never end."""
    reader, writer = await shake_hands(host, port)
    part = bytes(1 << 20)
    await _pour(writer, frame_head(len(part), 2, last=False) + part, 1)
    await _pour(writer, frame_head(len(part), 0, last=False) + part, (_HUGE >> 20) - 1)
    await _until_closed(reader)
    writer.close()


async def half_open(host: str, port: int, request: bytes) -> None:
    """Connects and says nothing; says half a greeting; becomes a client and falls silent, answering no ping."""
    connections = [await asyncio.open_connection(host, port) for _ in range(2)]
    connections[1][1].write(b"GET / HTTP/1.1\r\nHost: x\r\n")
    connections.append(await shake_hands(host, port))
    await asyncio.sleep(LINGER)
    for _, writer in connections:
        writer.transport.abort()


async def slow_reader(host: str, port: int, request: bytes) -> None:
    """Asks many times at once and reads nothing."""
    _, writer = await shake_hands(host, port)
    writer.transport.set_write_buffer_limits(high=0)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        async with asyncio.timeout(LINGER):
            await _pour(writer, frame_head(len(request)) + request, 8)
            await asyncio.sleep(2 * LINGER)
    except TimeoutError:
        pass
    writer.transport.abort()


async def no_websocket(host: str, port: int, request: bytes) -> None:
    """Speaks something else: TLS's first bytes, noise, another method of HTTP."""
    for data in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", os.urandom(500), b"POST / HTTP/1.1\r\nHost: x\r\n\r\n"):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(data)
        writer.write_eof()
        await _until_closed(reader)
        writer.close()


FAULTS: tuple[Callable[[str, int, bytes], Awaitable[None]], ...] = (
    killed_mid_request,
    killed_in_a_frame,
    garbage,
    huge_frame,
    huge_fragments,
    half_open,
    slow_reader,
    no_websocket,
)


async def _pour(writer: asyncio.StreamWriter, data: bytes, times: int) -> None:
    try:
        for _ in range(times):
            writer.write(data)
            await writer.drain()
    except (ConnectionError, RuntimeError):  # the server has closed, as it should
        pass


async def _until_closed(reader: asyncio.StreamReader) -> None:
    """Read until the server closes, or says that it does.

    Raises:
        TimeoutError: it does not.
    """
    async with asyncio.timeout(_PATIENCE):
        try:
            while (head := await reader.readexactly(2))[0] != 0x88:  # a close frame; HTTP's answers have none
                size = head[1]
                if size > 125:
                    size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
                await reader.readexactly(size)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
