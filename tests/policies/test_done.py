"""The sentence that ends a run is one for the policies and the environments."""

from lohovla.envs.language import vocabulary
from lohovla.policies.base import DONE


def test_policies_and_environments_say_done_in_the_same_words():
    assert vocabulary()["done"] == DONE
