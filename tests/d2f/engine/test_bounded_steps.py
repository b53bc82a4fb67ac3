"""A step has a bound, whatever is asked; and what is wrong with one request is no other's trouble."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from lohovla.d2f.block_state import Thresholds
from lohovla.d2f.engine import Engine, EngineSettings, GenerationRequest, step_execution
from lohovla.d2f.engine.paged_attention import TILE, AttentionMetadata
from lohovla.d2f.parallel_verification import LookaheadBranches, SpeculativeDrafts
from lohovla.d2f.sampling import Sampling
from lohovla.errors import UserError

_spec = importlib.util.spec_from_file_location("test_engine", Path(__file__).parent / "test_engine.py")
base = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(base)
shared, request, draw, finish, near = base.shared, base.request, base.draw, base.finish, base.near
LIMITS = base.LIMITS


def widths(engine):
    """The rows of each of an engine's forwards, before padding."""
    found = []
    forward = engine.runner.forward

    def noted(tokens, positions, plan):
        found.append(plan.starts[-1])
        return forward(tokens, positions, plan)

    engine.runner.forward = noted
    return found


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("prompt", ["causal", "blocks"])
def test_a_long_prompt_in_chunks_gives_the_same_answer(models, shift, prompt):
    denoiser = shared.wrap(models[shift], shift, prompt=prompt)
    requests = [request(p, LIMITS[k % 4]) for k, p in enumerate(draw(4, 3, 90, 120) + draw(4, 4, 9, 12))]
    wanted = finish(Engine(denoiser, EngineSettings(block_size=4, cache_mb=1)), requests)
    engine = Engine(denoiser, EngineSettings(block_size=4, cache_mb=1, max_num_batched_tokens=48))
    rows = widths(engine)
    near(finish(engine, requests), wanted)
    assert max(rows) <= 48
    near(finish(engine, requests), wanted)  # with what the first ones left in the cache


def test_a_short_prompt_does_not_wait_for_long_ones(models):
    """Long prompts come first, and have one chunk a step among them; the short one is answered beside them."""
    engine = Engine(
        shared.wrap(models[True], True, prompt="causal"),
        EngineSettings(block_size=4, cache_mb=4, long_prefill_tokens=32),
    )
    rows, heard = widths(engine), []
    for prompt in draw(3, 3, 300, 320):
        engine.submit(request(prompt, tokens=8), lambda update: heard.append("long"))
    engine.submit(request(draw(1, 4, 9, 12)[0], tokens=8), lambda update: heard.append("short"))
    engine.step()
    assert heard == ["short"]
    while engine.step():
        pass
    assert max(rows) <= 32 + 4 * 24
    assert set(heard) == {"short", "long"}


def test_a_conversation_in_chunks_of_its_turns(models):
    denoiser = shared.wrap(models[False], False)
    one = request(draw(1, 7, 60, 61)[0], seams=(20, 40))
    wanted = finish(Engine(denoiser, EngineSettings(block_size=4, cache_mb=1)), [one])
    engine = Engine(denoiser, EngineSettings(block_size=4, cache_mb=1, max_num_batched_tokens=32))
    rows = widths(engine)
    near(finish(engine, [one]), wanted)
    assert max(rows) <= 32
    with pytest.raises(UserError, match="attend to each other"):
        engine.submit(request(draw(1, 7, 60, 61)[0]), print)


@pytest.mark.parametrize("verifier", [LookaheadBranches(16, 0.0), SpeculativeDrafts(16)])
def test_branches_drafts_and_open_blocks_are_counted(models, verifier):
    engine = Engine(
        shared.wrap(models[False], False), EngineSettings(block_size=4, cache_mb=4, max_num_batched_tokens=64)
    )
    rows = widths(engine)
    requests = [request(p, (1.0, 0.0, 0.0), tokens=160, verifier=verifier) for p in draw(6, 9)]
    for one, answer in zip(requests, finish(engine, requests), strict=True):
        assert answer.reason in ("end", "length")
        if isinstance(verifier, SpeculativeDrafts):
            plain = request(one.prompt, (1.0, 0.0, 0.0), tokens=160)
            assert answer.tokens == finish(engine, [plain])[0].tokens
    assert max(rows) <= 64
    with pytest.raises(UserError, match="block_size cannot be 65"):
        engine.submit(request([1], size=65), print)


def test_a_wide_request_leaves_room_for_others(models):
    """Blocks of 256 tokens with 16 branches would be 4096 rows and more."""
    engine = Engine(shared.wrap(models[False], False), EngineSettings(cache_mb=4))
    rows = widths(engine)
    engine.submit(request([1, 2], (1.0, 1.0, 1.0), tokens=256, size=256, verifier=LookaheadBranches(16, 0.0)), id)
    for _ in range(3):
        engine.step()
    assert 512 < max(rows) <= 1024


def test_nobody_waits_for_more_than_a_round(models):
    """More requests than rows take turns."""
    denoiser = shared.wrap(models[False], False)
    engine = Engine(denoiser, EngineSettings(block_size=4, cache_mb=1, max_num_batched_tokens=32))
    last, longest = {}, 0
    for k, prompt in enumerate(draw(12, 5)):
        engine.submit(request(prompt, LIMITS[3], sampling={"min_tokens": 32}), lambda _, k=k: last.__setitem__(k, 0))
    while engine.step():
        last = {k: age + 1 for k, age in last.items()}
        longest = max(longest, *(age for k, age in last.items()), 0) if engine.running == 12 else longest
    assert longest <= 13  # two of twelve fit in a step; a round may go to committing alone


def test_the_answer_may_be_as_long_as_the_model_was_made_for(models):
    denoiser = shared.wrap(models[False], False)
    assert denoiser.decoder.config.max_position_embeddings == 2048
    assert Engine(denoiser, EngineSettings(block_size=4, cache_mb=4)).max_model_len == 2048
    small = Engine(denoiser, EngineSettings(block_size=4, cache_mb=0.25))
    assert small.max_model_len == small.pool.count * 4 < 2048
    engine = Engine(denoiser, EngineSettings(block_size=4, cache_mb=4, max_model_len=40))
    assert len(finish(engine, [request([1, 2], tokens=32, sampling={"min_tokens": 32})])[0].tokens) == 32
    with pytest.raises(UserError, match="may have 40 tokens"):
        engine.submit(request([1] * 10, tokens=32), print)


def test_the_mask_of_a_long_prompt_is_never_whole(monkeypatch, models):
    engine = Engine(shared.wrap(models[False], False), EngineSettings(cache_mb=4))
    one = request(draw(1, 7, 700, 701)[0])
    wanted = finish(engine, [one])
    seen, visible = [], AttentionMetadata.visible

    def noted(self, text, first=0, count=None):
        made = visible(self, text, first, count)
        seen.append(made.shape[0])
        return made

    monkeypatch.setattr(AttentionMetadata, "visible", noted)
    near(finish(Engine(engine.denoiser, EngineSettings(cache_mb=4)), [one]), wanted)
    assert max(seen) <= TILE


def outcomes(engine, requests):
    """The last news of each of the requests, which all come at once."""
    heard = {}
    for number, one in enumerate(requests):
        engine.submit(one, lambda update, n=number: heard.__setitem__(n, update))
    while engine.step():
        pass
    assert (engine.running, engine.queued, engine.pool.num_held_blocks) == (0, 0, 0)
    return [heard[n] for n in range(len(requests))]


@pytest.mark.parametrize("where", ["propose", "settle", "model", "stop", "begin"])
def test_a_fault_of_one_request_fails_that_one(models, monkeypatch, where):
    denoiser = shared.wrap(models[True], True)
    requests = [
        request(p, sampling={"temperature": 0.8, "seed": k, "logprobs": 2, "stop": ("zz",)})
        for k, p in enumerate(draw(5, 11, 8, 12))
    ]
    bad = requests[2]

    def text(ids):
        if where == "stop" and asked and ids and ids[0] == marked:
            raise ValueError("this text")
        return " ".join(map(str, ids))

    settings = EngineSettings(block_size=4, cache_mb=1)
    asked, marked = False, -1
    wanted = finish(Engine(denoiser, settings, text), requests)
    asked, marked = True, wanted[2].tokens[0]
    assert all(answer.tokens[0] != marked for k, answer in enumerate(wanted) if k != 2)
    engine = Engine(denoiser, settings, text)

    def with_bad(lane):
        return any(one.request is bad for one in lane.texts)

    if where == "propose":
        propose = step_execution.propose_tokens

        def broken(runner, hidden, lane, sections, chance):
            if with_bad(lane):
                raise RuntimeError("these logits")
            return propose(runner, hidden, lane, sections, chance)

        monkeypatch.setattr(step_execution, "propose_tokens", broken)
    elif where == "settle":
        settle = step_execution.RequestGroup.settle

        def broken_settle(self, versions, proposals):
            settle(self, versions, proposals)
            if with_bad(self):
                raise RuntimeError("this state")

        monkeypatch.setattr(step_execution.RequestGroup, "settle", broken_settle)
    elif where == "model":
        forward = engine.runner.forward

        def broken_forward(tokens, positions, plan):
            ids = tokens.tolist()
            if any(ids[k : k + len(bad.prompt)] == list(bad.prompt) for k in range(len(ids))):
                raise MemoryError
            return forward(tokens, positions, plan)

        engine.runner.forward = broken_forward
    elif where == "begin":
        begin = step_execution.RequestGroup.begin.__func__

        def broken_begin(cls, one, *more):
            if one.request is bad:
                raise MemoryError
            return begin(cls, one, *more)

        monkeypatch.setattr(step_execution.RequestGroup, "begin", classmethod(broken_begin))
    found = outcomes(engine, requests)
    assert found[2].answer is None
    assert "the model failed" in found[2].error
    assert engine.stats.failed == 1
    near([one.answer for k, one in enumerate(found) if k != 2], [one for k, one in enumerate(wanted) if k != 2])


def test_extreme_parameters_of_one_request_change_no_other(models):
    denoiser = shared.wrap(models[False], False)
    prompts = draw(9, 13)
    extreme = [
        {"temperature": 1e-40},
        {"temperature": 1.0, "top_p": 1e-46},
        {"temperature": 1e-3, "repetition_penalty": 1e-38},
        {"repetition_penalty": 1e38},
        {"temperature": 1e-45, "min_p": 1.0},
        {"frequency_penalty": -1e6},
        {"logit_bias": ((0, -1e6), (1, 1e6))},
    ]
    plain = [request(prompt) for prompt in prompts[:2]]
    wanted = finish(Engine(denoiser, EngineSettings(block_size=4, cache_mb=1)), plain)
    odd = [request(p, sampling=more) for p, more in zip(prompts[2:], extreme, strict=True)]
    engine = Engine(denoiser, EngineSettings(block_size=4, cache_mb=1))
    found = outcomes(engine, [*plain, *odd])
    near([one.answer for one in found[:2]], wanted)
    assert all(one.answer is not None for one in found)
    assert all(np.isfinite(one.answer.confidence).all() for one in found)


def test_a_block_that_no_longer_fits_waits_for_the_first_one_to_end(models):
    one = GenerationRequest((1, 2), Sampling(max_tokens=64), Thresholds(1.0, 0.0, 0.0), size=8)
    engine = Engine(shared.wrap(models[False], False), EngineSettings(cache_mb=1, max_num_batched_tokens=24))
    heard = []
    engine.submit(one, heard.append)
    while engine.step():
        pass
    assert heard[-1].answer is not None
    assert torch.tensor([len(update.canvas) for update in heard[:3]]).max() <= 24
