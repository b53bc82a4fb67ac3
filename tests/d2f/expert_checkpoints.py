"""Tiny mixtures of experts in the published key layouts, and their computation written out from the weights."""

import json

import torch
from safetensors.torch import save_file

VOCABULARY, HIDDEN, LAYERS, HEADS, KEY_HEADS, SIZE = 40, 32, 3, 4, 2, 8
EXPERTS, CHOSEN, INNER, DENSE = 8, 3, 12, 24
MASK, EOS = 39, 38

CONFIGS = {
    "llada_moe": {
        "architectures": ["LLaDAMoEModelLM"],
        "model_type": "llada",
        "attention_bias": False,
        "clip_qkv": None,
        "dense_intermediate_size": DENSE,
        "expert_intermediate_size": INNER,
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "max_position_embeddings": 512,
        "moe_layer_freq": [0, 1, 1],
        "moe_router_enable_expert_bias": False,
        "moe_router_score_function": "softmax",
        "norm_topk_prob": None,
        "num_attention_heads": HEADS,
        "num_experts": EXPERTS,
        "num_experts_per_tok": CHOSEN,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": HEADS,
        "partial_rotary_factor": 1,
        "qk_layernorm": True,
        "rms_norm_eps": 1e-5,
        "rope_scaling": None,
        "rope_theta": 50000,
        "routed_scaling_factor": 1,
        "router_num_group": None,
        "shared_expert_intermediate_size": None,
        "tie_word_embeddings": False,
        "vocab_size": VOCABULARY,
        "eos_token_id": EOS,
        "mask_token_id": MASK,
    },
    "sdar_moe": {
        "architectures": ["SDARMoeForCausalLM"],
        "auto_map": {"AutoModel": "modeling_sdar_moe.SDARMoeModel"},
        "model_type": "sdar_moe",
        "attention_bias": False,
        "decoder_sparse_step": 1,
        "head_dim": SIZE,
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "intermediate_size": DENSE,
        "max_position_embeddings": 512,
        "mlp_only_layers": [0],
        "moe_intermediate_size": INNER,
        "norm_topk_prob": True,
        "num_attention_heads": HEADS,
        "num_experts": EXPERTS,
        "num_experts_per_tok": CHOSEN,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": KEY_HEADS,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "tie_word_embeddings": False,
        "use_sliding_window": False,
        "sliding_window": None,
        "vocab_size": VOCABULARY,
        "eos_token_id": EOS,
        "mask_token_id": MASK,
    },
    "llada2_moe": {
        "architectures": ["LLaDA2MoeModelLM"],
        "model_type": "llada2_moe",
        "first_k_dense_replace": 1,
        "head_dim": SIZE,
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "intermediate_size": DENSE,
        "max_position_embeddings": 512,
        "moe_intermediate_size": INNER,
        "moe_router_enable_expert_bias": True,
        "n_group": 4,
        "topk_group": 2,
        "norm_topk_prob": True,
        "num_attention_heads": HEADS,
        "num_experts": EXPERTS,
        "num_experts_per_tok": CHOSEN,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": KEY_HEADS,
        "num_shared_experts": 1,
        "partial_rotary_factor": 0.5,
        "rms_norm_eps": 1e-6,
        "rope_scaling": None,
        "rope_theta": 600000,
        "routed_scaling_factor": 2.5,
        "score_function": "sigmoid",
        "tie_word_embeddings": False,
        "use_bias": False,
        "use_qk_norm": True,
        "use_qkv_bias": False,
        "vocab_size": VOCABULARY,
        "eos_token_id": EOS,
        "mask_token_id": MASK,
        "block_size": 8,
    },
}


def make(folder, family):
    """Write a tiny checkpoint with random weights; returns ``model(ids, mask)`` over them and the tensors."""
    config = CONFIGS[family]
    generator = torch.Generator().manual_seed(len(family))

    def matrix(*shape):
        return torch.randn(shape, generator=generator) / shape[-1] ** 0.5

    def norm(size):
        return 1 + 0.1 * torch.randn(size, generator=generator)

    def mlp(name, inner):
        return {
            f"{name}.gate_proj.weight": matrix(inner, HIDDEN) * 2,
            f"{name}.up_proj.weight": matrix(inner, HIDDEN) * 2,
            f"{name}.down_proj.weight": matrix(HIDDEN, inner) * 2,
        }

    two = family == "llada2_moe"
    keys = config["num_key_value_heads"]
    tensors = {
        f"model.{'word_embeddings' if two else 'embed_tokens'}.weight": torch.randn(
            VOCABULARY, HIDDEN, generator=generator
        ),
        "model.norm.weight": norm(HIDDEN),
        "lm_head.weight": matrix(VOCABULARY, HIDDEN) * 3,
    }
    for i in range(LAYERS):
        layer = f"model.layers.{i}"
        tensors |= {f"{layer}.{name}_layernorm.weight": norm(HIDDEN) for name in ("input", "post_attention")}
        if two:
            tensors |= {
                f"{layer}.attention.query_key_value.weight": matrix((HEADS + 2 * keys) * SIZE, HIDDEN),
                f"{layer}.attention.dense.weight": matrix(HIDDEN, HEADS * SIZE),
                f"{layer}.attention.query_layernorm.weight": norm(SIZE),
                f"{layer}.attention.key_layernorm.weight": norm(SIZE),
            }
        else:
            tensors |= {
                f"{layer}.self_attn.q_proj.weight": matrix(HEADS * SIZE, HIDDEN),
                f"{layer}.self_attn.k_proj.weight": matrix(keys * SIZE, HIDDEN),
                f"{layer}.self_attn.v_proj.weight": matrix(keys * SIZE, HIDDEN),
                f"{layer}.self_attn.o_proj.weight": matrix(HIDDEN, HEADS * SIZE),
                f"{layer}.self_attn.q_norm.weight": norm(SIZE),
                f"{layer}.self_attn.k_norm.weight": norm(SIZE),
            }
        if i == 0:
            tensors |= mlp(f"{layer}.mlp", DENSE)
            continue
        tensors[f"{layer}.mlp.gate.weight"] = matrix(EXPERTS, HIDDEN) * 2
        for k in range(EXPERTS):
            tensors |= mlp(f"{layer}.mlp.experts.{k}", INNER)
        if two:
            tensors[f"{layer}.mlp.gate.expert_bias"] = torch.randn(EXPERTS, generator=generator) / 2
            tensors |= mlp(f"{layer}.mlp.shared_experts", INNER)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return forward(tensors, config, family), tensors


def forward(weights, config, family):
    """``model(ids, mask)``: logits (length, vocabulary), every expert asked one token at a time."""
    two, keys, eps = family == "llada2_moe", config["num_key_value_heads"], config["rms_norm_eps"]

    def norm(x, key):
        return weights[key] * x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt()

    def turn(x):  # (heads, length, size): of the first `turned` numbers each pair turns by its own angle
        turned = int(SIZE * config.get("partial_rotary_factor", 1))
        angles = torch.arange(x.shape[1])[:, None] * config["rope_theta"] ** (-torch.arange(0, turned, 2) / turned)
        first, second, rest = x.split([turned // 2, turned // 2, SIZE - turned], -1)
        cosine, sine = angles.cos(), angles.sin()
        return torch.cat([first * cosine - second * sine, second * cosine + first * sine, rest], -1)

    def mlp(x, name):
        gate = weights[f"{name}.gate_proj.weight"] @ x
        return weights[f"{name}.down_proj.weight"] @ (gate * gate.sigmoid() * (weights[f"{name}.up_proj.weight"] @ x))

    def route(x, name):
        """Experts of a token, and how much each counts."""
        scores = weights[f"{name}.gate.weight"] @ x
        if not two:
            sure = scores.softmax(-1)
            best = sorted(range(EXPERTS), key=lambda k: -sure[k])[:CHOSEN]
            whole = sum(sure[k] for k in best) if config["norm_topk_prob"] else 1.0
            return {k: sure[k] / whole for k in best}
        sure = scores.sigmoid()
        wanted = sure + weights[f"{name}.gate.expert_bias"]
        each = EXPERTS // config["n_group"]
        groups = [list(range(g * each, (g + 1) * each)) for g in range(config["n_group"])]
        groups.sort(key=lambda group: -sum(sorted((wanted[k].item() for k in group), reverse=True)[:2]))
        open_ = [k for group in groups[: config["topk_group"]] for k in group]
        best = sorted(open_, key=lambda k: -wanted[k])[:CHOSEN]
        whole = sum(sure[k] for k in best)
        return {k: config["routed_scaling_factor"] * sure[k] / whole for k in best}

    def inner(x, layer, i):
        if i == 0:
            return mlp(x, f"{layer}.mlp")
        told = sum(share * mlp(x, f"{layer}.mlp.experts.{k}") for k, share in route(x, f"{layer}.mlp").items())
        return told + (mlp(x, f"{layer}.mlp.shared_experts") if two else 0)

    def run(ids, allowed):
        x = weights[f"model.{'word_embeddings' if two else 'embed_tokens'}.weight"][ids]
        for i in range(LAYERS):
            layer = f"model.layers.{i}"
            h = norm(x, f"{layer}.input_layernorm.weight")
            if two:
                whole = h @ weights[f"{layer}.attention.query_key_value.weight"].T
                q, k, v = whole.view(len(ids), -1, SIZE).split([HEADS, keys, keys], 1)
                names, out = ("attention.query_layernorm", "attention.key_layernorm"), "attention.dense"
            else:
                q, k, v = (
                    (h @ weights[f"{layer}.self_attn.{name}_proj.weight"].T).view(len(ids), -1, SIZE) for name in "qkv"
                )
                names, out = ("self_attn.q_norm", "self_attn.k_norm"), "self_attn.o_proj"
            q, k = (norm(part, f"{layer}.{name}.weight") for part, name in zip((q, k), names, strict=True))
            q, k, v = turn(q.transpose(0, 1)), turn(k.transpose(0, 1)), v.transpose(0, 1)
            k, v = (part.repeat_interleave(HEADS // keys, 0) for part in (k, v))
            scores = (q @ k.mT / SIZE**0.5).masked_fill(~allowed, -torch.inf)
            x = x + (scores.softmax(-1) @ v).transpose(0, 1).flatten(1) @ weights[f"{layer}.{out}.weight"].T
            h = norm(x, f"{layer}.post_attention_layernorm.weight")
            x = x + torch.stack([inner(row, layer, i) for row in h])
        return norm(x, "model.norm.weight") @ weights["lm_head.weight"].T

    return run
