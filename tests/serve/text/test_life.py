"""Load, leaving clients, and the end: what the engine holds meanwhile."""

import contextlib
import json
import queue
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from lohovla.benchmarks.serve.server_process import ServerProcess

BODY = {"model": "tiny", "prompt": "Put it there, please.", "max_tokens": 64, "accept": 1.0}


class Gate:
    """Holds the engine's forwards up while it is closed, and tells what is held after each step."""

    def __init__(self, engine):
        self.engine, self.open, self.entered, self.after = engine, threading.Event(), threading.Event(), queue.Queue()
        self.open.set()
        forward, step = engine.runner.forward, engine.step

        def held_up(*arguments):
            self.entered.set()
            assert self.open.wait(30)
            return forward(*arguments)

        def told():
            busy = step()
            self.after.put(engine.pool.num_held_blocks)
            return busy

        engine.runner.forward, engine.step = held_up, told

    def close(self):
        self.open.clear()
        self.entered.clear()

    def wait_until_inside(self):
        assert self.entered.wait(30)


def begin(running, body=BODY):
    """A connection whose request is on its way."""
    connection = socket.create_connection(("127.0.0.1", running.port), timeout=60)
    data = json.dumps(body).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(data)}"
    connection.sendall(f"{head}\r\nConnection: close\r\n\r\n".encode() + data)
    return connection


def rest(connection):
    """Everything it gets until it is closed."""
    parts = []
    with connection:
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts).decode()


def until(true, what):
    """Poll for what another thread does."""
    for _ in range(3000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError(what)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_its_pages_within_one_step(serve, stream):
    running = serve()
    gate, engine = Gate(running.engine), running.engine
    left = threading.Event()
    abort = engine.abort
    engine.abort = lambda number: (abort(number), left.set())
    gate.close()
    connection = begin(running, {**BODY, "stream": stream})
    gate.wait_until_inside()
    assert engine.pool.num_held_blocks == 2  # the prompt's
    connection.close()
    assert left.wait(30)
    while not gate.after.empty():
        gate.after.get()
    gate.open.set()
    held = [gate.after.get(timeout=30), gate.after.get(timeout=30)]  # the step that was running, and the next
    assert held[1] == 0
    until(lambda: engine.stats.aborted == 1 and not engine.running, "the request is still there")
    assert not running.server.answering.jobs


def test_overload_is_told_with_a_time_to_try_again(serve):
    running = serve(max_num_seqs=1, max_queue=1)
    gate = Gate(running.engine)
    gate.close()
    first = begin(running)
    gate.wait_until_inside()
    second = begin(running)
    until(lambda: running.engine.queued == 1, "the second request does not wait")
    third = rest(begin(running))
    assert " 429 " in third.splitlines()[0]
    assert int(third.lower().split("retry-after: ")[1].split("\r\n")[0]) >= 1
    assert json.loads(third.split("\r\n\r\n")[1])["error"]["code"] == "overloaded"
    gate.open.set()
    for connection in (first, second):
        assert " 200 " in rest(connection).splitlines()[0]


def test_a_drain_ends_what_runs_and_takes_nothing_new(serve):
    running = serve(drain=60.0)
    gate = Gate(running.engine)
    gate.close()
    connection = begin(running)
    gate.wait_until_inside()
    running.begin_drain()
    until(running.server.drain.draining.is_set, "no drain")
    refused = rest(begin(running))
    assert " 503 " in refused.splitlines()[0]
    assert "retry-after" in refused.lower()
    with contextlib.suppress(urllib.error.HTTPError):
        urllib.request.urlopen(f"{running.url}/healthz", timeout=30)
        raise AssertionError("healthy while it drains")
    gate.open.set()
    assert " 200 " in rest(connection).splitlines()[0]
    running.join()
    assert running.whole is True


def test_a_drain_that_is_over_tells_those_who_wait(serve):
    running = serve(drain=0.0)
    gate = Gate(running.engine)
    gate.close()
    connection = begin(running, {**BODY, "stream": True})
    gate.wait_until_inside()
    running.begin_drain()
    told = rest(connection)
    gate.open.set()
    assert "going away" in told
    assert told.rstrip().rstrip("0").rstrip().endswith("[DONE]")
    running.join()


def test_a_failing_step_is_an_error_to_its_clients_and_to_nobody_after(serve):
    running = serve()
    forward, failed = running.engine.runner.forward, []

    def broken(*_):
        failed.append(1)
        if len(failed) == 2:  # the step, and then the request by itself
            running.engine.runner.forward = forward
        raise RuntimeError("no memory")

    running.engine.runner.forward = broken
    assert " 500 " in rest(begin(running)).splitlines()[0]
    assert " 200 " in rest(begin(running)).splitlines()[0]
    assert running.engine.pool.num_held_blocks == 0


def test_thirty_two_at_once_get_what_each_gets_alone(serve):
    running = serve(cache_mb=0.2, max_num_seqs=8)
    bodies = [{**BODY, "prompt": f"Number {k}" * (k % 5 + 1), "max_tokens": 8 + k} for k in range(32)]

    def text(body):
        return json.loads(rest(begin(running, body)).split("\r\n\r\n", 1)[1])["choices"][0]["text"]

    with ThreadPoolExecutor(32) as pool:
        together = list(pool.map(text, bodies))
    assert [text(body) for body in bodies[::8]] == together[::8]
    assert running.engine.pool.num_held_blocks == 0


def test_it_serves_over_tls(checkpoint, tmp_path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "1",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            key,
            "-out",
            cert,
        ],
        capture_output=True,
    )
    if made.returncode:
        pytest.skip("openssl makes no certificate here")
    settings = (f"model={checkpoint}", "threads=1", f"tls.cert={cert}", f"tls.key={key}")
    with ServerProcess(*settings, what="text", log=tmp_path / "log") as server:
        assert server.url.startswith("https://")
        context = ssl.create_default_context(cafile=str(cert))
        health = f"https://127.0.0.1:{server.port}/healthz"
        assert urllib.request.urlopen(health, timeout=30, context=context).read() == b"OK\n"


def test_sigterm_ends_the_command_with_code_0(checkpoint, tmp_path):
    with ServerProcess(f"model={checkpoint}", "threads=1", what="text", log=tmp_path / "log") as server:
        with urllib.request.urlopen(f"http://{server.host}:{server.port}/healthz", timeout=30) as answer:
            assert answer.read() == b"OK\n"
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        assert "served to the end" in server.process.stdout.read()
