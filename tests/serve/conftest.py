"""A server in this process, and a policy that shows what reached it and can be held up."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from lohovla.errors import UserError
from lohovla.policies.base import Decision, Policy, PolicySpec
from lohovla.serve.api_keys import ApiKeys
from lohovla.serve.policy.observation_schema import ObservationSchema
from lohovla.serve.policy.policy_server import PolicyServer, ServerSettings

SPACE = {
    "state": gym.spaces.Box(-9.0, 9.0, (4,), np.float32),
    "images.top": gym.spaces.Box(0, 255, (8, 16, 3), np.uint8),
    "instruction": gym.spaces.Text(100),
}


class Echo(Policy):
    """Gives the state back as actions, two at a time; counts each slot's decisions since its reset.

    Attributes:
        gate: closed, it holds every forward up.
        entered: set while a forward is at the gate.
        batches: how many were decided together, each time.
    """

    def __init__(self, keys=("state",), subgoal=None):
        self.spec = PolicySpec(tuple(keys), "ee", (4,), 2, 20.0, frozenset({"subtask"}))
        self.gate, self.entered = threading.Event(), threading.Event()
        self.gate.set()
        self.batches: list[int] = []
        self.episodes: dict[int, list[int]] = {}
        self.subgoal = subgoal

    def reset(self, seed, slot=0):
        self.episodes[slot] = [seed, 0]

    def act(self, observation, context):
        return self.act_batch([observation], [context])[0]

    def act_batch(self, observations, contexts):
        self.entered.set()
        assert self.gate.wait(20)
        self.entered.clear()
        self.batches.append(len(observations))
        return [self._decide(*pair) for pair in zip(observations, contexts, strict=True)]

    def _decide(self, observation, context):
        if observation["state"][0] == 7:
            raise ValueError("seven")
        if observation["state"][0] == 6:
            raise UserError("six is too few", "ask for more")
        self.episodes[context.slot][1] += 1
        seed, count = self.episodes[context.slot]
        actions = np.stack([observation["state"]] * 2) * (np.nan if observation["state"][0] == 8 else 1)
        return Decision(
            actions, f"{seed}: {count}", count == 1, self.subgoal, context.reward, {"step_ms": context.step}
        )


class Running:
    """A server in a thread of its own."""

    def __init__(self, policy: Policy, keys: tuple[str, ...] = (), **settings: Any):
        self.policy, self._ready, self.server = policy, threading.Event(), None
        self.whole: bool | None = None
        arguments = policy, ApiKeys(keys), ServerSettings(**{"port": 0, "drain": 5.0, **settings})
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main(*arguments)), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    async def _main(self, policy, keys, settings):
        self.loop = asyncio.get_running_loop()
        self.server = PolicyServer(policy, ObservationSchema(policy.spec.observation_keys, SPACE), {}, settings, keys)
        await self.server.start()
        self.host, self.port = "127.0.0.1", self.server.port
        self.url = f"ws://127.0.0.1:{self.port}"
        self._ready.set()
        self.whole = await self.server.run()

    def drain(self):
        self.loop.call_soon_threadsafe(self.server.drain.begin)

    def stop(self):
        with contextlib.suppress(RuntimeError):  # its loop may have ended by itself
            self.loop.call_soon_threadsafe(self._end)
        self.join()

    def _end(self):
        self.server.drain.begin()
        self.server.drain.at_once.set()

    def join(self):
        self._thread.join(20)
        assert not self._thread.is_alive()


@pytest.fixture
def serve_policy() -> Iterator[Callable[..., Running]]:
    """Serves a policy until the test is over."""
    running: list[Running] = []

    def serve(policy: Policy | None = None, **settings: Any) -> Running:
        running.append(Running(policy or Echo(), **settings))
        return running[-1]

    yield serve
    for server in running:
        server.policy.gate.set()
        server.stop()


@pytest.fixture
def echo() -> type[Echo]:
    return Echo
