"""Points and readouts, cells and places."""

import math

import pytest
import torch

from lohovla.model.encoders.detector import (
    ATTRIBUTE_DIM,
    HEIGHT_UNIT,
    DetectionMap,
    Detections,
    cell_centres,
    heatmap_cells,
    top_detections,
)
from lohovla.model.encoders.fourier import FOURIER_DIM, fourier_features
from lohovla.model.keyframes.pick_place_head import to_points, to_readout


@pytest.fixture
def config(tiny):
    return tiny[0].config


def test_readouts_come_back_from_points(config):
    points = torch.tensor([[0.413, -0.212, 0.046, 0.6, 0.04], [0.7, 0.49, 0.0, -0.78, 0.05]])
    cell = heatmap_cells(config, points[:, :2])
    torch.testing.assert_close(to_points(to_readout(points, cell, config), cell, config), points)
    elsewhere = cell - 1  # the readout may be taken at a neighbour
    torch.testing.assert_close(to_points(to_readout(points, elsewhere, config), elsewhere, config), points)


def test_a_readout_is_in_cells_and_units(config):
    cell = torch.tensor([0])
    centre = cell_centres(config, cell)[0]
    points = torch.tensor([[centre[0] + 0.0125, centre[1], 0.05, math.pi / 8, 0.025]])
    assert to_readout(points, cell, config)[0].tolist() == pytest.approx([0.5, 0, 1, 0.5, 0, 1], abs=1e-5)


def test_cells_cover_the_table_in_rows(config):
    assert config.cells == (20, 40)
    assert config.cell_size == pytest.approx((0.025, 0.025))
    assert cell_centres(config, torch.tensor([0, 1, 40])).tolist() == [
        pytest.approx([0.2625, -0.4875]),
        pytest.approx([0.2625, -0.4625]),
        pytest.approx([0.2875, -0.4875]),
    ]
    every = torch.arange(800)
    assert torch.equal(heatmap_cells(config, cell_centres(config, every)), every)
    assert heatmap_cells(config, torch.tensor([[0.0, 0.0], [9.0, 9.0]])).tolist() == [20, 799]  # outside: the border


def test_places_are_told_apart(config):
    embedded = fourier_features(cell_centres(config, torch.arange(800)))
    assert embedded.shape == (800, FOURIER_DIM)
    assert torch.cdist(embedded, embedded).add(torch.eye(800)).min() > 0.05


def test_objects_are_the_peaks_of_the_heat(config):
    heat = torch.full((1, 3, 20, 40), -8.0)
    heat[0, 0, 3, 5], heat[0, 0, 3, 6] = 4.0, 3.9  # a peak and its slope
    heat[0, 2, 10, 20] = 2.0
    attributes = torch.zeros(1, 3, ATTRIBUTE_DIM, 20, 40)
    attributes[0, 0, :2, 3, 5] = torch.tensor([0.5, -0.25])
    attributes[0, 0, 2, 3, 5] = 0.9
    found = top_detections(DetectionMap(torch.arange(800.0).view(1, 1, 20, 40), heat, attributes), config)
    assert found.cell[0, :2].tolist() == [3 * 40 + 5, 10 * 40 + 20]
    assert found.facts[0, 0, :3].tolist() == [1, 0, 0]
    assert found.facts[0, 1, :3].tolist() == [0, 0, 1]
    assert found.facts[0, 0, 3] == pytest.approx(1 / (1 + math.exp(-4)))
    assert found.facts[0, 0, 6] == pytest.approx(0.9)
    assert found.features[0, 0, 0] == 125
    centre = cell_centres(config, torch.tensor(125)).tolist()
    assert found.xy[0, 0].tolist() == pytest.approx([centre[0] + 0.0125, centre[1] - 0.00625])
    assert found.cell.shape == (1, config.num_object_tokens)
    assert HEIGHT_UNIT == 0.05


def test_an_object_adds_to_the_score_of_its_cell_alone(tiny, inputs):
    model, _ = tiny
    with torch.no_grad():
        seen, objects = model.detect_objects(inputs)
        hidden = torch.randn(3, 2, 32, generator=torch.Generator().manual_seed(0))
        tokens = torch.randn(3, 8, 32, generator=torch.Generator().manual_seed(1))
        keys = model.pointer.keys(seen)
        plain = model.pointer.score(hidden, keys, objects, tokens)
        tokens[:, 0] += 1.0
        changed = (model.pointer.score(hidden, keys, objects, tokens) - plain).abs() > 1e-6
    expected = torch.zeros(3, 800, dtype=torch.bool)
    expected[torch.arange(3), objects.cell[:, 0]] = True
    assert torch.equal(changed.any(1), expected)


def test_a_cell_is_scored_by_its_key_and_by_the_objects_that_stand_there(tiny):
    model, _ = tiny
    pointer, size = model.pointer, model.config.key_dim
    hidden, keys = torch.randn(1, 1, model.config.text_config.hidden_size), torch.randn(1, 6, size)
    tokens = torch.randn(1, 3, model.config.text_config.hidden_size)
    empty = torch.zeros(1, 3, 1)
    objects = Detections(empty, empty, empty.expand(-1, -1, 2), torch.tensor([[4, 1, 4]]))
    with torch.no_grad():
        logits = pointer.score(hidden, keys, objects, tokens)[0, 0]
        place, thing = pointer.query(hidden)[0, 0].split(size)
        wanted = keys[0] @ place
        for cell, key in zip((4, 1, 4), pointer.object_key(tokens)[0], strict=True):
            wanted[cell] += key @ thing
    torch.testing.assert_close(logits, wanted / size**0.5, atol=1e-5, rtol=1e-4)
