"""OpenAI's Responses API by its own client: whole, streamed, in turns, in JSON, and what is not supported by name."""

import json

import pytest

openai = pytest.importorskip("openai", reason="OpenAI's client: pip install openai")


@pytest.fixture(scope="module")
def client(tiny):
    return openai.OpenAI(base_url=f"{tiny.url}/v1", api_key="none", max_retries=0, timeout=300)


def test_a_response_says_what_a_chat_says(client):
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Lift it."}]
    chat = client.chat.completions.create(model="tiny", messages=messages, max_tokens=24)
    made = client.responses.create(
        model="tiny", instructions="Be short.", input="Lift it.", max_output_tokens=24, metadata={"of": "mine"}
    )
    assert made.output_text == chat.choices[0].message.content
    assert (made.usage.input_tokens, made.usage.output_tokens) == (
        chat.usage.prompt_tokens,
        chat.usage.completion_tokens,
    )
    assert (made.status, made.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert (made.metadata, made.store, made.object) == ({"of": "mine"}, False, "response")


def test_the_events_of_a_stream_make_up_the_response(client):
    ask = {"model": "tiny:ar", "input": [{"role": "user", "content": "Lift it."}], "max_output_tokens": 24}
    whole = client.responses.create(**ask)
    events = list(client.responses.create(**ask, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(deltas) > 3
    assert "".join(deltas) == whole.output_text == events[-4].text == events[-1].response.output_text
    assert events[-1].response.usage == whole.usage


SCHEMA = {"properties": {"a": {"type": "boolean"}}, "required": ["a"], "type": "object", "additionalProperties": False}
FORM = {"format": {"type": "json_schema", "name": "one", "schema": SCHEMA, "strict": True}}


def test_json_by_a_schema_the_clients_own_accumulation_and_a_second_turn(client):
    pytest.importorskip("llguidance", reason="constrains answers to JSON: pip install 'lohovla[serve]'")
    ask = {"model": "tiny", "input": "x", "text": FORM, "max_output_tokens": 64}
    made = client.responses.create(**ask)
    assert set(json.loads(made.output_text)) == {"a"}
    assert (made.status, made.incomplete_details) == ("completed", None)
    with client.responses.stream(**ask) as stream:
        first = stream.get_final_response()
    assert first.output_text == made.output_text
    turns = [
        {"role": "user", "content": "x"},
        *[one.model_dump(exclude_none=True) for one in made.output],
        {"role": "user", "content": [{"type": "input_text", "text": "Again."}]},
    ]
    second = client.responses.create(model="tiny", input=turns, max_output_tokens=8)
    assert second.usage.input_tokens > made.usage.input_tokens + made.usage.output_tokens


@pytest.mark.parametrize(
    "more",
    [
        {"previous_response_id": "resp_1"},
        {"store": True},
        {"tools": [{"type": "web_search"}]},
        {"reasoning": {"effort": "low"}},
        {"background": True},
    ],
    ids=str,
)
def test_what_is_not_supported_says_so_by_name(client, more):
    name = next(iter(more))
    with pytest.raises(openai.BadRequestError, match=f"{name} is not supported") as caught:
        client.responses.create(model="tiny", input="x", **more)
    assert caught.value.param == name


def test_a_model_that_is_not_there(client):
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="nobody", input="x")
