"""Statistics of pictures that the sub-goal stages start from."""

from __future__ import annotations

from itertools import islice

import numpy as np
import torch

from lohovla.model.modeling_lohovla import LoHoVLA
from lohovla.model.processor import picture_of
from lohovla.model.subgoal.autoencoder import downsample
from lohovla.train.batch_source import BatchSource
from lohovla.train.training_stages import Stage

_MEASURED = 96  # pictures


@torch.no_grad()
def measure_pictures(model: LoHoVLA, source: BatchSource, stage: Stage) -> None:
    """What a stage takes from pictures before it is first trained: the linear code, or the scale of latents."""
    if stage.name in model.config.trained_stages:
        return
    drawn = list(islice(iter(source.samples(stage, 0, 0, 1)), _MEASURED))
    colors, depths = (torch.from_numpy(np.stack([x[key] for x in drawn])) for key in ("images.top", "depth.top"))
    picture = downsample(picture_of(colors, depths)).to(model.device)
    if stage.name == "subgoal":
        model.painter.fit_scale(model.autoencoder.encode(picture).mode())
    else:
        model.autoencoder.init_from_pca(picture)
