"""Bad clients come by while good ones work: no good one notices, and the memory stays."""

import asyncio
import time
import urllib.request

import pytest

from lohovla.benchmarks.serve import bad_clients as faults
from lohovla.benchmarks.serve.fake_policy import FakePolicy
from lohovla.benchmarks.serve.policy_load_client import PolicyLoadClient, PolicyRequestCounts, check_reply, work_all
from lohovla.benchmarks.serve.server_process import STEM, ServerProcess, make_env
from lohovla.client.msgpack_codec import pack_message, unpack_message

SMALL = {"layers": 1, "flow_layers": 1, "steps": 1}
SHAPE = (32, 64, 3)


@pytest.fixture(scope="module")
def policy():
    return FakePolicy(make_env(cameras={"top": {"width": 64, "height": 32}}), **SMALL)


@pytest.fixture(scope="module")
def server():
    sizes = [f"+policy.{key}={value}" for key, value in SMALL.items()]
    camera = ["env.cameras.top.width=64", "env.cameras.top.height=32", "max_frame_mb=1", "threads=1"]
    with ServerProcess(*STEM, *sizes, *camera) as served:
        yield served


def metrics(server):
    text = urllib.request.urlopen(f"http://{server.host}:{server.port}/metrics", timeout=10).read().decode()
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def test_the_others_do_not_notice(server, policy, monkeypatch):
    monkeypatch.setattr(faults, "LINGER", 0.5)
    witnesses = [PolicyLoadClient(policy, number, SHAPE) for number in range(6)]
    request = PolicyLoadClient(policy, 99, SHAPE).ask()[0]
    before = server.status("VmHWM")

    async def play() -> PolicyRequestCounts:
        gone = asyncio.Event()
        load = asyncio.create_task(work_all(server.url, witnesses, gone.is_set, 20.0))
        await asyncio.gather(*[fault(server.host, server.port, request) for fault in faults.FAULTS])
        gone.set()
        return await load

    tally = asyncio.run(play())
    assert not tally.wrong
    assert not tally.lost
    assert tally.right == tally.sent > len(witnesses)
    assert max(tally.batches) > 1
    assert server.status("VmHWM") - before < 60  # MB, while two of them sent 100 each
    found = metrics(server)
    assert found['lohovla_requests_total{outcome="refused"}'] >= 10
    assert found['lohovla_requests_total{outcome="ok"}'] >= tally.right


def test_the_witness_tells_a_swapped_reply(policy):
    one, two = PolicyLoadClient(policy, 0, SHAPE), PolicyLoadClient(policy, 1, SHAPE)
    replies = []
    for witness in (one, two):
        request, wanted = witness.ask()
        extras = {key: value for key, value in unpack_message(request).items() if key.startswith("request.")}
        replies.append((wanted, extras))
    reply = pack_message({**replies[0][1], "subtask": replies[0][0]["subtask"], "actions": replies[0][0]["actions"]})
    assert check_reply(reply, replies[0][0]) == ""
    assert check_reply(reply, replies[1][0])
    stolen = pack_message({**replies[1][1], "subtask": replies[1][0]["subtask"], "actions": replies[0][0]["actions"]})
    assert "actions are off" in check_reply(stolen, replies[1][0])
    assert "subtask" in check_reply(pack_message({**replies[1][1], "subtask": "another"}), replies[1][0])


def test_a_client_that_answers_no_ping_is_put_out(serve_policy):
    server = serve_policy(keepalive=0.1)

    async def play():
        reader, _ = await faults.shake_hands(server.host, server.port)
        async with asyncio.timeout(60):
            while await reader.read(1 << 16):
                pass

    asyncio.run(play())
    while server.server._sessions:
        time.sleep(0.001)
