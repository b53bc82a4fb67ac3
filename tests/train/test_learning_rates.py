"""The learning rate goes on from where it stands, whatever is asked for when a run is resumed."""

import itertools
import json

import pytest

from lohovla.train.distill.distill_loop import Schedule
from lohovla.train.learning_rate_schedule import schedule
from lohovla.train.learning_rates import LearningRates

LENGTHS = (5, 12, 40, 400)


def distilling(step, steps):
    return Schedule(steps).rate(step)


@pytest.mark.parametrize("share", [schedule, distilling])
def test_a_run_that_is_left_alone_has_the_schedules_rates(share):
    rates = LearningRates(40, 3e-3, share)
    assert [rates(step) for step in range(40)] == [3e-3 * share(step, 40) for step in range(40)]
    assert rates.changed(12, 40, 3e-3) is rates
    assert rates.changed(0, 60, 3e-3)(0) == 3e-3 * share(0, 60)  # nothing stands yet


@pytest.mark.parametrize(("before", "after"), list(itertools.permutations(LENGTHS, 2)))
@pytest.mark.parametrize("faster", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("share", [schedule, distilling])
def test_a_rate_never_changes_by_more_than_a_half_where_a_run_is_resumed(before, after, faster, share):
    first = LearningRates(before, 1e-3, share)
    for done in sorted({1, 2, 3, before // 2, before}):
        if done >= after:
            continue
        again = first.changed(done, after, faster * 1e-3)
        met = [first(done - 1), *(again(step) for step in range(done, min(done + again.join, after)))]
        for one, other in itertools.pairwise(met):
            assert 1 / 1.5 - 1e-9 <= other / one <= 1.5 + 1e-9
        for step in range(done + again.join, after):  # from there on the schedule's own
            assert again(step) == faster * 1e-3 * share(step, after)
        if done + again.join < after:
            assert met[-1] == pytest.approx(faster * 1e-3 * share(done + again.join - 1, after))


def test_what_is_kept_gives_the_same_rates_again_also_after_a_second_change():
    rates = LearningRates(12, 3e-3, schedule).changed(12, 40, 3e-3).changed(14, 60, 2e-3)
    again = LearningRates.from_facts(json.loads(json.dumps(rates.as_facts())), 1.0, schedule)
    assert [again(step) for step in range(14, 60)] == [rates(step) for step in range(14, 60)]
    assert rates(14) / LearningRates(12, 3e-3, schedule).changed(12, 40, 3e-3)(13) == pytest.approx(1, abs=0.5)
    assert LearningRates.from_facts({"steps": 12}, 3e-3, schedule)(5) == LearningRates(12, 3e-3, schedule)(
        5
    )  # of an older version


def test_it_says_what_the_rate_does():
    rates = LearningRates(12, 3e-3, schedule)
    more, fewer = rates.changed(12, 400, 3e-3), rates.changed(6, 8, 3e-3)
    assert f"rises from {rates(11):.2g} to {more(11 + more.join):.2g} within {more.join} steps" in more.description(12)
    assert "falls from" in fewer.description(6)
    assert more.description(12).endswith(f"ends at {more(399):.2g}")
