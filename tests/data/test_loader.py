"""The order of samples is a seeded shuffle, shared out exactly, whatever the number of workers."""

import itertools

import numpy as np
import pytest
import torch

from lohovla.data.loader import ShardedSampler
from lohovla.data.samples import action_chunk, collate


def take(sampler, n):
    return list(itertools.islice(sampler, n))


def test_an_epoch_holds_every_frame_once_over_all_ranks():
    shares = [take(ShardedSampler([4, 16, 10], seed=1, rank=r, world=3), 10) for r in range(3)]
    assert sorted(itertools.chain(*shares)) == list(range(30))


def test_epochs_and_seeds_differ_and_repeat():
    first = take(ShardedSampler([10] * 5, seed=1), 100)
    assert first == take(ShardedSampler([10] * 5, seed=1), 100)
    assert first[:50] != first[50:]
    assert sorted(first[50:]) == list(range(50))
    assert first != take(ShardedSampler([10] * 5, seed=2), 100)


def test_a_block_of_episodes_is_used_up_before_the_next():
    order = take(ShardedSampler([10] * 6, seed=1, block=2), 60)
    for at in range(0, 60, 20):
        assert len({frame // 10 for frame in order[at : at + 20]}) == 2
    assert order[:20] != sorted(order[:20])


@pytest.mark.parametrize("start", [0, 7, 10, 23])
def test_it_goes_on_where_a_run_was_stopped(start):
    whole = take(ShardedSampler([7] * 3, seed=4, rank=1, world=2), 60)
    assert take(ShardedSampler([7] * 3, seed=4, rank=1, world=2, start=start), 30) == whole[start : start + 30]


def test_more_ranks_than_frames_are_refused():
    with pytest.raises(ValueError, match="3 frames cannot be shared by 4"):
        ShardedSampler([1, 2], world=4)


def test_a_chunk_ends_with_its_episode():
    actions = np.arange(20.0)[:, None]
    chunk = action_chunk(actions, 8, 10, 4)
    np.testing.assert_array_equal(chunk["action"][:, 0], [8, 9, 9, 9])
    np.testing.assert_array_equal(chunk["action.pad"], [False, False, True, True])


def test_batches_stack_numbers_and_list_words():
    samples = [{"state": np.ones(3, np.float32) * k, "progress": np.float32(k), "subtask": f"s{k}"} for k in range(2)]
    batch = collate(samples)
    assert batch["state"].dtype == torch.float32
    assert batch["state"].shape == (2, 3)
    assert batch["progress"].tolist() == [0, 1]
    assert batch["subtask"] == ["s0", "s1"]
