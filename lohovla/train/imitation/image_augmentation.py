"""Image augmentation: random shifts, brightness and contrast of the pictures that a core is trained on."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def augment_images(pictures: Tensor, shift: int, color: float, generator: torch.Generator | None = None) -> Tensor:
    """Pictures (B, 3, h, w) in [-1, 1], each moved and with another brightness and contrast.

    Args:
        pictures: of one camera.
        shift: most pixels along each axis; what comes in repeats the edge. Less along an axis than a quarter of it.
        color: largest change of brightness and of contrast.
        generator: of the changes.
    """
    count, _, height, width = pictures.shape
    draw = {"generator": generator, "device": pictures.device}
    if color:
        gain, offset = ((torch.rand(count, 1, 1, 1, **draw) * 2 - 1) * color for _ in range(2))
        pictures = pictures * (1 + gain) + offset
    if shift:
        padded = F.pad(pictures, (shift,) * 4, mode="replicate")
        rows, columns = (torch.randint(2 * shift + 1, (count,), **draw) for _ in range(2))
        batch = torch.arange(count, device=pictures.device)[:, None, None]
        row = (rows[:, None] + torch.arange(height, device=pictures.device))[:, :, None]
        column = (columns[:, None] + torch.arange(width, device=pictures.device))[:, None]
        pictures = padded.permute(0, 2, 3, 1)[batch, row, column].permute(0, 3, 1, 2)
    return pictures
