"""Discrete diffusion forcing as it was published: one text, a cache of transformers, a loop over tokens in Python.

This is what the engine is measured against: every row has its logits, every masked place is looked at one by one, and
nothing is shared between texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache

from lohovla.d2f.block_state import Thresholds
from lohovla.d2f.denoiser import CACHE, DecoderDenoiser, attention_bias


@torch.inference_mode()
def decode_plainly(
    denoiser: DecoderDenoiser, prompt: Sequence[int], size: int, limits: Thresholds, most: int
) -> list[int]:
    """The answer's tokens, cut at the first end token.

    Args:
        denoiser: the model; its prompt is read bidirectionally.
        prompt: token ids.
        size: tokens a block.
        limits: thresholds.
        most: tokens at most; whole blocks count.
    """
    tokens, mask, ends = list(prompt), denoiser.mask_id, denoiser.eos_ids
    decoder: Any = denoiser.decoder
    cache: Any = DynamicCache(config=decoder.config)
    committed, before = 0, None  # tokens in the cache, and the logits of the last one
    blocks: list[dict[str, Any]] = []
    ended = False

    def masks(block: dict[str, Any]) -> list[int]:
        return [place for place in range(block["at"], block["at"] + size) if tokens[place] == mask]

    def progress(block: dict[str, Any]) -> float:
        return (size - len(masks(block))) / size

    while True:
        if len(blocks) < most // size and not ended and (progress(blocks[-1]) if blocks else 1.0) >= limits.add:
            blocks.append({"at": len(tokens), "active": True, "full": False})
            tokens += [mask] * size
        for number, block in enumerate(blocks):
            near = progress(blocks[number - 1]) if number else 1.0
            block["full"] = block["full"] or near >= limits.activate
        if not any(block["active"] for block in blocks):
            break
        ready = len(prompt) + size * next((k for k, block in enumerate(blocks) if block["active"]), len(blocks))
        order = torch.tensor(
            [0 if place < len(prompt) else (place - len(prompt)) // size + 1 for place in range(len(tokens))]
        )
        window = order[committed:]
        bias = attention_bias((order[None] <= window[:, None])[None, None], next(decoder.parameters()).dtype)
        hidden = decoder(
            inputs_embeds=denoiser.embed(torch.tensor([tokens[committed:]])),
            attention_mask=bias,
            position_ids=torch.arange(committed, len(tokens))[None],
            use_cache=True,
            **{CACHE: cache},
        ).last_hidden_state[0]
        logits = denoiser.logits(hidden)
        logits[:, mask] = -torch.inf
        if denoiser.shift:
            first = logits[:1] if before is None else before
            shifted = torch.cat([first, logits[:-1]])
        else:
            shifted = logits
        chances = shifted.softmax(-1)
        if ready > committed:
            before = logits[ready - committed - 1][None].clone()
        start, committed = committed, ready
        cache.crop(committed - len(tokens))  # takes so many away
        for block in blocks:
            if not block["active"]:
                continue
            found = {}
            for place in masks(block):
                sure, token = chances[place - start].max(-1)
                found[place] = (sure.item(), token.item())
            taken = [place for place, (sure, _) in found.items() if sure > limits.accept]
            if not taken and block["full"] and found:
                taken = [max(found, key=lambda place: found[place][0])]
            for place in taken:
                tokens[place] = int(found[place][1])
                ended = ended or tokens[place] in ends
        for block in blocks:
            if masks(block):
                break
            block["active"] = False
        said = tokens[len(prompt) :]
        end = next((k for k, token in enumerate(said) if token in ends), None)
        if end is not None and mask not in said[:end]:
            return said[:end]
    return tokens[len(prompt) :]
