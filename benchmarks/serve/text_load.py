"""The text server under load: answers that are right, clients that leave, requests that are none.

The server runs in a process of its own. A third of the requests are given up at a random moment, a tenth are
malformed, a hundredth mean harm (prompts that cannot fit, parameters near 0, huge blocks), the rest are of all modes,
streamed and whole. Connections are open besides that say nothing, or half of a header. Greedy answers to the same
request must be the same, whatever else is being answered. In the end no page may be held, and memory must be what it
was.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import socket
import time
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from lohovla.benchmarks.bench_utils import emit
from lohovla.benchmarks.serve.server_process import ServerProcess
from lohovla.benchmarks.serve.text_load_requests import TextLoadRequest, answer_fault, draw_request, harmful_requests
from lohovla.errors import UserError
from lohovla.progress import progress

_PROMPTS = 12  # different ones
_SETTLE = 0.2  # share of the requests after which memory is first read


class _Silent:
    """Connections that ask for nothing.

    Args:
        server: whom they keep busy.
        count: of them; as many as the limit on open files lets be.
    """

    def __init__(self, server: ServerProcess, count: int):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = hard if hard != resource.RLIM_INFINITY else count + 512
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(count + 512, most)), hard))
        self._server, self._count = server, min(count, max(0, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 512))
        self._open: list[socket.socket] = []

    def __enter__(self) -> int:
        for number in range(self._count):
            one = socket.create_connection((self._server.host, self._server.port), timeout=60)
            if number % 2:
                one.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-")
            self._open.append(one)
        return self._count

    def __exit__(self, *_: object) -> None:
        for one in self._open:
            one.close()


@dataclass
class TextRequestCounts:
    """What became of the requests."""

    right: int = 0
    left: int = 0
    refused: int = 0
    harmful: int = 0
    wrong: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    known: dict[bytes, str] = field(default_factory=dict)
    memory: list[float] = field(default_factory=list)


def run(
    model: str | None, requests: int, clients: int, threads: int, silent: int = 0, settings: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Measure; print a line a finding and the JSON line.

    Args:
        model: a checkpoint; the shipped one if None.
        requests: in all.
        clients: at once.
        threads: of the server's PyTorch.
        silent: connections that are open besides and ask for nothing.
        settings: more of ``lohovla serve text``.
    """
    if requests < 10 or not 1 <= clients <= 256:
        raise UserError(
            f"{requests} requests of {clients} clients", "10 or more, of 1 to 256: requests=10000 clients=32"
        )
    given = () if model is None else (f"model={model}",)
    with ServerProcess(*given, "name=load", f"threads={threads}", *settings, what="text") as server:
        modes = [m["id"] for m in json.loads(_get(server, "/v1/models"))["data"]]
        began = time.monotonic()
        with _Silent(server, silent) as opened:
            tally = asyncio.run(_load(server, modes, requests, clients))
        seconds = time.monotonic() - began
        metrics = _idle_metrics(server)
        alive = _get(server, "/healthz") == "OK\n"
        server.terminate()
        ended = server.process.wait(30)
    held = {key: _sum(metrics, f"lohovla_text_{key}") for key in ("pages_held", "running", "waiting")}
    settled = tally.memory[int(_SETTLE * len(tally.memory)) :] or [float("nan")]
    tenth = max(1, len(settled) // 10)
    first, last = sum(settled[:tenth]) / tenth, sum(settled[-tenth:]) / tenth
    ordered = sorted(tally.seconds) or [float("nan")]
    p50, p99 = ordered[len(ordered) // 2], ordered[int(0.99 * (len(ordered) - 1))]
    print(
        f"{requests} requests of {clients} clients in {seconds:.0f} s: {tally.right} answered, {tally.left} left, "
        f"{tally.refused} refused as malformed, {tally.harmful} harmful ones answered or refused, "
        f"{len(tally.wrong)} wrong; {opened} silent connections; p50 {p50:.2f} s, p99 {p99:.2f} s"
    )
    print(
        f"after it: {held['pages_held']:.0f} pages held, {held['running']:.0f} running, {held['waiting']:.0f} waiting; "
        f"memory {first:.0f} MB, at the end {last:.0f} MB; alive: {alive}, ended with code {ended}"
    )
    for problem in tally.wrong[:5]:
        print(f"  {problem}")
    return emit(
        "text-load",
        f"requests a second, {clients} clients",
        requests / seconds,
        "requests/s",
        baseline=None,
        ratio=None,
        floor=None,
        model=model or "shipped",
        requests=requests,
        right=tally.right,
        left=tally.left,
        refused=tally.refused,
        harmful=tally.harmful,
        silent=opened,
        wrong=len(tally.wrong),
        longest_step_s=round(_most(metrics, "lohovla_text_longest_step_seconds"), 3),
        failed=_sum(metrics, "lohovla_text_failed_total"),
        p50_s=round(p50, 3),
        p99_s=round(p99, 3),
        alive=alive,
        exit_code=ended,
        memory_first_mb=round(first, 1),
        memory_last_mb=round(last, 1),
        threads=threads,
        aborted=_sum(metrics, "lohovla_text_aborted_total"),
        preempted=_sum(metrics, "lohovla_text_preempted_total"),
        **held,
    )


def _idle_metrics(server: ServerProcess) -> str:
    """The metrics, once all that clients left behind is gone; after ten seconds as they are."""
    for _ in range(100):
        metrics = _get(server, "/metrics")
        if not _sum(metrics, "lohovla_text_running") + _sum(metrics, "lohovla_text_pages_held"):
            break
        time.sleep(0.1)
    return metrics


def _get(server: ServerProcess, path: str) -> str:
    with urllib.request.urlopen(f"http://{server.host}:{server.port}{path}", timeout=60) as answer:
        return answer.read().decode()


def _sum(metrics: str, name: str) -> float:
    return sum(float(line.rsplit(" ", 1)[1]) for line in metrics.splitlines() if line.startswith(f"{name}{{"))


def _most(metrics: str, name: str) -> float:
    return max(float(line.rsplit(" ", 1)[1]) for line in metrics.splitlines() if line.startswith(f"{name}{{"))


async def _load(server: ServerProcess, modes: list[str], requests: int, clients: int) -> TextRequestCounts:
    from lohovla.collect.text_tasks import text_task

    tasks = [text_task(name) for name in ("arithmetic", "open-plan")]
    prompts = [tasks[k % 2].draw_problem(10001 + 2 * k).prompt for k in range(_PROMPTS)]
    tally, rng, numbers = TextRequestCounts(), random.Random(0), iter(range(requests))
    harmful = harmful_requests(modes)
    with progress(total=requests, desc="requests", leave=False) as bar:

        async def client() -> None:
            for number in numbers:
                await _one(server, draw_request(rng, modes, prompts, harmful), tally)
                if number % max(1, requests // 200) == 0:
                    tally.memory.append(server.status())
                bar.update()

        await asyncio.gather(*[client() for _ in range(clients)])
    return tally


async def _one(server: ServerProcess, ask: TextLoadRequest, tally: TextRequestCounts) -> None:
    began = time.monotonic()
    try:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        head = f"POST /v1/completions HTTP/1.1\r\nHost: {server.host}\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(ask.body)}\r\nConnection: close\r\n\r\n".encode() + ask.body)
        await writer.drain()
        if ask.leave is not None:
            await reader.read(ask.leave[0])
            await asyncio.sleep(ask.leave[1])
            writer.transport.abort()
            tally.left += 1
            return
        answer = await asyncio.wait_for(reader.read(), 300)
        writer.close()
    except (OSError, TimeoutError) as error:
        tally.wrong.append(f"{type(error).__name__}: {error}: {ask.body[:200]!r}")
        return
    problem = answer_fault(answer, ask, tally.known)
    if problem:
        tally.wrong.append(f"{problem}: {ask.body[:200]!r}: {answer[:200]!r}")
    elif ask.harmful:
        tally.harmful += 1
    elif ask.malformed:
        tally.refused += 1
    else:
        tally.right += 1
        tally.seconds.append(time.monotonic() - began)
