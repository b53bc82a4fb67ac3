"""A remote policy is the policy that it reaches: the same decisions, the same episodes."""

import re

import numpy as np
import pytest

from lohovla.benchmarks.serve.server_process import ServerProcess
from lohovla.envs.env import BlocksEnv
from lohovla.errors import UserError
from lohovla.evaluate.episode_runner import EpisodeRunner, run_batch
from lohovla.policies.base import Context
from lohovla.policies.registry import make_policy

STEM = ("policy=custom", "policy.factory=lohovla.benchmarks.serve.fake_policy:FakePolicy")
SMALL = {"layers": 1, "flow_layers": 1, "steps": 1}
CAMERA = {"top": {"width": 64, "height": 32}}


def blind(**settings):
    return BlocksEnv("pick-and-place-primitive", **{"cameras": {}, "seconds_per_action": 0.5, **settings})


@pytest.fixture(scope="module")
def random_server():
    with ServerProcess("policy=random", "env=bare") as server:
        yield server


@pytest.fixture(scope="module")
def stem_server():
    sizes = [f"+policy.{key}={value}" for key, value in SMALL.items()]
    cameras = ["env.cameras.top.width=64", "env.cameras.top.height=32", "env.cameras.top.depth=false", "threads=1"]
    with ServerProcess(*STEM, *sizes, *cameras) as server:
        yield server


def play(policy, seeds, **settings):
    plays = [EpisodeRunner(blind(**settings), seed, slot) for slot, seed in enumerate(seeds)]
    for each in plays:
        policy.reset(each.seed, each.slot)
    run_batch(plays, policy)
    return [each.result() for each in plays]


def test_episodes_are_those_of_the_local_policy(random_server):
    env = blind()
    remote, local = make_policy("remote", env, url=random_server.url), make_policy("random", env)
    assert remote.spec == local.spec
    for seeds in ((1, 3, 5), (3, 7)):
        assert play(remote, seeds) == play(local, seeds)
    remote.close()


@pytest.mark.parametrize("coding", ["raw", "png", "jpeg"])
def test_decisions_are_those_of_the_local_policy(stem_server, coding):
    env = BlocksEnv("pick-and-place-primitive", cameras=CAMERA)
    local = make_policy("custom", env, factory="lohovla.benchmarks.serve.fake_policy:FakePolicy", **SMALL)
    remote = make_policy("remote", env, url=stem_server.url, image_encoding=coding, quality=95)
    assert remote.spec == local.spec
    observations = [env.reset(seed=seed)[0] for seed in (1, 3)]
    contexts = [Context(slot=slot) for slot in (0, 1)]
    for policy in (local, remote):
        for slot in (0, 1):
            policy.reset(10 + slot, slot)
    for _ in range(2):
        here, there = (policy.act_batch(observations, contexts) for policy in (local, remote))
        for mine, its in zip(here, there, strict=True):
            assert (its.subtask, its.planned) == (mine.subtask, mine.planned)
            error = np.abs(its.actions - mine.actions).max()
            assert error < 1e-4 if coding != "jpeg" else 1e-4 < error < 1.0
            assert its.timing["round_trip"] > its.timing["infer"] > 0
    remote.close()


def test_what_does_not_fit_is_refused_before_an_episode(random_server, stem_server):
    small = BlocksEnv("pick-and-place-primitive", cameras=CAMERA)
    for env, settings, message in (
        (blind(control="pick_place"), {"url": random_server.url}, "is for control=ee\ngive control=ee"),
        (blind(), {"url": stem_server.url}, "no observation 'images.top' here"),
        (
            BlocksEnv(cameras={"top": {"width": 96, "height": 32}}),
            {"url": stem_server.url},
            r"wants images.top of shape \(32, 64, 3\), not \(32, 96, 3\)\nset .*env.cameras.top.width",
        ),
        (small, {"url": stem_server.url, "image_encoding": "gif"}, "policy.image_encoding cannot be 'gif'"),
        (small, {"url": stem_server.url, "n_action_steps": 0}, "policy.n_action_steps cannot be 0"),
        (small, {"url": "ws://127.0.0.1:9", "reconnect_timeout": 0}, "no policy server at ws://127.0.0.1:9"),
        (small, {"url": random_server.url, "colour": 1}, "unexpected keyword argument 'colour'"),
    ):
        with pytest.raises(UserError, match=message):
            make_policy("remote", env, **settings)


def test_evaluate_gives_the_same_rows_as_the_local_policy(random_server, tmp_path):
    from lohovla.cli import main

    tasks = ["tasks=[A]", "episodes=2", "env=bare", "env.seconds_per_action=0.5", "videos=0", "workers=1", "batch=2"]
    assert main(["evaluate", "policy=random", f"output={tmp_path / 'local'}", *tasks]) == 0
    remote = ["policy=remote", f"policy.url={random_server.url}"]
    assert main(["evaluate", *remote, f"output={tmp_path / 'remote'}", *tasks]) == 0
    here, there = (tmp_path / name / "episodes.jsonl" for name in ("local", "remote"))
    assert here.read_bytes() == there.read_bytes()
    assert re.search(r"policy.url: ws://", (tmp_path / "remote" / "report.html").read_text())


def test_a_server_of_others_gets_its_own_names(others_server):
    url, seen = others_server
    env = BlocksEnv("pick-and-place-primitive", cameras=CAMERA)
    keys = {"observation/image": "images.top", "observation/state": "state", "prompt": "instruction"}
    policy = make_policy("remote", env, url=url, keys=keys, actions="action_chunk", n_action_steps=3)
    assert policy.spec.observation_keys == ("images.top", "state", "instruction")
    observation, _ = env.reset(seed=1)
    policy.reset(1)
    decision = policy.act(observation, Context())
    assert decision.actions.shape == (3, 7)
    assert decision.actions.dtype == np.float32
    policy.act(observation, Context())
    policy.reset(2)
    policy.act(observation, Context())
    assert [message.keys() for _, message in seen] == [keys.keys()] * 3
    assert seen[0][1]["prompt"] == observation["instruction"]
    np.testing.assert_array_equal(seen[0][1]["observation/image"], observation["images.top"])
    connections = [connection for connection, _ in seen]
    assert connections[0] is connections[1]
    assert connections[1] is not connections[2]  # a reset is a new connection
    policy.close()
    for settings, message in (
        ({"keys": {"a": "images.top", "b": "depth.top"}}, "no observation 'depth.top'"),
        ({"image_encoding": "jpeg", "keys": keys}, "is not a lohovla server"),
    ):
        with pytest.raises(UserError, match=message):
            make_policy("remote", env, url=url, **settings)
    policy = make_policy("remote", env, url=url, keys=keys)
    policy.reset(1)
    with pytest.raises(UserError, match=r"replies without 'actions'\npolicy.actions is one of"):
        policy.act(observation, Context())
    policy.close()


@pytest.fixture
def others_server():
    """A server as others run it: metadata of its own, names of its own, nothing of ours."""
    import asyncio
    import threading

    from websockets.asyncio.server import serve

    from lohovla.client.msgpack_codec import pack_message, unpack_message

    seen, ready, stop, port = [], threading.Event(), [], []

    async def handle(socket):
        await socket.send(pack_message({"robot": "theirs"}))
        async for frame in socket:
            seen.append((socket, unpack_message(frame)))
            await socket.send(pack_message({"action_chunk": np.ones((10, 7)), "server_timing": {"infer_ms": 1.0}}))

    async def main():
        stop.append((asyncio.get_running_loop(), asyncio.Event()))
        async with serve(handle, "127.0.0.1", 0, compression=None) as server:
            port.append(server.sockets[0].getsockname()[1])
            ready.set()
            await stop[0][1].wait()

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    assert ready.wait(10)
    yield f"ws://127.0.0.1:{port[0]}", seen
    stop[0][0].call_soon_threadsafe(stop[0][1].set)
    thread.join(10)
