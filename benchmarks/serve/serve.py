"""The policy server under load: many clients at a fixed rate, bad ones among them, every reply checked.

First the rate that it reaches when clients ask without pause, in batches and one at a time, in turn. Then the
wanted load for as long as told, while every few seconds another kind of bad client comes by.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from typing import Any

import numpy as np

from lohovla.benchmarks.bench_utils import emit, median
from lohovla.benchmarks.serve.bad_clients import FAULTS
from lohovla.benchmarks.serve.fake_policy import FakePolicy
from lohovla.benchmarks.serve.policy_load_client import PolicyLoadClient, PolicyRequestCounts, after, work_all
from lohovla.benchmarks.serve.server_process import STEM, ServerProcess, make_env
from lohovla.errors import UserError
from lohovla.progress import progress

_ROUNDS, _ROUND_SECONDS = 3, 6.0
_FAULT_EVERY = 3.0  # s
_SETTLE = 0.2  # share of the run after which memory is first read


def run(clients: int, hz: float, minutes: float, threads: int) -> dict[str, Any]:
    """Measure; print a line a finding and the JSON line."""
    if clients < 1 or clients > 48:
        raise UserError(f"clients must lie in 1 to 48, not {clients}", "clients=16 is the default")
    if not 0 < hz <= 50:
        raise UserError(f"hz must lie in (0, 50], not {hz}", "hz=5 is the default")
    if not 0 < minutes <= 60:
        raise UserError(f"minutes must lie in (0, 60], not {minutes}", "minutes=10 is what the figures are from")
    import torch

    torch.set_num_threads(1)
    env = make_env()
    policy = FakePolicy(env)
    shape = env.observation_space["images.top"].shape
    witnesses = [PolicyLoadClient(policy, number, shape) for number in range(clients)]
    alone = _alone(policy, shape)
    print(f"the model alone takes {alone:.1f} ms an observation of one core's time")
    rates = _capacity(witnesses, threads)
    ratio = median([many / one for many, one in zip(rates["batched"], rates["one by one"], strict=True)])
    for name, values in rates.items():
        print(f"{name:12s} {median(values):6.1f} replies a second, {clients} clients without pause")
    held = asyncio.run(_hold(witnesses, PolicyLoadClient(policy, clients, shape).ask()[0], hz, 60 * minutes, threads))
    tally: PolicyRequestCounts = held.pop("tally")
    latencies = 1000 * np.array(tally.latencies)
    p50, p99 = np.percentile(latencies, 50), np.percentile(latencies, 99)
    rate = tally.right / (60 * minutes)
    print(
        f"{tally.sent} requests at {hz:g} Hz of {clients} clients: {tally.right} right, {len(tally.wrong)} wrong, "
        f"{len(tally.lost)} lost, {tally.late} late; {rate:.1f} a second of {clients * hz:g}; "
        f"p50 {p50:.0f} ms, p99 {p99:.0f} ms; {np.mean(tally.batches):.1f} in a batch"
    )
    spent = held["cpu_ms_per_reply"]
    print(
        f"{spent:.1f} ms of the server's processor time a reply; {clients * hz:g} a second need "
        f"{clients * hz * spent / 1000:.2f} cores"
    )
    print(
        f"memory {held['memory_first']:.1f} MB, at the end {held['memory_last']:.1f} MB; {held['faults']} bad clients"
    )
    for problem in [*tally.wrong, *tally.lost][:5]:
        print(f"  {problem}")
    return emit(
        "serve",
        f"latency of {clients} clients at {hz:g} Hz, median",
        float(p50),
        "ms",
        baseline=round(median(rates["one by one"]), 2),
        ratio=round(ratio, 3),
        baseline_is="replies/s without batches",
        p99_ms=round(float(p99), 1),
        sent=tally.sent,
        right=tally.right,
        wrong=len(tally.wrong),
        lost=len(tally.lost),
        late=tally.late,
        rate_hz=round(rate / clients, 3),
        batch=round(float(np.mean(tally.batches)), 2),
        replies_per_s=round(median(rates["batched"]), 2),
        model_ms=round(alone, 1),
        minutes=minutes,
        threads=threads,
        **{key: round(value, 2) for key, value in held.items()},
    )


def _alone(policy: FakePolicy, shape: tuple[int, ...]) -> float:
    """Processor time of one observation on one core, ms; the least of several, free of what else runs here."""
    picture, times = np.zeros((1, *shape), np.uint8), []
    for _ in range(8):
        began = time.thread_time()
        policy.of_pictures(picture)
        times.append(time.thread_time() - began)
    return 1000 * min(times)


def _capacity(witnesses: list[PolicyLoadClient], threads: int) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {"batched": [], "one by one": []}
    for _ in progress(range(_ROUNDS), desc="capacity", leave=False):
        for name, limit in (("batched", 16), ("one by one", 1)):
            with ServerProcess(*STEM, f"threads={threads}", f"max_batch={limit}", "deadline=30.0") as server:
                tally = asyncio.run(work_all(server.url, witnesses, after(_ROUND_SECONDS), 0.0))
                rates[name].append(tally.right / _ROUND_SECONDS)
    return rates


async def _hold(
    witnesses: list[PolicyLoadClient], request: bytes, hz: float, seconds: float, threads: int
) -> dict[str, Any]:
    with ServerProcess(*STEM, f"threads={threads}") as server:
        before = server.cpu_seconds()
        load = asyncio.create_task(work_all(server.url, witnesses, after(seconds), hz))
        faults: list[str] = []
        bad = asyncio.create_task(_misbehave(server, request, faults))
        began, memory = time.monotonic(), []
        with progress(total=round(seconds), unit="second", leave=False) as bar:
            while not load.done():
                await asyncio.wait([load], timeout=1.0)
                memory.append((time.monotonic() - began, server.status()))
                bar.update(min(bar.total, round(memory[-1][0])) - bar.n)
        bad.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await bad  # one that could not misbehave as it should says so
        settled = [size for moment, size in memory if moment > _SETTLE * seconds]
        tenth = max(1, len(settled) // 10)
        return {
            "tally": load.result(),
            "memory_first": float(np.mean(settled[:tenth])),
            "memory_last": float(np.mean(settled[-tenth:])),
            "memory_peak": server.status("VmHWM"),
            "cpu_ms_per_reply": 1000 * (server.cpu_seconds() - before) / max(1, load.result().right),
            "faults": len(faults),
        }


async def _misbehave(server: ServerProcess, request: bytes, seen: list[str]) -> None:
    """Bad clients, one kind after the other, until cancelled."""
    for fault in itertools.cycle(FAULTS):
        await asyncio.sleep(_FAULT_EVERY)
        await fault(server.host, server.port, request)
        seen.append(fault.__name__)
