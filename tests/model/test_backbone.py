"""Published backbones: loaded as their own classes read them, trained by adapters alone, saved and read again."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
import yaml
from transformers import PaliGemmaForConditionalGeneration, Qwen3ForCausalLM

from lohovla.errors import UserError
from lohovla.model.attention_mask import PositionIds, SequenceLayout, TokenType
from lohovla.model.backbone import pretrained
from lohovla.model.checkpoint import load_checkpoint, save_checkpoint
from lohovla.model.configuration import LoHoVLAConfig
from lohovla.model.inference import action_sampling, pick_place_prediction, subtask_decoding
from lohovla.model.modeling_lohovla import LoHoVLA
from lohovla.train.recipe import new_model
from lohovla.train.training_batch import labelled_batch
from lohovla.train.training_stages import Stage, StageLosses
from lohovla.train.training_state import TrainingState

_spec = importlib.util.spec_from_file_location("published", Path(__file__).with_name("published.py"))
published = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(published)
WRITE = {"paligemma": published.paligemma, "qwen3": published.qwen3}
LORA = {**published.SMALL, "lora_rank": 4}
FAMILIES = pytest.mark.parametrize("family", WRITE)
SMALL_DECODER = {
    "model_type": "qwen3",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "tie_word_embeddings": True,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: write(tmp_path_factory.mktemp(name)) for name, write in WRITE.items()}


def _make(folders, family, **settings):
    if family == "small":
        return new_model({**published.SMALL, "text_config": SMALL_DECODER, **settings}, 0)
    return new_model({**LORA, "backbone": str(folders[family]), **settings}, 0)


def test_paligemma_sees_and_reads_as_its_own_class_does(folders):
    model, processor = pretrained(folders["paligemma"], published.SMALL)
    original = PaliGemmaForConditionalGeneration.from_pretrained(str(folders["paligemma"]), dtype=torch.float32).eval()
    model.eval()
    inputs = labelled_batch(published.batch(), processor).inputs
    edge = 28
    color = torch.nn.functional.interpolate(inputs.picture[:, :3], (edge, edge), mode="bicubic", antialias=True)
    image = torch.full((2, 4), original.config.image_token_index)
    with torch.no_grad():
        wanted = original.model(
            input_ids=torch.cat([image, inputs.goal], 1),
            pixel_values=color.clamp(-1, 1),
            token_type_ids=torch.zeros(2, 4 + inputs.goal.shape[1], dtype=torch.long),
        ).last_hidden_state
        tokens = torch.cat([model.patch_tokens(inputs.picture), model.embed_tokens(inputs.goal, TokenType.GOAL)], 1)
        always = torch.ones(tokens.shape[:2], dtype=torch.bool)
        layout = SequenceLayout.concat(
            [
                SequenceLayout.of_type(TokenType.PATCH, always[:, :4]),
                SequenceLayout.of_type(TokenType.GOAL, always[:, 4:]),
            ]
        )
        found = model.run(tokens, layout, torch.arange(1, tokens.shape[1] + 1).expand(2, -1))
        logits = original.lm_head(wanted)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.vocabulary_logits(found), logits, rtol=1e-4, atol=1e-4)


def test_qwen3_reads_as_its_own_class_does(folders):
    model, processor = pretrained(folders["qwen3"], published.SMALL)
    original = Qwen3ForCausalLM.from_pretrained(str(folders["qwen3"]), dtype=torch.float32).eval()
    goal, valid = processor.goals(["Put all red blocks in the green zone."])
    with torch.no_grad():
        out = original(input_ids=goal, output_hidden_states=True)
        steps = torch.arange(goal.shape[1])
        # As the words of a sub-task, which are causal.
        layout = SequenceLayout.of_type(TokenType.TEXT, valid, 0, steps)
        found = model.eval().run(model.embed_tokens(goal, TokenType.TEXT), layout, steps[None])
    torch.testing.assert_close(model.vocabulary_logits(found), out.logits, rtol=1e-4, atol=1e-5)


def test_patches_stand_first_and_are_seen_like_the_rest_of_the_prefix(folders):
    model, processor = pretrained(folders["paligemma"], published.SMALL)
    assert PositionIds.from_config(model.config) == PositionIds(5, 6, 66, 107, 109, 0, 4)
    given = labelled_batch(published.batch(), processor)
    _seen, objects = model.detect_objects(given.inputs)
    tokens, layout, places = model.prefix_tokens(given.inputs, objects)
    assert tokens.shape[1] == layout.kind.shape[1] == places.shape[1]
    kinds = [TokenType.OBJECT] * 8 + [TokenType.PATCH] * 4 + [TokenType.STATE]
    assert layout.kind[0, :13].tolist() == [int(kind) for kind in kinds]
    assert places[0, :14].tolist() == [4] * 8 + [0, 1, 2, 3] + [5, 6]
    assert bool(layout.attention_mask().all())
    assert len(LoHoVLA(LoHoVLAConfig()).kind_entry.weight) == 9  # the nano has no patches


def test_goal_depends_on_what_the_tower_sees(folders):
    model, processor = pretrained(folders["paligemma"], published.SMALL)
    model.eval()
    inputs = labelled_batch(published.batch(), processor).inputs
    with torch.no_grad():
        before = model.patch_tokens(inputs.picture)
        darker = torch.cat([inputs.picture[:, :3] - 0.5, inputs.picture[:, 3:]], 1)
        assert not torch.allclose(before, model.patch_tokens(darker), atol=1e-3)
        deeper = torch.cat([inputs.picture[:, :3], inputs.picture[:, 3:] + 1], 1)
        assert torch.equal(before, model.patch_tokens(deeper))


@pytest.mark.parametrize("family", ["small", *WRITE])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_step_of_plan_moves_what_it_should(folders, family, dtype):
    model, processor = _make(folders, family, **({"backbone_dtype": dtype} if family != "small" else {}))
    lora = family != "small"
    stage = Stage(name="planning", steps=1, lr=1e-2)
    losses = StageLosses(model, processor, stage)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    moved = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(moved, lr=stage.lr)
    for _ in range(2):  # LoRA's second matrix is zero at first, so the first moves in the second step
        optimizer.zero_grad()
        given = losses(published.batch(), 0)
        total = losses.total(given)
        total.backward()
        optimizer.step()
    assert bool(torch.isfinite(total)), given
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    backbone = {name for name in before if name.startswith(("decoder.", "vision.", "projector."))}
    if lora:
        adapters = {name for name in backbone if ".lora_" in name}
        assert len(adapters) == 2 * 7 * 3
        assert changed & backbone == adapters
        assert all(p.dtype == torch.float32 for p in moved)
    else:
        assert changed & backbone == backbone
    assert not any(name.startswith(("stem.", "painter.", "experts.ee.")) for name in changed)
    assert set(TrainingState(Path("unused"), model, stage, optimizer)._moved) == {
        name for name, p in model.named_parameters() if p.requires_grad
    }


@pytest.mark.parametrize("family", ["small", *WRITE])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_mode_runs(folders, family, dtype):
    model, processor = _make(folders, family, backbone_dtype=dtype)
    model.eval()
    inputs = labelled_batch(published.batch(), processor).inputs
    tokenizer = processor.tokenizer
    start, end, mask = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.mask_token_id
    prefix = model.encode(inputs)
    grammar = processor.subtask_constraints().everything
    words = subtask_decoding.decode_autoregressive(model, prefix, start, end, grammar)
    said = processor.sentence(words.tokens[0])
    assert words.tokens[0] in grammar
    assert said == "Done." or (said.startswith("Pick up the ") and said.endswith("."))
    assert subtask_decoding.decode_block_diffusion(model, prefix, start, end, mask).forwards >= 1
    pointed = pick_place_prediction.predict_pick_place(model, prefix, words)
    assert {keys.dtype for keys, _ in pointed.cache} == {torch.float32}
    assert {keys.shape[1] for keys, _ in pointed.cache} == {4}
    attended = action_sampling.ActionContext.from_predictions(pointed)
    assert action_sampling.sample_pick_place(model, attended, 2, torch.randn(2, 1, 8)).shape == (2, 2, 4)
    assert (
        action_sampling.sample_ee_chunk(model, attended, inputs.state, torch.zeros(2, 4), 2, torch.randn(2, 16, 7))
        .isfinite()
        .all()
    )


@FAMILIES
@pytest.mark.parametrize("stage", ["detector", "autoencoder", "subgoal"])
def test_the_other_stages_run_on_a_backbone(folders, family, stage):
    model, processor = _make(folders, family, backbone_dtype="bfloat16")
    losses = StageLosses(model, processor, Stage(name=stage, steps=1))
    losses.total(losses(published.batch(), 0)).backward()
    moved = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert moved == {{"detector": "stem", "autoencoder": "autoencoder", "subgoal": "painter"}[stage]}


@pytest.mark.parametrize("family", ["small", *WRITE])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_saved_and_read_again_it_says_the_same(folders, tmp_path, family, dtype):
    model, processor = _make(folders, family, backbone_dtype=dtype)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name:
                p.normal_(0, 0.1)
    save_checkpoint(model, processor, tmp_path)
    again, reader = load_checkpoint(tmp_path)
    own, other = model.state_dict(), again.state_dict()
    assert own.keys() == other.keys()
    for name, value in own.items():
        assert value.dtype == other[name].dtype, name
        assert torch.equal(value, other[name]), name
    inputs = labelled_batch(published.batch(), processor).inputs
    prefix, same = model.eval().encode(inputs), again.encode(labelled_batch(published.batch(), reader).inputs)
    torch.testing.assert_close(same.tokens, prefix.tokens)
    assert reader.tokenizer.mask_token_id == processor.tokenizer.mask_token_id
    assert reader.tokenizer.bos_token_id == processor.tokenizer.bos_token_id


def test_masks_are_tokens_that_nothing_else_uses(folders):
    _, gemma = pretrained(folders["paligemma"], published.SMALL)
    assert gemma.tokenizer.mask_token == "<unused0>"
    model, qwen = pretrained(folders["qwen3"], published.SMALL)
    assert qwen.tokenizer.mask_token == "<|mask|>"
    assert qwen.tokenizer.bos_token == "<|im_start|>"
    assert qwen.tokenizer.mask_token_id < model.config.text_config.vocab_size


def test_the_small_recipe_has_about_a_hundred_million_parameters():
    recipe = yaml.safe_load((Path(__file__).parents[2] / "configs/recipe/small.yaml").read_text(encoding="utf-8"))
    recipe["model"]["text_config"]["vocab_size"] = 512
    with torch.device("meta"):
        model = LoHoVLA(LoHoVLAConfig(**recipe["model"]))
    assert 90e6 < sum(p.numel() for p in model.parameters()) < 110e6


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"expert_heads": 3}, "expert_heads is 3, no multiple of the decoder's 2"),
        ({"expert_layers": 9}, "expert_layers is 9, the decoder has 3 layers"),
        ({"max_subtask": 15}, "max_subtask is 15, no multiple of block_size 10"),
        ({"backbone_dtype": "int8"}, "backbone_dtype cannot be 'int8'"),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(folders, change, says):
    with pytest.raises(UserError, match=says):
        pretrained(folders["qwen3"], {**published.SMALL, **change})


def test_no_backbone_is_refused(tmp_path):
    with pytest.raises(UserError, match="there is no checkpoint at"):
        pretrained(tmp_path / "nothing", {})
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(UserError, match="holds a model of type llama"):
        pretrained(tmp_path, {})


@FAMILIES
def test_a_damaged_backbone_is_refused(tmp_path, family):
    folder = WRITE[family](tmp_path)
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="is damaged"):
        pretrained(folder, published.SMALL)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError) as caught:
        pretrained(folder, published.SMALL)
    assert str(caught.value).count("\n") == 1
