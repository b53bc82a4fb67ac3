"""The order of samples follows from a seed, and any part of it can be had by itself."""

import numpy as np

from lohovla.data.mixture_sampler import MixtureSampler


def test_an_epoch_of_one_set_is_each_frame_once_in_another_order_each_time():
    order = MixtureSampler([30], [1.0], seed=1)
    epochs = [order.frames(30 * k, 30 * k + 30) for k in range(3)]
    assert all(sorted(epoch) == list(range(30)) for epoch in epochs)
    assert not np.array_equal(epochs[0], epochs[1])
    assert not np.array_equal(epochs[0], MixtureSampler([30], [1.0], seed=2).frames(0, 30))


def test_any_part_is_that_of_the_whole():
    whole = MixtureSampler([13, 8], [1.0, 2.0], seed=3).frames(0, 200)
    order = MixtureSampler([13, 8], [1.0, 2.0], seed=3)
    for begin, end in ((150, 200), (0, 5), (20, 64), (7, 7)):
        np.testing.assert_array_equal(order.frames(begin, end), whole[begin:end])


def test_sets_get_their_share_and_a_small_one_is_read_evenly():
    order = MixtureSampler([90, 10], [1.0, 1.0], seed=0)
    frames = order.frames(0, 1000)
    counts = np.bincount(frames, minlength=100)
    assert counts[90:].tolist() == [50] * 10  # five times an epoch
    assert counts[:90].sum() == 500
    first = frames[:100]
    assert len(set(first[first < 90].tolist())) == 50  # none twice where there are enough


def test_an_epoch_is_a_full_shuffle():
    frames = MixtureSampler([1000], [1.0], seed=6).frames(0, 1000)
    # The mean distance of two places drawn at random among n is n / 3; its deviation here is about 7.5.
    assert abs(np.abs(np.diff(frames)).mean() - 1000 / 3) < 30
