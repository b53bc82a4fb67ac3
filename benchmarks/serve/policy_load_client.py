"""Clients of a served stem that know what every reply must be."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from lohovla.benchmarks.serve.fake_policy import STATE, FakePolicy, told
from lohovla.client.msgpack_codec import pack_message, unpack_message

_PICTURES = 4  # a client
_EPISODE = 25  # requests
_TOLERANCE = 1e-3  # of actions that differ by about 1 from request to request


@dataclass
class PolicyRequestCounts:
    """What became of the clients' requests.

    Attributes:
        right: replies that can only be those to their requests.
        wrong: what was wrong with the others.
        lost: requests without a reply, and why.
        latencies: seconds from sending to reply, one a right reply.
        late: requests that could not be sent in time, because the one before had no reply yet.
        batches: how many requests were decided together, one a right reply.
    """

    sent: int = 0
    right: int = 0
    late: int = 0
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)


class PolicyLoadClient:
    """Asks one client's questions and knows the answers.

    Args:
        policy: with the weights that are served.
        number: the client's; its pictures, states and seeds are no other's.
    """

    def __init__(self, policy: FakePolicy, number: int, shape: tuple[int, ...]):
        self._policy, self._number = policy, number
        self._rng = np.random.default_rng(number)
        self._pictures = self._rng.integers(0, 256, (_PICTURES, *shape), np.uint8)
        self._shares = policy.of_pictures(self._pictures)
        self._asked = self._episode = self._count = 0

    def begin(self) -> None:
        """Begin an episode with the next request."""
        self._episode, self._count = self._episode + 1, 0

    def ask(self) -> tuple[bytes, dict[str, Any]]:
        """The next request, and what its reply must hold."""
        if self._count == _EPISODE:
            self.begin()
        self._asked, self._count = self._asked + 1, self._count + 1
        which, state = int(self._rng.integers(_PICTURES)), self._rng.standard_normal(STATE).astype(np.float32)
        seed = 10_000 * self._number + self._episode
        request = {
            "images.top": self._pictures[which],
            "state": state,
            "instruction": "Put it there.",
            "request.id": self._asked,
            "request.episode": self._episode,
            "request.seed": seed,
        }
        wanted = {
            "request.id": self._asked,
            "request.episode": self._episode,
            "subtask": told(seed, self._count - 1),
            "actions": self._shares[which] + self._policy.of_state(state),
        }
        return pack_message(request), wanted


def check_reply(reply: Any, wanted: dict[str, Any]) -> str:
    """What is wrong with a reply, or ""."""
    if not isinstance(reply, bytes):
        return f"an error: {reply}"
    found = unpack_message(reply)
    for key in ("request.id", "request.episode", "subtask"):
        if found.get(key) != wanted[key]:
            return f"{key} is {found.get(key)!r}, not {wanted[key]!r}"
    error = np.abs(found["actions"].reshape(wanted["actions"].shape) - wanted["actions"]).max()
    return "" if error < _TOLERANCE else f"actions are off by {error:.3g}"


async def work(
    url: str,
    witness: PolicyLoadClient,
    tally: PolicyRequestCounts,
    over: Callable[[], bool],
    hz: float,
    offset: float = 0.0,
) -> None:
    """One client: ask ``hz`` times a second until it is ``over``; without pause if hz is 0."""
    async with connect(url, compression=None, max_size=None, proxy=None) as socket:
        await socket.recv()
        witness.begin()
        due = time.monotonic() + offset
        while not over():
            if hz:
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                due += 1 / hz
                if time.monotonic() > due:  # a whole period behind: skip what cannot be made up for
                    tally.late += 1
                    due = time.monotonic()
            if not await _ask(socket, witness, tally):
                return


async def _ask(socket: ClientConnection, witness: PolicyLoadClient, tally: PolicyRequestCounts) -> bool:
    request, wanted = witness.ask()
    tally.sent += 1
    began = time.monotonic()
    try:
        await socket.send(request)
        reply = await asyncio.wait_for(socket.recv(), 30.0)
    except (WebSocketException, OSError, TimeoutError) as error:
        tally.lost.append(f"{type(error).__name__}: {error}")
        return False
    problem = check_reply(reply, wanted)
    if problem or not isinstance(reply, bytes):
        tally.wrong.append(problem)
        return False
    tally.right += 1
    tally.latencies.append(time.monotonic() - began)
    tally.batches.append(unpack_message(reply)["server_timing"]["batch"])
    return True


def after(seconds: float) -> Callable[[], bool]:
    """Something that is over ``seconds`` from now."""
    until = time.monotonic() + seconds
    return lambda: time.monotonic() >= until


async def work_all(
    url: str, witnesses: Sequence[PolicyLoadClient], over: Callable[[], bool], hz: float
) -> PolicyRequestCounts:
    """All clients at once, their requests spread over the period."""
    tally = PolicyRequestCounts()
    spread = 1 / hz / len(witnesses) if hz else 0.0
    await asyncio.gather(*[work(url, w, tally, over, hz, i * spread) for i, w in enumerate(witnesses)])
    return tally
