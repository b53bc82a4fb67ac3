"""Parts of batches are put together in their places, whatever the number of workers."""

import numpy as np
import torch

from lohovla.data.loader import BatchPart, merge_parts
from lohovla.data.samples import action_chunk, collate


def sample(k):
    return {"state": np.full(3, k, np.float32), "progress": np.float32(k), "subtask": f"s{k}"}


def test_parts_of_a_batch_take_their_places():
    parts = [BatchPart(places, collate([sample(k) for k in places])) for places in ([3, 0], [], [1, 2, 4])]
    batch = merge_parts(parts, 5)
    whole = collate([sample(k) for k in range(5)])
    assert batch.keys() == whole.keys()
    assert torch.equal(batch["state"], whole["state"])
    assert torch.equal(batch["progress"], whole["progress"])
    assert batch["subtask"] == whole["subtask"]


def test_a_whole_batch_from_one_worker_is_not_copied():
    part = BatchPart([0, 1], collate([sample(0), sample(1)]))
    assert merge_parts([BatchPart([], collate([])), part], 2) is part.samples


def test_a_chunk_ends_with_its_episode():
    actions = np.arange(20.0)[:, None]
    chunk = action_chunk(actions, 8, 10, 4)
    np.testing.assert_array_equal(chunk["action"][:, 0], [8, 9, 9, 9])
    np.testing.assert_array_equal(chunk["action.pad"], [False, False, True, True])


def test_batches_stack_numbers_and_list_words():
    samples = [sample(k) for k in range(2)]
    batch = collate(samples)
    assert batch["state"].dtype == torch.float32
    assert batch["state"].shape == (2, 3)
    assert batch["progress"].tolist() == [0, 1]
    assert batch["subtask"] == ["s0", "s1"]
