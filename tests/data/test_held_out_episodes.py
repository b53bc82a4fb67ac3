"""Episodes are held out by a seed: about the share that is asked for, one at least, and never all."""

import numpy as np
import pytest

from lohovla.data.held_out_episodes import held_out_split


@pytest.mark.parametrize(
    ("count", "share", "held_out"), [(10, 0.2, 2), (10, 0.0, 0), (3, 0.01, 1), (2, 0.9, 1), (1, 0.5, 0)]
)
def test_a_share_is_held_out(count, share, held_out):
    trained = held_out_split(count, share, [5, 0])
    assert trained.shape == (count,)
    assert int((~trained).sum()) == held_out


def test_the_seed_says_which():
    first, again, other = (held_out_split(100, 0.3, seed) for seed in ([1, 0], [1, 0], [2, 0]))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
