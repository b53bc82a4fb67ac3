"""A trained model with another tokenizer: it goes on where it was."""

import numpy as np
import pytest
import torch

from lohovla.collect.rendered_scenes import scene_env
from lohovla.envs.tasks.registry import get_task, initial_scene
from lohovla.errors import UserError
from lohovla.evaluate.symbolic_planner import SymbolicPlanner
from lohovla.model.attention_mask import PositionIds
from lohovla.model.checkpoint import load_checkpoint, save_checkpoint
from lohovla.settings.hydra_config import compose
from lohovla.train.exchange_tokenizer import to_byte_level
from lohovla.train.recipe import Run


@pytest.fixture(scope="module")
def both():
    """The shipped checkpoint with its word list, and with bytes."""
    old, new = load_checkpoint(), load_checkpoint()
    return old, (new[0], to_byte_level(*new))


def test_the_shipped_planner_says_what_it_said(both):
    state = scene_env("put-block-into-matching-bowl").reset(seed=0)[0]["state"]
    problems = [
        get_task(task).sample(np.random.default_rng([seed, 1]))
        for task in ("put-block-into-matching-bowl", "stack-smaller-over-bigger-with-same-color", "J")
        for seed in (2, 4, 6)
    ]
    scenes, goals = [initial_scene(p.layout) for p in problems], [p.instruction for p in problems]
    said = []
    for model, processor in both:
        torch.manual_seed(0)
        said.append(SymbolicPlanner(model, processor, state).say(scenes, goals, [[]] * len(goals), False))
    assert sum(one == other for one, other in zip(*said, strict=True)) >= len(goals) - 1
    assert all(sentence.startswith("Pick up the ") for sentence in said[1])


def test_a_new_word_begins_as_the_word_that_it_stands_for(both):
    (old, words), (new, pieces) = both
    before, after = (model.decoder.get_input_embeddings().weight for model in (old, new))
    assert after.shape[0] == len(pieces.tokenizer) == new.config.text_config.vocab_size

    def row(processor, weight, text):
        (token,) = processor.tokenizer.encode(text, add_special_tokens=False)
        return weight[token]

    for text, origin in (
        (" red", "red"),
        ("Pick", "pick"),
        (" bricks", "blocks"),
        (" dish", "bowl"),
        (" grey", "gray"),
    ):
        there = torch.nn.functional.cosine_similarity(row(pieces, after, text), before, dim=-1)
        assert there.argmax() == words.tokenizer.convert_tokens_to_ids(origin), text
        assert there.max() > 0.99
    assert (row(pieces, after, " red") - row(pieces, after, "Pick")).abs().max() > 0.01
    for name in ("pad", "bos", "eos", "mask"):
        token, other = (getattr(p.tokenizer, f"{name}_token_id") for p in (pieces, words))
        assert torch.nn.functional.cosine_similarity(after[token], before[other], dim=0) > 0.99


def test_goals_become_longer_and_positions_stay(both, tmp_path):
    (old, _), (new, processor) = both
    assert (old.config.max_goal, new.config.max_goal, processor.max_goal) == (40, 64, 64)
    assert PositionIds.from_config(old.config) == PositionIds.from_config(new.config)
    save_checkpoint(new, processor, tmp_path)
    again, read = load_checkpoint(tmp_path)
    assert (again.config.goal_positions, read.max_goal) == (40, 64)
    assert read.tokenizer.get_vocab() == processor.tokenizer.get_vocab()
    assert to_byte_level(again, read) is read  # it has them


def test_a_training_exchanges_the_tokenizer_of_what_it_begins_with(tmp_path):
    run = Run(compose("train", ["device=cpu", "recipe=composed", "init=nano", "tokenizer=bytes", "stage=none"]))
    checkpoint = run.train(tmp_path)
    assert load_checkpoint(checkpoint)[1].program_start is not None
    for wrong in ("tokenizer=letters", "data.composed=1.5", "data.word_noise=-1"):
        with pytest.raises(UserError, match=wrong.partition("=")[0]):
            compose("train", [wrong])
