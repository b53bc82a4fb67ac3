"""Errors reach the person whatever process they happen in."""

import pickle

import pytest

from lohovla.envs.errors import ActionError
from lohovla.errors import SetupError, UserError
from lohovla.parallel_jobs import run_jobs


@pytest.mark.parametrize("kind", [UserError, SetupError, ActionError])
def test_an_error_survives_the_way_out_of_a_process(kind):
    error = pickle.loads(pickle.dumps(kind("no bread", "bake some")))
    assert type(error) is kind
    assert (error.cause, error.remedy, str(error)) == ("no bread", "bake some", "no bread\nbake some")


def fail(job):
    raise UserError(f"no {job}", "bake some")


def test_a_workers_error_ends_the_work():
    with pytest.raises(UserError, match="no bread"):
        list(run_jobs(fail, ["bread", "bread"], workers=2))
