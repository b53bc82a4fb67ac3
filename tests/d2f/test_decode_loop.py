"""The decoder against the algorithm written out plainly, and its options."""

import importlib.util
from pathlib import Path

import pytest
import torch

from lohovla.d2f.block_state import Thresholds
from lohovla.d2f.decode_loop import DecodeSettings, decode_prompts
from lohovla.d2f.denoiser import CACHE, BlockCache
from lohovla.d2f.parallel_verification import LookaheadBranches, SpeculativeDrafts
from lohovla.d2f.sampling import Sampling
from lohovla.errors import UserError

_here = Path(__file__).parent


def _load(name):
    spec = importlib.util.spec_from_file_location(name, _here / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = _load("reference")
shared = _load("conftest")
LIMITS = [(0.9, 0.1, 0.95), (0.3, 0.0, 0.5), (0.5, 0.25, 1.0), (0.15, 0.5, 0.25), (1.0, 1.0, 1.0)]


def settings(size=8, limits=LIMITS[1], tokens=32, **options):
    sampling = Sampling(max_tokens=tokens, **options.pop("sampling", {}))
    return DecodeSettings(size, Thresholds(*limits), sampling, **options)


def published(model, prompt, shift, size, limits, tokens=32):
    return reference.decode(
        shared.whole_forward(model),
        prompt,
        mask_id=shared.MASK,
        eos_ids=(shared.EOS,),
        shift=shift,
        size=size,
        accept=limits[0],
        add=limits[1],
        activate=limits[2],
        max_tokens=tokens,
    )


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("size", [8, 16, 32])
@pytest.mark.parametrize("limits", LIMITS)
def test_tokens_are_those_of_the_published_algorithm(models, prompts, shift, size, limits):
    denoiser = shared.wrap(models[shift], shift)
    for prompt in prompts[:1]:
        wanted, forwards = published(models[shift], prompt, shift, size, limits)
        slow = decode_prompts(denoiser, [prompt], settings(size, limits, early=False))[0]
        fast = decode_prompts(denoiser, [prompt], settings(size, limits))[0]
        text = reference.cut(wanted, (shared.EOS,))
        assert slow.tokens == text
        assert slow.forwards == forwards
        assert fast.tokens == text
        assert fast.forwards <= forwards
        assert fast.reason == ("end" if shared.EOS in wanted else "length")


@pytest.mark.parametrize("shift", [False, True])
def test_a_batch_is_its_sequences(models, prompts, shift):
    denoiser = shared.wrap(models[shift], shift)
    together = decode_prompts(denoiser, prompts, settings())
    for prompt, answer in zip(prompts, together, strict=True):
        alone = decode_prompts(denoiser, [prompt], settings())[0]
        assert answer.tokens == alone.tokens
        assert answer.forwards == alone.forwards
        assert answer.step == alone.step
        assert answer.confidence == pytest.approx(alone.confidence, abs=1e-5)


@pytest.mark.parametrize("shift", [False, True])
def test_a_prefix_that_is_in_the_cache_already(models, prompts, shift):
    """A caller ran the prompts through the model itself and hands the cache over."""
    from transformers import DynamicCache

    model, denoiser = models[shift], shared.wrap(models[shift], shift)
    for prompt in prompts:
        cache = DynamicCache()
        with torch.inference_mode():
            everything = torch.zeros(1, 1, len(prompt), len(prompt))
            last = model.model(torch.tensor([prompt]), everything, use_cache=True, **{CACHE: cache})
        prefix = BlockCache.from_prefix(cache, last=last.last_hidden_state[:, -1])
        answer = decode_prompts(denoiser, [[]], settings(), prefix)[0]
        assert answer.tokens == decode_prompts(denoiser, [prompt], settings())[0].tokens


@pytest.mark.parametrize("shift", [False, True])
def test_the_chain_gives_the_plain_tokens_in_fewer_forwards(models, shift):
    denoiser = shared.wrap(models[shift], shift)
    generator = torch.Generator().manual_seed(5)
    many = [torch.randint(0, shared.EOS, (6,), generator=generator).tolist() for _ in range(12)]
    saved = 0
    for limits in LIMITS[:4]:
        plain = decode_prompts(denoiser, many, settings(limits=limits, tokens=32))
        chain = decode_prompts(denoiser, many, settings(limits=limits, tokens=32, verifier=SpeculativeDrafts(4)))
        assert [answer.tokens for answer in chain] == [answer.tokens for answer in plain]
        for a, b in zip(chain, plain, strict=True):
            assert a.confidence == pytest.approx(b.confidence, abs=1e-4)
            assert a.forwards <= b.forwards
            saved += b.forwards - a.forwards
    assert saved > 0


@pytest.mark.parametrize("shift", [False, True])
def test_branches_take_one_token_more(models, prompts, shift):
    denoiser = shared.wrap(models[shift], shift)
    one_by_one = (1.0, 1.0, 1.0)  # the plain decoder fills one position a forward
    whole = {"min_tokens": 32}  # no end before the end
    plain = decode_prompts(denoiser, prompts, settings(limits=one_by_one, sampling=whole))
    branched = decode_prompts(
        denoiser, prompts, settings(limits=one_by_one, sampling=whole, verifier=LookaheadBranches(3, least=0.0))
    )
    for a, b in zip(branched, plain, strict=True):
        assert b.forwards == 32
        assert a.forwards <= 20
        assert len(a.tokens) == 32
        assert all(token < shared.EOS for token in a.tokens)
    again = decode_prompts(
        denoiser, prompts[1:2], settings(limits=one_by_one, sampling=whole, verifier=LookaheadBranches(3, least=0.0))
    )
    assert again[0].tokens == branched[1].tokens


def test_nothing_that_is_less_sure_than_least_makes_a_branch(models, prompts):
    denoiser = shared.wrap(models[True], True)
    limits = (1.0, 0.1, 0.95)
    plain = decode_prompts(denoiser, prompts, settings(limits=limits, tokens=32))
    never = decode_prompts(
        denoiser, prompts, settings(limits=limits, tokens=32, verifier=LookaheadBranches(3, least=1.1))
    )
    assert [(a.tokens, a.step) for a in never] == [(a.tokens, a.step) for a in plain]
    sure = decode_prompts(
        denoiser, prompts, settings(limits=limits, tokens=32, verifier=LookaheadBranches(3, least=0.6))
    )
    assert sum(a.forwards for a in sure) < sum(a.forwards for a in plain)
    # At most one token a forward is one that the plain decoder would not have taken.
    for answer in sure:
        forced = [c for c, step in zip(answer.confidence, answer.step, strict=True) if c < 0.6]
        assert len(forced) <= answer.forwards


def test_a_branch_of_one_over_a_sure_model_changes_nothing(models, prompts):
    denoiser = shared.wrap(models[False], False)
    greedy = settings(limits=(0.0, 0.0, 0.0), tokens=32)
    plain = decode_prompts(denoiser, prompts, greedy)
    branched = decode_prompts(
        denoiser, prompts, settings(limits=(0.0, 0.0, 0.0), tokens=32, verifier=LookaheadBranches(1, least=0.0))
    )
    assert [a.tokens for a in plain] == [a.tokens for a in branched]


def test_chance_follows_the_seed_whatever_else_is_in_the_batch(models, prompts):
    denoiser = shared.wrap(models[False], False)
    hot = {"temperature": 1.0, "top_p": 0.95, "top_k": 20, "seed": 3}
    first = decode_prompts(denoiser, [prompts[0]] * 3, settings(sampling=hot))
    assert len({tuple(answer.tokens) for answer in first}) == 3
    again = decode_prompts(denoiser, [prompts[0]], settings(sampling={**hot, "seed": 5}))
    assert again[0].tokens == first[2].tokens
    with pytest.raises(UserError, match="temperature 0"):
        decode_prompts(denoiser, prompts, settings(sampling=hot, verifier=SpeculativeDrafts()))


def test_least_and_most_tokens(models, prompts):
    denoiser = shared.wrap(models[False], False)
    for least in (0, 20, 32):
        for answer in decode_prompts(denoiser, prompts, settings(sampling={"min_tokens": least})):
            assert least <= len(answer.tokens) <= 32
            assert shared.EOS not in answer.tokens
    assert [a.tokens for a in decode_prompts(denoiser, prompts, settings(tokens=7))] == [[]] * 4
    assert decode_prompts(denoiser, prompts, settings(tokens=7))[0].forwards == 0


def test_a_stop_string_cuts_the_answer(models, prompts):
    denoiser = shared.wrap(models[False], False)

    def text(ids):
        return "".join(chr(ord("A") + i) for i in ids)

    whole = decode_prompts(denoiser, prompts[:1], settings())[0].tokens
    stop = text(whole)[10:12]
    at = text(whole).find(stop)
    cut = decode_prompts(denoiser, prompts[:1], settings(sampling={"stop": (stop,)}), text=text)[0]
    assert (cut.tokens, cut.reason) == (whole[:at], "stop")


def test_a_penalty_makes_repeats_rarer(models, prompts):
    denoiser = shared.wrap(models[True], True)

    def repeats(penalty):
        answers = decode_prompts(
            denoiser, prompts, settings(sampling={"repetition_penalty": penalty, "min_tokens": 32})
        )
        return sum(len(a.tokens) - len(set(a.tokens)) for a in answers)

    assert repeats(5.0) < repeats(1.0)


def test_log_probabilities_are_those_of_the_accepted_tokens(models, prompts):
    denoiser = shared.wrap(models[False], False)
    answer = decode_prompts(denoiser, prompts[:1], settings(sampling={"logprobs": 3}))[0]
    for token, sure, logprob, ranked in zip(
        answer.tokens, answer.confidence, answer.logprob, answer.ranked, strict=True
    ):
        assert ranked[0] == (token, pytest.approx(logprob))
        assert sure == pytest.approx(torch.tensor(logprob).exp().item(), rel=1e-4)
        assert ranked[0][1] >= ranked[1][1] >= ranked[2][1]


def test_a_prompt_with_the_mask_token_is_refused(models):
    with pytest.raises(UserError, match="mask token"):
        decode_prompts(shared.wrap(models[False], False), [[1, shared.MASK]], settings())
