"""What long prompts cost those who ask something short: time to the first token, alone and among them.

The server runs in a process of its own. First short requests come one after the other; then several clients ask at the
same time, a share of them with long prompts, and the first tokens of the short ones are timed again.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from dataclasses import dataclass, field
from typing import Any

from lohovla.benchmarks.bench_utils import emit, median
from lohovla.benchmarks.serve.server_process import ServerProcess
from lohovla.errors import UserError
from lohovla.progress import progress

_SHARE = 0.3  # of long prompts
_SHORT = 24  # tokens of a short prompt
_ANSWER = 8  # tokens


@dataclass
class FirstTokens:
    """Seconds to the first token."""

    alone: list[float] = field(default_factory=list)
    short: list[float] = field(default_factory=list)
    long: list[float] = field(default_factory=list)


def run(model: str | None, requests: int, clients: int, threads: int, long_tokens: int) -> dict[str, Any]:
    """Measure; print a line a finding and the JSON line.

    Args:
        model: a checkpoint that decodes autoregressively; ``smollm2`` if None.
        requests: of the mixed part.
        clients: at once.
        threads: of the server's PyTorch.
        long_tokens: tokens of a long prompt.
    """
    if requests < 10 or not 1 <= clients <= 64 or long_tokens < _SHORT:
        raise UserError(f"{requests} requests of {clients} clients", "requests=200 clients=4 long_tokens=1000")
    given = (f"model={model or 'smollm2'}", "name=mixed", f"threads={threads}", "max_queue=1024", "access_log=false")
    with ServerProcess(*given, what="text") as server:
        found = asyncio.run(_measure(server, requests, clients, long_tokens))
        server.terminate()
        server.process.wait(60)
    ordered = sorted(found.short)
    p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    alone = median(found.alone)
    print(f"first token of a short request alone: median {1000 * alone:.0f} ms of {len(found.alone)}")
    print(
        f"with {clients} clients, 30 % prompts of {long_tokens} tokens: median {1000 * median(found.short):.0f} ms, "
        f"p99 {1000 * p99:.0f} ms of {len(found.short)}, {p99 / alone:.1f} times the median alone"
    )
    print(f"first token of a long request: median {median(found.long):.2f} s of {len(found.long)}")
    return emit(
        "text-mixed",
        "p99 of a short request's first token among long prompts, over its median alone",
        p99 / alone,
        "times",
        baseline=round(alone, 4),
        ratio=round(p99 / alone, 2),
        floor=None,
        p50_s=round(median(found.short), 4),
        p99_s=round(p99, 4),
        long_p50_s=round(median(found.long), 3),
        long_tokens=long_tokens,
        requests=requests,
        clients=clients,
        threads=threads,
        model=model or "smollm2",
    )


async def _measure(server: ServerProcess, requests: int, clients: int, long_tokens: int) -> FirstTokens:
    found, rng = FirstTokens(), random.Random(0)
    for _ in range(3):
        await _ask(server, rng, _SHORT)  # warm
    for _ in progress(range(20), desc="alone", leave=False):
        found.alone.append(await _ask(server, rng, _SHORT))
    numbers = iter(range(requests))
    with progress(total=requests, desc="mixed", leave=False) as bar:

        async def client() -> None:
            for _ in numbers:
                length = long_tokens if rng.random() < _SHARE else _SHORT
                (found.short if length == _SHORT else found.long).append(await _ask(server, rng, length))
                bar.update()

        await asyncio.gather(*[client() for _ in range(clients)])
    return found


async def _ask(server: ServerProcess, rng: random.Random, length: int) -> float:
    """Seconds from a request to the first token of its stream."""
    prompt = [rng.randrange(1000, 20000) for _ in range(length)]
    body = json.dumps({"model": "mixed", "prompt": prompt, "max_tokens": _ANSWER, "stream": True, "ignore_eos": True})
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection(server.host, server.port)
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {server.host}\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())
    await writer.drain()
    first, seen = float("nan"), b""
    while part := await reader.read(65536):
        seen += part
        if first != first and b'"text": ' in seen:
            first = time.perf_counter() - began
    writer.close()
    if b"data: [DONE]" not in seen:
        raise RuntimeError(f"no whole answer: {seen[:300]!r}")
    return first
