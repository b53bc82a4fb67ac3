"""Answers in JSON by a schema, and the log-probabilities of prompts, over HTTP by OpenAI's own client."""

import json

import numpy as np
import pytest
import torch

from lohovla.d2f.json_schema import JsonGrammar
from lohovla.d2f.text_model import TextModel
from lohovla.d2f.token_constraint import ConstrainedRow
from lohovla.errors import UserError

pytest.importorskip("llguidance", reason="constrains answers to JSON: pip install 'lohovla[serve]'")
openai = pytest.importorskip("openai", reason="OpenAI's client: pip install openai")
jsonschema = pytest.importorskip("jsonschema", reason="checks answers: pip install jsonschema")

PLAN = {
    "type": "object",
    "properties": {
        "done": {"type": "boolean"},
        "steps": {"type": "array", "items": {"enum": ["lift", "move", "place"]}, "minItems": 1, "maxItems": 2},
        "count": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["done", "steps", "count"],
    "additionalProperties": False,
}


def wanted(schema=PLAN):
    return {"type": "json_schema", "json_schema": {"name": "plan", "schema": schema, "strict": True}}


@pytest.fixture(scope="module")
def client(tiny):
    return openai.OpenAI(base_url=f"{tiny.url}/v1", api_key="none", max_retries=0, timeout=300)


MESSAGES = [{"role": "user", "content": "Lift the block."}]


@pytest.mark.parametrize("mode", ["", ":ar", ":cache", ":d2f+chain"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_random_model_answers_by_the_schema(client, mode, temperature):
    # Random weights write any byte: that this is JSON comes from the constraint alone.
    answer = client.chat.completions.create(
        model=f"tiny{mode}",
        messages=MESSAGES,
        response_format=wanted(),
        max_tokens=160,
        temperature=temperature,
        seed=5,
        n=2,
        logprobs=True,
        top_logprobs=2,
    )
    for choice in answer.choices:
        assert choice.finish_reason == "stop", choice
        jsonschema.validate(json.loads(choice.message.content), PLAN)
        assert len(choice.logprobs.content) > 10


def test_what_is_streamed_is_the_same_json(client):
    ask = {"model": "tiny", "messages": MESSAGES, "response_format": wanted(), "max_tokens": 160}
    whole = client.chat.completions.create(**ask).choices[0].message.content
    parts = [chunk.choices[0].delta.content or "" for chunk in client.chat.completions.create(**ask, stream=True)]
    assert "".join(parts) == whole
    jsonschema.validate(json.loads(whole), PLAN)


def test_block_diffusion_takes_several_tokens_a_forward(client):
    # Much of a schema's text is forced; what is forced is sure, and needs no forward of its own.
    ask = {"messages": MESSAGES, "response_format": wanted(), "max_tokens": 160}
    block = client.chat.completions.create(model="tiny", **ask)
    alone = client.chat.completions.create(model="tiny:cache", **ask)
    assert block.choices[0].lohovla["forwards"] < 0.6 * block.usage.completion_tokens
    assert alone.choices[0].lohovla["forwards"] >= alone.usage.completion_tokens


def test_other_answers_are_not_constrained_beside_it(client, tiny):
    plain = {"model": "tiny", "messages": MESSAGES, "max_tokens": 40}
    before = client.chat.completions.create(**plain).choices[0].message.content
    stream = client.chat.completions.create(**plain, response_format=wanted(), stream=True)
    next(iter(stream))
    beside = client.chat.completions.create(**plain).choices[0].message.content
    stream.close()
    assert beside == before
    assert not before.startswith("{")


def test_any_object(client):
    answer = client.chat.completions.create(
        model="tiny", messages=MESSAGES, response_format={"type": "json_object"}, max_tokens=8
    )
    assert answer.choices[0].message.content.startswith("{")
    assert answer.choices[0].finish_reason in ("length", "stop")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"response_format": wanted({"type": "no such type"})}, "response_format"),
        ({"response_format": wanted({"type": "string", "maxLength": "x"})}, "response_format"),
        ({"response_format": wanted({"enum": ["x" * 70_000]})}, "65536 characters"),
        ({"response_format": wanted({"$ref": "#"})}, "no text fits"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": wanted(), "extra_body": {"ignore_eos": True}}, "ignore_eos"),
    ],
    ids=["type", "length", "large", "endless", "no schema", "ignore_eos"],
)
def test_schemas_that_cannot_be_kept_are_refused_in_a_line(client, more, said):
    with pytest.raises(openai.BadRequestError, match=said) as caught:
        client.chat.completions.create(model="tiny", messages=MESSAGES, **more)
    assert "\n" not in caught.value.body["message"]


def test_a_tokenizer_of_words_cannot_write_json():
    text = TextModel.load()
    with pytest.raises(UserError, match="tokenizer"):
        JsonGrammar(text.tokenizer, 400, text.student.eos_ids).constraint(PLAN)


class Alternating:
    """Allows token 1 behind token 2 and the other way round."""

    def allowed(self, tokens):
        may = np.zeros(4, bool)
        may[1 if not tokens or tokens[-1] == 2 else 2] = True
        return may


def test_a_row_is_filled_from_the_left_as_far_as_it_is_sure():
    from lohovla.d2f.sampling import Sampling

    logits = torch.tensor([[9.0, 1.0, 1.0, 0.0]] * 5)
    token, sure, *_ = ConstrainedRow(Alternating(), [2], 0.5, [0]).propose(logits, Sampling(), torch.zeros(5), 1)
    assert token.tolist() == [1, 2, 1, 2, 1]
    assert sure.tolist() == [1.0] * 5  # of what is allowed
    token, sure, *_ = ConstrainedRow(Alternating(), [2], 0.5, [2]).propose(logits, Sampling(), torch.zeros(5), 1)
    assert sure.tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]  # behind an end token comes nothing

    class Any:
        def allowed(self, tokens):
            return np.array([True, True, False, False])

    logits = torch.tensor([[3.0, 0.0, 0, 0], [0.0, 0.1, 0, 0], [9.0, 0.0, 0, 0]])
    _, sure, *_ = ConstrainedRow(Any(), [], 0.6, []).propose(logits, Sampling(), torch.zeros(3), 1)
    assert sure[0] > 0.9
    assert 0.5 < sure[1] < 0.6
    assert sure[2] == 0.0  # it stands behind one that is not sure


def test_prompt_log_probabilities_are_the_models_own(client, tiny):
    prompt = "The arm lifts the block."
    answer = client.completions.create(model="tiny:ar", prompt=prompt, max_tokens=4, echo=True, logprobs=2)
    told = answer.choices[0].logprobs
    ids = tiny.service.text.encode(prompt)
    assert len(told.tokens) == len(ids) + 4
    assert "".join(told.tokens) == answer.choices[0].text
    assert told.token_logprobs[0] is None
    assert told.top_logprobs[0] is None
    denoiser = tiny.service.text.base
    mask = torch.ones(len(ids), len(ids)).tril().bool()
    hidden = denoiser.forward(torch.tensor([ids]), torch.arange(len(ids))[None], mask[None], denoiser.new_cache(1))
    logprobs = denoiser.logits(hidden[0]).log_softmax(-1)
    own = logprobs[:-1].gather(1, torch.tensor(ids)[1:, None])[:, 0]
    np.testing.assert_allclose(told.token_logprobs[1 : len(ids)], own.tolist(), atol=2e-4)
    best = logprobs[:-1].max(-1).values
    np.testing.assert_allclose([max(top.values()) for top in told.top_logprobs[1 : len(ids)]], best, atol=2e-4)
    assert [told.text_offset[k] for k in (0, 1, len(ids))] == [0, 1, len(prompt)]


def test_they_do_not_depend_on_chunks_or_on_the_cache(serve):
    server = serve(long_prefill_tokens=8, block_size=4)
    own = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", timeout=300)
    ask = {"model": "tiny:ar", "prompt": "The arm lifts the block of wood.", "max_tokens": 2, "logprobs": 1}
    own.completions.create(**ask)  # the prompt is in the cache now
    first, second = (own.completions.create(**ask, echo=True).choices[0].logprobs.token_logprobs for _ in range(2))
    assert first == second
    assert None not in first[1:]
    assert server.engine.stats.forwards > 4


@pytest.mark.parametrize(("model", "more"), [("tiny", {}), ("tiny:ar", {"stream": True})])
def test_where_they_cannot_be_told_that_is_said(client, model, more):
    with pytest.raises(openai.BadRequestError, match="echo"):
        client.completions.create(model=model, prompt="x", echo=True, logprobs=1, **more)
