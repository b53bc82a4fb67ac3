"""Losses of the sub-goal pictures: the autoencoder's, and the image head's."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lohovla.model.core import LoHoVLA
from lohovla.model.picture import Known, scene_of, small
from lohovla.model.processor import Processor
from lohovla.model.sampling import cosine_sets, noisy
from lohovla.train.objectives import Labelled, expert_inputs

if TYPE_CHECKING:
    from lohovla.train.source import Source
    from lohovla.train.stages import Stage

_WITHOUT = 0.1  # share of samples that paint without the sub-task, for guidance
_REPEATS = 4  # noise levels a token, as hidden states are dear and the head is cheap


def autoencoder_losses(model: LoHoVLA, batch: Labelled) -> dict[str, Tensor]:
    """Reconstruction (absolute error, edges counted again) and divergence from the unit normal."""
    picture = small(torch.cat([batch.inputs.picture, batch.after]))
    coded = model.autoencoder.encode(picture).latent_dist
    painted = model.autoencoder.decode(coded.sample()).sample
    edges = sum(F.l1_loss(painted.diff(dim=axis), picture.diff(dim=axis)) for axis in (2, 3))
    return {
        "code/picture": F.l1_loss(painted, picture),
        "code/edges": torch.as_tensor(edges),
        "code/kl": coded.kl().mean() / picture[0].numel(),
    }


class Painting:
    """The image head's pass over a batch."""

    def __init__(self, model: LoHoVLA, batch: Labelled, processor: Processor):
        self.model = model
        painter = model.painter
        # Only what a sub-task led to shows what it should lead to.
        self.good = batch.reached > 0.5
        points, cache, sequence = expert_inputs(model, batch, processor)
        with torch.no_grad():
            self.now = painter.tokens(self._code(batch.inputs.picture))
            self.after = painter.tokens(self._code(batch.after))
        count = len(self.now)
        without = torch.rand(count, device=self.now.device) < _WITHOUT
        self.scene = scene_of(painter, self.now, points, cache, sequence.layout, without)

    def _code(self, picture: Tensor) -> Tensor:
        return self.model.autoencoder.encode(small(picture)).latent_dist.mode()

    def losses(self) -> dict[str, Tensor]:
        """Denoising errors of all tokens, in raster order or random sets; where the picture changes, and elsewhere."""
        painter = self.model.painter
        count, tokens, _ = self.after.shape
        device = self.after.device
        ranks = torch.rand(count, tokens, device=device).argsort(1)
        sizes = torch.tensor(cosine_sets(tokens, 8), device=device)
        sets = torch.repeat_interleave(torch.arange(len(sizes), device=device), sizes).expand(count, -1)
        raster = torch.rand(count, 1, device=device) < 0.5
        straight = torch.arange(tokens, device=device).expand(count, -1)
        where, sets = torch.where(raster, straight, ranks), torch.where(raster, straight, sets)
        rows = torch.arange(count, device=device)[:, None]
        data = self.after[rows, where]
        hidden = painter.hidden(self.scene, Known(data, where, sets, sets), where)
        data, hidden, now = (x.repeat(_REPEATS, 1, 1) for x in (data, hidden, self.now[rows, where]))
        t = torch.sigmoid(torch.randn(data.shape[:2], device=device))
        noise = torch.randn_like(data)
        x, wanted = noisy(self.model.config, data, noise, t)
        error = (painter.head(x, t, hidden, now) - wanted).square().mean(-1)
        changed = (data - now).square().mean(-1) > 0.1
        good = self.good.repeat(_REPEATS)[:, None]
        parts = {"paint/changed": error[changed & good], "paint/same": error[~changed & good]}
        return {name: part.mean() if part.numel() else error.sum() * 0 for name, part in parts.items()}


@torch.no_grad()
def measure_latents(model: LoHoVLA, source: Source, stage: Stage) -> None:
    """Set the painter's scale from pictures of the source."""
    pictures = [sample["images.top"] for sample in islice(iter(source.samples(stage, 0, 0, 1)), 64)]
    colors = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    coded = model.autoencoder.encode(small(colors).to(model.device)).latent_dist.mode()
    model.painter.measure(coded)
