"""The engine against the decoder that has no batch of strangers, no pages and no shared prefixes."""

import importlib.util
from pathlib import Path

import pytest
import torch

from lohovla.d2f.blocks import Thresholds
from lohovla.d2f.decode import Settings, decode
from lohovla.d2f.engine import Engine, EngineSettings, Overloaded, Request
from lohovla.d2f.sampling import Sampling
from lohovla.d2f.verify import Branch, Chain, Plain
from lohovla.errors import UserError

_spec = importlib.util.spec_from_file_location("d2f_conftest", Path(__file__).parents[1] / "conftest.py")
shared = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(shared)
LIMITS = [(0.9, 0.1, 0.95), (0.3, 0.0, 0.5), (0.15, 0.5, 0.25), (1.0, 1.0, 1.0)]


def request(prompt, limits=LIMITS[1], tokens=32, size=8, verifier=None, **options):
    return Request(
        tuple(prompt), Sampling(max_tokens=tokens, **options.pop("sampling", {})), Thresholds(*limits),
        verifier or Plain(), size, **options,
    )  # fmt: skip


def finish(engine, requests):
    """Answers to requests that all come at once."""
    answers = {}
    for number, one in enumerate(requests):
        engine.submit(one, lambda update, n=number: answers.__setitem__(n, update))
    while engine.step():
        pass
    assert engine.idle
    assert engine.pool.held == 0
    return [answers[n].answer for n in range(len(requests))]


def alone(denoiser, one, text=None):
    settings = Settings(one.size, one.thresholds, one.sampling, one.verifier)
    return decode(denoiser, [list(one.prompt)], settings, text=text)[0]


def draw(count, seed, low=3, high=20):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(low, high, (count,), generator=generator).tolist()
    return [torch.randint(0, shared.EOS, (length,), generator=generator).tolist() for length in lengths]


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("prompt", ["bidirectional", "causal", "blocks"])
@pytest.mark.parametrize("verifier", [Plain(), Branch(3), Chain(4)])
def test_answers_are_the_decoders(models, shift, prompt, verifier):
    denoiser = shared.wrap(models[shift], shift, prompt=prompt)
    engine = Engine(denoiser, EngineSettings(page=4, cache_mb=0.5))
    requests = [request(p, LIMITS[k % 4], verifier=verifier) for k, p in enumerate(draw(8, 3, low=9 if shift else 3))]
    for one, answer in zip(requests, finish(engine, requests), strict=True):
        wanted = alone(denoiser, one)
        assert (answer.tokens, answer.forwards, answer.step) == (wanted.tokens, wanted.forwards, wanted.step)
        assert answer.confidence == pytest.approx(wanted.confidence, abs=1e-4)
        assert answer.reason == wanted.reason
