"""Steps take no longer than wanted: their rows follow from how long those before them took."""

import importlib.util
from pathlib import Path

import pytest

from lohovla.d2f.block_state import Thresholds
from lohovla.d2f.engine import Engine, EngineSettings, GenerationRequest
from lohovla.d2f.engine.step_allowance import StepAllowance
from lohovla.d2f.sampling import Sampling
from lohovla.errors import UserError

_spec = importlib.util.spec_from_file_location("shared", Path(__file__).parents[1] / "conftest.py")
shared = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(shared)


def test_the_allowance_follows_the_speed_of_the_machine():
    allowance = StepAllowance(4096, 0.5)
    assert allowance.rows == 64
    for rows in (128, 256, 512, 1024):
        allowance.note(allowance.rows, allowance.rows / 100_000)
        assert allowance.rows == rows
    for _ in range(8):  # 400 rows a second
        allowance.note(allowance.rows, allowance.rows / 400)
    assert allowance.rows == 200
    allowance.note(1, 0.4)  # a step of one row says nothing of larger ones
    assert allowance.rows == 200
    for _ in range(8):
        allowance.note(allowance.rows, allowance.rows / 100_000)
    assert allowance.rows == 4096
    allowance.note(10, 60.0)
    assert allowance.rows == 64
    with pytest.raises(UserError, match="step_seconds"):
        EngineSettings(step_seconds=0)


class SlowModel:
    """Counts rows as time: 100 a second."""

    def __init__(self, engine):
        self.now, self.engine, self.steps, self._inner = 0.0, engine, [], engine.runner.forward

    def forward(self, tokens, positions, plan):
        self.now += plan.starts[-1] / 100
        self.steps.append(plan.starts[-1])
        return self._inner(tokens, positions, plan)


@pytest.mark.parametrize("length", [100, 300])
def test_the_first_step_after_the_start_is_short(models, length):
    """Whether the prompt is longer than ``long_prefill_tokens`` or not; the answer is as without the bound."""
    denoiser = shared.wrap(models[True], True)
    prompt = tuple(k % 38 for k in range(length))

    def answer(seconds):
        engine = Engine(
            denoiser, EngineSettings(block_size=4, cache_mb=4, step_seconds=seconds, long_prefill_tokens=200)
        )
        slow = SlowModel(engine)
        engine._clock = lambda: slow.now
        engine.runner.forward = slow.forward
        heard = []
        request = GenerationRequest(prompt, Sampling(8), Thresholds(1.0, 1.0, 1.0), size=1, causal=True)
        engine.submit(request, lambda update: heard.append(update.answer) if update.answer else None)
        while engine.step():
            pass
        return heard[0].tokens, slow.steps

    tokens, steps = answer(0.64)
    assert max(steps) <= 64
    free, wide = answer(1e9)
    assert wide[0] <= 64
    assert length == 100 or max(wide) > 100, "steps grow on a machine that is fast"
    assert tokens == free


@pytest.mark.parametrize("causal", [False, True])
def test_many_requests_share_steps_that_end_in_time(models, causal):
    denoiser = shared.wrap(models[True], True)

    def answers(seconds):
        clock = [None]
        engine = Engine(
            denoiser,
            EngineSettings(block_size=4, cache_mb=4, step_seconds=seconds),
            clock=lambda: clock[0].now if clock[0] else 0.0,
        )
        slow = clock[0] = SlowModel(engine)
        engine.runner.forward = slow.forward
        heard = {}
        for k in range(24):
            prompt = tuple((7 * k + 3 * j) % 38 for j in range(9 + k % 3))
            limits = Thresholds(1.0, 1.0, 1.0) if causal else Thresholds(0.4, 0.1, 0.5)
            request = GenerationRequest(prompt, Sampling(16), limits, size=1 if causal else 8, causal=causal)
            engine.submit(request, lambda update, k=k: heard.__setitem__(k, update.answer))
        while engine.step():
            pass
        return [heard[k].tokens for k in range(24)], slow.steps, engine

    free, wide, _ = answers(1e9)
    bounded, steps, engine = answers(0.7)
    assert bounded == free
    assert max(wide) > 100
    assert max(steps) <= 80  # 70 rows, and the tail of what began a little earlier
    assert engine.stats.longest_step == pytest.approx(max(steps) / 100)


def test_what_cannot_be_divided_runs_alone(models):
    denoiser = shared.wrap(models[False], False)
    engine = Engine(denoiser, EngineSettings(block_size=4, cache_mb=4, step_seconds=0.5))
    clock = SlowModel(engine)
    engine._clock = lambda: clock.now
    engine.runner.forward = clock.forward
    heard = []
    for length in (300, 4):
        prompt = tuple(k % 38 for k in range(length))
        request = GenerationRequest(prompt, Sampling(8), size=8)
        engine.submit(request, lambda update: heard.append(update.answer) if update.answer else None)
    engine._allowance.rows = 64
    while engine.step():
        pass
    assert len(heard) == 2
    assert max(clock.steps) == 308
