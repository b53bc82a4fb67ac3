"""Camera pictures as a few tokens: a convolutional encoder shared by all cameras, read at learned keypoints.

The mean place of an attention map (spatial soft-argmax, Levine et al., 1504.00702) is finer than the grid of features.
Words and camera scale and shift the features (FiLM, Perez et al., 1709.07871), so that the keypoints are those of the
task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lohovla.model.configuration import LoHoVLAConfig

_BLOCKS = 3
_GROUPS = 8
_SHARPNESS = 5.0  # of attention maps at the start: flat ones all have the same mean place, and are slow to part


class CameraEncoder(nn.Module):
    """Tokens of any number of cameras, of any sizes.

    Attributes:
        names: of the cameras, in the order of their tokens.
    """

    def __init__(self, config: LoHoVLAConfig):
        super().__init__()
        width, hidden = config.camera_width, config.text_config.hidden_size
        self.names = list(config.cameras)
        self.tokens, self.maps = config.camera_tokens, config.keypoint_maps
        self.patchify = nn.Conv2d(3, width, 8, stride=4, padding=2)
        self.blocks = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(_BLOCKS))
        self.words = nn.Sequential(nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, hidden))
        self.film = nn.Linear(hidden, 2 * width * _BLOCKS)
        self.attend = nn.Conv2d(width, self.tokens * self.maps, 1)
        self.attend.weight.data.mul_(_SHARPNESS)
        self.project = nn.Linear(2 * self.maps + width, hidden)
        self.token_entry = nn.Parameter(torch.randn(self.tokens, hidden) * 0.02)
        self.camera_entry = nn.Embedding(len(self.names), hidden)

    def forward(self, pictures: Mapping[str, Tensor], words: Tensor, valid: Tensor) -> Tensor:
        """Tokens (B, cameras x tokens, hidden).

        Args:
            pictures: colour in [-1, 1] (B, 3, h, w) of each camera.
            words: embeddings of the words that are acted on, which the features are conditioned on (B, T, hidden).
            valid: which of them are real (B, T).
        """
        # Sentences differ in a word or two: each is transformed before the mean is taken.
        each = self.words(F.layer_norm(words, words.shape[-1:])) * valid[..., None]
        sentence = each.sum(1) / valid.sum(1, keepdim=True)
        parts: list[Tensor] = [Tensor()] * len(self.names)
        for group in self._same_size(pictures):
            # Cameras of one size run as one batch.
            stacked = torch.cat([pictures[self.names[number]] for number in group])
            cameras = torch.tensor(group, device=words.device).repeat_interleave(len(words))
            entry = self.camera_entry(cameras)
            told = sentence.repeat(len(group), 1) + entry
            tokens = self._tokens(stacked.to(memory_format=torch.channels_last), told) + entry[:, None]
            for number, part in zip(group, tokens.chunk(len(group)), strict=True):
                parts[number] = part
        return torch.cat(parts, 1)

    def _same_size(self, pictures: Mapping[str, Tensor]) -> Sequence[list[int]]:
        sizes: dict[torch.Size, list[int]] = {}
        for number, name in enumerate(self.names):
            sizes.setdefault(pictures[name].shape[2:], []).append(number)
        return list(sizes.values())

    def _tokens(self, pictures: Tensor, told: Tensor) -> Tensor:
        features = F.silu(self.patchify(pictures))
        film = self.film(told).view(len(told), _BLOCKS, 2, -1)
        for number, block in enumerate(self.blocks):
            features = features + F.silu(modulated_group_norm(block(features), film[:, number, 0], film[:, number, 1]))
        height, width = features.shape[2:]
        weights = self.attend(features).flatten(2).float().softmax(-1)  # (B, tokens * maps, places)
        places = weights @ pixel_grid(height, width, features.device)
        first = weights.view(len(weights), self.tokens, self.maps, -1)[:, :, 0]
        pooled = first.to(features.dtype) @ features.flatten(2).transpose(1, 2)
        where = places.view(len(places), self.tokens, -1).to(features.dtype)
        return self.project(torch.cat([where, pooled], -1)) + self.token_entry


class CameraSummary(nn.Module):
    """What the decoder made of the cameras' tokens, as one vector for the heads.

    Attention gives a head weighted means of tokens; places in the picture come through sharper by a linear layer of
    each camera's own, over its tokens side by side.
    """

    def __init__(self, config: LoHoVLAConfig):
        super().__init__()
        hidden = config.text_config.hidden_size
        self.tokens = config.camera_tokens
        self.cameras = nn.ModuleList(nn.Linear(self.tokens * hidden, hidden) for _ in config.cameras)

    def forward(self, states: Tensor) -> Tensor:
        """Of the decoder's states of all cameras' tokens (B, cameras x tokens, hidden): (B, hidden)."""
        parts = [part.flatten(1) for part in states.split(self.tokens, 1)]
        return torch.stack([own(part) for own, part in zip(self.cameras, parts, strict=True)]).sum(0)


def modulated_group_norm(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Group normalisation (Wu & He, 1803.08494) times one plus ``scale``, plus ``shift``; all (B, C) but the features.

    The same as ``nn.GroupNorm`` and the two operations after it, as one product and sum over memory: on a CPU, where
    features (B, C, h, w) lie channels last, it takes a third of the time.
    """
    batch, channels, height, width = features.shape
    flat = features.permute(0, 2, 3, 1).reshape(batch, height * width, channels)
    mean_of = flat.new_full((1, 1, height * width), 1 / (height * width))
    mean, square = ((mean_of @ part)[:, 0].float().view(batch, _GROUPS, -1) for part in (flat, flat * flat))
    mean = mean.mean(-1, keepdim=True)
    variance = (square.mean(-1, keepdim=True) - mean * mean).clamp(min=0)
    gain = (1 + scale.float()).view(batch, _GROUPS, -1) * (variance + 1e-5).rsqrt()
    offset = shift.float() - (mean * gain).view(batch, channels)
    out = flat * gain.view(batch, 1, channels).to(flat.dtype) + offset.to(flat.dtype)[:, None]
    return out.view(batch, height, width, channels).permute(0, 3, 1, 2)


def pixel_grid(height: int, width: int, device: torch.device) -> Tensor:
    """Horizontal and vertical places a grid (height * width, 2), from -1 to 1, row by row."""
    rows, columns = (torch.linspace(-1, 1, n, device=device) for n in (height, width))
    return torch.stack([columns.repeat(height), rows.repeat_interleave(width)], -1)
