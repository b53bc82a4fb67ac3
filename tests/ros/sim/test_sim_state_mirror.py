"""Who needs the true state of a simulator, which is much to send through a rosbridge server."""

import pytest

from lohovla.errors import UserError
from lohovla.ros.sim.sim_state_mirror import SimStateMirror, mirror_of

TASK = "put-block-into-matching-bowl"


def test_only_a_policy_that_reads_the_true_state_asks_for_it():
    assert mirror_of("lohovla", ("state", "images.top"), "/sim/world", TASK, {}) is None
    found = mirror_of("chunked-oracle", ("state", "world"), "/sim/world", TASK, {"control": "ee", "control_hz": 100})
    assert isinstance(found, SimStateMirror)
    with pytest.raises(UserError, match="policy chunked-oracle reads the true state"):
        mirror_of("chunked-oracle", ("state", "world"), "", TASK, {})
