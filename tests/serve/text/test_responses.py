"""What OpenAI's own client gets, beside what the decoder gives without any server."""

import openai
import pytest

from lohovla.d2f.generation_output import GenerationOutput
from lohovla.d2f.sampling import Sampling
from lohovla.serve.text.stream_detokenizer import StreamDetokenizer

PROMPT = "The arm lifts the block."


@pytest.fixture(scope="module")
def client(tiny):
    with openai.OpenAI(base_url=f"{tiny.url}/v1", api_key="none", max_retries=0, timeout=60) as made:
        yield made


def alone(tiny, mode="d2f", tokens=24, prompt=PROMPT, **sampling):
    return tiny.service.text.generate(prompt, mode, Sampling(max_tokens=tokens, **sampling))[0]


@pytest.mark.parametrize("mode", ["d2f", "cache", "block", "d2f+branch", "d2f+chain", "ar"])
def test_a_completion_is_what_the_decoder_writes(tiny, client, mode):
    model = "tiny" if mode == "d2f" else f"tiny:{mode}"
    answer = client.completions.create(model=model, prompt=PROMPT, max_tokens=24)
    wanted = alone(tiny, mode)
    assert answer.choices[0].text == wanted.text
    assert answer.usage.prompt_tokens == len(PROMPT)
    assert answer.usage.completion_tokens == len(wanted.answer.tokens) == 24
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].lohovla["forwards"] == wanted.answer.forwards


def test_answers_are_cut_to_the_token(tiny, client):
    answer = client.completions.create(model="tiny", prompt=PROMPT, max_tokens=11, logprobs=2)
    wanted = alone(tiny, tokens=16, logprobs=2).answer
    assert answer.usage.completion_tokens == 11
    assert answer.choices[0].text == tiny.service.decode(wanted.tokens[:11])
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].logprobs.token_logprobs == pytest.approx(wanted.logprob[:11], abs=1e-5)
    assert [max(place.values()) for place in answer.choices[0].logprobs.top_logprobs] == pytest.approx(
        [place[0][1] for place in wanted.ranked[:11]], abs=1e-5
    )


def test_several_answers_to_several_prompts_are_each_drawn_by_their_own_seed(tiny, client):
    prompts = [PROMPT, list(b"abc")]  # a list of token ids among texts is no OpenAI request
    with pytest.raises(openai.BadRequestError):
        client.completions.create(model="tiny", prompt=prompts, max_tokens=8)
    drawn = {"temperature": 1.0, "seed": 5, "max_tokens": 16}
    answer = client.completions.create(model="tiny", prompt=[PROMPT, "x"], n=2, **drawn)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    texts = [choice.text for choice in answer.choices]
    assert len(set(texts)) == 4
    wanted = tiny.service.text.generate(PROMPT, "d2f", Sampling(max_tokens=16, temperature=1.0, seed=5), n=2)
    assert texts[:2] == [result.text for result in wanted]
    unsaid = [client.completions.create(model="tiny", prompt=PROMPT, temperature=1.0).choices[0].text for _ in range(2)]
    assert unsaid[0] != unsaid[1]


@pytest.mark.parametrize("mode", ["tiny", "tiny:ar"])
def test_a_stream_tells_the_same_text_and_takes_nothing_back(tiny, client, mode):
    whole = client.completions.create(model=mode, prompt=PROMPT, max_tokens=48)
    chunks = list(
        client.completions.create(
            model=mode, prompt=PROMPT, max_tokens=48, stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == whole.choices[0].text
    assert sum(bool(chunk.choices[0].text) for chunk in chunks[:-1]) > 2
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].usage == whole.usage


def test_provisional_text_is_shown_only_if_asked_for_and_beside_the_text(tiny, client):
    body = {"model": "tiny", "prompt": PROMPT, "max_tokens": 48, "stream": True}
    assert not any(chunk.choices[0].model_extra for chunk in list(client.completions.create(**body))[:-1])
    chunks = list(client.completions.create(**body, extra_body={"provisional": True}))
    told, ahead = "", 0
    for chunk in chunks:
        told += chunk.choices[0].text
        canvas = chunk.choices[0].lohovla["canvas"]
        known = "".join(piece or "" for piece in canvas)
        ahead += any(piece is not None for piece in canvas[canvas.index(None) :]) if None in canvas else 0
        assert len(told) <= len(known)
        born_of = chunk.choices[0].lohovla["born"]
        assert all((piece is None) == (born < 0) for piece, born in zip(canvas, born_of, strict=True))
    assert ahead > 0  # tokens that are right of a gap: they were shown, and not told
    assert told == alone(tiny, tokens=48).text


def test_stop_strings_end_an_answer_and_are_never_told(tiny, client):
    text = alone(tiny, tokens=48).text
    stop = text[20:22]
    for stream in (False, True):
        answer = client.completions.create(model="tiny", prompt=PROMPT, max_tokens=48, stop=[stop], stream=stream)
        chunks = list(answer) if stream else [answer]
        assert "".join(chunk.choices[0].text for chunk in chunks) == text[: text.index(stop)]
        assert chunks[-1].choices[0].finish_reason == "stop"


def test_chat_is_the_template_s_text(tiny, client):
    turns = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Lift it."}]
    answer = client.chat.completions.create(model="tiny", messages=turns, max_tokens=16, logprobs=True, top_logprobs=1)
    ids = tiny.service.text.tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    same = client.completions.create(model="tiny", prompt=ids, max_tokens=16)
    assert answer.choices[0].message.content == same.choices[0].text
    assert answer.choices[0].message.role == "assistant"
    assert len(answer.choices[0].logprobs.content) == 16
    chunks = list(client.chat.completions.create(model="tiny", messages=turns, max_tokens=16, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == same.choices[0].text


def test_a_conversation_s_beginning_is_found_in_the_cache(tiny, client):
    stats = tiny.engine.stats
    first = [{"role": "user", "content": "Tell me about blocks, bowls and zones."}]
    said = client.chat.completions.create(model="tiny", messages=first, max_tokens=16, seed=1)
    further = [*first, {"role": "assistant", "content": "They are red."}, {"role": "user", "content": "And then?"}]
    before = stats.shared_tokens
    client.chat.completions.create(model="tiny", messages=further, max_tokens=16)
    assert stats.shared_tokens - before >= said.usage.prompt_tokens - tiny.engine.pool.size


def test_a_model_without_a_template_takes_one_message(serve, bare_checkpoint):
    running = serve(bare_checkpoint)
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        chat = client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": PROMPT}], max_tokens=8
        )
        assert chat.choices[0].message.content == alone(running, tokens=8).text
        with pytest.raises(openai.BadRequestError, match="no chat template"):
            client.chat.completions.create(model="tiny", messages=[{"role": "system", "content": PROMPT}])


def test_models_are_listed(client):
    names = [model.id for model in client.models.list()]
    assert names == ["tiny", "tiny:cache", "tiny:block", "tiny:d2f+branch", "tiny:d2f+chain", "tiny:ar"]
    assert client.models.retrieve("tiny:d2f+chain").id == "tiny:d2f+chain"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("big")


def test_what_may_still_change_is_not_told():
    spoken = StreamDetokenizer(lambda ids: bytes(ids).decode(errors="replace"), ("end", "nn"), 100)
    text = "Grün en".encode()
    assert [spoken.decode_new_text(text[:n]) for n in (2, 3, 4, 5, 6, 8)] == ["Gr", "", "ü", "", "n ", ""]
    assert spoken.decode_new_text(text + b"emy") == "enemy"
    assert spoken.decode_new_text(text + b"emy nn and more") == " "
    whole = GenerationOutput(list(text + b"emy nn"), [], [], [], [], 1, "stop", characters=len("Grün enemy "))
    assert spoken.decode_remaining_text(whole) == ""


def test_a_stop_string_inside_a_token_takes_nothing_from_before_it():
    pieces = ["Lift ", "it. ", "Put it"]
    answer = GenerationOutput([0, 1], [], [], [], [], 1, "stop", characters=7)

    def decode(ids):
        return "".join(pieces[i] for i in ids)

    for stream in (False, True):
        spoken = StreamDetokenizer(decode, (". P",), 100)
        told = spoken.decode_new_text([0, 1]) if stream else ""
        assert told + spoken.decode_remaining_text(answer) == "Lift it"
    assert StreamDetokenizer(decode, (". P",), 1).decode_remaining_text(answer) == "Lift "
