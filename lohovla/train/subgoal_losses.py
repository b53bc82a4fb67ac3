"""Losses of the sub-goal pictures: the autoencoder's, and the image head's."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lohovla.model.configuration import LoHoVLAConfig
from lohovla.model.encoders.object_schema import LABEL, LABEL_XY
from lohovla.model.inference.subgoal_generation import move_of
from lohovla.model.modeling_lohovla import LoHoVLA
from lohovla.model.processor import Processor
from lohovla.model.subgoal.autoencoder import downsample
from lohovla.model.subgoal.pixel_transport import table_to_pixels
from lohovla.model.subgoal.subgoal_generator import DecodedTokens, generation_context
from lohovla.model.subgoal.subgoal_sampling import add_noise, cosine_sets
from lohovla.train.objectives import expert_inputs
from lohovla.train.training_batch import LabelledBatch

_WITHOUT = 0.1  # share of samples that paint without the sub-task, for guidance
_WINDOW = 48  # pixels
_CHANGED = 0.1  # mean square between tokens, from which something has changed there
_REPEATS = 4  # noise levels a token, as hidden states are dear and the head is cheap


def autoencoder_losses(model: LoHoVLA, batch: LabelledBatch) -> dict[str, Tensor]:
    """Reconstruction of windows with something in them (absolute, squared, and edges), and divergence from normal."""
    config = model.config
    rows = torch.arange(len(batch.objects), device=batch.objects.device)
    real = batch.objects[..., LABEL["kind"]] >= 0
    anything = torch.rand_like(batch.objects[..., 0]).where(real, -1.0).argmax(1)
    picture = torch.cat(
        [
            windows(downsample(batch.inputs.picture), batch.objects[rows, anything, LABEL_XY], config),
            windows(downsample(batch.after), torch.nan_to_num(batch.points[:, 0, 1, :2], nan=0.3), config),
        ]
    )
    latents = model.autoencoder.encode(picture)
    painted = model.autoencoder.decode(latents.sample())
    edges = sum(F.l1_loss(painted.diff(dim=axis), picture.diff(dim=axis)) for axis in (2, 3))
    return {
        "code/picture": F.l1_loss(painted, picture),
        "code/square": F.mse_loss(painted, picture),
        "code/edges": torch.as_tensor(edges),
        "code/kl": latents.kl().mean() / picture[0].numel(),
    }


def windows(picture: Tensor, xy: Tensor, config: LoHoVLAConfig) -> Tensor:
    """Windows (B, 4, 48, 48) of small pictures about points (B, 2) of the table: most of a picture is bare table."""
    height, width = picture.shape[2:]
    edge = min(_WINDOW, height, width)
    shift = (torch.rand(len(xy), 2, device=xy.device) - 0.5) * edge / 2
    limits = torch.tensor([height - edge, width - edge], device=xy.device)
    at = (table_to_pixels(config, xy, (height, width)) + shift - edge / 2).round().long()
    at = torch.minimum(at.clamp(min=0), limits)
    return torch.stack([one[:, r : r + edge, c : c + edge] for one, (r, c) in zip(picture, at.tolist(), strict=True)])


class SubgoalForward:
    """The image head's pass over a batch."""

    def __init__(self, model: LoHoVLA, batch: LabelledBatch, processor: Processor):
        self.model = model
        painter = model.painter
        points, cache, sequence = expert_inputs(model, batch, processor)
        # Only the picture after a successful sub-task is a target.
        self.good = (batch.reached > 0.5) & sequence.exists[:, 0]
        with torch.no_grad():
            move = move_of(model, batch.inputs.picture, sequence.seen, points)
            self.after = painter.tokens(model.autoencoder.encode(downsample(batch.after)).mode())
        without = torch.rand(len(self.after), device=self.after.device) < _WITHOUT
        self.scene = generation_context(painter, move, cache, sequence.layout, without)
        self.shown = ~without

    def losses(self) -> dict[str, Tensor]:
        """Squared errors of clean tokens, in raster order or random sets; where the picture changes, and elsewhere."""
        painter = self.model.painter
        count, tokens, _ = self.after.shape
        device = self.after.device
        ranks = torch.rand(count, tokens, device=device).argsort(1)
        sizes = torch.tensor(cosine_sets(tokens, 8), device=device)
        sets = torch.repeat_interleave(torch.arange(len(sizes), device=device), sizes).expand(count, -1)
        raster = torch.rand(count, 1, device=device) < 0.5
        straight = torch.arange(tokens, device=device).expand(count, -1)
        where, sets = torch.where(raster, straight, ranks), torch.where(raster, straight, sets)
        data = self.after.gather(1, where[..., None].expand(-1, -1, self.after.shape[-1]))
        hidden = painter.hidden(self.scene, DecodedTokens(data, where, sets, sets), where)
        data, hidden, now, moved = (x.repeat(_REPEATS, 1, 1) for x in (data, hidden, *self.scene.tokens_at(where)))
        t = torch.sigmoid(torch.randn(data.shape[:2], device=device))
        clean = painter.head(add_noise(self.model.config, data, torch.randn_like(data), t), t, hidden, now, moved)
        error = (clean - data).square().mean(-1)
        changed = (data - now).square().mean(-1) > _CHANGED
        good = self.good.repeat(_REPEATS)[:, None]
        parts = {"paint/changed": error[changed & good], "paint/same": error[~changed & good]}
        return {name: part.mean() if part.numel() else error.sum() * 0 for name, part in parts.items()}
