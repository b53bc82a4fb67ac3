"""``lohovla serve policy`` from the outside: it says where it is, serves, drains on SIGTERM, refuses in two lines."""

import os
import signal
import ssl
import subprocess
import sys
import urllib.request

import numpy as np
import pytest

from lohovla.benchmarks.serve.server_process import ServerProcess
from lohovla.cli import main
from lohovla.client.policy_client import PolicyClient

KEY = "k" * 24


def test_it_serves_until_sigterm_and_ends_well(tmp_path):
    with ServerProcess("policy=random", "env=bare", "drain=5", log=tmp_path / "log") as server:
        health = f"http://{server.host}:{server.port}/healthz"
        assert urllib.request.urlopen(health, timeout=10).read() == b"OK\n"
        clients = [PolicyClient(server.url) for _ in range(3)]
        assert [client.infer({})["actions"].shape for client in clients] == [(1, 7)] * 3
        server.terminate()
        while "draining: 3 sessions" not in (tmp_path / "log").read_text():
            pass
        assert clients[0].infer({})["actions"].shape == (1, 7)  # its episode goes on
        for client in clients:
            client.close()
        assert server.process.stdout.read() == "served to the end\n"
        assert server.process.wait(10) == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_second_signal_ends_the_drain_at_once(tmp_path):
    with ServerProcess("policy=random", "env=bare", "drain=1000", log=tmp_path / "log") as server:
        client = PolicyClient(server.url)
        server.terminate()
        while "draining: 1 sessions" not in (tmp_path / "log").read_text():
            pass
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(10) == 0
        client.close()


def test_the_key_comes_from_the_environment_and_is_in_no_log(tmp_path, monkeypatch):
    with ServerProcess(
        "policy=random", "env=bare", log=tmp_path / "log", environment={"LOHOVLA_API_KEY": KEY}
    ) as server:
        monkeypatch.setenv("LOHOVLA_API_KEY", KEY)
        settings = ["policy=remote", f"policy.url={server.url}", "task=A", "env=bare", "env.seconds_per_action=0.5"]
        assert main(["rollout", *settings, "video=false", f"output={tmp_path / 'out'}"]) == 0
        monkeypatch.delenv("LOHOVLA_API_KEY")
        assert main(["rollout", *settings, "video=false", f"output={tmp_path / 'no'}"]) == 2
    written = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 3
    assert not any(KEY in text for text in written)


def test_tls(tmp_path, monkeypatch):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    made = subprocess.run(
        [*command, "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert], capture_output=True
    )
    if made.returncode:
        pytest.skip("openssl makes no certificate here")
    with ServerProcess("policy=random", "env=bare", f"tls.cert={cert}", f"tls.key={key}") as server:
        assert server.url.startswith("wss://")
        context = ssl.create_default_context(cafile=str(cert))
        health = f"https://127.0.0.1:{server.port}/healthz"
        assert urllib.request.urlopen(health, timeout=10, context=context).read() == b"OK\n"
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        client = PolicyClient(server.url)
        assert np.isfinite(client.infer({})["actions"]).all()
        client.close()


@pytest.mark.parametrize(
    ("words", "cause", "remedy"),
    [
        (["polcy"], "no server 'polcy'", "`lohovla serve policy`"),
        (["policy", "policy=oracle"], "policy oracle reads the simulation itself", "only needs observations"),
        (["policy", "host=0.0.0.0"], "there is no API key", "LOHOVLA_API_KEY"),
        (
            ["policy", "policy=random", "host=192.0.2.1", "anonymous=true", "env=bare"],
            "cannot listen on 192.0.2.1:8000",
            "host=...",
        ),
        (["policy", "checkpoint=nowhere"], "there is no checkpoint in nowhere", "lohovla train"),
        (["policy", "policy=random", "checkpoint=nowhere"], "policy random takes no checkpoint", "policy=lohovla"),
        (["policy", "port=70000"], "port must be at least 0 and at most 65535, not 70000", "port=8000"),
        (["policy", "sessions=0"], "sessions must be at least 1, not 0", "is the default"),
        (["policy", "deadline=0"], "deadline must be above 0", "is the default"),
        (["policy", "api_keys=nowhere"], "cannot read API keys from nowhere", "a key a line"),
        (["policy", "tls.cert=nowhere", "checkpoint=none"], "cannot read the TLS certificate", "PEM"),  # told first
        (["text", "tls.cert=nowhere", "model=none"], "cannot read the TLS certificate", "PEM"),
        (["text", "tls.key=nowhere"], "tls.key is given without tls.cert", "both"),
        (["text", "host=0.0.0.0"], "there is no API key", "LOHOVLA_API_KEY"),
        (["text", "cache_mb=0"], "cache_mb must be above 0", "is the default"),
        (["text", "drain=-1"], "drain must be at least 0, not -1", "is the default"),
        (["text", "model=nowhere"], "there is no checkpoint at nowhere", "OWNER/NAME"),
        (
            ["policy", "policy=custom", "policy.factory=nobody:make"],
            "No module named 'nobody'",
            "a module in this folder",
        ),
        (
            ["policy", "policy=remote", "policy.url=ws://127.0.0.1:9", "policy.reconnect_timeout=0"],
            "no policy server at ws://127.0.0.1:9",
            "serve",
        ),
    ],
)
def test_bad_settings_get_a_cause_and_a_remedy(words, cause, remedy, capsys, monkeypatch):
    monkeypatch.delenv("LOHOVLA_API_KEY", raising=False)
    assert main(["serve", *words]) == 2
    first, second = capsys.readouterr().err.splitlines()[-2:]
    assert cause in first
    assert remedy in second


def test_a_taken_port_is_said():
    with ServerProcess("policy=random", "env=bare") as server:
        command = [
            sys.executable,
            "-m",
            "lohovla.cli",
            "serve",
            "policy",
            "policy=random",
            "env=bare",
            f"port={server.port}",
        ]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert answer.returncode == 2
    assert f"cannot listen on 127.0.0.1:{server.port}" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_policy_that_fails_on_everything_does_not_start(tmp_path, monkeypatch):
    (tmp_path / "broken_policy.py").write_text(
        "from lohovla.policies.random import RandomPolicy\n"
        "class Broken(RandomPolicy):\n"
        "    def act(self, observation, context): raise ValueError('no weights')\n"
        "def make(env): return Broken(env.control, env.action_space.low, env.action_space.high, 20.0)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    command = [sys.executable, "-m", "lohovla.cli", "serve", "policy", "env=bare", "policy=custom"]
    answer = subprocess.run(
        [*command, "policy.factory=broken_policy:make", "port=0"], capture_output=True, text=True, timeout=60
    )
    assert answer.returncode == 2
    assert answer.stderr.splitlines()[-2].startswith(
        "lohovla: an observation of zeros gets no answer: the policy failed"
    )


FOLLOWING = """
import numpy as np
from lohovla.policies.base import Decision, Policy, PolicySpec

class Follow(Policy):
    def __init__(self, env):
        keys = ("images.top", "state", "instruction")
        self.spec = PolicySpec(keys, env.control, env.action_space.shape, 4, env.control_hz)

    def act(self, observation, context):
        assert observation["images.top"].shape == (16, 24, 3)
        strength = 8 * (observation["instruction"] == "Move the point to the mark")
        return Decision(np.clip(strength * (observation["state"][2:] - observation["state"][:2]), -1, 1)[None])
"""


def test_a_policy_for_another_projects_environment_is_served(tmp_path, tiny_world_settings, monkeypatch):
    """The same episodes as with the policy in the process that evaluates."""
    (tmp_path / "follow.py").write_text(FOLLOWING)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]]))
    given = ("env", "module", "state", "max_steps")
    words = ["world=gymnasium", *(f"world.{name}={tiny_world_settings[name]}" for name in given)]
    words += ["world.cameras={top: views/top}", "world.kwargs={render_mode: rgb_array}"]
    words += ["world.tasks={point: Move the point to the mark}"]
    play = ["evaluate", *words, "episodes=3", "videos=0", "workers=1"]
    with ServerProcess(*words, "policy=custom", "policy.factory=follow:Follow", log=tmp_path / "log") as server:
        remote = ["policy=remote", f"policy.url={server.url}"]
        typed = [sys.executable, "-m", "lohovla.cli", *play, *remote, f"output={tmp_path / 'remote'}"]
        # A process of its own: it must end, although its policy is kept to the end.
        ended = subprocess.run(typed, capture_output=True, text=True, timeout=240)
        assert ended.returncode == 0, ended.stderr + (tmp_path / "log").read_text()
        about = PolicyClient(server.url).metadata
    assert about["env"]["world"] == "gymnasium"
    assert main([*play, "policy=custom", "policy.factory=follow:Follow", f"output={tmp_path / 'here'}"]) == 0
    rows = [(tmp_path / name / "episodes.jsonl").read_text() for name in ("remote", "here")]
    assert rows[0] == rows[1]
    assert '"success": true' in rows[0]
