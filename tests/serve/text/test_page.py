"""The page at / in a real browser without a screen."""

import json
import os
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from lohovla.collect.text_tasks import text_task
from lohovla.d2f.sampling import Sampling
from lohovla.d2f.text_model import TextModel
from lohovla.serve.text.page_examples import AnswerToJudge, describe_model, judge


def picture_of(page, name):
    if "LOHOVLA_PICTURES" in os.environ:
        page.picture(Path(os.environ["LOHOVLA_PICTURES"]) / f"{name}.png")


READY = "document.querySelectorAll('#examples button').length > 2"


def ask(page, prompt, tokens=40, pace=60):
    page.value(f"document.getElementById('prompt').value = {json.dumps(prompt)}")
    page.value(f"document.getElementById('tokens').value = {tokens}; document.getElementById('pace').value = {pace}; 1")
    page.value("document.getElementById('go').click()")


def shown(page, name):
    return page.value(f"document.getElementById('{name}').textContent")


@pytest.fixture
def bare(serve, bare_checkpoint):
    """A server of a model without a chat template."""
    return serve(bare_checkpoint)


def test_both_sides_are_denoised_and_end_with_the_servers_text(bare, browse):
    page = browse(bare.url)
    page.until(READY)
    assert page.value("getComputedStyle(document.getElementById('keyed')).display") == "none"
    assert "goes on from a text" in shown(page, "says")
    assert page.value("document.getElementById('mode').options.length") == 5
    ask(page, "The arm lifts the block.")
    page.until(
        "document.querySelectorAll('#text0 .mask').length > 3 && document.querySelectorAll('#text1 .new').length"
    )
    assert page.value("document.querySelectorAll('#text0 .even, #text0 .odd, #text0 .new').length") > 0
    picture_of(page, "page-during")
    page.until("document.body.dataset.state == 'done'")
    picture_of(page, "page-after")
    for number, mode in enumerate(("d2f", "ar")):
        answer = bare.service.text.generate("The arm lifts the block.", mode, Sampling(max_tokens=40, seed=1))[0].answer
        assert shown(page, f"text{number}") == "".join(bare.service.decode([token]) for token in answer.tokens)
        assert shown(page, f"count{number}").startswith(f"40 tokens, {answer.forwards} calls,")
        assert shown(page, f"verdict{number}") == ""  # nobody can tell whether this is right
    assert page.complaints == []
    assert page.value("performance.getEntriesByType('resource').every(r => r.name.startsWith(location.origin))")


def test_a_conversation_is_asked_as_one_and_can_be_stopped(tiny, browse):
    page = browse(tiny.url)
    page.until(READY)
    assert "answers questions" in shown(page, "says")
    assert page.value("document.getElementById('stop').disabled")
    ask(page, "Lift it.", tokens=400, pace=200)
    page.until("document.querySelectorAll('#text0 .mask').length && document.querySelectorAll('#text1 span').length")
    page.value("document.getElementById('stop').click()")
    assert page.value("document.body.dataset.state") == "stopped"
    assert page.value("document.getElementById('stop').disabled")
    assert shown(page, "count0").endswith("; stopped")
    before = shown(page, "text0")
    page.value("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert shown(page, "text0") == before
    page.until("document.getElementById('error').hidden")
    ask(page, "Lift it.", tokens=16, pace=0)  # and it goes on after that
    page.until("document.body.dataset.state == 'done'")
    told = tiny.service.text.generate([{"role": "user", "content": "Lift it."}], "ar", Sampling(16, seed=1))[0]
    assert shown(page, "text1") == "".join(tiny.service.decode([token]) for token in told.answer.tokens)
    while tiny.engine.running:
        pass  # what was stopped has left the engine


@pytest.fixture(scope="module")
def shipped():
    return TextModel.load()


def test_the_shipped_model_has_examples_that_are_judged(shipped, serve, browse, tmp_path):
    from lohovla.d2f.load_checkpoint import SHIPPED

    page = browse(serve(SHIPPED).url, width=400, height=900)
    page.until(READY)
    assert "adds and subtracts" in shown(page, "says")
    titles = page.value("[...document.querySelectorAll('#examples button')].map(b => b.textContent)")
    assert titles == ["arithmetic 1", "arithmetic 2", "a plan for the block world 1", "a plan for the block world 2"]
    page.value("document.getElementById('pace').value = 0; 1")
    picture_of(page, "page-400-before")
    page.value("document.querySelector('#examples button').click()")
    page.until("document.body.dataset.state == 'done'")
    example = text_task("arithmetic").draw_problem(10001)
    assert shown(page, "prompt") == "" or page.value("document.getElementById('prompt').value") == example.prompt[:-1]
    for number, mode in enumerate(("d2f", "ar")):
        answer = shipped.generate(example.prompt, mode, Sampling(128, seed=1))[0].text
        right = text_task("arithmetic").score(example, answer).right
        page.until(f"document.getElementById('verdict{number}').textContent != ''")
        assert shown(page, f"verdict{number}").startswith("right" if right else "wrong: ")
    picture_of(page, "page-400-after")
    assert page.value("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    page.resize(1280, 900)
    picture_of(page, "page-1280-after")


def test_a_model_that_decodes_one_way_has_one_side(shipped):
    told = describe_model(shipped, "small", ("ar",))
    assert (told["modes"], told["chat"], told["name"]) == (["ar"], False, "small")
    assert [one["task"] for one in told["examples"]] == ["arithmetic"] * 2 + ["open-plan"] * 2


def test_judging():
    problem = text_task("arithmetic").draw_problem(7)
    assert judge(AnswerToJudge(prompt=problem.prompt, text=problem.answer))["right"] is True
    wrong = judge(AnswerToJudge(prompt=problem.prompt, text="1=2\n3=4", task="arithmetic", seed=7))
    assert (wrong["right"], wrong["answer"]) == (False, problem.answer)
    plan = text_task("open-plan").draw_problem(10001)
    asked = {"prompt": plan.prompt[:-1], "task": "open-plan", "seed": 10001}
    assert judge(AnswerToJudge(text=plan.answer, **asked))["right"] is True
    assert judge(AnswerToJudge(text="dance", **asked))["fault"]
    assert judge(AnswerToJudge(prompt="Hello", text="there"))["right"] is None
    assert judge(AnswerToJudge(prompt="Hello", text="there", task="no such", seed=1))["right"] is None


def test_one_error_in_the_pages_words_and_a_key_is_asked_for(serve, browse):
    key = "a-key-of-thirty-two-characters-00"
    running = serve(keys=(key,))
    for path in ("page/model", "page/judge"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(
                urllib.request.Request(f"{running.url}/{path}", method="GET" if "model" in path else "POST")
            )
        assert caught.value.code == 401
    page = browse(running.url, width=400, height=900)
    page.until("!document.getElementById('keyed').hidden")
    assert "asks for an API key" in shown(page, "error")
    page.value(f"document.getElementById('key').value = '{key}'")
    page.value("document.getElementById('prompt').value = 'say <|mask|>'; document.getElementById('go').click()")
    page.until("document.getElementById('error').textContent.includes('<|mask|>')")
    assert shown(page, "error").startswith("The server cannot answer this: ")
    assert shown(page, "text0") + shown(page, "text1") == ""  # told once
    assert page.value("document.getElementById('error').getAttribute('role')") == "alert"
    assert page.value("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    picture_of(page, "page-400-error")
    running.begin_drain()
    running.join()
    ask(page, "Hello")
    page.until("document.getElementById('error').textContent.startsWith('The server cannot be reached')")
