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
