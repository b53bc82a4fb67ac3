"""The engine against the decoder that has no batch of strangers, no pages and no shared prefixes."""

import importlib.util
import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lohovla.d2f.block_state import Thresholds
from lohovla.d2f.decode_loop import DecodeSettings, decode_prompts
from lohovla.d2f.engine import Engine, EngineSettings, GenerationRequest, QueueFull
from lohovla.d2f.parallel_verification import LookaheadBranches, PlainVerifier, SpeculativeDrafts
from lohovla.d2f.sampling import Sampling, choose_tokens
from lohovla.errors import UserError

_spec = importlib.util.spec_from_file_location("d2f_conftest", Path(__file__).parents[1] / "conftest.py")
shared = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(shared)
LIMITS = [(0.9, 0.1, 0.95), (0.3, 0.0, 0.5), (0.15, 0.5, 0.25), (1.0, 1.0, 1.0)]


def request(prompt, limits=LIMITS[1], tokens=32, size=8, verifier=None, **options):
    return GenerationRequest(
        tuple(prompt),
        Sampling(max_tokens=tokens, **options.pop("sampling", {})),
        Thresholds(*limits),
        verifier or PlainVerifier(),
        size,
        **options,
    )


def finish(engine, requests):
    """Answers to requests that all come at once."""
    answers = {}
    for number, one in enumerate(requests):
        engine.submit(one, lambda update, n=number: answers.__setitem__(n, update))
    while engine.step():
        pass
    assert (engine.running, engine.queued) == (0, 0)
    assert engine.pool.num_held_blocks == 0
    return [answers[n].answer for n in range(len(requests))]


def near(answers, wanted):
    """The same tokens from the same forwards; other shapes of attention may round otherwise."""
    for mine, theirs in zip(answers, wanted, strict=True):
        assert (mine.tokens, mine.step, mine.reason) == (theirs.tokens, theirs.step, theirs.reason)
        assert mine.confidence == pytest.approx(theirs.confidence, abs=1e-5)


def alone(denoiser, one, text=None):
    settings = DecodeSettings(one.size, one.thresholds, one.sampling, one.verifier)
    return decode_prompts(denoiser, [list(one.prompt)], settings, text=text)[0]


def draw(count, seed, low=3, high=20):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(low, high, (count,), generator=generator).tolist()
    return [torch.randint(0, shared.EOS, (length,), generator=generator).tolist() for length in lengths]


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("prompt", ["bidirectional", "causal", "blocks"])
@pytest.mark.parametrize("verifier", [PlainVerifier(), LookaheadBranches(3, 0.2), SpeculativeDrafts(4)])
def test_answers_are_the_decoders(models, shift, prompt, verifier):
    denoiser = shared.wrap(models[shift], shift, prompt=prompt)
    engine = Engine(denoiser, EngineSettings(block_size=4, cache_mb=0.5))
    requests = [request(p, LIMITS[k % 4], verifier=verifier) for k, p in enumerate(draw(8, 3, low=9 if shift else 3))]
    for one, answer in zip(requests, finish(engine, requests), strict=True):
        wanted = alone(denoiser, one)
        assert (answer.tokens, answer.forwards, answer.step) == (wanted.tokens, wanted.forwards, wanted.step)
        assert answer.confidence == pytest.approx(wanted.confidence, abs=1e-4)
        assert answer.reason == wanted.reason


@pytest.mark.parametrize("shift", [False, True])
def test_company_changes_no_bit_of_an_answer(models, shift):
    denoiser = shared.wrap(models[shift], shift)
    requests = [request(p, LIMITS[k % 4], sampling={"logprobs": 2}) for k, p in enumerate(draw(10, 5))]
    crowd = finish(Engine(denoiser, EngineSettings(block_size=4, cache_mb=0.5)), requests)
    engine = Engine(denoiser, EngineSettings(block_size=4, cache_mb=0.5))
    for one, among in zip(requests, crowd, strict=True):
        assert finish(engine, [one])[0] == among  # tokens, confidences, log-probabilities, forwards


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("prompt", ["bidirectional", "causal", "blocks"])
def test_a_shared_beginning_changes_no_token(models, shift, prompt):
    denoiser = shared.wrap(models[shift], shift, prompt=prompt)
    one = request(draw(1, 7, 24, 25)[0])
    engine = Engine(denoiser, EngineSettings(block_size=4, cache_mb=0.5))
    first = finish(engine, [one])[0]
    assert engine.stats.shared_tokens == 0
    near(finish(engine, [one]), [first])
    assert engine.stats.shared_tokens == 24


def test_a_conversation_goes_on_from_its_committed_pages(models):
    denoiser = shared.wrap(models[False], False)
    start = draw(1, 8, 16, 17)[0]
    engine = Engine(denoiser, EngineSettings(block_size=4, cache_mb=0.5))
    said = finish(engine, [request(start, sampling={"min_tokens": 32})])[0].tokens
    further = request([*start, *said, 1, 2, 3], seams=(16, 24, 32, 40, 48))
    apart = finish(Engine(denoiser, EngineSettings(block_size=4, cache_mb=0.5)), [further])[0]
    near(finish(engine, [further]), [apart])
    assert engine.stats.shared_tokens >= 32


def test_too_few_pages_delay_answers_and_change_none(models):
    denoiser = shared.wrap(models[False], False)
    requests = [request(p, sampling={"min_tokens": 32}) for p in draw(6, 9, 8, 12)]
    roomy = finish(Engine(denoiser, EngineSettings(block_size=4, cache_mb=0.5)), requests)
    narrow = Engine(denoiser, EngineSettings(block_size=4, cache_mb=0.02))
    near(finish(narrow, requests), roomy)
    assert narrow.stats.preempted > 0


def test_an_aborted_request_frees_its_pages_within_a_step(models):
    engine = Engine(shared.wrap(models[False], False), EngineSettings(block_size=4, cache_mb=0.5))
    heard = []
    number = engine.submit(request(draw(1, 2, 16, 17)[0], LIMITS[3]), heard.append)
    engine.step()
    assert engine.pool.num_held_blocks == 4
    engine.abort(number)
    engine.step()
    assert (engine.pool.num_held_blocks, engine.running, engine.stats.aborted, len(heard)) == (0, 0, 1, 1)


def test_the_queue_is_bounded_and_bad_requests_are_refused(models):
    engine = Engine(
        shared.wrap(models[False], False), EngineSettings(block_size=4, cache_mb=0.5, max_num_seqs=1, max_queue=1)
    )
    engine.submit(request([1, 2]), print)
    with pytest.raises(QueueFull):
        engine.submit(request([1, 2]), print)
    for prompt, tokens in (([shared.MASK], 8), ([], 8), ([1], 10**6)):
        with pytest.raises(UserError):
            engine.submit(request(prompt, tokens=tokens), print)


def test_each_request_is_sampled_by_its_own_settings(models):
    denoiser = shared.wrap(models[True], True)

    def text(ids):
        return "".join(chr(ord("A") + i) for i in ids)

    kinds = [
        {},
        {"temperature": 1.0, "top_p": 0.9, "seed": 3},
        {"min_tokens": 20},
        {"repetition_penalty": 3.0},
        {"stop": ("B", "C")},
        {"temperature": 0.7, "top_k": 5},
    ]
    requests = [request(p, sampling=kinds[k]) for k, p in enumerate(draw(6, 11))]
    for one, answer in zip(requests, finish(Engine(denoiser, text=text), requests), strict=True):
        wanted = alone(denoiser, one, text)
        assert (answer.tokens, answer.reason) == (wanted.tokens, wanted.reason)


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("prompt", ["bidirectional", "causal", "blocks"])
@pytest.mark.parametrize("verifier", [PlainVerifier(), LookaheadBranches(3, 0.2), SpeculativeDrafts(4)])
def test_pages_read_where_they_lie_give_the_same_answers(models, shift, prompt, verifier):
    """The form that the kernels have on CUDA, here with their references."""
    denoiser = shared.wrap(models[shift], shift, prompt=prompt)
    requests = [request(p, LIMITS[k % 4], verifier=verifier) for k, p in enumerate(draw(8, 3, low=9 if shift else 3))]
    engine = Engine(denoiser, EngineSettings(block_size=4, cache_mb=0.5))
    wanted = finish(engine, requests)
    engine = Engine(denoiser, EngineSettings(block_size=4, cache_mb=0.5))
    engine.runner.paged.direct = engine.runner.fused = True
    engine.runner.logits = engine.runner._logits = None  # no logits in memory
    near(finish(engine, requests), wanted)
    near(finish(engine, requests), wanted)  # with what the first ones left in pages


def test_a_model_that_does_not_shift_runs_no_token_twice(models):
    engine = Engine(shared.wrap(models[False], False), EngineSettings(block_size=4, cache_mb=0.5))
    finish(engine, [request(draw(1, 4, 8, 9)[0], LIMITS[3], tokens=16)])
    assert engine.stats.forwards == 16
    assert engine.stats.rows == 8 + 16 * 8 + 8  # the prompt, a block in each forward, the first block once more


def test_the_models_time_counts_the_language_head(models, monkeypatch):
    """By a clock that goes on by a second whenever it is read, so that each timed part takes one second."""
    readings = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: float(next(readings)), perf_counter=lambda: float(next(readings)))
    monkeypatch.setattr("lohovla.d2f.engine.model_runner.time", clock)
    monkeypatch.setattr("lohovla.d2f.engine.engine.time", clock)
    engine = Engine(shared.wrap(models[False], False), EngineSettings(block_size=4, cache_mb=0.5))
    engine.runner.logits(torch.zeros(4, shared.SIZES["hidden_size"]))
    assert engine.runner.seconds == 1
    finish(engine, [request([1, 2, 3])])
    stats = engine.stats
    assert stats.forward_seconds == engine.runner.seconds
    # A second for each forward, and more for the heads: without those it would be no more than the forwards.
    assert stats.forwards < stats.forward_seconds - 1 < stats.seconds


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_nothing_to_choose_is_nothing_chosen(temperature):
    """A version whose blocks are all decided has no row for the language head."""
    none = torch.zeros(0, shared.VOCABULARY)
    tokens, confidence, _ = choose_tokens(none, Sampling(temperature=temperature, top_p=0.9), torch.zeros(0))
    assert len(tokens) == len(confidence) == 0
