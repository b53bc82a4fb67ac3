"""Two processes share a model's layers, and write what one process writes."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from lohovla.d2f.engine import tensor_parallel
from lohovla.errors import UserError

SCRIPT = """
import importlib.util, json, sys
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM
from lohovla.d2f.engine import Engine, EngineSettings, tensor_parallel
from lohovla.d2f.engine.model_runner import ModelRunner, pages_of

torch.set_num_threads(1)
spec = importlib.util.spec_from_file_location("engine_tests", sys.argv[1])
tests = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tests)
denoiser = tests.shared.wrap(tests.shared.sharpen(Qwen2ForCausalLM(Qwen2Config(**tests.shared.SIZES))), True)
limits = EngineSettings(block_size=4, cache_mb=0.5)
verifiers = [tests.PlainVerifier(), tests.LookaheadBranches(3, 0.2), tests.SpeculativeDrafts(4)] * 2
requests = [
    tests.request(p, tests.LIMITS[k % 4], verifier=v) for k, (p, v) in enumerate(zip(tests.draw(6, 3), verifiers))
]
wanted = tests.finish(Engine(denoiser, limits), requests)
rank, count = tensor_parallel.init_processes()
whole = sum(p.numel() for p in denoiser.decoder.parameters())
tensor_parallel.shard(denoiser, rank, count)
if rank:
    tensor_parallel.worker_loop([ModelRunner(denoiser, pages_of(denoiser, limits), limits.block_size)])
else:
    engine = Engine(denoiser, limits, runner=tensor_parallel.TensorParallelDriver)
    tests.near(tests.finish(engine, requests), wanted)
    tensor_parallel.stop_workers("cpu")
    share = sum(p.numel() for p in denoiser.decoder.parameters())
    print(json.dumps({"answers": len(wanted), "tokens": sum(len(a.tokens) for a in wanted), "share": share / whole}))
"""


def test_two_processes_write_what_one_writes():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    common = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent / "test_engine.py")]
    both = [
        subprocess.Popen(
            command, env={**common, "RANK": str(rank)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for rank in (0, 1)
    ]
    told = [process.communicate(timeout=240) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    found = json.loads(told[0][0].splitlines()[-1])
    assert found["answers"] == 6
    assert found["tokens"] > 60
    assert found["share"] < 0.7


def test_shares_of_a_layer_are_the_layer():
    torch.manual_seed(0)
    layer, x = nn.Linear(8, 6), torch.randn(3, 8)
    rows = torch.cat([tensor_parallel._part(layer, 0, rank, 2)(x) for rank in (0, 1)], 1)
    columns = sum(tensor_parallel._part(layer, 1, rank, 2)(x[:, 4 * rank : 4 * rank + 4]) for rank in (0, 1))
    torch.testing.assert_close(rows, layer(x))
    torch.testing.assert_close(columns, layer(x))


def test_a_number_that_does_not_divide_the_heads_is_refused(models):
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(**{**models[True].config.to_dict(), "num_attention_heads": 4, "num_key_value_heads": 2})
    whole = Qwen2ForCausalLM(config)
    from lohovla.d2f.denoiser import DecoderDenoiser

    denoiser = DecoderDenoiser(
        whole.model, whole.model.embed_tokens, whole.lm_head, mask_id=39, eos_ids=(38,), shift=True
    )
    with pytest.raises(UserError, match="cannot be divided among 3"):
        tensor_parallel.shard(denoiser, 0, 3)
