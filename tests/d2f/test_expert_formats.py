"""Mixtures of experts in the published layouts: they load, decode, and are served."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lohovla.d2f.block_state import Thresholds
from lohovla.d2f.decode_loop import DecodeSettings, decode_prompts
from lohovla.d2f.engine import Engine, EngineSettings, GenerationRequest
from lohovla.d2f.engine.tensor_parallel import shard
from lohovla.d2f.engine.weight_quantization import quantize_linear
from lohovla.d2f.load_checkpoint import denoiser_of, load_model
from lohovla.d2f.sampling import Sampling
from lohovla.errors import UserError


def _beside(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tiny, reference = _beside("expert_checkpoints"), _beside("reference")
FAMILIES = list(tiny.CONFIGS)


def refuse(match, do):
    with pytest.raises(UserError, match=match) as caught:
        do()
    assert "\n" not in caught.value.cause + caught.value.remedy


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_the_weights(tmp_path, family):
    run, _ = tiny.make(tmp_path, family)
    model, layout, _ = load_model(tmp_path)
    ids = torch.tensor([3, 17, 5, 39, 39, 8, 20, 1])
    order = torch.arange(8) // 4
    allowed = order[None] <= order[:, None]
    mask = torch.zeros(1, 1, 8, 8).masked_fill(~allowed, torch.finfo(torch.float32).min)
    with torch.inference_mode():
        logits = model(input_ids=ids[None], attention_mask=mask).logits[0]
    torch.testing.assert_close(logits, run(ids, allowed), atol=2e-4, rtol=2e-4)
    assert layout.name == {"llada_moe": "LLaDA-MoE", "sdar_moe": "SDAR-MoE", "llada2_moe": "LLaDA2"}[family]


def written_out(run, denoiser, prompt, count):
    """Tokens by whole forwards: blocks from the text's start, or a bidirectional prompt and blocks behind it."""
    size = denoiser.block or 8
    if denoiser.prompt == "bidirectional":
        settings = {"size": size, "accept": 0.4, "add": 1.0, "activate": 1.0, "max_tokens": count}
        ids = {"mask_id": tiny.MASK, "eos_ids": denoiser.eos_ids, "shift": denoiser.shift}
        return reference.cut(reference.decode(run, prompt, **ids, **settings)[0], denoiser.eos_ids)
    tokens = list(prompt)
    while len(tokens) < (len(prompt) + count) // size * size:
        tokens += [tiny.MASK] * (size - len(tokens) % size)
        while tiny.MASK in tokens:
            order = torch.arange(len(tokens)) // size
            logits = run(torch.tensor(tokens), order[None] <= order[:, None]).clone()
            logits[:, tiny.MASK] = -torch.inf
            sure, best = logits.softmax(-1).max(-1)
            masked = [i for i, token in enumerate(tokens) if token == tiny.MASK]
            for i in [i for i in masked if sure[i] > 0.4] or [max(masked, key=lambda i: sure[i])]:
                tokens[i] = int(best[i])
    return reference.cut(tokens[len(prompt) :], denoiser.eos_ids)


@pytest.mark.parametrize("family", FAMILIES)
def test_alone_and_in_a_batch_the_tokens_are_those_written_out(tmp_path, family):
    run, _ = tiny.make(tmp_path, family)
    denoiser = denoiser_of(*load_model(tmp_path))
    assert (denoiser.mask_id, denoiser.eos_ids[0], denoiser.shift) == (tiny.MASK, tiny.EOS, False)
    prompts = [[1, 5, 9, 2, 7, 11], [4, 4, 8], [30, 2, 19, 6, 3, 3, 21, 12, 9]]
    limits = Thresholds(0.4, 1.0, 1.0)
    size = denoiser.block or 8
    heard = {}
    engine = Engine(denoiser, EngineSettings(block_size=4, cache_mb=1))
    wanted = []
    for k, prompt in enumerate(prompts):
        tail = len(prompt) % size if denoiser.prompt == "blocks" else 0
        room = -(-(16 + tail) // size) * size - tail
        wanted.append(written_out(run, denoiser, prompt, room))
        alone = decode_prompts(denoiser, [prompt], DecodeSettings(size, limits, Sampling(max_tokens=room)))[0]
        assert alone.tokens == wanted[-1]
        request = GenerationRequest(tuple(prompt), Sampling(max_tokens=room), limits, size=size)
        engine.submit(request, lambda update, k=k: heard.__setitem__(k, update.answer))
    while engine.step():
        pass
    assert [heard[k].tokens for k in range(3)] == wanted
    together = [heard[k].confidence for k in range(3)]
    # Company changes no bit: experts, too, see a multiple of 16 rows.
    for k, prompt in enumerate(prompts):
        single = Engine(denoiser, EngineSettings(block_size=4, cache_mb=1))
        room = engine_room(prompt, size, denoiser)
        request = GenerationRequest(tuple(prompt), Sampling(max_tokens=room), limits, size=size)
        single.submit(request, lambda update, k=k: heard.__setitem__(k, update.answer))
        while single.step():
            pass
        assert heard[k].confidence == together[k]


def engine_room(prompt, size, denoiser):
    tail = len(prompt) % size if denoiser.prompt == "blocks" else 0
    return -(-(16 + tail) // size) * size - tail


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_wrong_with_them_is_one_clear_line(tmp_path, family):
    _, tensors = tiny.make(tmp_path, family)
    config = tiny.CONFIGS[family]

    def write(config=config, tensors=tensors):
        (tmp_path / "config.json").write_text(json.dumps(config))
        save_file(tensors, tmp_path / "model.safetensors")

    lost = "model.layers.1.mlp.experts.5.up_proj.weight"
    write(tensors={key: value for key, value in tensors.items() if key != lost})
    refuse("experts of model.layers.1.mlp.experts.gate_up_proj are missing", lambda: load_model(tmp_path))
    write(tensors=tensors | {lost: torch.zeros(tiny.INNER + 1, tiny.HIDDEN)})
    refuse("experts.5.up_proj.weight is", lambda: load_model(tmp_path))
    write(config={**config, "num_experts": 4})
    refuse("for model.layers.1.mlp", lambda: load_model(tmp_path))
    write()
    model, layout, raw = load_model(tmp_path)
    denoiser = denoiser_of(model, layout, raw)
    refuse("mixture of experts", lambda: shard(denoiser, 0, 2))

    class Holder:
        denoisers = (denoiser,)

    refuse("mixture of experts", lambda: quantize_linear(Holder(), "int8"))


def test_routers_that_are_computed_otherwise_are_refused_by_name(tmp_path):
    for family, changed in (
        ("llada_moe", {"moe_router_score_function": "sigmoid"}),
        ("llada_moe", {"shared_expert_intermediate_size": 8}),
        ("llada2_moe", {"score_function": "softmax"}),
        ("llada2_moe", {"use_bias": True}),
        ("llada2_moe", {"rope_scaling": {"type": "yarn", "factor": 2}}),
    ):
        tiny.make(tmp_path, family)
        (tmp_path / "config.json").write_text(json.dumps({**tiny.CONFIGS[family], **changed}))
        name = next(iter(changed))
        refuse(name if name != "rope_scaling" else "rotary", lambda: load_model(tmp_path))


def test_bfloat16_keeps_the_bias_of_choice_in_float32(tmp_path):
    tiny.make(tmp_path, "llada2_moe")
    model, _, _ = load_model(tmp_path, torch.bfloat16)
    kinds = {name: tensor.dtype for name, tensor in model.state_dict().items()}
    assert kinds.pop("model.layers.1.mlp.gate.e_score_correction_bias") is torch.float32
    assert kinds.pop("model.layers.2.mlp.gate.e_score_correction_bias") is torch.float32
    assert set(kinds.values()) == {torch.bfloat16}
