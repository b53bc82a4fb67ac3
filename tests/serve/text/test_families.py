"""A tiny checkpoint of every published family, with its tokenizer and chat template: generated from, and served."""

import importlib.util
import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from lohovla.d2f import Sampling, TextModel

openai = pytest.importorskip("openai", reason="OpenAI's client: pip install openai")


def _other(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[2] / "d2f" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


dense, experts = _other("test_checkpoint_formats"), _other("expert_checkpoints")
LETTERS = [*"abcdefghijklmnopqrstuvwxyz", "Ġ", ".", ",", "?", "!", "1", "2", "3", "4"]  # 35
TURN, OVER = "<|im_start|>", "<|im_end|>"
SPECIAL = {35: TURN, 36: OVER, 37: "<|beginoftext|>", 38: "<|endoftext|>", 39: "<|mask|>"}
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant {% endif %}"
)


def write_tokenizer(folder):
    """As most families publish it."""
    vocabulary = {piece: k for k, piece in enumerate([*LETTERS, *SPECIAL.values()])}
    inner = Tokenizer(models.BPE(vocabulary, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token="<|endoftext|>",
        mask_token="<|mask|>",
        additional_special_tokens=[TURN, OVER, "<|beginoftext|>"],
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)


def write_dream_tokenizer(folder):
    """As Dream, Dream-Coder, DiffuCoder and d3LLM do: no tokenizer.json, and a class that is in their own code."""
    (folder / "vocab.json").write_text(json.dumps({piece: k for k, piece in enumerate(LETTERS)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    added = {
        str(k): {"content": token, "special": True, "normalized": False, "lstrip": False, "rstrip": False}
        for k, token in SPECIAL.items()
    }
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "DreamTokenizer",
                "auto_map": {"AutoTokenizer": ["tokenization_dream.DreamTokenizer", None]},
                "added_tokens_decoder": added,
                "additional_special_tokens": ["<|beginoftext|>", "<|mask|>"],
                "bos_token": "<|beginoftext|>",
                "eos_token": "<|endoftext|>",
                "mask_token": "<|mask|>",
                "pad_token": "<|endoftext|>",
                "chat_template": TEMPLATE,
                "model_max_length": 131072,
            }
        )
    )


def dream_like(folder, name):
    """Weights in several files with an index, and what else lies in such a folder."""
    from safetensors.torch import save_file

    tensors, _ = dense.make(folder, "dream")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    halves = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, keys in halves.items():
        save_file({key: tensors[key] for key in keys}, folder / file, metadata={"format": "pt"})
    where = {key: file for file, keys in halves.items() for key in keys}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "architectures": ["DreamModel"],
        "auto_map": {"AutoConfig": "configuration_dream.DreamConfig", "AutoModel": "modeling_dream.DreamModel"},
        "bos_token_id": 37,
        "pad_token_id": 38,
        "full_attn_mask": True,
        "max_window_layers": 28,
        "rope_scaling": None,
        "sliding_window": None,
        "use_mrope": False,
        "use_sliding_window": False,
    }
    if name == "d3llm-dream":
        config |= {"_name_or_path": "Dream-org/Dream-v0-Instruct-7B", "use_cache": False, "dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(
        json.dumps({"eos_token_id": 38, "mask_token_id": 39, "alg": "entropy", "steps": 128})
    )
    (folder / "modeling_dream.py").write_text("raise RuntimeError('code of a checkpoint is never run')\n")
    write_dream_tokenizer(folder)


DREAMS = ("dream-coder", "diffucoder", "d3llm-dream")


def make(folder, family):
    folder.mkdir()
    if family in DREAMS:
        dream_like(folder, family)
        return folder
    if family in experts.CONFIGS:
        experts.make(folder, family)
    else:
        dense.make(folder, "llada" if family == "d3llm-llada" else family)
    if family == "d3llm-llada":
        config = json.loads((folder / "config.json").read_text())
        config |= {
            "architectures": ["LLaDAModelLM"],
            "_name_or_path": "GSAI-ML/LLaDA-8B-Instruct",
            "block_group_size": 1,
        }
        (folder / "config.json").write_text(json.dumps(config))
    write_tokenizer(folder)
    return folder


FAMILIES = ("llada", "d3llm-llada", *DREAMS, "sdar", "fast_dllm", *experts.CONFIGS)


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_generated_from_and_served(tmp_path, serve, family):
    folder = make(tmp_path / family, family)
    model = TextModel.load(folder)
    messages = [{"role": "user", "content": "lift it."}]
    assert set(model.student.eos_ids) == {38, 36}
    assert model.encode_chat(messages)[0] == 35
    told = model.generate(messages, sampling=Sampling(24, min_tokens=8))[0]
    assert 8 <= len(told.answer.tokens) <= 24
    server = serve(folder)
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", timeout=300)
    ask = {"model": "tiny", "messages": messages, "max_tokens": 24, "extra_body": {"min_tokens": 8}}
    answer = client.chat.completions.create(**ask)
    assert answer.choices[0].message.content == told.text
    assert answer.usage.completion_tokens == len(told.answer.tokens)
    parts = [chunk.choices[0].delta.content or "" for chunk in client.chat.completions.create(**ask, stream=True)]
    assert "".join(parts) == told.text
    turn = [*messages, {"role": "assistant", "content": told.text}, {"role": "user", "content": "again"}]
    second = client.chat.completions.create(**{**ask, "messages": turn})
    assert second.choices[0].finish_reason in ("stop", "length")
