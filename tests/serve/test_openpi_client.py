"""The published client works as it is. It pins an old NumPy: LOHOVLA_OPENPI_PYTHON names an interpreter that has it."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

PYTHON = os.environ.get("LOHOVLA_OPENPI_PYTHON") or (
    sys.executable if importlib.util.find_spec("openpi_client") else None
)
PROGRAM = """
import json, sys
import numpy as np
from openpi_client.websocket_client_policy import WebsocketClientPolicy

host, port, key = sys.argv[1:]
policy = WebsocketClientPolicy(host, int(port), key)
print(json.dumps(policy.get_server_metadata()))
observation = {"state": np.arange(4, dtype=np.float32), "images.top": np.zeros((8, 16, 3), np.uint8), "prompt": "hi"}
for _ in range(3):
    reply = policy.infer(observation)
    assert reply["actions"].dtype == np.float32
    reply["actions"] = reply["actions"].tolist()
    print(json.dumps(reply))
policy.reset()
try:
    policy.infer({"state": np.zeros(3)})
except RuntimeError as error:
    print(json.dumps(str(error)))
"""


@pytest.mark.skipif(PYTHON is None, reason="openpi-client is not installed")
def test_it_works_unchanged(serve_policy):
    key = "k" * 20
    server = serve_policy(keys=(key,))
    arguments = [PYTHON, "-c", PROGRAM, "127.0.0.1", str(server.port), key]
    answer = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stderr
    metadata, *replies, error = map(json.loads, answer.stdout.splitlines())
    assert metadata["spec"]["action_shape"] == [4]
    assert [reply["actions"] for reply in replies] == [[[0, 1, 2, 3], [0, 1, 2, 3]]] * 3
    assert [reply["subtask"][-1] for reply in replies] == ["1", "2", "3"]
    assert all(reply["policy_timing"]["infer_ms"] >= 0 for reply in replies)
    assert ["prev_total_ms" in reply["server_timing"] for reply in replies] == [False, True, True]
    assert "state has shape (4,), not (3,)" in error
