"""Proposals for the masked rows of a forward: language head, confidence and arg-max, a tile of rows at a time."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lohovla.d2f.denoiser import suppress_mask
from lohovla.d2f.engine.forward_batch import Section
from lohovla.d2f.engine.model_runner import ModelRunner
from lohovla.d2f.engine.request import GenerationRequest
from lohovla.d2f.engine.request_group import RequestGroup
from lohovla.d2f.engine.row_multiple import MOST
from lohovla.d2f.sampling import Proposals, Sampling, adjust_logits, choose_tokens
from lohovla.d2f.token_constraint import ConstrainedRow

_TILE = 2**25  # logits that are in memory at once


@torch.inference_mode()
def propose_tokens(
    runner: ModelRunner, hidden: Tensor, lane: RequestGroup, sections: list[Section], chance: np.ndarray | None
) -> list[Proposals]:
    """What the model proposes for each version of a lane's open blocks.

    Args:
        runner: of the model.
        hidden: (rows, d) of the forward.
        lane: whose texts they are.
        sections: one a version.
        chance: of :func:`draw_chances`.
    """
    made, step = [], max(MOST, _TILE // runner.config.vocab_size // MOST * MOST)
    for section in sections:
        constrained = _constrained_rows(runner, lane, section)
        found: list[tuple[Tensor, ...]] = []
        for start in range(0, max(1, len(section.rows)), step):
            tile = slice(start, start + step)
            rows, columns = section.rows[tile], section.columns[tile]
            picked = _picked(hidden, lane, rows, section.states[tile])
            if chance is None:
                found.append(runner.argmax_tokens(picked))
            else:
                logits = _adjusted(runner, picked, lane, section, rows, columns)
                chosen = _choose(logits, lane, rows, chance[rows, columns])
                for row, draft in constrained.items():
                    own = rows == row
                    mine = torch.from_numpy(own)
                    drawn = torch.from_numpy(chance[rows[own], columns[own]]).to(logits.device)
                    sampling, ranks = lane.texts[row].request.sampling, lane.texts[row].kind.ranks
                    parts = draft.propose(logits[mine], sampling, drawn, ranks)
                    for whole, part in zip(chosen, parts, strict=True):
                        whole[mine] = part
                found.append(chosen)
        values = [torch.cat(parts) for parts in zip(*found, strict=True)]
        blank = [np.zeros(old.shape, old.dtype) for old in vars(lane.kept).values()]
        for array, value in zip(blank, values, strict=False):  # where no ranks are asked for, there are none
            array[section.rows, section.columns] = value.numpy(force=True)
        made.append(Proposals(*blank))
    return made


def _picked(hidden: Tensor, lane: RequestGroup, rows: np.ndarray, states: np.ndarray) -> Tensor:
    """(m, d) the hidden states that tell masked places."""
    picked = hidden.index_select(0, torch.from_numpy(np.maximum(states, 0)).to(hidden.device))
    for place in np.flatnonzero(states < 0).tolist():
        last = lane.texts[rows[place]].last
        assert last is not None
        picked[place] = last
    return picked


def draw_chances(lane: RequestGroup) -> np.ndarray | None:
    """(n, length) uniform numbers for the draws of a step; None where all is greedy and nothing else is asked for."""
    if lane.texts[0].kind.ranks == 0 and all(_greedy(text.request) for text in lane.texts):
        return None
    chance = np.zeros(lane.canvas.tokens.shape, np.float32)
    for row, text in enumerate(lane.texts):
        if text.request.sampling.temperature > 0:
            own = int(lane.canvas.limit[row]) * lane.canvas.size
            chance[row, :own] = torch.rand(own, generator=text.generator).numpy()
    return chance


def _constrained_rows(runner: ModelRunner, lane: RequestGroup, section: Section) -> dict[int, ConstrainedRow]:
    """Of the sequences with a constraint, by row, what proposes for them."""
    found, canvas = {}, section.canvas
    for row, text in enumerate(lane.texts):
        if text.request.constraint is not None:
            said = canvas.tokens[row, len(text.tail) : int(canvas.gap[row])].tolist()
            accept = float(lane.settings.thresholds.accept[row, 0])
            found[row] = ConstrainedRow(text.request.constraint, said, accept, runner.denoiser.eos_ids)
    return found


def _greedy(request: GenerationRequest) -> bool:
    """Whether nothing is asked for but the likeliest tokens."""
    sampling = request.sampling
    return request.constraint is None and not sampling.temperature and not sampling.min_tokens and not sampling.adjusts


def _adjusted(
    runner: ModelRunner, picked: Tensor, lane: RequestGroup, section: Section, rows: np.ndarray, columns: np.ndarray
) -> Tensor:
    """Logits without the mask token, and with what requests say of end tokens and repetition."""
    denoiser = runner.denoiser
    logits = runner.logits(picked)
    suppress_mask(logits, denoiser.mask_id)
    samplings = [text.request.sampling for text in lane.texts]
    if any(sampling.min_tokens for sampling in samplings):
        least = np.array([sampling.min_tokens for sampling in samplings])
        early = np.flatnonzero(columns - lane.canvas.given[rows, 0] < least[rows])
        logits[torch.from_numpy(early)[:, None], torch.tensor(denoiser.eos_ids)] = -torch.inf
    for row, (text, sampling) in enumerate(zip(lane.texts, samplings, strict=True)):
        if sampling.adjusts and (own := rows == row).any():
            canvas, given = section.canvas, len(text.tail)
            decided = canvas.tokens[row, given:][~canvas.masked[row, given:]].tolist()
            mine = torch.from_numpy(own)
            logits[mine] = adjust_logits(logits[mine], sampling, text.request.prompt, decided)
    return logits


def _choose(logits: Tensor, lane: RequestGroup, rows: np.ndarray, chance: np.ndarray) -> tuple[Tensor, ...]:
    """Tokens, confidences, log-probabilities, and the likeliest with theirs; of each request by its own settings."""
    drawn, device = torch.from_numpy(chance).to(logits.device), logits.device
    groups: dict[tuple[float, float, int, float], list[int]] = {}
    for row, text in enumerate(lane.texts):
        sampling = text.request.sampling
        key = (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p)
        key = key if sampling.temperature else (0.0, 1.0, 0, 0.0)
        groups.setdefault(key, []).append(row)
    ranks = lane.texts[0].kind.ranks
    if len(groups) == 1:
        return _choose_alike(logits, lane.texts[0].request.sampling, drawn, ranks)
    parts = []
    for members in groups.values():
        own = torch.from_numpy(np.isin(rows, members)).to(device)
        parts.append((own, _choose_alike(logits[own], lane.texts[members[0]].request.sampling, drawn[own], ranks)))
    whole = [torch.empty(len(rows), *value.shape[1:], dtype=value.dtype, device=device) for value in parts[0][1]]
    for own, values in parts:
        for target, value in zip(whole, values, strict=True):
            target[own] = value
    return tuple(whole)


def _choose_alike(logits: Tensor, sampling: Sampling, chance: Tensor, ranks: int) -> tuple[Tensor, ...]:
    tokens, confidence, logprobs = choose_tokens(logits, sampling, chance)
    ranked_logprob, ranked = logprobs.topk(ranks, -1)
    return tokens, confidence, logprobs.gather(1, tokens[:, None])[:, 0], ranked, ranked_logprob
