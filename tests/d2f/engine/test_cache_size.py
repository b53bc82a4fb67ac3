"""The cache's size where nobody says: a share of what is free, no more than can be used, and at least a page."""

import importlib.util
from pathlib import Path

import pytest
import torch

from lohovla.d2f.engine import Engine, EngineSettings, cache_size
from lohovla.d2f.engine.cache_size import default_cache_mb, free_bytes
from lohovla.d2f.engine.model_runner import token_bytes

_spec = importlib.util.spec_from_file_location("shared", Path(__file__).parents[1] / "conftest.py")
shared = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(shared)


def test_a_quarter_of_what_is_free_is_shared_by_the_engines(models):
    denoiser = shared.wrap(models[False], False)
    settings = EngineSettings(max_num_seqs=32, max_model_len=10**6)
    assert default_cache_mb([denoiser], settings, 2**30) == 256
    assert default_cache_mb([denoiser, denoiser], settings, 2**30) == 128


def test_no_more_than_can_be_used_and_at_least_a_page(models):
    denoiser = shared.wrap(models[False], False)
    token = token_bytes(denoiser)
    settings = EngineSettings(max_num_seqs=4, max_model_len=100)
    assert default_cache_mb([denoiser], settings, 2**40) * 2**20 == 4 * 116 * token
    assert default_cache_mb([denoiser], settings, 0) * 2**20 == 16 * token
    made = EngineSettings(max_num_seqs=4, max_model_len=100, cache_mb=default_cache_mb([denoiser], settings, 2**40))
    assert Engine(denoiser, made).max_model_len == 100


@pytest.mark.parametrize(("limit", "wanted"), [("1000000", 1000000 - 700000 + 200000), ("max", 4096 * 1024)])
def test_a_container_has_what_its_limit_leaves(tmp_path, monkeypatch, limit, wanted):
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text("700000\n")
    (tmp_path / "memory.stat").write_text("anon 500000\nfile 200000\n")
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 4096 kB\n")
    monkeypatch.setattr(cache_size, "_CGROUP", tmp_path)
    monkeypatch.setattr(cache_size, "_MEMINFO", tmp_path / "meminfo")
    assert free_bytes(torch.device("cpu")) == wanted
