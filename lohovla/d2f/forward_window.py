"""The window of one forward: which tokens, at which positions, and who sees whom."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from lohovla.d2f.block_state import DecodeState
from lohovla.d2f.denoiser import BlockDenoiser


class WindowContext(Protocol):
    """What a window is read from: the sequences that are decoded.

    Attributes:
        canvas: the state of all sequences.
        prompt: (n, p) ids, padded.
        length: (n,) prompt lengths.
        fed: (n,) tokens that are in the cache.
        start: (n,) position of each prompt's first token.
        denoiser: the model.
    """

    canvas: DecodeState
    prompt: Tensor
    length: Tensor
    fed: Tensor
    start: Tensor
    denoiser: BlockDenoiser


class ForwardWindow:
    """The tokens of one forward: what is to be committed leads, then each version's open blocks follow.

    Attributes:
        tokens: (n, w) ids.
        positions: (n, w) positions.
        visible: (n, w, w) bool.
        lead: (n, l) bool: which of the leading columns are real.
        sections: the columns of each version.
        commits: whether any sequence has something to commit.
    """

    def __init__(self, session: WindowContext, versions: list[DecodeState]):
        base = session.canvas
        ready = session.length + base.retired * base.size
        parts = [_columns(session.fed, ready)]
        parts += [_columns(ready, session.length + version.open * version.size) for version in versions]
        tokens, sections, at = [], [], 0
        for (places, _), canvas in zip(parts, [base, *versions], strict=True):
            tokens.append(_read(session, canvas, places))
            sections.append(slice(at, at := at + places.shape[1]))
        self.lead, self.sections = parts[0][1], sections[1:]
        self.commits = bool(self.lead.any())
        places = torch.cat([part[0] for part in parts], 1)
        real = torch.cat([part[1] for part in parts], 1)
        self.tokens = torch.cat(tokens, 1)
        self.positions = session.start[:, None] + places
        section = torch.cat([torch.full((s.stop - s.start,), k) for k, s in enumerate(sections)]).to(places.device)
        self.visible = _visible(session, places, real, section)


def _columns(first: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """(n, w) places from ``first`` on, and (n, w) bool: those before ``end``."""
    width = int((end - first).max()) if len(first) else 0
    places = first[:, None] + torch.arange(width, device=first.device)
    return places, places < end[:, None]


def _read(session: WindowContext, canvas: DecodeState, places: Tensor) -> Tensor:
    """Tokens at ``places`` of the prompt followed by the canvas."""
    prompt, length = session.prompt, session.length[:, None]
    tokens = torch.zeros_like(places)
    if canvas.tokens.shape[1]:
        tokens = canvas.tokens.gather(1, (places - length).clamp(0, canvas.tokens.shape[1] - 1))
    if prompt.shape[1]:
        tokens = torch.where(places < length, prompt.gather(1, places.clamp(max=prompt.shape[1] - 1)), tokens)
    return tokens


def _visible(session: WindowContext, places: Tensor, real: Tensor, section: Tensor) -> Tensor:
    """(n, w, w) bool: block-causal, and versions see the lead and themselves."""
    size, length = session.canvas.size, session.length[:, None]
    in_prompt = places < length
    if session.denoiser.prompt == "blocks":
        order = torch.div(places, size, rounding_mode="floor")
    else:
        order = torch.where(in_prompt, -1, torch.div(places - length, size, rounding_mode="floor"))
    sees = order[:, None, :] <= order[:, :, None]
    if session.denoiser.prompt == "causal":
        sees = sees & (~in_prompt[:, :, None] | (places[:, None, :] <= places[:, :, None]))
    same = (section[None, :] == 0) | (section[None, :] == section[:, None])
    sees = sees & same & real[:, None, :]
    return sees | torch.eye(places.shape[1], dtype=torch.bool, device=places.device)
