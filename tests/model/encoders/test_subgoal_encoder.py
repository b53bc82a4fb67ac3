"""Sub-goal pictures as the decoder reads them."""

import pytest
import torch

from lohovla.model.encoders.detector import ATTRIBUTE_DIM, DetectionMap, cell_centres
from lohovla.model.encoders.fourier import fourier_features
from lohovla.model.encoders.subgoal_encoder import NUM_SUBGOAL_TOKENS, SubgoalEncoder, change_map

BLOCK = 0
HEIGHT = 2  # place of the height among the attributes


@pytest.fixture
def table(tiny):
    """Makes what the stem says of a table with blocks in some cells, by row and column, of given heights."""
    config = tiny[0].config
    rows, columns = config.cells

    def make(blocks):
        seen = DetectionMap(
            torch.zeros(1, config.stem_dim, rows, columns),
            torch.full((1, 3, rows, columns), -8.0),
            torch.zeros(1, 3, ATTRIBUTE_DIM, rows, columns),
        )
        for (row, column), height in blocks.items():
            seen.heat[0, BLOCK, row, column] = 8.0
            seen.attributes[0, BLOCK, HEIGHT, row, column] = height
        return seen

    return make


def test_a_move_changes_two_cells(table):
    change = change_map(table({(4, 5): 1.0, (9, 30): 1.0}), table({(4, 5): 1.0, (2, 12): 1.0}))[0]
    moved = torch.zeros_like(change)
    moved[9, 30] = moved[2, 12] = 2.0  # an object's centre, and its height
    torch.testing.assert_close(change, moved, atol=0.01, rtol=0)


def test_a_block_set_on_another_changes_the_height_there(table):
    change = change_map(table({(4, 5): 0.8}), table({(4, 5): 1.8}))[0]
    assert change.argmax() == 4 * change.shape[1] + 5
    assert change.max().item() == pytest.approx(1, abs=0.01)


def test_tokens_are_of_the_greatest_changes_with_now_and_then(tiny, table, monkeypatch):
    config = tiny[0].config
    entry = SubgoalEncoder(config)
    given = []
    monkeypatch.setattr(entry.enter, "forward", lambda x: given.append(x) or x)
    now, then = table({(4, 5): 1.0, (7, 7): 0.5}), table({(4, 5): 1.0, (2, 12): 3.0})
    then.map[:] = 2.0
    entry(now, then)
    assert given[0].shape[1] == NUM_SUBGOAL_TOKENS
    places = given[0][0, :2, -24:]
    cells = torch.tensor([2 * config.cells[1] + 12, 7 * config.cells[1] + 7])
    torch.testing.assert_close(places, fourier_features(cell_centres(config, cells)))
    dim = config.stem_dim
    half = (given[0].shape[-1] - 25) // 2
    torch.testing.assert_close(given[0][0, :2, :dim], torch.zeros(2, dim))
    torch.testing.assert_close(given[0][0, :2, half : half + dim], torch.full((2, dim), 2.0))
