"""Batches stack numbers and list words."""

import numpy as np
import torch

from lohovla.data.samples import collate


def test_batches_stack_numbers_and_list_words():
    samples = [{"state": np.full(3, k, np.float32), "progress": np.float32(k), "subtask": f"s{k}"} for k in range(2)]
    batch = collate(samples)
    assert batch["state"].dtype == torch.float32
    assert batch["state"].shape == (2, 3)
    assert batch["progress"].tolist() == [0, 1]
    assert batch["subtask"] == ["s0", "s1"]
