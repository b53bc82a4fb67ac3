"""``lohovla generate``: as many tokens as are asked for, and stop strings as they are typed."""

import pytest

from lohovla.cli import main
from lohovla.d2f import TextModel
from lohovla.d2f.sampling import Sampling

PROMPT = "7480+1100-1691="


@pytest.fixture(scope="module")
def model():
    return TextModel.load()


@pytest.mark.parametrize("mode", ["d2f", "d2f+branch", "block", "ar"])
@pytest.mark.parametrize("most", [1, 8, 16, 20])
def test_as_many_tokens_as_are_asked_for(model, mode, most):
    whole = model.generate(PROMPT, mode)[0].answer
    answers = [result.answer for result in model.generate(PROMPT, mode, Sampling(max_tokens=most), n=2)]
    assert len(whole.tokens) > 20
    assert all(len(answer.tokens) == len(answer.confidence) == len(answer.step) == most for answer in answers)
    assert all(answer.reason == "length" for answer in answers)
    if mode != "d2f+branch":  # branches may take another way where there is less room
        assert answers[0].tokens == whole.tokens[:most]


def test_the_last_view_is_the_answer(model):
    view, result = list(model.watch(PROMPT, sampling=Sampling(max_tokens=8)))[-1]
    assert "".join(view.pieces) == result.text
    assert len(result.answer.tokens) == 8


@pytest.mark.parametrize("begin", [0, 1, 5])
def test_a_stop_string_behind_the_last_token_does_not_count(model, begin):
    whole = model.generate(PROMPT)[0]
    kept = model.decode(whole.answer.tokens[:8])
    behind = model.decode(whole.answer.tokens)[len(kept) + begin :]
    stop = next(
        behind[:size]
        for size in range(1, len(behind))
        if behind[:size] not in kept + whole.text[len(kept) : len(kept) + begin]
    )
    cut = model.generate(PROMPT, sampling=Sampling(max_tokens=8, stop=(stop,)))[0].answer
    assert (cut.tokens, cut.reason) == (whole.answer.tokens[:8], "length")


def test_the_command_gives_them_too(capsys):
    assert main(["generate", PROMPT, "max_tokens=8", "live=false"]) == 0
    assert "8 tokens, 1 forwards" in capsys.readouterr().err


@pytest.mark.parametrize(("typed", "ended"), [(r"\n", "stop"), (r"\t", "end"), (r"\\n", "end"), (r"\q", "end")])
def test_a_stop_string_is_what_its_escapes_mean(typed, ended, capsys):
    assert main(["generate", "example=open-plan", "live=false", f'stop=["{typed}"]']) == 0
    said = capsys.readouterr()
    assert f"ended by {ended}" in said.err
    assert ended == "end" or len(said.out.splitlines()) == 2  # the first line, and whether it is right
