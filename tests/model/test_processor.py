"""The processor: what goes in is checked, what comes out is what the model was trained on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lohovla.errors import UserError
from lohovla.model.language.tokenizer import make_tokenizer
from lohovla.model.processor import Processor

GOAL = "Put the red block in the green zone."


@pytest.fixture(scope="module")
def processor():
    return Processor(make_tokenizer([GOAL, "Pick up the red block and place it in the green zone.", "Done."]))


def observation(**changes):
    given = {
        "images.top": np.full((160, 320, 3), 255, np.uint8),
        "depth.top": np.full((160, 320), 0.05, np.float32),
        "state": np.arange(13, dtype=np.float32),
        "instruction": GOAL,
    }
    return given | changes


def refused(processor, given) -> str:
    """What is said of an observation: a cause and a remedy, a line each."""
    with pytest.raises(UserError) as caught:
        processor([given])
    assert str(caught.value).count("\n") == 1
    return caught.value.cause


def test_a_batch(processor):
    inputs = processor([observation(), observation(instruction="Put the red block in the zone.")])
    assert inputs.picture.shape == (2, 4, 160, 320)
    assert torch.equal(inputs.picture[:, :3], torch.ones(2, 3, 160, 320))
    assert torch.allclose(inputs.picture[:, 3], torch.tensor(0.5))
    assert inputs.state[1].tolist() == list(range(13))
    assert inputs.goal_valid.sum(1).tolist() == [9, 8]
    assert processor.sentence(inputs.goal[0]) == GOAL


@pytest.mark.parametrize("key", ["images.top", "depth.top", "state", "instruction"])
def test_a_key_that_is_missing(processor, key):
    given = observation()
    del given[key]
    assert refused(processor, given) == f"the observation has no {key!r}"


@pytest.mark.parametrize(
    ("key", "shape", "wanted"),
    [
        ("images.top", (320, 160, 3), (160, 320, 3)),
        ("images.top", (160, 320), (160, 320, 3)),
        ("depth.top", (160, 320, 1), (160, 320)),
        ("state", (7,), (13,)),
    ],
)
def test_another_shape(processor, key, shape, wanted):
    assert (
        refused(processor, observation(**{key: np.zeros(shape, np.uint8)})) == f"{key} has shape {shape}, not {wanted}"
    )


def test_colours_that_are_no_bytes(processor):
    given = observation(**{"images.top": np.zeros((160, 320, 3), np.float32)})
    assert refused(processor, given) == "images.top has values of type float32, not uint8"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite(processor, value):
    state = np.zeros(13, np.float32)
    state[[2, 5]] = value
    assert refused(processor, observation(state=state)) == "state has 2 of 13 values that are not finite"
    depth = np.zeros((160, 320), np.float32)
    depth[7, 9] = value
    given = observation(**{"depth.top": depth})
    assert refused(processor, given) == "depth.top has 1 of 51200 values that are not finite"


def test_a_state_of_words(processor):
    assert refused(processor, observation(state=["up"] * 13)) == "state has values of type <U2, not float32"


def test_goals_that_are_too_long(processor):
    assert (
        refused(processor, observation(instruction="x" * 10_000))
        == "the goal is too long: 10000 characters for 40 tokens"
    )
    assert refused(processor, observation(instruction="red " * 41)) == "the goal is too long: 41 for 40 tokens"
    processor([observation(instruction="red " * 40)])


@pytest.mark.parametrize(
    ("given", "says"), [("", "the goal is empty"), (None, "instruction is of type NoneType, not str")]
)
def test_no_goal(processor, given, says):
    assert refused(processor, observation(instruction=given)) == says


def test_sentences_are_padded_with_ends(processor):
    end = processor.tokenizer.eos_token_id
    tokens = processor.subtasks(["Done."])
    assert tokens.shape == (1, 20)
    assert tokens[0, 2:].tolist() == [end] * 18
    assert processor.sentence(tokens[0]) == "Done."


def test_saved_and_read_again(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    again = Processor.from_pretrained(tmp_path)
    assert vars(again).keys() == vars(processor).keys()
    assert again.picture == processor.picture
    assert torch.equal(again.subtasks([GOAL]), processor.subtasks([GOAL]))
