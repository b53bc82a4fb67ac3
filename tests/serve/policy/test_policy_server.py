"""The server as its clients meet it: batches, sessions, resets, deadlines, refusals, drain."""

import asyncio
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect as connect_sync

from lohovla.client.msgpack_codec import pack_message, unpack_message

KEY = "k" * 20


def state(*values):
    return {"state": np.array([*values, 0, 0, 0, 0][:4], np.float32)}


def get(server, path, **headers):
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode(), answer.headers["Content-Type"]
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers["Content-Type"]


def metric(server, name):
    text = get(server, "/metrics")[1]
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


class Client:
    """A client that does no more than the wire asks for."""

    def __init__(self, server, **options):
        self.socket = connect_sync(server.url, compression=None, max_size=None, proxy=None, **options).__enter__()
        self.metadata = unpack_message(self.socket.recv(10))

    def send(self, *values, **extras):
        self.socket.send(pack_message({**state(*values), **{f"request.{key}": value for key, value in extras.items()}}))

    def receive(self):
        frame = self.socket.recv(10)
        return frame if isinstance(frame, str) else unpack_message(frame)

    def infer(self, *values, **extras):
        self.send(*values, **extras)
        return self.receive()

    def code(self):
        """How the server closed."""
        with pytest.raises(ConnectionClosed) as closed:
            self.socket.recv(10)
        return closed.value.rcvd.code

    def close(self):
        self.socket.close()


def test_the_greeting_says_what_the_policy_is(serve_policy):
    greeting = Client(serve_policy()).metadata
    assert greeting["server"] == "lohovla"
    assert greeting["spec"] == {
        "observation_keys": ["state"],
        "control": "ee",
        "action_shape": [4],
        "horizon": 2,
        "control_hz": 20.0,
        "emits": ["subtask"],
    }
    assert greeting["observations"] == {"state": {"shape": [4], "dtype": "<f4"}}
    assert greeting["limits"] == {"frame_bytes": 8 << 20, "deadline_ms": 5000.0}


def test_a_reply_has_actions_timing_and_what_the_request_said_of_itself(serve_policy):
    client = Client(serve_policy())
    first = client.infer(1.5, 2, id=3, timestamp=1.25, episode="e", step=9, reward=0.5)
    assert first["actions"].dtype == np.float32
    assert first["actions"].tolist() == [[1.5, 2, 0, 0]] * 2
    assert (first["request.id"], first["request.timestamp"], first["request.episode"]) == (3, 1.25, "e")
    assert (first["planned"], first["progress"], first["policy_timing"]["step_ms"]) == (True, 0.5, 9)
    assert first["policy_timing"]["infer_ms"] >= 0
    assert first["server_timing"]["batch"] == 1
    assert "prev_total_ms" not in first["server_timing"]
    second = client.infer(1)
    assert second["server_timing"]["prev_total_ms"] >= first["server_timing"]["infer_ms"]


def test_what_waits_is_decided_in_one_forward_and_each_gets_its_own(serve_policy, echo):
    policy = echo()
    server = serve_policy(policy, max_batch=5)
    clients = [Client(server) for _ in range(8)]
    policy.gate.clear()
    clients[0].send(100)
    assert policy.entered.wait(10)
    for number, client in enumerate(clients[1:], 1):
        client.send(100 + number)
    while server.server.batcher.waiting < 7:
        time.sleep(0.001)
    policy.gate.set()
    replies = [client.receive() for client in clients]
    assert [reply["actions"][0, 0] for reply in replies] == [100 + number for number in range(8)]
    assert policy.batches == [1, 5, 2]
    assert sorted(reply["server_timing"]["batch"] for reply in replies) == [1, 2, 2, 5, 5, 5, 5, 5]


def test_a_session_keeps_its_episode_apart_and_a_reset_begins_anew(serve_policy):
    server = serve_policy()
    one, two = Client(server), Client(server)
    assert one.infer(1, seed=5)["subtask"] == "5: 1"
    assert two.infer(1, seed=6)["subtask"] == "6: 1"
    assert one.infer(1, seed=99)["subtask"] == "5: 2"  # a seed alone begins nothing
    assert one.infer(1, seed=7, reset=True)["subtask"] == "7: 1"
    assert two.infer(1)["subtask"] == "6: 2"
    assert one.infer(1, seed=8, episode=1)["subtask"] == "8: 1"
    assert one.infer(1, seed=8, episode=1)["subtask"] == "8: 2"
    assert one.infer(1, seed=9, episode=2)["subtask"] == "9: 1"


def test_steps_are_what_the_client_says_or_what_it_was_given(serve_policy):
    client = Client(serve_policy())  # chunks of two
    steps = [{}, {}, {"step": 10}, {}, {"reset": True}, {}]
    assert [client.infer(1, **extras)["policy_timing"]["step_ms"] for extras in steps] == [0, 2, 10, 12, 0, 2]


def test_a_new_connection_is_a_new_session_in_a_slot_used_again(serve_policy, echo):
    policy = echo()
    server = serve_policy(policy, sessions=2)
    kept = Client(server)
    kept.infer(1, seed=1)
    for seed in range(10, 15):
        client = Client(server)
        assert client.infer(1, seed=seed)["subtask"] == f"{seed}: 1"
        client.close()
        while metric(server, "lohovla_sessions ") > 1:
            time.sleep(0.001)
    assert kept.infer(1)["subtask"] == "1: 2"
    assert set(policy.episodes) == {0, 1}


def test_health_and_metrics(serve_policy):
    server = serve_policy()
    client = Client(server)
    for _ in range(3):
        client.infer(1)
    assert get(server, "/healthz") == (200, "OK\n", "text/plain; charset=utf-8")
    code, text, kind = get(server, "/metrics")
    assert (code, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert 'lohovla_requests_total{outcome="ok"} 3\n' in text
    assert "lohovla_sessions 1\n" in text
    assert "lohovla_batch_size_count 3\n" in text
    assert get(server, "/")[0] == 426


def test_without_the_key_nobody_comes_in(serve_policy):
    server = serve_policy(keys=(KEY,))
    for headers in ({}, {"Authorization": "Api-Key wrong"}):
        with pytest.raises(InvalidStatus) as refused:
            Client(server, additional_headers=headers)
        assert refused.value.response.status_code == 401
    assert get(server, "/healthz")[0] == 200
    assert get(server, "/metrics")[0] == 401
    authorized = {"Authorization": f"Api-Key {KEY}"}
    assert 'refused_total{reason="key"} 2\n' in get(server, "/metrics", **authorized)[1]
    assert Client(server, additional_headers=authorized).infer(1)["actions"].shape == (2, 4)


def test_a_page_in_a_browser_does_not_come_in(serve_policy):
    with pytest.raises(InvalidStatus) as refused:
        Client(serve_policy(), origin="http://evil.example")
    assert refused.value.response.status_code == 403


def test_one_more_than_the_sessions_is_turned_away(serve_policy):
    server = serve_policy(sessions=2)
    first, _ = Client(server), Client(server)
    with pytest.raises(InvalidStatus) as refused:
        Client(server)
    assert refused.value.response.status_code == 503
    assert b"all 2 sessions are taken" in refused.value.response.body
    first.close()
    while metric(server, "lohovla_sessions ") > 1:
        time.sleep(0.001)
    assert Client(server).infer(1)["actions"].shape == (2, 4)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ("text", "not text"),
        (b"\xc1", "no msgpack"),
        (pack_message({"other": 1}), "the observation lacks 'state'"),
        (pack_message({"state": np.zeros(3)}), "shape"),
        (pack_message(state(7)), "the policy failed: ValueError: seven"),
        (pack_message(state(6)), "six is too few; ask for more"),
        (pack_message(state(8)), "not finite"),
    ],
)
def test_an_error_is_a_text_frame_and_then_the_end(serve_policy, frame, message):
    client = Client(serve_policy())
    client.socket.send(frame)
    assert message in client.receive()
    assert client.code() == 1011


def test_a_frame_over_the_limit_ends_the_session(serve_policy):
    client = Client(serve_policy(max_frame=10_000))
    client.socket.send(bytes(20_000))
    assert client.code() == 1009


def test_a_failure_stays_with_the_one_that_caused_it(serve_policy, echo):
    policy = echo()
    server = serve_policy(policy)
    clients = [Client(server) for _ in range(4)]
    policy.gate.clear()
    clients[0].send(0)
    assert policy.entered.wait(10)
    for value, client in zip((1, 7, 8), clients[1:], strict=True):
        client.send(value)
    while server.server.batcher.waiting < 3:
        time.sleep(0.001)
    policy.gate.set()
    assert clients[1].receive()["actions"][0, 0] == 1
    assert "seven" in clients[2].receive()
    assert "not finite" in clients[3].receive()
    assert clients[0].receive()["subtask"].endswith(": 1")
    assert clients[1].infer(2)["subtask"].endswith(": 2")


def test_who_waits_too_long_is_told_so_and_the_others_are_served(serve_policy, echo):
    policy = echo()
    server = serve_policy(policy)
    slow, hasty = Client(server), Client(server)
    policy.gate.clear()
    slow.send(1)
    assert policy.entered.wait(10)
    assert hasty.infer(2, deadline_ms=50) == "deadline: no decision within 50 ms"
    assert hasty.code() == 1011
    policy.gate.set()
    assert slow.receive()["actions"][0, 0] == 1
    assert slow.infer(1)["actions"][0, 0] == 1
    assert policy.batches == [1, 1]  # the request that was given up was not decided
    assert metric(server, 'lohovla_requests_total{outcome="expired"}') == 1


def test_who_dies_while_waiting_is_not_decided_for(serve_policy, echo):
    policy = echo()
    server = serve_policy(policy)
    slow, dying = Client(server), Client(server)
    policy.gate.clear()
    slow.send(1)
    assert policy.entered.wait(10)
    dying.send(2)
    while server.server.batcher.waiting < 1:
        time.sleep(0.001)
    dying.socket.socket.close()
    while metric(server, "lohovla_sessions ") > 1:
        time.sleep(0.001)
    policy.gate.set()
    assert slow.receive()["actions"][0, 0] == 1
    assert slow.infer(1)["actions"][0, 0] == 1
    assert policy.batches == [1, 1]


def test_a_policy_that_hangs_shows_in_the_health(serve_policy, echo, monkeypatch):
    monkeypatch.setattr("lohovla.serve.model_thread.HUNG", 0.01)
    policy = echo()
    server = serve_policy(policy)
    client = Client(server)
    policy.gate.clear()
    client.send(1)
    while get(server, "/healthz")[0] == 200:
        time.sleep(0.001)
    assert "the policy has not answered" in get(server, "/healthz")[1]
    policy.gate.set()
    client.receive()
    assert get(server, "/healthz")[0] == 200


def test_a_client_that_does_not_read_holds_nobody_up(serve_policy, echo):
    server = serve_policy(echo(subgoal=np.zeros((1000, 1000, 3), np.uint8)), deadline=0.3)

    async def play():
        async with connect(server.url, max_size=None, max_queue=1, proxy=None) as slow:
            await slow.recv()
            slow.transport.pause_reading()
            for _ in range(20):
                await slow.send(pack_message(state(1)))
            other = await asyncio.to_thread(Client, server)
            for _ in range(20):
                reply = await asyncio.to_thread(other.infer, 2)
                assert reply["actions"][0, 0] == 2
            while metric(server, "lohovla_sessions ") > 1:  # the slow one is put out
                await asyncio.sleep(0.01)
            slow.transport.abort()

    asyncio.run(asyncio.wait_for(play(), 30))
    assert metric(server, 'lohovla_requests_total{outcome="lost"}') == 1


def test_drain_answers_what_it_has_lets_episodes_end_and_takes_nothing_new(serve_policy, echo):
    policy = echo()
    server = serve_policy(policy)
    working, next_episode, idle = Client(server), Client(server), Client(server)
    working.infer(1, episode=1)
    next_episode.infer(1, episode=1)
    policy.gate.clear()
    working.send(2, episode=1)
    assert policy.entered.wait(10)
    server.drain()
    while get(server, "/healthz") != (503, "draining\n", "text/plain; charset=utf-8"):
        time.sleep(0.001)
    with pytest.raises(InvalidStatus) as refused:
        Client(server)
    assert refused.value.response.status_code == 503
    policy.gate.set()
    assert working.receive()["actions"][0, 0] == 2
    assert working.infer(3, episode=1)["actions"][0, 0] == 3  # its episode goes on
    next_episode.send(1, episode=2)
    assert next_episode.code() == 1001
    working.close()
    idle.close()
    server.join()
    assert server.whole is True


def test_drain_ends_after_its_time_with_the_reply_at_hand(serve_policy, echo):
    policy = echo()
    server = serve_policy(policy, drain=0.05)
    busy, idle = Client(server), Client(server)
    policy.gate.clear()
    busy.send(2)
    assert policy.entered.wait(10)
    server.drain()
    assert idle.code() == 1001
    policy.gate.set()
    assert busy.receive()["actions"][0, 0] == 2
    assert busy.code() == 1001
    server.join()
    assert server.whole is True
