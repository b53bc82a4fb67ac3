"""The move on the picture: the picked square lands at the place, turned and raised, and is gone where it was."""

import math

import torch

from lohovla.model.configuration import LoHoVLAConfig
from lohovla.model.subgoal.pixel_transport import pixel_centres, table_to_pixels, transport_pixels

CONFIG = LoHoVLAConfig()


def picture_with_block(x, y, yaw, edge, top, color=(1.0, -1.0, 0.0), shape=(160, 320)):
    picture = torch.zeros(1, 4, *shape)
    away = pixel_centres(CONFIG, shape, torch.device("cpu")) - torch.tensor([x, y])
    along = math.cos(yaw) * away[..., 0] + math.sin(yaw) * away[..., 1]
    across = -math.sin(yaw) * away[..., 0] + math.cos(yaw) * away[..., 1]
    inside = (along.abs() < edge / 2) & (across.abs() < edge / 2)
    for channel, value in enumerate((*color, top * 10)):
        picture[0, channel][inside] = value
    return picture, inside


def test_pixels_by_hand():
    corners = torch.tensor([[0.25, -0.5], [0.75, 0.5], [0.5, 0.0]])
    assert table_to_pixels(CONFIG, corners, (160, 320)).tolist() == [[0, 0], [160, 320], [80, 160]]
    places = pixel_centres(CONFIG, (160, 320), torch.device("cpu"))
    torch.testing.assert_close(
        table_to_pixels(CONFIG, places, (160, 320))[3, 5], torch.tensor([3.5, 5.5]), atol=1e-3, rtol=0
    )


def test_a_block_lands_turned_and_raised():
    picture, old = picture_with_block(0.4, -0.2, 0.3, 0.06, 0.06)
    wanted, new = picture_with_block(0.6, 0.25, -0.4, 0.06, 0.10)
    points = torch.tensor([[[0.4, -0.2, 0.06, 0.3, 0.06], [0.6, 0.25, 0.04, -0.4, 0.06]]])
    found = transport_pixels(picture, points, CONFIG)
    inner = torch.nn.functional.max_pool2d((~new).float()[None, None], 5, 1, 2)[0, 0] == 0
    assert inner.sum() > 100
    torch.testing.assert_close(found[0, :, inner], wanted[0, :, inner], atol=1e-3, rtol=0)
    near = torch.nn.functional.max_pool2d((new | old).float()[None, None], 7, 1, 3)[0, 0] > 0
    assert torch.equal(found[0, :, ~near], picture[0, :, ~near])
    assert (found[0, :, old] == 0).all()  # the bare table


def test_what_lies_around_a_pick_covers_it_though_a_neighbor_is_there():
    """A block in a zone, with another beside it: the zone shows where it was."""
    picture, zone = picture_with_block(0.5, 0.0, 0.2, 0.15, 0.0, color=(0.0, 0.5, 0.0))
    other, beside = picture_with_block(0.5, 0.05, 0.2, 0.04, 0.04)
    block, old = picture_with_block(0.49, -0.02, 0.2, 0.04, 0.04)
    picture = torch.where(beside, other, picture)
    picture = torch.where(old, block, picture)
    points = torch.tensor([[[0.49, -0.02, 0.04, 0.2, 0.04], [0.3, 0.3, 0.0, 0.0, 0.04]]])
    found = transport_pixels(picture, points, CONFIG)[0, :, old]
    torch.testing.assert_close(found, torch.tensor([0.0, 0.5, 0.0, 0.0])[:, None].expand_as(found), atol=1e-3, rtol=0)
    assert zone[old].all()


def test_each_of_a_batch_moves_by_its_own_points():
    one, _ = picture_with_block(0.4, -0.2, 0.0, 0.04, 0.04)
    other, _ = picture_with_block(0.6, 0.3, 0.5, 0.06, 0.06)
    points = torch.tensor(
        [
            [[0.4, -0.2, 0.04, 0.0, 0.04], [0.5, 0.0, 0.0, 0.2, 0.04]],
            [[0.6, 0.3, 0.06, 0.5, 0.06], [0.3, 0.1, 0.0, 0.0, 0.06]],
        ]
    )
    both = transport_pixels(torch.cat([one, other]), points, CONFIG)
    torch.testing.assert_close(both[:1], transport_pixels(one, points[:1], CONFIG))
    torch.testing.assert_close(both[1:], transport_pixels(other, points[1:], CONFIG))
