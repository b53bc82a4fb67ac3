"""Tiny checkpoints in the published layouts: they load, and decode to the tokens of the published algorithm."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lohovla.d2f import adapters
from lohovla.d2f.block_state import Thresholds
from lohovla.d2f.decode_loop import DecodeSettings, decode_prompts
from lohovla.d2f.load_checkpoint import denoiser_of, find, load_model
from lohovla.d2f.sampling import Sampling
from lohovla.errors import UserError

_spec = importlib.util.spec_from_file_location("reference", Path(__file__).parent / "reference.py")
reference = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reference)

V, D, LAYERS, HEADS, KV, FF = 40, 32, 2, 4, 2, 48
MASK, EOS = 39, 38
LLADA = {
    "embed": "model.transformer.wte.weight",
    "norm": "model.transformer.ln_f.weight",
    "head": "model.transformer.ff_out.weight",
    **{
        name: f"model.transformer.blocks.{{i}}.{key}.weight"
        for name, key in {
            "norm1": "attn_norm",
            "q": "q_proj",
            "k": "k_proj",
            "v": "v_proj",
            "o": "attn_out",
            "norm2": "ff_norm",
            "gate": "ff_proj",
            "up": "up_proj",
            "down": "ff_out",
        }.items()
    },
}
QWEN = {
    "embed": "model.embed_tokens.weight",
    "norm": "model.norm.weight",
    "head": "lm_head.weight",
    **{
        name: f"model.layers.{{i}}.{key}.weight"
        for name, key in {
            "norm1": "input_layernorm",
            "q": "self_attn.q_proj",
            "k": "self_attn.k_proj",
            "v": "self_attn.v_proj",
            "o": "self_attn.o_proj",
            "norm2": "post_attention_layernorm",
            "gate": "mlp.gate_proj",
            "up": "mlp.up_proj",
            "down": "mlp.down_proj",
        }.items()
    },
}
QK_NORM = {f"{k}_norm": f"model.layers.{{i}}.self_attn.{k}_norm.weight" for k in "qk"}
HF = {
    "vocab_size": V,
    "hidden_size": D,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV,
    "intermediate_size": FF,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "tie_word_embeddings": False,
    "eos_token_id": EOS,
    "mask_token_id": MASK,
    "auto_map": {"AutoModel": "modeling.Foreign"},
}
FAMILIES = {
    "llada": (
        LLADA,
        KV * 2,
        5e5,
        1e-5,
        False,
        {
            "model_type": "llada",
            "d_model": D,
            "n_layers": LAYERS,
            "n_heads": HEADS,
            "n_kv_heads": HEADS,
            "mlp_hidden_size": FF,
            "vocab_size": V,
            "embedding_size": V,
            "rope_theta": 5e5,
            "rms_norm_eps": 1e-5,
            "weight_tying": False,
            "mask_token_id": MASK,
            "eos_token_id": EOS,
        },
    ),
    "dream": (QWEN, KV, 1e6, 1e-6, True, {**HF, "model_type": "Dream"}),
    "sdar": ({**QWEN, **QK_NORM}, KV, 1e6, 1e-6, False, {**HF, "model_type": "sdar", "head_dim": D // HEADS}),
    "fast_dllm": (QWEN, KV, 1e6, 1e-6, True, {**HF, "model_type": "Fast_dLLM_Qwen", "bd_size": 8}),
}


def make(folder, family):
    """Write a tiny checkpoint with random weights; returns the tensors and ``model(ids, mask)`` over them."""
    names, kv_heads, theta, eps, _, config = FAMILIES[family]
    generator = torch.Generator().manual_seed(len(family))
    size = D // HEADS
    shapes = {
        "embed": (V, D),
        "head": (V, D),
        "norm": (D,),
        "norm1": (D,),
        "norm2": (D,),
        "q": (D, D),
        "k": (kv_heads * size, D),
        "v": (kv_heads * size, D),
        "o": (D, D),
        "gate": (FF, D),
        "up": (FF, D),
        "down": (D, FF),
        "q_norm": (size,),
        "k_norm": (size,),
    }
    tensors = {}
    for name, template in names.items():
        for i in range(LAYERS):
            shape, key = shapes[name], template.format(i=i)
            if len(shape) == 1:
                tensors[key] = 1 + 0.1 * torch.randn(shape, generator=generator)
            else:
                tensors[key] = torch.randn(shape, generator=generator) / shape[1] ** 0.5 * (3 if name == "head" else 1)
            if names is not LLADA and name in "qkv" and "q_norm" not in names:
                tensors[key.removesuffix("weight") + "bias"] = torch.randn(shape[0], generator=generator)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    run = reference.forward(tensors, names, heads=HEADS, kv_heads=kv_heads, layers=LAYERS, theta=theta, eps=eps)
    return tensors, run


def denoiser_in(folder):
    return denoiser_of(*load_model(folder))


@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states_are_those_of_the_weights(tmp_path, family):
    _, run = make(tmp_path, family)
    model, _, _ = load_model(tmp_path)
    ids = torch.tensor([3, 17, 5, 39, 39, 8])
    allowed = torch.ones(6, 6, dtype=torch.bool)
    allowed[:3, 3:] = False
    mask = torch.zeros(1, 1, 6, 6).masked_fill(~allowed, torch.finfo(torch.float32).min)
    with torch.inference_mode():
        logits = model(input_ids=ids[None], attention_mask=mask).logits[0]
    torch.testing.assert_close(logits, run(ids, allowed), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [8, 16, 32])
@pytest.mark.parametrize("family", ["llada", "dream"])
def test_greedy_decoding_gives_the_published_tokens(tmp_path, family, size):
    _, run = make(tmp_path, family)
    denoiser = denoiser_in(tmp_path)
    assert denoiser.shift == FAMILIES[family][4]
    assert (denoiser.mask_id, denoiser.eos_ids[0]) == (MASK, EOS)
    for accept, add, activate in ((0.9, 0.1, 0.95), (0.3, 0.0, 0.5), (1.0, 0.5, 0.25)):
        wanted, _ = reference.decode(
            run,
            [1, 5, 9, 2],
            mask_id=MASK,
            eos_ids=denoiser.eos_ids,
            shift=denoiser.shift,
            size=size,
            accept=accept,
            add=add,
            activate=activate,
            max_tokens=32,
        )
        settings = DecodeSettings(size, Thresholds(accept, add, activate), Sampling(max_tokens=32))
        assert decode_prompts(denoiser, [[1, 5, 9, 2]], settings)[0].tokens == reference.cut(wanted, denoiser.eos_ids)


@pytest.mark.parametrize("family", ["sdar", "fast_dllm"])
def test_blocks_that_begin_in_the_prompt(tmp_path, family):
    """Block diffusion over the whole sequence, written out: the prompt's tail opens the first block."""
    _, run = make(tmp_path, family)
    denoiser = denoiser_in(tmp_path)
    size = denoiser.block
    prompt = [1, 5, 9, 2, 7, 11]
    settings = DecodeSettings(None, Thresholds(0.4, 1.0, 1.0), Sampling(max_tokens=16, min_tokens=16))
    answer = decode_prompts(denoiser, [prompt], settings)[0]
    tokens = [*prompt]
    total = (len(prompt) + 16) // size * size
    while len(tokens) < total:
        tokens += [MASK] * (size - len(tokens) % size)
        while MASK in tokens:
            order = torch.arange(len(tokens)) // size
            logits = run(torch.tensor(tokens), order[None] <= order[:, None])
            logits[:, [MASK, EOS]] = -torch.inf
            sure, best = logits.softmax(-1).max(-1)
            back = 1 if denoiser.shift else 0
            masked = [i for i, token in enumerate(tokens) if token == MASK]
            taken = [i for i in masked if sure[i - back] > 0.4] or [max(masked, key=lambda i: sure[i - back])]
            for i in taken:
                tokens[i] = int(best[i - back])
    assert answer.tokens == tokens[len(prompt) :][: len(answer.tokens)]
    assert len(answer.tokens) == total - len(prompt)


def make_adapter(folder, tensors, modules, rank=4, **changes):
    generator = torch.Generator().manual_seed(9)
    pairs = {}
    for key in modules:
        out, into = tensors[f"{key}.weight"].shape
        pairs[f"base_model.model.{key}.lora_A.weight"] = torch.randn(rank, into, generator=generator) / 6
        pairs[f"base_model.model.{key}.lora_B.weight"] = torch.randn(out, rank, generator=generator) / 6
    folder.mkdir(exist_ok=True)
    save_file(pairs, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "target_modules": ["q_proj"], **changes}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return pairs


def llada_modules():
    return [f"model.transformer.blocks.{i}.{m}" for i in range(LAYERS) for m in ("q_proj", "v_proj", "attn_out")]


def test_an_adapter_merged_and_live(tmp_path):
    tensors, _ = make(tmp_path / "base", "llada")
    pairs = make_adapter(tmp_path / "lora", tensors, llada_modules())
    changed = dict(tensors)
    for key in llada_modules():
        a, b = (pairs[f"base_model.model.{key}.lora_{side}.weight"] for side in "AB")
        changed[f"{key}.weight"] = tensors[f"{key}.weight"] + 2.0 * b @ a
    names, kv_heads, theta, eps, _, _ = FAMILIES["llada"]
    run = reference.forward(changed, names, heads=HEADS, kv_heads=kv_heads, layers=LAYERS, theta=theta, eps=eps)
    ids, allowed = torch.tensor([3, 17, 5, 39]), torch.ones(4, 4, dtype=torch.bool)
    for way in ("merged", "live"):
        model, layout, raw = load_model(tmp_path / "base")
        settings, read = adapters.read_adapter(tmp_path / "lora", layout, model)
        if way == "merged":
            adapters.merge_adapter(model, settings, read)
        else:
            adapters.attach_adapter(model, settings, read)
        denoiser = denoiser_of(model, layout, raw)
        positions, everything = torch.arange(4)[None], allowed[None]
        hidden = denoiser.forward(ids[None], positions, everything, denoiser.new_cache(1))
        torch.testing.assert_close(denoiser.logits(hidden[0]), run(ids, allowed), atol=1e-4, rtol=1e-4, msg=way)


def refuse(match, do):
    with pytest.raises(UserError, match=match) as caught:
        do()
    assert "\n" not in caught.value.cause
    assert "\n" not in caught.value.remedy


def test_damaged_checkpoints_give_one_clear_line(tmp_path):
    make(tmp_path, "dream")
    file = tmp_path / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    refuse("damaged", lambda: load_model(tmp_path))
    file.write_bytes(b"\xff" * 64)
    refuse("damaged", lambda: load_model(tmp_path))
    file.unlink()
    refuse("no safetensors", lambda: load_model(tmp_path))
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    refuse("no safetensors", lambda: load_model(tmp_path))
    file.write_bytes(whole)
    (tmp_path / "config.json").write_text("{")
    refuse("damaged", lambda: load_model(tmp_path))
    refuse("no config.json", lambda: load_model(tmp_path / "nothing"))
    refuse("there is no checkpoint", lambda: find(tmp_path / "nothing"))


def test_wrong_layouts_give_one_clear_line(tmp_path):
    tensors, _ = make(tmp_path, "dream")
    config = {**HF, "model_type": "Dream"}

    def write(config=config, tensors=tensors):
        (tmp_path / "config.json").write_text(json.dumps(config))
        save_file(tensors, tmp_path / "model.safetensors")

    write({**config, "model_type": "gpt2"})
    refuse("model type 'gpt2'", lambda: load_model(tmp_path))
    write(FAMILIES["llada"][5])
    refuse("not in the layout of LLaDA", lambda: load_model(tmp_path))
    write({"model_type": "llada"})
    refuse("no LLaDA configuration", lambda: load_model(tmp_path))
    write({**config, "intermediate_size": 64})
    refuse("gate_proj|up_proj|down_proj", lambda: load_model(tmp_path))
    write(config, {key: value for key, value in tensors.items() if "layers.1.mlp.up" not in key})
    refuse("layers.1.mlp.up_proj.weight is missing", lambda: load_model(tmp_path))
    write(config, tensors)
    load_model(tmp_path)


def test_adapters_that_do_not_fit_give_one_clear_line(tmp_path):
    tensors, _ = make(tmp_path / "llada", "llada")
    make(tmp_path / "dream", "dream")
    lora = tmp_path / "lora"
    make_adapter(lora, tensors, llada_modules())
    model, layout, _ = load_model(tmp_path / "dream")
    refuse("no adapter for Dream", lambda: adapters.read_adapter(lora, layout, model))
    model, layout, _ = load_model(tmp_path / "llada")
    wide = {**tensors, "model.transformer.blocks.0.q_proj.weight": torch.zeros(D, 2 * D)}
    make_adapter(lora, wide, llada_modules())
    refuse("another size", lambda: adapters.read_adapter(lora, layout, model))
    make_adapter(lora, tensors, llada_modules(), peft_type="IA3")
    refuse("kind IA3", lambda: adapters.read_adapter(lora, layout, model))
    make_adapter(lora, tensors, llada_modules())
    pairs = load_file(lora / "adapter_model.safetensors")
    pairs.pop(next(key for key in pairs if "lora_B" in key))
    save_file(pairs, lora / "adapter_model.safetensors")
    refuse("incomplete", lambda: adapters.read_adapter(lora, layout, model))


@pytest.mark.parametrize("way", ["merged", "live"])
def test_patterns_of_peft_scale_single_modules(tmp_path, way):
    tensors, _ = make(tmp_path / "base", "llada")
    modules = llada_modules()
    pairs = make_adapter(tmp_path / "lora", tensors, modules, alpha_pattern={"v_proj": 2, r"blocks\.1\.q_proj": 16})
    changed = dict(tensors)
    for key in modules:
        scale = (2 if "v_proj" in key else 16 if "blocks.1.q_proj" in key else 8) / 4
        a, b = (pairs[f"base_model.model.{key}.lora_{side}.weight"] for side in "AB")
        changed[f"{key}.weight"] = tensors[f"{key}.weight"] + scale * b @ a
    names, kv_heads, theta, eps, _, _ = FAMILIES["llada"]
    run = reference.forward(changed, names, heads=HEADS, kv_heads=kv_heads, layers=LAYERS, theta=theta, eps=eps)
    ids, allowed = torch.tensor([3, 17, 5, 39]), torch.ones(4, 4, dtype=torch.bool)
    model, layout, raw = load_model(tmp_path / "base")
    settings, read = adapters.read_adapter(tmp_path / "lora", layout, model)
    (adapters.merge_adapter if way == "merged" else adapters.attach_adapter)(model, settings, read)
    denoiser = denoiser_of(model, layout, raw)
    hidden = denoiser.forward(ids[None], torch.arange(4)[None], allowed[None], denoiser.new_cache(1))
    torch.testing.assert_close(denoiser.logits(hidden[0]), run(ids, allowed), atol=1e-4, rtol=1e-4)
    make_adapter(tmp_path / "lora", tensors, modules, rank_pattern={"v_proj": 2})
    refuse("has rank 4", lambda: adapters.read_adapter(tmp_path / "lora", layout, load_model(tmp_path / "base")[0]))


def test_files_beside_the_weights_and_tokens_past_the_vocabulary(tmp_path):
    make(tmp_path, "dream")
    save_file({"another": torch.zeros(3)}, tmp_path / "stray.safetensors")
    load_model(tmp_path)
    for name in ("mask_token_id", "eos_token_id"):
        (tmp_path / "config.json").write_text(json.dumps({**HF, "model_type": "Dream", name: V}))
        refuse(f"{name} is {V}", lambda: denoiser_in(tmp_path))
