"""The order of samples is a seeded shuffle within a window, shared out exactly."""

import numpy as np
import pytest

from lohovla.data.shuffle import RUN, Shuffle


@pytest.mark.parametrize("window", [0, 20, 10_000])
@pytest.mark.parametrize("lengths", [[4, 16, 10], [1] * 30, [30], [15, 0, 15]])
def test_an_epoch_holds_every_frame_once_over_all_ranks(lengths, window):
    shares = [Shuffle(lengths, window, seed=1, rank=rank, world=3).epoch(0).frames for rank in range(3)]
    assert [len(share) for share in shares] == [10, 10, 10]
    assert sorted(np.concatenate(shares)) == list(range(30))


def test_shares_are_equal_when_frames_are_left_over():
    shares = [Shuffle([7] * 5, rank=rank, world=4).epoch(2).frames for rank in range(4)]
    assert [len(share) for share in shares] == [8] * 4
    assert len(set(np.concatenate(shares))) == 32


def test_epochs_and_seeds_differ_and_repeat():
    def order(seed, epoch):
        return Shuffle([10] * 5, seed=seed).epoch(epoch).frames.tolist()

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


def test_a_run_is_consecutive_frames_of_one_episode():
    lengths = [40, 3, 16]
    share = Shuffle(lengths, seed=3).epoch(0)
    episodes = np.repeat(np.arange(3), lengths)
    sizes = []
    for run in set(share.runs.tolist()):
        frames = np.sort(share.frames[share.runs == run])
        assert len(set(episodes[frames])) == 1
        assert (np.diff(frames) == 1).all()
        sizes.append(len(frames))
    assert sorted(sizes) == [3, 8, RUN, RUN, RUN]


def test_no_more_frames_are_in_use_than_the_window():
    lengths, window = [13] * 400, 256
    runs = Shuffle(lengths, window, seed=5).epoch(0).runs
    places = np.arange(len(runs))
    first, last = np.full(400, len(runs)), np.zeros(400, int)
    np.minimum.at(first, runs, places)
    np.maximum.at(last, runs, places)
    held = [13 * ((first <= at) & (at < last)).sum() for at in places[:: len(places) // 50]]
    left = [sum(1 for run in runs[at:] if first[run] < at) for at in places[500 :: len(places) // 10]]
    assert max(held) <= window + 4 * 13
    assert window / 3 < np.mean(left) < window * 2 / 3


def test_a_wide_window_shuffles_everything():
    frames = Shuffle([10] * 100, window=1_000_000, seed=6).epoch(0).frames
    # The mean distance of two places drawn at random among n is n / 3; its deviation here is about 7.5.
    assert abs(np.abs(np.diff(frames)).mean() - 1000 / 3) < 30


def test_a_batch_comes_from_many_episodes():
    frames = Shuffle([6] * 1000, window=1024, seed=7).epoch(0).frames
    batches = frames[1024 : 1024 + 64 * 50].reshape(50, 64) // 6
    distinct = [len(set(batch)) for batch in batches.tolist()]
    assert min(distinct) > 44
    assert np.mean(distinct) > 50


def test_more_ranks_than_frames_are_refused():
    with pytest.raises(ValueError, match="3 frames cannot be shared by 4"):
        Shuffle([1, 2], world=4)
