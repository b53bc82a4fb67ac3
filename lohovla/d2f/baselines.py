"""Baselines on the same model contract: autoregression, and diffusion of the whole answer without a cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lohovla.d2f.denoiser import BlockDenoiser, suppress_mask
from lohovla.d2f.generation_output import GenerationOutput
from lohovla.d2f.sampling import Sampling, adjust_logits, choose_tokens
from lohovla.d2f.stop_strings import Stopped, stopped


@torch.inference_mode()
def autoregress(
    denoiser: BlockDenoiser,
    prompt: Sequence[int],
    sampling: Sampling,
    number: int = 0,
    text: Callable[[list[int]], str] | None = None,
) -> Iterator[GenerationOutput]:
    """One token a forward, causal, with a cache; gives the answer so far after each, the last one complete.

    Args:
        denoiser: a model whose hidden states predict the next token.
        prompt: token ids, at least one.
        sampling: how tokens are chosen and answers end.
        number: which of several answers this is, for the seed.
        text: turns ids into text; only stop strings need it.
    """
    device = denoiser.device
    generator = torch.Generator().manual_seed(sampling.seed + number)
    cache = denoiser.new_cache(1)
    answer = GenerationOutput([], [], [], [], [], 0, "length")
    window = torch.tensor([list(prompt)], device=device)
    place = 0
    while len(answer.tokens) < sampling.max_tokens:
        width = window.shape[1]
        positions = place + torch.arange(width, device=device)[None]
        causal = torch.ones(1, width, width, dtype=torch.bool, device=device).tril()
        hidden = denoiser.forward(window, positions, causal, cache, torch.tensor([width], device=device))
        place += width
        logits = denoiser.logits(hidden[:, -1])
        suppress_mask(logits, denoiser.mask_id)
        if len(answer.tokens) < sampling.min_tokens:
            logits[:, list(denoiser.eos_ids)] = -torch.inf
        logits = adjust_logits(logits, sampling, prompt, answer.tokens)
        chance = torch.rand(1, generator=generator).to(device) if sampling.temperature else None
        token, sure, logprobs = choose_tokens(logits, sampling, chance)
        forwards = answer.forwards + 1
        if int(token) in denoiser.eos_ids:
            yield replace(answer, forwards=forwards, reason="end")
            return
        ranked = zip(*(part[0].tolist() for part in reversed(logprobs.topk(sampling.logprobs, -1))), strict=True)
        answer = GenerationOutput(
            [*answer.tokens, int(token)],
            [*answer.confidence, float(sure)],
            [*answer.logprob, float(logprobs[0, token])],
            [*answer.ranked, list(ranked)],
            [*answer.step, forwards - 1],
            forwards,
            "length",
        )
        if (stop := stopped(answer.tokens, sampling.stop, text)) is not None:
            yield shorten(answer, stop)
            return
        yield answer
        window = token[:, None]
    yield answer


@torch.inference_mode()
def diffuse(
    denoiser: BlockDenoiser,
    prompt: Sequence[int],
    sampling: Sampling,
    number: int = 0,
    text: Callable[[list[int]], str] | None = None,
    each: int = 1,
) -> Iterator[tuple[Tensor, GenerationOutput]]:
    """The whole answer at once, full attention, no cache: in each forward the ``each`` surest masks are filled.

    Gives the canvas (length,) and the answer so far after each forward; the last one is complete. This is how the
    teacher of a distillation decodes.
    """
    device = denoiser.device
    generator = torch.Generator().manual_seed(sampling.seed + number)
    length = sampling.max_tokens
    canvas = torch.full((length,), denoiser.mask_id, device=device)
    head = torch.tensor(list(prompt), dtype=torch.long, device=device)
    positions = torch.arange(len(head) + length, device=device)[None]
    everything = torch.ones(1, len(head) + length, len(head) + length, dtype=torch.bool, device=device)
    sure, likely = torch.zeros(length), torch.zeros(length)
    born = torch.full((length,), -1)
    ends = torch.tensor(denoiser.eos_ids, device=device)
    for forward in range(-(-length // each)):
        hidden = denoiser.forward(torch.cat([head, canvas])[None], positions, everything, denoiser.new_cache(1))[0]
        places = (canvas == denoiser.mask_id).nonzero()[:, 0]
        logits = denoiser.logits(hidden[places + len(head) - int(denoiser.shift)])
        suppress_mask(logits, denoiser.mask_id)
        if sampling.min_tokens:
            logits[(places < sampling.min_tokens).nonzero(), ends] = -torch.inf
        if sampling.adjusts:
            logits = adjust_logits(logits, sampling, prompt, canvas[canvas != denoiser.mask_id].tolist())
        chance = torch.rand(length, generator=generator).to(device)[places] if sampling.temperature else None
        tokens, confidence, logprobs = choose_tokens(logits, sampling, chance)
        best = confidence.topk(min(each, len(places))).indices
        where = places[best]
        canvas[where] = tokens[best]
        sure[where.cpu()], born[where.cpu()] = confidence[best].cpu(), forward
        likely[where.cpu()] = logprobs[best, tokens[best]].cpu()
        stop = torch.isin(canvas, ends).nonzero()[:, 0]
        known = (canvas == denoiser.mask_id).nonzero()[:, 0]
        cut = int(stop[0]) if len(stop) else length
        done = not len(known) or int(known[0]) > cut
        answer = GenerationOutput(
            canvas[:cut].tolist(),
            sure[:cut].tolist(),
            likely[:cut].tolist(),
            [[] for _ in range(cut)],
            born[:cut].tolist(),
            forward + 1,
            "end" if len(stop) else "length",
        )
        if done and (found := stopped(answer.tokens, sampling.stop, text)) is not None:
            answer = shorten(answer, found)
        yield canvas.clone(), answer
        if done:
            return


def shorten(answer: GenerationOutput, stop: Stopped) -> GenerationOutput:
    """The part of an answer before a stop string."""
    names = ("tokens", "confidence", "logprob", "ranked", "step")
    lists: dict[str, Any] = {name: getattr(answer, name)[: stop.tokens] for name in names}
    return replace(answer, **lists, reason="stop", characters=stop.characters)
