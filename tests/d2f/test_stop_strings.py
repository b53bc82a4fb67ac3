"""Stop strings that begin inside a token: nothing that stands before them is lost, however the answer is decoded."""

import importlib.util
from pathlib import Path

import pytest

from lohovla.d2f.baselines import autoregress, diffuse
from lohovla.d2f.block_state import Thresholds
from lohovla.d2f.decode_loop import DecodeSettings, decode_prompts
from lohovla.d2f.engine import Engine, EngineSettings, GenerationRequest
from lohovla.d2f.sampling import Sampling
from lohovla.d2f.stop_strings import Stopped, first_match, partial_match, stopped

_spec = importlib.util.spec_from_file_location("d2f_conftest", Path(__file__).parent / "conftest.py")
shared = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(shared)
LIMITS, ROOM = Thresholds(0.3, 0.0, 0.5), 32


def text(ids):
    """Two characters a token, and no pair twice: ``Aa``, ``Bb``, ..."""
    return "".join(chr(0x100 + 2 * i) + chr(0x101 + 2 * i) for i in ids)


def test_what_stands_before_a_stop_string():
    assert stopped([1, 2, 3], (), None) is None
    assert stopped([1, 2, 3], ("x",), text) is None
    whole = text([1, 2, 3])
    for place in range(6):
        wanted = Stopped((place + 1) // 2, place)
        assert stopped([1, 2, 3], (whole[place:],), text) == wanted
        assert stopped([1, 2, 3], ("x", whole[place]), text) == wanted
    assert stopped([1, 2, 3], (whole[3], whole[1]), text) == Stopped(1, 1)
    with pytest.raises(ValueError, match="turns ids into text"):
        stopped([1], ("x",), None)


def test_a_character_of_several_tokens_is_kept_whole():
    def of_bytes(ids):
        return bytes(ids).decode(errors="replace")

    assert stopped(list("né.".encode()), (".",), of_bytes) == Stopped(3, 2)


def test_what_may_be_the_beginning_of_a_stop_string():
    assert first_match("a stop", ("op", "st")) == 2
    assert first_match("a stop", ("x",)) is None
    assert partial_match("lift en", ("end", "lift")) == 2
    assert partial_match("lift", ("lift",)) == 0  # all of it: it has begun and ended
    assert partial_match("lift", ()) == 0


def by_blocks(denoiser, prompt, sampling):
    return decode_prompts(denoiser, [prompt], DecodeSettings(8, LIMITS, sampling), text=text)[0]


def by_engine(denoiser, prompt, sampling):
    answers = []
    engine = Engine(denoiser, EngineSettings(block_size=4, cache_mb=0.5), text)
    engine.submit(
        GenerationRequest(tuple(prompt), sampling, LIMITS, size=8), lambda update: answers.append(update.answer)
    )
    while engine.step():
        pass
    return answers[-1]


def one_by_one(denoiser, prompt, sampling):
    return list(autoregress(denoiser, prompt, sampling, text=text))[-1]


def all_at_once(denoiser, prompt, sampling):
    return list(diffuse(denoiser, prompt, sampling, text=text))[-1][1]


@pytest.mark.parametrize("way", [by_blocks, by_engine, one_by_one, all_at_once])
@pytest.mark.parametrize("place", [9, 10])
def test_every_way_of_decoding_keeps_what_stands_before(models, prompts, way, place):
    denoiser = shared.wrap(models[True], True)
    whole = way(denoiser, prompts[3], Sampling(max_tokens=ROOM, min_tokens=ROOM))
    stop = text(whole.tokens)[place : place + 2]
    cut = way(denoiser, prompts[3], Sampling(max_tokens=ROOM, min_tokens=ROOM, stop=(stop,)))
    place = text(whole.tokens).index(stop)
    assert cut.reason == "stop"
    assert cut.text(text) == text(whole.tokens)[:place]
    assert cut.tokens == whole.tokens[: (place + 1) // 2]
    assert len(cut.confidence) == len(cut.logprob) == len(cut.step) == len(cut.tokens)
