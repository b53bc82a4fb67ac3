"""States and actions to numbers of about one, and back."""

import numpy as np
import pytest
import torch

from lohovla.model.normalization import Normalizer

STATISTICS = {
    "mean": [1.0, 0.0, 5.0],
    "std": [0.5, 2.0, 0.0],
    "min": [0.0, -6.0, 5.0],
    "max": [3.0, 6.0, 5.0],
    "q01": [0.2, -4.0, 5.0],
    "q99": [1.8, 4.0, 5.0],
    "count": [100],
}


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [("mean_std", [[1.0, -1.0, 0.0]]), ("quantiles", [[0.625, -0.5, 0.0]]), ("min_max", [[0.0, -1 / 3, 0.0]])],
)
def test_the_modes(mode, wanted):
    normalizer = Normalizer(STATISTICS, mode)
    values = torch.tensor([[1.5, -2.0, 5.0]])
    assert torch.allclose(normalizer(values), torch.tensor(wanted))
    assert torch.allclose(normalizer.inverse(normalizer(values)), values)


def test_a_number_that_never_changes_is_not_divided():
    normalizer = Normalizer(STATISTICS, "mean_std")
    assert normalizer.constant.tolist() == [False, False, True]
    out = normalizer(torch.tensor([[1.0, 0.0, 7.0]]))
    assert out[0, 2] == 2.0
    assert np.isfinite(out.numpy()).all()
