"""Discrete diffusion forcing written out plainly for one sequence: no cache, no batch, a whole forward a step."""

import torch


def decode(model, prompt, *, mask_id, eos_ids, shift, size, accept, add, activate, max_tokens):
    """Greedy decoding by the published steps. ``model(ids, mask)`` gives logits (length, vocabulary).

    Returns:
        All tokens behind the prompt (what follows an end token included), and the number of forwards.
    """
    tokens = list(prompt)
    blocks = []  # {"start", "state", "full"}
    seen_end = False
    forwards = 0

    def masks(block):
        return [i for i in range(block["start"], block["start"] + size) if tokens[i] == mask_id]

    def progress(block):
        return (size - len(masks(block))) / size

    while True:
        if len(blocks) < max_tokens // size and not seen_end and (progress(blocks[-1]) if blocks else 1.0) >= add:
            blocks.append({"start": len(tokens), "state": "active", "full": False})
            tokens += [mask_id] * size
        for number, block in enumerate(blocks):
            before = progress(blocks[number - 1]) if number else 1.0
            block["full"] = block["full"] or before >= activate
        if not any(masks(block) for block in blocks) and not any(block["state"] == "active" for block in blocks):
            break
        length = len(tokens)
        order = [-1] * len(prompt) + [k for k in range(len(blocks)) for _ in range(size)]
        allowed = torch.tensor([[order[j] <= order[i] for j in range(length)] for i in range(length)])
        logits = model(torch.tensor(tokens), allowed).clone()
        logits[:, mask_id] = -torch.inf
        forwards += 1
        probabilities = logits.softmax(-1)
        for block in blocks:
            if block["state"] != "active" or not masks(block):
                continue
            guesses = {}
            for place in masks(block):
                row = probabilities[place - 1 if shift else place]
                guesses[place] = (row.max().item(), row.argmax().item())
            taken = [place for place, (sure, _) in guesses.items() if sure > accept]
            if not taken and block["full"]:
                taken = [max(guesses, key=lambda place: guesses[place][0])]
            for place in taken:
                tokens[place] = guesses[place][1]
                seen_end = seen_end or tokens[place] in eos_ids
        for number, block in enumerate(blocks):
            behind_active = any(other["state"] == "active" for other in blocks[:number])
            if block["state"] == "active" and not masks(block) and not behind_active:
                block["state"] = "done"
    return tokens[len(prompt) :], forwards


def cut(tokens, eos_ids):
    """The text: what stands before the first end token."""
    ends = [i for i, token in enumerate(tokens) if token in eos_ids]
    return tokens[: ends[0]] if ends else tokens


def forward(weights, names, *, heads, kv_heads, layers, theta, eps):
    """``model(ids, mask)`` written out from the weights of a published checkpoint.

    Args:
        weights: tensors by key.
        names: templates of the keys: embed, norm, head, and with {i} for the layer: norm1, q, k, v, o, norm2, gate,
            up, down, and, where there are any, q_norm and k_norm. Biases are taken where they exist.
        heads: query heads.
        kv_heads: key heads.
        layers: how many layers.
        theta: base of the rotary angles.
        eps: of the norms.
    """

    def norm(x, key):
        return weights[key] * x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt()

    def linear(x, key):
        y = x @ weights[key].T
        bias = key.removesuffix("weight") + "bias"
        return y + weights[bias] if bias in weights else y

    def turn(x):  # (heads, length, size): each pair (i, i + size / 2) turns by its own angle
        length, size = x.shape[1:]
        angles = torch.arange(length)[:, None] * theta ** (-torch.arange(0, size, 2) / size)
        first, second = x[..., : size // 2], x[..., size // 2 :]
        cosine, sine = angles.cos(), angles.sin()
        return torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1)

    def run(ids, allowed):
        x = weights[names["embed"]][ids]
        for i in range(layers):
            key = {name: template.format(i=i) for name, template in names.items()}
            h = norm(x, key["norm1"])
            parts = {}
            for part, count in (("q", heads), ("k", kv_heads), ("v", kv_heads)):
                y = linear(h, key[part]).view(len(ids), count, -1)
                if part + "_norm" in names:
                    y = norm(y, key[part + "_norm"])
                parts[part] = y.transpose(0, 1)
            q, k, v = turn(parts["q"]), turn(parts["k"]), parts["v"]
            k, v = (y.repeat_interleave(heads // kv_heads, 0) for y in (k, v))
            scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(~allowed, -torch.inf)
            x = x + linear((scores.softmax(-1) @ v).transpose(0, 1).flatten(1), key["o"])
            h = norm(x, key["norm2"])
            gate = linear(h, key["gate"])
            x = x + linear(gate * gate.sigmoid() * linear(h, key["up"]), key["down"])
        return norm(x, names["norm"]) @ weights[names["head"]].T

    return run
