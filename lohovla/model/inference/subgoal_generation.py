"""From a sub-task that was planned and pointed at to the picture of its end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lohovla.errors import UserError
from lohovla.model.encoders.detector import DetectionMap, gather_cells, heatmap_cells
from lohovla.model.inference.pick_place_prediction import PickPlacePrediction
from lohovla.model.modeling_lohovla import LoHoVLA
from lohovla.model.subgoal.autoencoder import downsample
from lohovla.model.subgoal.pixel_transport import SHRINK, transport_pixels
from lohovla.model.subgoal.subgoal_generator import SubtaskMove, generation_context
from lohovla.model.subgoal.subgoal_sampling import sample_subgoal_tokens

ORDERS = ("parallel", "raster")
_FAINT, _CLEAR = 0.06, 0.16  # differences of colour in [-1, 1] (or dm) that are nothing, and that are a change
_AROUND = 5  # pixels of the small picture


@dataclass
class Subgoal:
    """A sub-goal.

    Attributes:
        tokens: of the image (B, N, D).
        picture: colour in [-1, 1] and depth in decimetres (B, 4, H, W), as the stem reads it.
    """

    tokens: Tensor
    picture: Tensor

    def color(self, row: int = 0) -> np.ndarray:
        """One of the pictures for people, uint8 (H, W, 3)."""
        return picture_to_rgb(self.picture[row])


def picture_to_rgb(picture: Tensor) -> np.ndarray:
    """A picture (4, H, W) as the stem reads it, for people: uint8 (H, W, 3)."""
    pixels = (picture[:3].clamp(-1, 1) + 1) * 127.5
    return pixels.round().byte().permute(1, 2, 0).cpu().numpy()


@dataclass(frozen=True)
class SubgoalSamplingConfig:
    """How sub-goals are painted.

    Attributes:
        order: ``parallel`` (random sets that grow) or ``raster`` (token by token).
        steps: passes of the parallel order.
        denoise: denoising steps of each token.
        guidance: above 1 the sub-task counts more.
    """

    order: str = "parallel"
    steps: int = 4
    denoise: int = 4
    guidance: float = 1.0

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise UserError(
                f"sub-goal pictures cannot be generated in the order {self.order!r}", f"choose {' or '.join(ORDERS)}"
            )
        if self.steps < 1 or self.denoise < 1:
            raise UserError(
                "passes and denoising steps of a sub-goal picture are at least 1", "4 and 4 are the defaults"
            )


def require_subgoal_generator(model: LoHoVLA) -> None:
    """Refuse a model whose image head was not trained.

    Raises:
        UserError: says how to train it.
    """
    if not {"autoencoder", "subgoal"} <= set(model.config.trained_stages):
        raise UserError(
            "this checkpoint generates no sub-goal pictures: its autoencoder and image head were not trained",
            "train them: lohovla train init=CHECKPOINT stage=autoencoder, then stage=subgoal in the same output",
        )


def move_of(model: LoHoVLA, picture: Tensor, seen: DetectionMap | None, points: Tensor) -> SubtaskMove:
    """What the painter is told of a sub-task: the picture now (B, 4, H, W) and its points (B, 2, 5)."""
    assert seen is not None
    now = downsample(picture)
    both = model.autoencoder.encode(torch.cat([now, transport_pixels(now, points, model.config)])).mode()
    observed, after = model.painter.tokens(both).chunk(2)
    picked = gather_cells(seen.map, heatmap_cells(model.config, points[:, :1, :2]))[:, 0]
    return SubtaskMove(points, picked, observed, after)


@torch.no_grad()
def generate_subgoal(
    model: LoHoVLA,
    picture: Tensor,
    seen: DetectionMap,
    pointed: PickPlacePrediction,
    brush: SubgoalSamplingConfig | None = None,
    generator: torch.Generator | None = None,
) -> Subgoal:
    """The scene at the end of a sub-task.

    Args:
        model: the core.
        picture: the scene now (B, 4, H, W), as the processor gives it.
        seen: the stem's view of it.
        pointed: the sub-task.
        brush: how to paint.
        generator: of the noise and of the order.
    """
    brush = brush or SubgoalSamplingConfig()
    move = move_of(model, picture, seen, pointed.points)
    scene = generation_context(model.painter, move, pointed.cache, pointed.layout)
    hidden = torch.ones(len(picture), dtype=torch.bool, device=picture.device)
    without = (
        generation_context(model.painter, move, pointed.cache, pointed.layout, hidden) if brush.guidance != 1 else None
    )
    tokens = sample_subgoal_tokens(
        model.painter, scene, brush.steps, brush.denoise, brush.order, brush.guidance, without, generator
    )
    return Subgoal(
        tokens, render_subgoal(model, transport_pixels(picture, pointed.points, model.config), move.moved, tokens)
    )


@torch.no_grad()
def render_subgoal(model: LoHoVLA, picture: Tensor, known: Tensor, tokens: Tensor) -> Tensor:
    """Image tokens as a picture (B, 4, H, W): decoded where they differ from ``known``, those of ``picture``.

    So what is known of a picture, of the camera or with the block moved, stays as sharp as the camera saw it.
    """
    latents = torch.cat([model.painter.latents(tokens), model.painter.latents(known)])
    painted, before = model.autoencoder.decode(latents).chunk(2)
    change = (painted - before).abs().amax(1, keepdim=True)
    share = ((change - _FAINT) / (_CLEAR - _FAINT)).clamp(0, 1)
    share = F.avg_pool2d(F.max_pool2d(share, _AROUND, 1, _AROUND // 2), 3, 1, 1, count_include_pad=False)
    both = F.interpolate(torch.cat([painted, share], 1), scale_factor=SHRINK, mode="bilinear")
    return torch.lerp(picture, both[:, :4], both[:, 4:])
