"""Checkpoints that are missing, damaged or of something else: one line with the expected and the found."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from lohovla.errors import UserError
from lohovla.model.checkpoint import copy_subgoal_parts, load_checkpoint, save_checkpoint
from lohovla.model.configuration import LoHoVLAConfig
from lohovla.model.inference.subgoal_generation import require_subgoal_generator
from lohovla.model.language.tokenizer import make_tokenizer
from lohovla.model.modeling_lohovla import SUBGOAL_PARTS, LoHoVLA
from lohovla.model.processor import Processor
from lohovla.settings.renamed_settings import MODEL_SETTINGS

SIZES = {
    "picture_size": (64, 64),
    "num_object_tokens": 4,
    "stem_width": 16,
    "stem_dim": 16,
    "stem_blocks": (1, 1),
    "expert_dim": 16,
}


@pytest.fixture(scope="module")
def made():
    tokenizer = make_tokenizer(["Put the red block in the green zone."])
    text = {
        "model_type": "qwen3",
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": 8,
        "tie_word_embeddings": True,
    }
    config = LoHoVLAConfig(text_config=text, **SIZES)
    processor = Processor.from_model_config(config, tokenizer)
    processor.statistics["look"] = [0.4, 0.1, 0.3]
    return LoHoVLA(config), processor


@pytest.fixture
def folder(made, tmp_path):
    save_checkpoint(*made, tmp_path / "model")
    return tmp_path / "model"


def refused(folder) -> str:
    """What loading says, which is a cause and a remedy, a line each."""
    with pytest.raises(UserError) as caught:
        load_checkpoint(folder)
    assert str(caught.value).count("\n") == 1
    return caught.value.cause


def test_what_was_saved_is_read(made, folder):
    model, processor = load_checkpoint(folder)
    for name, value in made[0].state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    assert processor.statistics == made[1].statistics
    assert not any(path.suffix in (".bin", ".pt", ".pkl") for path in folder.iterdir())


def test_halves_on_disk_are_read_as_whole_numbers(made, tmp_path):
    save_checkpoint(*made, tmp_path, torch.float16)
    model, _ = load_checkpoint(tmp_path)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert load_file(tmp_path / "model.safetensors")["pointer.query.0.weight"].dtype == torch.float16


def test_a_missing_checkpoint(folder, tmp_path):
    assert refused(tmp_path / "nowhere") == f"there is no checkpoint in {tmp_path / 'nowhere'}"
    (folder / "model.safetensors").unlink()
    assert refused(folder) == f"{folder} is no checkpoint: it has no model.safetensors"


@pytest.mark.parametrize("size", [0, 5, 5000])
def test_weights_cut_off(folder, size):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:size])
    assert refused(folder).startswith(f"{folder} is damaged: ")


def test_weights_that_are_something_else(folder):
    (folder / "model.safetensors").write_bytes(b"PK\x03\x04 no safetensors" * 100)
    assert refused(folder).startswith(f"{folder} is damaged: ")


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '{"model_type": "lohovla", "picture": 7}'])
def test_a_damaged_configuration(folder, text):
    (folder / "config.json").write_text(text, encoding="utf-8")
    assert refused(folder).startswith(str(folder))


def test_another_model(folder):
    (folder / "config.json").write_text('{"model_type": "qwen3"}', encoding="utf-8")
    assert refused(folder) == f"{folder} holds a model of type qwen3, not lohovla"


def test_a_weight_of_another_shape(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["state_entry.0.weight"] = torch.zeros(32, 9)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert refused(folder) == f"{folder}: weight state_entry.0.weight has shape (32, 9), not (32, 13)"


def test_a_configuration_of_another_size(folder):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["state_dim"] = 14
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert refused(folder) == f"{folder}: weight state_entry.0.weight has shape (32, 13), not (32, 14)"


def test_weights_lacking_and_weights_unknown(folder):
    tensors = load_file(folder / "model.safetensors")
    bias = tensors.pop("pointer.object_key.bias")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert refused(folder) == f"{folder} lacks weight pointer.object_key.bias"
    tensors |= {"pointer.object_key.bias": bias, "pointer.other": torch.zeros(1)}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert refused(folder) == f"{folder} has an unknown weight pointer.other"


@pytest.mark.parametrize("name", ["processor_config.json", "tokenizer.json"])
def test_a_processor_that_is_missing_or_damaged(folder, name):
    (folder / name).write_text('{"picture": [64, 64], "colour": 1}', encoding="utf-8")
    assert refused(folder).startswith(f"{folder} has no readable processor: ")
    (folder / name).unlink()
    assert refused(folder).startswith(f"{folder} has no readable processor: ")


def test_a_checkpoint_with_another_image_head_is_read_and_says_that_it_cannot_paint(made, folder):
    weights = load_file(folder / "model.safetensors")
    weights.pop("painter.near.0.weight")
    weights["autoencoder.encoder.conv_in.weight"] = torch.zeros(3)
    weights["painter.observed.weight"] = torch.zeros(2, 2)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({**config, "trained_stages": ["autoencoder", "subgoal", "planning"]})
    )
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    model, _ = load_checkpoint(folder)
    own = model.state_dict()
    assert all(torch.equal(own[name], value) for name, value in weights.items() if not name.startswith(SUBGOAL_PARTS))
    assert all(torch.isfinite(value).all() for value in own.values())
    assert torch.equal(own["painter.place"], load_checkpoint(folder)[0].state_dict()["painter.place"])
    assert model.config.trained_stages == ["planning"]
    with pytest.raises(UserError, match="generates no sub-goal pictures"):
        require_subgoal_generator(model)


def test_pictures_are_taken_over_and_nothing_else(made, folder, tmp_path):
    other = LoHoVLA(
        LoHoVLAConfig.from_dict({**made[0].config.to_dict(), "image_channels": 3, "trained_stages": ["detector"]})
    )
    with pytest.raises(UserError, match="no trained autoencoder"):
        copy_subgoal_parts(other, folder)
    made[0].config.trained_stages = ["autoencoder", "planning", "subgoal"]
    save_checkpoint(*made, tmp_path / "painted")
    made[0].config.trained_stages = []
    before = {name: value.clone() for name, value in other.state_dict().items()}
    copy_subgoal_parts(other, tmp_path / "painted")
    assert other.config.trained_stages == ["autoencoder", "detector", "subgoal"]
    for name, value in other.state_dict().items():
        source = made[0].state_dict() if name.startswith(SUBGOAL_PARTS) else before
        assert torch.equal(value, source[name]), name
    require_subgoal_generator(other)


def test_a_checkpoint_with_the_old_names_of_settings_and_stages_loads(made, folder):
    config = json.loads((folder / "config.json").read_text())
    for old, new in MODEL_SETTINGS.items():
        config[old] = config.pop(new)
    config["learned"] = ["act", "code", "plan", "see"]
    (folder / "config.json").write_text(json.dumps(config))
    model, _ = load_checkpoint(folder)
    assert model.config.trained_stages == ["action", "autoencoder", "detector", "planning"]
    for name in MODEL_SETTINGS.values():
        if name != "trained_stages":
            assert getattr(model.config, name) == getattr(made[0].config, name), name
    assert not set(MODEL_SETTINGS) & set(model.config.to_dict())
    with pytest.raises(UserError, match="the model's setting look is called observe_position now"):
        LoHoVLAConfig(look=(0.4, 0.1, 0.3))
