"""A chunk that goes beyond its episode repeats the last action, and says which ones are padding."""

import numpy as np

from lohovla.data.action_chunk_padding import padded_chunk_indices


def test_a_chunk_ends_with_its_episode():
    steps, padded = padded_chunk_indices(np.array([8, 3]), np.array([10, 20]), 4)
    np.testing.assert_array_equal(steps, [[8, 9, 9, 9], [3, 4, 5, 6]])
    np.testing.assert_array_equal(padded, [[False, False, True, True], [False] * 4])
