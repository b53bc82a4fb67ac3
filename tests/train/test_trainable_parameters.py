"""Which parameters a stage trains, and which ones ``freeze`` and LoRA leave as they are."""

import pytest
from point_world import tiny_model

from lohovla.errors import UserError
from lohovla.train.trainable_parameters import FREEZABLE_PARTS, check_freeze, is_trained


def test_a_stage_trains_its_own_parts():
    assert is_trained("experts.ee.0.weight", "action")
    assert not is_trained("decoder.0.weight", "action")
    assert is_trained("roles.weight", "planning", symbolic=True)
    assert not is_trained("roles.weight", "planning")


def test_frozen_parts_are_not_trained():
    assert is_trained("camera_encoder.0.weight", "imitation")
    assert not is_trained("camera_encoder.0.weight", "imitation", ["vision"])
    assert is_trained("decoder.0.weight", "imitation", ["vision"])


def test_with_lora_adapters_alone_are_trained_of_the_decoder():
    assert is_trained("decoder.0.q_proj.lora_A", "imitation", lora=True)
    assert not is_trained("decoder.0.q_proj.weight", "imitation", lora=True)
    assert not is_trained("decoder.0.q_proj.lora_A", "action", lora=True)
    assert is_trained("experts.action.0.weight", "imitation", lora=True)


@pytest.mark.parametrize("freeze", [["eyes"], list(FREEZABLE_PARTS)])
def test_what_cannot_be_frozen_is_refused(freeze):
    with pytest.raises(UserError, match="freeze"):
        check_freeze(freeze)


def test_every_weight_of_a_robots_core_is_trained():
    model, _ = tiny_model()
    assert [name for name, _ in model.named_parameters() if not is_trained(name, "imitation")] == []
