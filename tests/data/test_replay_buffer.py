"""Batches of new samples and ones seen before."""

from itertools import count, islice

import numpy as np
import pytest

from lohovla.data.replay_buffer import ReplayBuffer


def numbered():
    return ({"number": np.int64(n)} for n in count())


@pytest.mark.parametrize(("fresh", "new"), [(1.0, 8), (0.5, 4), (0.01, 1)])
def test_a_batch_begins_with_its_new_samples(fresh, new):
    for turn, batch in enumerate(islice(ReplayBuffer(numbered(), 8, fresh, size=100), 10)):
        numbers = batch["number"].tolist()
        assert len(numbers) == 8
        assert numbers[:new] == list(range(turn * new, (turn + 1) * new))
        assert all(number < (turn + 1) * new for number in numbers[new:])


def test_old_samples_make_room():
    last = list(islice(ReplayBuffer(numbered(), 8, 0.5, size=20), 300))[-1]["number"][4:]
    assert last.min() > 1200 - 20 * 20
    ages = 1200 - np.concatenate([b["number"][4:] for b in islice(ReplayBuffer(numbered(), 8, 0.5, size=20), 299, 300)])
    assert (ages > 4).any()


def test_the_seed_decides_what_is_drawn_again():
    def drawn(seed):
        return [batch["number"].tolist() for batch in islice(ReplayBuffer(numbered(), 8, 0.5, 20, seed), 10)]

    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)
