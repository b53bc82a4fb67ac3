"""What one client can do to the others: connections, slow senders, prompts that cannot fit, a log that grows."""

import contextlib
import importlib.util
import json
import logging
import resource
import socket
import urllib.request
from pathlib import Path

import pytest

from lohovla.serve.log_limits import RepeatLimit
from lohovla.serve.text import connection_limits

_spec = importlib.util.spec_from_file_location("refusals", Path(__file__).parent / "test_refusals.py")
refusals = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(refusals)
post, get, ask = refusals.post, refusals.get, refusals.ask


def connect(server):
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def read(connection):
    """All that comes until the server closes."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def test_further_connections_are_told_and_closed(serve):
    server = serve(connections=3)
    held = [connect(server) for _ in range(3)]
    body = json.dumps(ask(max_tokens=3000, stream=True, ignore_eos=True)).encode()
    for one in held:  # the beginning of an answer on each says that the server has taken it
        one.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
        one.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert one.recv(16).startswith(b"HTTP/1.1 200")
    with connect(server) as further:
        answer = read(further)
    assert answer.startswith(b"HTTP/1.1 503")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "overloaded"
    for one in held:
        one.close()
    while server.server.answering.jobs:
        pass  # the server has heard that they are gone
    assert get(server.url, "/healthz")[0] == 200


def test_connections_without_a_request_give_way(serve):
    """Who opens connections and says nothing keeps nobody out, whether it has asked something before or not."""
    server = serve(connections=3)
    silent = [connect(server) for _ in range(2)]
    asked = connect(server)
    asked.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert asked.recv(4096).startswith(b"HTTP/1.1 200")
    for k in range(8):
        assert get(server.url, "/healthz")[0] == 200, k
    with contextlib.suppress(ConnectionResetError):
        assert read(silent[0]) == b""
    for one in (*silent, asked):
        one.close()


@pytest.mark.parametrize("begun", [b"", b"POST /v1/completions HTT", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"])
def test_a_header_that_does_not_come_is_not_waited_for(serve, begun):
    server = serve(patience=0.2)
    with connect(server) as slow:
        slow.sendall(begun)
        with contextlib.suppress(ConnectionResetError):
            assert read(slow) == b""
    assert get(server.url, "/healthz")[0] == 200


def test_a_body_that_does_not_come_is_not_waited_for(serve):
    server = serve(patience=0.2)
    with connect(server) as slow:
        slow.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert read(slow).startswith(b"HTTP/1.1 408")


def test_a_header_without_end_is_refused(tiny):
    with connect(tiny) as long:
        long.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 60000)
        assert b"400" in long.recv(4096).splitlines()[0]


def test_the_limit_on_open_files_bounds_connections(monkeypatch):
    limits = {"now": (256, 1024)}
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits["now"])
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: limits.__setitem__("now", pair))
    assert connection_limits.connections_possible(100) == 100
    assert limits["now"] == (256, 1024)
    assert connection_limits.connections_possible(500) == 500
    assert limits["now"] == (564, 1024)
    assert connection_limits.connections_possible(5000) == 1024 - 64


def test_a_prompt_that_cannot_fit_is_not_tokenized(serve, monkeypatch):
    server = serve(max_model_len=64)

    def no(_):
        raise AssertionError("tokenized")

    monkeypatch.setattr(server.service.text, "encode", no)
    monkeypatch.setattr(server.service.text, "encode_chat", no)
    longest = max(map(len, server.service.text.tokenizer.get_vocab()))
    text = "x" * (64 * longest + 1)
    for body, path in (
        (ask(prompt=text), "/v1/completions"),
        (ask(prompt=["a", text]), "/v1/completions"),
        ({"model": "tiny", "messages": [{"role": "user", "content": text}]}, "/v1/chat/completions"),
    ):
        status, _, answer = post(server.url, body, path)
        assert (status, "characters" in answer["error"]["message"]) == (400, True)
    monkeypatch.undo()
    status, _, answer = post(server.url, ask(prompt="x" * 70))
    assert (status, "may have 64 tokens" in answer["error"]["message"]) == (400, True)
    assert post(server.url, ask(prompt="x" * 40))[0] == 200


def test_every_answer_has_an_id_and_a_line_in_the_log(tiny, caplog):
    with caplog.at_level(logging.INFO, logger="lohovla.access"):
        _, headers, _ = post(tiny.url, ask(), **{"X-Request-Id": "mine-1"})
        assert headers["x-request-id"] == "mine-1"
        _, headers, _ = post(tiny.url, ask(temperature=-1), **{"X-Request-Id": "not\tone"})
        made = headers["x-request-id"]
        assert len(made) == 24
        # The line is written behind the last byte of the answer: one more request on its way is behind it.
        urllib.request.urlopen(tiny.url + "/healthz", timeout=30).read()
    lines = [record.getMessage() for record in caplog.records]
    assert any(line.startswith("mine-1 127.0.0.1 POST /v1/completions 200 ") for line in lines)
    assert any(line.startswith(f"{made} 127.0.0.1 POST /v1/completions 400 ") for line in lines)


def test_readiness_is_health_with_room_in_the_queue(serve, monkeypatch):
    server = serve(max_queue=0, max_num_seqs=1)
    assert get(server.url, "/readyz")[0] == 200
    monkeypatch.setattr(type(server.engine), "queued", 1)
    assert (get(server.url, "/readyz")[0], get(server.url, "/healthz")[0]) == (503, 200)


def test_lines_that_repeat_are_counted_and_dropped():
    clock = [0.0]
    limit = RepeatLimit(3, 60.0, lambda: clock[0])

    def line(text, name="a"):
        record = logging.LogRecord(name, logging.WARNING, "", 0, text, ("x",), None)
        return record.msg if limit.filter(record) else None

    assert [line("at %s") for _ in range(10)][3:] == [None] * 7
    assert line("other %s") == "other %s"
    clock[0] = 61.0
    assert line("at %s") == "at %s (7 such lines were left out)"
