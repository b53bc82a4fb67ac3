"""What clients of published chat models rely on: ends of turns, bytes of tokens, parameters that ask for nothing."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from lohovla.cli import main
from lohovla.d2f import Sampling, TextModel
from lohovla.d2f.end_tokens import control_tokens, end_of_turn, end_token_ids
from lohovla.d2f.engine import EngineSettings
from lohovla.d2f.token_bytes import TokenBytes
from lohovla.errors import UserError
from lohovla.serve.text.text_service import TextService

_spec = importlib.util.spec_from_file_location("refusals", Path(__file__).parent / "test_refusals.py")
refusals = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(refusals)
post = refusals.post
TURN, END = 2, 3
CHAT = "/v1/chat/completions"


def biased(url, token, **more):
    """A chat whose first token, at least, is this one."""
    messages = [{"role": "user", "content": "Say it."}]
    return post(url, {"model": "tiny", "messages": messages, "logit_bias": {str(token): 100}, **more}, CHAT)


def test_the_chat_template_tells_which_token_ends_a_turn(checkpoint, bare_checkpoint):
    model = TextModel.load(checkpoint)
    assert end_of_turn(model.tokenizer) == END
    assert model.student.eos_ids == (0, END)
    assert TextModel.load(bare_checkpoint).student.eos_ids == (0,)
    assert set(control_tokens(model.tokenizer)) == {0, 1, TURN, END}


def test_every_end_token_of_the_configurations_counts(checkpoint, tmp_path):
    tokenizer = TextModel.load(checkpoint).tokenizer
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [9, 8, 10**6]}))
    raw = {"eos_token_id": 7, "mask_token_id": 1, "vocab_size": 300}
    assert end_token_ids(tmp_path, raw, (), tokenizer) == (7, 9, 8, 0, END)
    assert end_token_ids(tmp_path, {**raw, "eos_token_id": None}, (5, 6), tokenizer) == (9, 8, 0, 5, 6, END)


@pytest.mark.parametrize("mode", ["d2f", "ar"])
def test_an_end_of_turn_ends_an_answer_and_is_not_in_it(tiny, checkpoint, mode):
    status, _, answer = biased(tiny.url, END, model="tiny" if mode == "d2f" else "tiny:ar")
    said = answer["choices"][0]
    assert (status, said["message"]["content"], said["finish_reason"]) == (200, "", "stop")
    result = TextModel.load(checkpoint).generate(
        [{"role": "user", "content": "Say it."}], mode, Sampling(logit_bias=((END, 100.0),))
    )[0]
    assert (result.text, result.answer.reason) == ("", "end")


def test_control_tokens_are_no_text_and_the_answer_can_be_sent_back(tiny):
    said = biased(tiny.url, TURN, max_tokens=8)[2]["choices"][0]["message"]["content"]
    assert said == ""
    messages = [{"role": "user", "content": "Say it."}, {"role": "assistant", "content": "So. <|turn|>"}]
    assert post(tiny.url, {"model": "tiny", "messages": messages}, CHAT)[0] == 400  # written out by a client
    messages[1]["content"] = said or "So."
    again = {"model": "tiny", "messages": [*messages, {"role": "user", "content": "Again."}], "max_tokens": 8}
    assert post(tiny.url, again, CHAT)[0] == 200


def test_the_bytes_of_tokens_joined_are_the_answer(tiny, checkpoint):
    tokenizer = TextModel.load(checkpoint).tokenizer
    text = "Grüße: 日本 🤖\n"
    told = TokenBytes(tokenizer)
    pieces = [told(token) for token in tokenizer(text)["input_ids"]]
    assert b"".join(pieces) == text.encode()
    assert pieces[2:4] == [b"\xc3", b"\xbc"]
    body = {"model": "tiny", "messages": [{"role": "user", "content": "x"}], "logprobs": True, "top_logprobs": 2}
    choice = post(tiny.url, {**body, "max_tokens": 24}, CHAT)[2]["choices"][0]
    joined = bytes(byte for entry in choice["logprobs"]["content"] for byte in entry["bytes"])
    assert joined.decode(errors="replace") == choice["message"]["content"]


def llama2_tokenizer():
    """With an unknown token, bytes for what has no piece, and a space that begins every text and is not told."""
    pieces = ["<unk>", "<s>", "</s>", "<mask>", *[f"<0x{b:02X}>" for b in range(256)], *"▁Helo"]
    inner = Tokenizer(models.BPE({p: k for k, p in enumerate(pieces)}, [], unk_token="<unk>", byte_fallback=True))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    inner.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", bos_token="<s>", eos_token="</s>", mask_token="<mask>"
    )


def test_byte_fallback_tokens_have_their_own_bytes():
    tokenizer = llama2_tokenizer()
    ids = tokenizer("Hello é")["input_ids"]
    told = TokenBytes(tokenizer)
    assert b"".join(told(token, not k) for k, token in enumerate(ids)) == "Hello é".encode()
    assert [told(token) for token in ids[-2:]] == [b"\xc3", b"\xa9"]


def test_a_prompt_is_what_the_tokenizer_makes_of_it():
    tokenizer = llama2_tokenizer()
    model = TextModel.__new__(TextModel)
    model.tokenizer = tokenizer
    for prompt in ("Hello", "Hello\n"):
        assert model.encode(prompt) == tokenizer(prompt)["input_ids"]
    shipped = TextModel.load()
    assert shipped.encode("7+1=") == shipped.encode("7+1=\n")


NOTHING = [
    {"n": None},
    {"response_format": {"type": "text"}},
    {"tools": []},
    {"tools": None},
    {"tool_choice": "none"},
    {"metadata": None},
    {"metadata": {}},
    {"store": False},
    {"service_tier": "auto"},
    {"modalities": ["text"]},
    {"frequency_penalty": 0},
    {"logit_bias": {}},
    {"user": "somebody", "prompt_cache_key": "x"},
]


@pytest.mark.parametrize("more", NOTHING, ids=str)
def test_what_asks_for_nothing_is_taken(tiny, more):
    body = {"model": "tiny", "messages": [{"role": "user", "content": "x"}], "max_tokens": 4, **more}
    assert post(tiny.url, body, CHAT)[0] == 200


@pytest.mark.parametrize(
    "more", [{"prediction": {"type": "content"}}, {"store": True}, {"tools": [{"type": "function"}]}], ids=str
)
def test_what_is_not_supported_says_so_by_name(tiny, more):
    body = {"model": "tiny", "messages": [{"role": "user", "content": "x"}], **more}
    status, _, answer = post(tiny.url, body, CHAT)
    assert status == 400
    assert answer["error"]["param"] == next(iter(more))
    assert f"{next(iter(more))} is not supported" in answer["error"]["message"]


def complete(url, **more):
    return post(url, {"model": "tiny", "prompt": "Hello", "max_tokens": 24, **more})[2]["choices"][0]


@pytest.mark.parametrize("mode", ["", ":ar", ":d2f+chain"])
def test_penalties_and_biases_change_what_is_said(tiny, checkpoint, mode):
    model = TextModel.load(checkpoint)
    name = {"model": "tiny" + mode}
    letter = model.encode("q")[0]
    assert complete(tiny.url, **name, logit_bias={str(letter): 100})["text"] == "q" * 24
    kept = complete(tiny.url, **name, logit_bias={str(letter): 100}, presence_penalty=2, frequency_penalty=2)
    assert kept["text"] == "q" * 24  # a penalty is weaker than such a bias
    for sampling in (Sampling(24, frequency_penalty=50.0), Sampling(24, presence_penalty=200.0)):
        answer = model.generate("Hello", mode[1:] or "d2f", sampling, thresholds=model.limits(accept=1.0, add=1.0))[0]
        tokens = answer.answer.tokens
        if not mode:  # one token a forward: each knows what was said before it
            assert len(set(tokens)) == len(tokens)
    assert complete(tiny.url, **name, echo=True)["text"] == "Hello" + complete(tiny.url, **name)["text"]


def test_min_p_of_one_leaves_the_likeliest_token():
    from lohovla.d2f.sampling import choose_tokens

    logits = torch.randn(64, 40, generator=torch.Generator().manual_seed(0))
    chance = torch.rand(64, generator=torch.Generator().manual_seed(1))
    tokens, confidence, _ = choose_tokens(logits, Sampling(temperature=1.0, min_p=1.0), chance)
    assert (tokens == logits.argmax(-1)).all()
    assert (confidence == 1).all()
    drawn, _, _ = choose_tokens(logits, Sampling(temperature=1.0), chance)
    assert (drawn != tokens).any()


def test_ignore_eos_goes_on_to_the_length(tiny):
    ended = complete(tiny.url, logit_bias={"0": 100})
    assert (ended["text"], ended["finish_reason"]) == ("", "stop")
    whole = complete(tiny.url, logit_bias={"0": 100}, ignore_eos=True)
    assert whole["finish_reason"] == "length"


def test_generate_writes_the_prompt_as_a_turn_of_the_user(checkpoint, capsys):
    model = TextModel.load(checkpoint)
    chat = model.generate([{"role": "user", "content": "Hi"}], sampling=Sampling(16))[0].text
    bare = model.generate("Hi", sampling=Sampling(16))[0].text
    assert chat != bare
    for more, wanted in ((), chat), (("chat=false",), bare):
        assert main(["generate", "Hi", f"model={checkpoint}", "max_tokens=16", "live=false", *more]) == 0
        assert capsys.readouterr().out == wanted.rstrip("\n") + "\n"


def test_a_live_adapter_is_served_from_one_copy_of_the_weights(checkpoint, tmp_path):
    generator = torch.Generator().manual_seed(0)
    pairs = {}
    for layer in range(2):
        key = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        pairs[f"{key}.lora_A.weight"] = torch.randn(4, 32, generator=generator)
        pairs[f"{key}.lora_B.weight"] = torch.randn(32, 4, generator=generator)
    save_file(pairs, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 4}))
    merged, live = (TextModel.load(checkpoint, tmp_path, live=live) for live in (False, True))
    services = [TextService(text, "tiny", EngineSettings(cache_mb=4)) for text in (merged, live)]
    assert [len(service.engines) for service in services] == [2, 1]
    assert "ar" in services[0].modes
    assert "ar" not in services[1].modes
    said = [text.generate("Hello", sampling=Sampling(24))[0].answer.tokens for text in (merged, live)]
    assert said[0] == said[1] != TextModel.load(checkpoint).generate("Hello", sampling=Sampling(24))[0].answer.tokens
    with pytest.raises(UserError, match="live adapter"):
        live.generate("Hello", "ar")
