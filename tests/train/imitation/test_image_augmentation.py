"""Pictures are shifted and recoloured in training, within limits."""

import torch

from lohovla.train.imitation.image_augmentation import augment_images


def test_a_moved_picture_repeats_its_edge():
    picture = torch.arange(64.0).view(1, 1, 8, 8).expand(40, 3, 8, 8)
    moved = augment_images(picture, 2, 0.0, torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(picture, (2, 2, 2, 2), mode="replicate")
    windows = [padded[0, :, r : r + 8, c : c + 8] for r in range(5) for c in range(5)]
    found = {next(n for n, window in enumerate(windows) if torch.equal(window, one)) for one in moved}
    assert len(found) > 10


def test_colours_change_within_their_limits():
    picture = torch.full((100, 3, 4, 4), 0.5)
    changed = augment_images(picture, 0, 0.2, torch.Generator().manual_seed(0))
    assert changed.amin() >= 0.5 * 0.8 - 0.2 - 1e-6
    assert changed.amax() <= 0.5 * 1.2 + 0.2 + 1e-6
    assert changed.std() > 0.05
    assert torch.equal(augment_images(picture, 0, 0.0), picture)
