"""The client: what it sends, how it notices what goes wrong, and how it goes on."""

import asyncio
import threading
import time

import numpy as np
import pytest
from websockets.asyncio.server import serve

from lohovla.client.msgpack_codec import pack_message, unpack_message
from lohovla.client.policy_client import PolicyClient
from lohovla.client.request_error import RequestError
from lohovla.errors import UserError

STATE = {"state": np.array([1, 2, 3, 4], np.float32)}
KEY = "k" * 20


def serve_in_thread(handle):
    """Serve ``handle`` until it is stopped; returns the loop, the event that stops it and the port, and the thread."""
    ready, place = threading.Event(), []

    async def main():
        stop = asyncio.Event()
        async with serve(handle, "127.0.0.1", 0, close_timeout=0.1) as server:
            place.extend((asyncio.get_running_loop(), stop, server.sockets[0].getsockname()[1]))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    assert ready.wait(10)
    return place, thread


@pytest.fixture
def impostor():
    """A server that does what a test says with each connection, in turn; the last one goes on."""
    running = []

    def start(*handlers):
        seen = []

        async def handle(socket):
            handler = handlers[min(len(seen), len(handlers) - 1)]
            seen.append([])
            messages = seen[-1]
            await socket.send(pack_message({"server": "lohovla"}))
            async for frame in socket:
                messages.append(unpack_message(frame))
                await handler(socket, messages[-1])

        place, thread = serve_in_thread(handle)
        running.append((*place[:2], thread))
        return f"ws://127.0.0.1:{place[2]}", seen

    yield start
    for loop, stop, thread in running:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)


async def answer(socket, message):
    await socket.send(pack_message({"actions": np.ones((2, 4)), "request.id": message["request.id"]}))


async def break_off(socket, message):
    socket.transport.abort()


async def stay_silent(socket, message):
    pass


def test_every_request_says_what_it_belongs_to(serve_policy, impostor):
    url, seen = impostor(answer)
    client = PolicyClient(url)
    client.reset(5)
    client.infer(STATE, step=3)
    client.infer(STATE)
    client.reset(6)
    client.infer(STATE)
    extras = [{key: value for key, value in m.items() if key not in ("state", "request.timestamp")} for m in seen[0]]
    assert extras == [
        {"request.id": 1, "request.episode": 1, "request.seed": 5, "request.step": 3},
        {"request.id": 2, "request.episode": 1, "request.seed": 5},
        {"request.id": 3, "request.episode": 2, "request.seed": 6},
    ]
    assert all(abs(message["request.timestamp"] - time.time()) < 60 for message in seen[0])
    client.close()


def test_it_talks_to_our_server(serve_policy):
    client = PolicyClient(serve_policy(keys=(KEY,)).url, KEY)
    client.reset(5)
    reply = client.infer(STATE)
    assert reply["subtask"] == "5: 1"
    assert reply["round_trip_ms"] >= reply["server_timing"]["infer_ms"]
    assert client.infer(STATE)["subtask"] == "5: 2"
    client.reset(6)
    assert client.infer(STATE)["subtask"] == "6: 1"
    client.close()
    client.reset(7)
    assert client.infer(STATE)["subtask"] == "7: 1"  # connects again by itself
    assert client.interruptions == 0
    client.close()


@pytest.mark.parametrize(("trouble", "timeout"), [(break_off, 20.0), (stay_silent, 1.0)], ids=["broken", "silent"])
def test_a_lost_connection_is_made_again_and_the_request_sent_again(impostor, trouble, timeout):
    url, seen = impostor(trouble, break_off, answer)
    client = PolicyClient(url, timeout=timeout, reconnect_timeout=60)
    client.reset(5)
    assert client.infer(STATE)["actions"].shape == (2, 4)
    assert client.interruptions == 2
    assert [len(messages) for messages in seen] == [1, 1, 1]
    assert seen[0][0].keys() == seen[2][0].keys()
    assert {messages[0]["request.seed"] for messages in seen} == {5}
    client.close()


def test_an_interrupted_episode_goes_on_in_a_new_session(serve_policy):
    server = serve_policy()
    client = PolicyClient(server.url)
    client.reset(5)
    assert [client.infer(STATE)["subtask"] for _ in range(2)] == ["5: 1", "5: 2"]
    client._socket.socket.close()
    assert client.infer(STATE)["subtask"] == "5: 1"
    assert client.interruptions == 1
    client.close()


def test_patience_ends(impostor):
    url, seen = impostor(break_off)
    client = PolicyClient(url, reconnect_timeout=0.5)
    with pytest.raises(UserError, match=r"keeps breaking off|no policy server"):
        client.infer(STATE)
    assert len(seen) > 1


def test_a_reply_to_another_request_is_not_taken(impostor):
    async def confuse(socket, message):
        await socket.send(pack_message({"actions": np.ones((2, 4)), "request.id": message["request.id"] - 1}))

    client = PolicyClient(impostor(confuse)[0])
    with pytest.raises(RequestError, match="the reply is for request 0, not 1"):
        client.infer(STATE)


def test_a_refused_request_says_why_and_the_next_one_connects_again(serve_policy):
    client = PolicyClient(serve_policy().url)
    with pytest.raises(RequestError, match="lacks 'state'"):
        client.infer({"other": 1})
    assert client.infer(STATE)["subtask"].endswith(": 1")
    client.close()


def test_a_request_that_waited_too_long_is_sent_again(serve_policy, echo):
    policy = echo()
    server = serve_policy(policy, deadline=0.2)
    blocking, client = PolicyClient(server.url), PolicyClient(server.url)
    policy.gate.clear()
    blocking.send(STATE)
    assert policy.entered.wait(10)
    opener = threading.Timer(0.4, policy.gate.set)
    opener.start()
    assert client.infer(STATE)["actions"][0, 0] == 1
    assert client.interruptions >= 1
    opener.join()
    client.close()
    blocking.close()


def test_what_cannot_work_is_said_at_once(serve_policy):
    for url, key, message in (
        ("ws://127.0.0.1:9", None, "no policy server at ws://127.0.0.1:9: .*refused"),
        ("http://127.0.0.1:9", None, "is not a server.s address"),
        (serve_policy(keys=(KEY,)).url, None, "answers 401\nput the API key into LOHOVLA_API_KEY"),
        (serve_policy(keys=(KEY,)).url, "wrong", "answers 401"),
    ):
        began = time.monotonic()
        with pytest.raises(UserError, match=message):
            PolicyClient(url, key)
        assert time.monotonic() - began < 20  # where there is hope, it waits for 30 s


def test_a_full_server_is_waited_for(serve_policy):
    server = serve_policy(sessions=1)
    patient = PolicyClient(server.url)
    patient.close()
    while True:  # the server learns of it a moment later
        try:
            first = PolicyClient(server.url)
            break
        except UserError:
            time.sleep(0.001)
    with pytest.raises(UserError, match="all 1 sessions are taken"):
        PolicyClient(server.url)
    leaving = threading.Timer(0.3, first.close)
    leaving.start()
    assert patient.infer(STATE)["actions"][0, 0] == 1
    leaving.join()
    patient.close()


@pytest.mark.parametrize("late", [0.0, 0.2])
def test_a_server_of_others_that_repeats_replies_is_met_anew_and_then_given_up(late):
    """What comes unasked would be taken for the reply to the next request, and every later one for the one before."""
    opened = []

    async def handle(socket):
        opened.append(socket)
        await socket.send(pack_message({"policy": "of others"}))
        async for frame in socket:
            reply = pack_message({"actions": unpack_message(frame)["state"]})
            await socket.send(reply)
            await asyncio.sleep(late)
            await socket.send(reply)

    place, thread = serve_in_thread(handle)
    client = PolicyClient(f"ws://127.0.0.1:{place[2]}")
    asked = []

    def go_on():
        for number in range(100):
            state = np.full(4, number, np.float32)
            asked.append(float(client.infer({"state": state})["actions"][0]) == number)
            time.sleep(0.02)

    with pytest.raises(UserError, match="more replies than it is asked for"):
        go_on()
    assert client.strays == 3
    assert len(opened) >= 3
    assert late or all(asked)  # what comes at once is noticed before anything was taken for something else
    client.close()
    place[0].call_soon_threadsafe(place[1].set)
    thread.join(10)
