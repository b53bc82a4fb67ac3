"""Proposals for the masked rows of a forward: language head, confidence and arg-max, a tile of rows at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from lohovla.d2f.engine.batch import Section
from lohovla.d2f.engine.lane import Lane
from lohovla.d2f.engine.runner import Runner
from lohovla.d2f.sampling import Proposals, Sampling, choose, penalize

_TILE = 1024  # rows whose logits are in memory at once


@torch.inference_mode()
def propose(runner: Runner, hidden: Tensor, lane: Lane, sections: list[Section]) -> list[Proposals]:
    """What the model proposes for each version of a lane's open blocks.

    Args:
        runner: of the model.
        hidden: (rows, d) of the forward.
        lane: whose texts they are.
        sections: one a version.
    """
    texts = lane.texts
    lasts = torch.stack([torch.zeros_like(hidden[0]) if text.last is None else text.last for text in texts])
    length = lane.canvas.tokens.shape[1]
    chance = torch.zeros(len(texts), length, device=hidden.device)
    for row, text in enumerate(texts):
        if text.request.sampling.temperature > 0:
            own = int(lane.canvas.limit[row]) * lane.canvas.size
            chance[row, :own] = torch.rand(own, generator=text.generator).to(hidden.device)
    plain = lane.texts[0].kind.ranks == 0 and all(_greedy(text.request.sampling) for text in texts)
    made = []
    for section in sections:
        found = []
        for start in range(0, max(1, len(section.rows)), _TILE):
            tile = slice(start, start + _TILE)
            rows, columns, states = section.rows[tile], section.columns[tile], section.states[tile]
            picked = torch.where((states >= 0)[:, None], hidden[states], lasts[rows])
            if plain and (likeliest := runner.likeliest(picked)) is not None:
                tokens, sure = likeliest
                none = sure.new_zeros(len(sure), 0)
                found.append((tokens, sure, sure.log(), none.long(), none))
                continue
            logits = _adjusted(runner, picked, lane, section, rows, columns)
            found.append(_choose(logits, lane, rows, chance[rows, columns]))
        where = (section.rows, section.columns)
        values = [torch.cat(parts) for parts in zip(*found, strict=True)]
        blank = [torch.zeros_like(old) for old in vars(lane.kept).values()]
        made.append(Proposals(*(b.index_put(where, value) for b, value in zip(blank, values, strict=True))))
    return made


def _greedy(sampling: Sampling) -> bool:
    """Whether nothing is asked for but the likeliest tokens."""
    return not sampling.temperature and not sampling.min_tokens and sampling.repetition_penalty == 1.0


def _adjusted(
    runner: Runner, picked: Tensor, lane: Lane, section: Section, rows: Tensor, columns: Tensor
) -> Tensor:  # fmt: skip
    """Logits without the mask token, and with what requests say of end tokens and repetition."""
    denoiser = runner.denoiser
    logits = runner.logits(picked)
    logits[:, denoiser.mask_id] = -torch.inf
    samplings = [text.request.sampling for text in lane.texts]
    if any(sampling.min_tokens for sampling in samplings):
        least = torch.tensor([sampling.min_tokens for sampling in samplings], device=logits.device)
        early = columns - lane.canvas.given[rows, 0] < least[rows]
        logits[early.nonzero(), torch.tensor(denoiser.eos_ids, device=logits.device)] = -torch.inf
    for row, (text, sampling) in enumerate(zip(lane.texts, samplings, strict=True)):
        if sampling.repetition_penalty != 1.0 and bool((own := rows == row).any()):
            canvas = section.canvas
            present = torch.zeros_like(logits[:1], dtype=torch.bool)
            present[0, torch.as_tensor(text.request.prompt, dtype=torch.long, device=logits.device)] = True
            present[0, canvas.tokens[row][~canvas.masked[row]]] = True
            logits[own] = penalize(logits[own], present, sampling.repetition_penalty)
    return logits


def _choose(logits: Tensor, lane: Lane, rows: Tensor, chance: Tensor) -> tuple[Tensor, ...]:
    """Tokens, confidences, log-probabilities, and the likeliest with theirs; of each request by its own settings."""
    groups: dict[tuple[float, float, int], list[int]] = {}
    for row, text in enumerate(lane.texts):
        sampling = text.request.sampling
        key = (sampling.temperature, sampling.top_p, sampling.top_k) if sampling.temperature else (0.0, 1.0, 0)
        groups.setdefault(key, []).append(row)
    ranks = lane.texts[0].kind.ranks
    if len(groups) == 1:
        return _choose_alike(logits, lane.texts[0].request.sampling, chance, ranks)
    parts = []
    for members in groups.values():
        own = torch.isin(rows, torch.tensor(members, device=rows.device))
        parts.append((own, _choose_alike(logits[own], lane.texts[members[0]].request.sampling, chance[own], ranks)))
    whole = [torch.empty(len(rows), *value.shape[1:], dtype=value.dtype, device=value.device) for value in parts[0][1]]
    for own, values in parts:
        for target, value in zip(whole, values, strict=True):
            target[own] = value
    return tuple(whole)


def _choose_alike(logits: Tensor, sampling: Sampling, chance: Tensor, ranks: int) -> tuple[Tensor, ...]:
    tokens, confidence, logprobs = choose(logits, sampling, chance)
    ranked_logprob, ranked = logprobs.topk(ranks, -1)
    return tokens, confidence, logprobs.gather(1, tokens[:, None])[:, 0], ranked, ranked_logprob
