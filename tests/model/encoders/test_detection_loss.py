"""Dense losses on cases worked out by hand."""

import math

import pytest
import torch

from lohovla.model.encoders.detection_loss import chosen_mean, detection_losses, heat_loss
from lohovla.model.encoders.detector import DetectionMap, cell_centres
from lohovla.model.encoders.object_schema import ATTRIBUTE_DIM, ATTRIBUTES

NONE = [-1.0] * 10


@pytest.fixture
def config(tiny):
    return tiny[0].config


def first(name):
    """The first column of an attribute."""
    return sum(list(ATTRIBUTES.values())[: list(ATTRIBUTES).index(name)])


def blank():
    return DetectionMap(
        torch.zeros(1, 1, 20, 40), torch.full((1, 3, 20, 40), -30.0), torch.zeros(1, 3, ATTRIBUTE_DIM, 20, 40)
    )


def test_heat_of_one_object_at_a_centre():
    heat = torch.tensor([[[0.0, 0.0, -40.0]]])  # one kind, three cells
    distance = torch.tensor([[[0.0, 1.0, 2.0]]])
    bump = math.exp(-1 / (2 * 0.45**2))
    expected = 0.25 * math.log(2) + (1 - bump) ** 4 * 0.25 * math.log(2)
    assert heat_loss(heat, torch.tensor([[0.0]]), distance).item() == pytest.approx(expected, rel=1e-5)


def test_the_nearest_cell_is_wanted_even_off_its_centre():
    distance = torch.tensor([[[0.4, 0.6]]])
    sure, unsure = torch.tensor([[[30.0, -30.0]]]), torch.tensor([[[-30.0, -30.0]]])
    assert heat_loss(sure, torch.tensor([[0.0]]), distance) < 1e-6
    assert heat_loss(unsure, torch.tensor([[0.0]]), distance) == pytest.approx(30, rel=1e-3)


def test_heat_is_a_mean_over_objects_and_absent_ones_do_not_count():
    heat = torch.zeros(1, 2, 4)
    distance = torch.tensor([[[0.0, 9, 9, 9], [9, 9, 0.0, 9], [9, 0.0, 9, 9]]])
    once = heat_loss(heat, torch.tensor([[0.0, 1.0, -1.0]]), distance)
    # Two centres and six cells that are none, each 1/4 ln 2, over two objects.
    assert once.item() == pytest.approx(8 * 0.25 * math.log(2) / 2, rel=1e-5)
    nothing = heat_loss(heat, torch.full((1, 3), -1.0), distance)
    assert nothing.item() == pytest.approx(8 * 0.25 * math.log(2), rel=1e-5)


def test_attributes_that_are_right_cost_nothing_and_wrong_ones_do(config):
    cell = 5 * 40 + 7
    x, y = cell_centres(config, torch.tensor(cell)).tolist()
    # A big red-like block (colour 3) on a zone of colour 4, turned by 0.2, its top at 6 cm.
    objects = torch.tensor([[[0, 3, 1, x, y, 0.06, 0.2, 1, 4, 0], NONE]])
    seen = blank()
    at = seen.attributes[0, 0, :, 5, 7]
    at[first("height")] = 1.2
    at[first("turn")], at[first("turn") + 1] = math.cos(0.8), math.sin(0.8)
    at[first("color") + 3] = at[first("support") + 1] = at[first("support_color") + 4] = 40.0
    at[first("big")] = 40.0
    seen.heat[0, 0, 5, 7] = 30.0
    losses = detection_losses(seen, objects, config)
    assert set(losses) == {"heat", "offset", "height", "turn", "color", "big", "support", "support_color", "occupied"}
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(0, abs=1e-5), name
    at[first("height")] = 1.4  # 1 cm too high: linear beyond 0.1
    at[first("offset")] = 0.05  # within: quadratic; the mean of x and y
    at[first("color") + 3] = 0.0
    losses = detection_losses(seen, objects, config)
    assert losses["height"].item() == pytest.approx(0.2 - 0.05, abs=1e-5)
    assert losses["offset"].item() == pytest.approx(0.5 * 0.05**2 / 0.1 / 2, abs=1e-6)
    assert losses["color"].item() == pytest.approx(math.log(11), rel=1e-5)


def test_cells_beside_an_object_answer_too_but_not_far_ones(config):
    cell = 5 * 40 + 7
    x, y = cell_centres(config, torch.tensor(cell)).tolist()
    y += 0.5 * config.cell_size[1]  # between this cell and the next
    objects = torch.tensor([[[0, 0, 0, x, y, 0.0, 0.0, 0, 11, 0]]])
    seen = blank()
    seen.attributes[0, 0, first("offset") + 1, 5, 7] = 0.5
    seen.attributes[0, 0, first("offset") + 1, 5, 8] = -0.5
    assert detection_losses(seen, objects, config)["offset"].item() == pytest.approx(0, abs=1e-5)
    seen.attributes[0, 0, first("offset"), 5, 9] = 9.0
    assert detection_losses(seen, objects, config)["offset"].item() == pytest.approx(0, abs=1e-5)
    seen.attributes[0, 0, first("offset"), 5, 8] = 9.0
    assert detection_losses(seen, objects, config)["offset"].item() > 1


def test_what_a_kind_does_not_have_is_not_asked(config):
    x, y = cell_centres(config, torch.tensor(300)).tolist()
    bowl = torch.tensor([[[1, 2, 0, x, y, 0.05, 0.0, 0, 11, 1]]])
    losses = detection_losses(blank(), bowl, config)
    assert losses["turn"] == losses["big"] == losses["support"] == losses["support_color"] == 0
    assert losses["occupied"].item() == pytest.approx(math.log(2), rel=1e-5)


def test_an_empty_table_has_finite_losses(config):
    losses = detection_losses(blank(), torch.full((1, 3, 10), -1.0), config)
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_mean_over_what_is_chosen():
    values = torch.tensor([[1.0, 3.0], [5.0, 7.0]])
    assert chosen_mean(values).item() == 4
    assert chosen_mean(values, torch.tensor([False, True])).item() == 6
    assert chosen_mean(values, torch.tensor([False, False])).item() == 0
