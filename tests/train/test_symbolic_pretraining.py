"""Tables as the stem would describe them."""

import numpy as np
import pytest
import torch

from lohovla.collect.privileged_labels import NO_COLOR, objects_of
from lohovla.collect.rendered_scenes import scene_env
from lohovla.collect.symbolic_scenes import TableScenes
from lohovla.data.samples import collate
from lohovla.errors import UserError
from lohovla.model.checkpoint import load_checkpoint
from lohovla.model.encoders.detector import HEIGHT_UNIT, split_attributes
from lohovla.train.batch_source import BatchSource
from lohovla.train.exchange_tokenizer import to_byte_level
from lohovla.train.symbolic_pretraining import synthetic_detections, table_losses
from lohovla.train.training_stages import Stage, StageLosses


def test_descriptions_are_those_of_the_trained_stem():
    """What is made up from the simulator's table is what the shipped stem says of the picture."""
    model, processor = load_checkpoint()
    env = scene_env("put-block-into-matching-bowl")
    observation, _ = env.reset(seed=3)
    with torch.no_grad():
        seen = model.detect_objects(processor([observation]))[1]
    table = torch.from_numpy(objects_of(env.scene()))[None]
    torch.manual_seed(0)
    made = synthetic_detections(table, model.config)
    count = int((table[..., 0] >= 0).sum())
    assert seen.facts.shape == made.facts.shape
    assert seen.features.shape == made.features.shape
    assert ((seen.facts[0, :, 3] > 0.3).sum(), (made.facts[0, :, 3] > 0.3).sum()) == (count, count)
    for xy, facts in zip(seen.xy[0, :count], seen.facts[0, :count], strict=True):
        nearest = (made.xy[0, :count] - xy).norm(dim=-1).argmin()
        assert (made.xy[0, nearest] - xy).norm() < 0.008
        true = made.facts[0, nearest]
        assert facts[:3].argmax() == true[:3].argmax()
        a, b = split_attributes(facts[4:]), split_attributes(true[4:])
        for name in ("color", "support", "support_color"):
            if name == "color" or facts[0] > 0.5:  # the stem says only of blocks what they stand on
                assert a[name].argmax() == b[name].argmax()
        assert (a["height"] - b["height"]).abs() * HEIGHT_UNIT < 0.01
        if facts[0] > 0.5:
            assert (a["turn"] - b["turn"]).norm() < 0.5
            assert (a["big"] - b["big"]).abs() < 0.5
        else:
            assert (a["occupied"] - b["occupied"]).abs() < 0.5


def test_what_is_not_there_is_unsure_and_last(tiny):
    config = tiny[0].config
    table = torch.full((1, 40, 10), -1.0)
    table[0, 0] = torch.tensor([0, 3, 1, 0.4, 0.1, 0.06, 0.2, 0, NO_COLOR, 0])
    made = synthetic_detections(table, config)
    assert made.facts[0, 0, 3] >= 0.5
    assert (made.facts[0, 1:, 3] < 0.05).all()
    assert split_attributes(made.facts[0, 0, 4:])["color"].argmax() == 3
    low, high = np.array(config.workspace_xy).T
    xy = made.xy[0].numpy()
    assert ((xy > low - 0.02) & (xy < high + 0.02)).all()


def test_words_are_learned_by_either_order(tiny):
    model, processor = tiny
    samples = iter(TableScenes(["put-block-into-matching-bowl"], 2, pool=1))
    batch = collate([next(samples) for _ in range(4)])
    kinds = set()
    for seed in range(12):
        torch.manual_seed(seed)
        losses = table_losses(model, batch, processor)
        kinds.add(tuple(sorted(losses)))
        model.zero_grad()
        sum(losses.values()).backward()
        assert model.object_entry[0].weight.grad[:, model.config.stem_dim :].abs().sum() > 0
        stage = Stage("symbolic", 1)
        for name, parameter in model.named_parameters():
            assert stage.trains(name) or parameter.grad is None, name
    assert kinds == {("point/pick", "roles", "text/ar"), ("point/pick", "roles", "text/ar", "text/d2f")}


def test_what_is_picked_is_the_object_at_the_oracles_point(tiny, monkeypatch):
    """With its words and without; where the object is no token of the prefix nothing is learned."""
    model, processor = tiny
    samples = iter(TableScenes(["put-block-into-matching-bowl"], 2, pool=1))
    batch = collate([next(samples) for _ in range(6)])
    scores, score = [], model.pointer.score_objects
    monkeypatch.setattr(model.pointer, "score_objects", lambda *given: scores.append(score(*given)) or scores[-1])
    torch.manual_seed(1)
    with torch.no_grad():
        found = table_losses(model, batch, processor)["point/pick"]
    torch.manual_seed(1)
    torch.rand(())  # whether words are noised
    made = synthetic_detections(batch["objects"], model.config)
    expected, left_out = [], 0
    for row in range(6):
        away = (made.xy[row] - batch["points"][row, 0, :2]).norm(dim=-1)
        wanted = int(away.argmin())
        if away[wanted] > 0.015:
            left_out += 1
            continue
        assert made.facts[row, wanted, 0] == 1.0, "it picks a block"
        expected += [-scores[0][row, way].log_softmax(-1)[wanted] for way in range(2)]
    assert expected
    assert left_out
    torch.testing.assert_close(found, torch.stack(expected).mean())


def test_an_objects_token_says_what_becomes_of_it(tiny, monkeypatch):
    """Whatever order the tokens have; what is no token, or nothing, is not asked."""
    model, processor = tiny
    samples = iter(TableScenes(["stack-block-in-absolute-area"], 2, direct=0.0, pool=1))
    batch = collate([next(samples) for _ in range(6)])
    said = []
    monkeypatch.setattr(
        model.roles, "forward", lambda states: said.append(4 * torch.randn(*states.shape[:2], 3)) or said[-1]
    )
    torch.manual_seed(1)
    with torch.no_grad():
        found = table_losses(model, batch, processor)["roles"]
    torch.manual_seed(1)
    torch.rand(())  # whether words are noised
    made = synthetic_detections(batch["objects"], model.config)
    expected = []
    for row, table in enumerate(batch["objects"]):
        for token in range(model.config.num_object_tokens):
            for other, roles in zip(table, batch["roles"][row], strict=True):
                here = (made.xy[row, token] - other[3:5]).norm() < 0.015
                if here and other[0] == made.facts[row, token, :3].argmax():
                    chance = said[0][row, token].sigmoid()
                    expected.append(-torch.where(roles > 0.5, chance, 1 - chance).log().mean())
    assert len(expected) >= 6 * 5
    torch.testing.assert_close(found, torch.stack(expected).mean(), rtol=1e-4, atol=1e-4)


def test_tables_beside_pictures_teach_what_becomes_of_objects(make_tiny):
    """Their losses are among those of a step of ``plan``, as many examples as asked for, and the roles learn."""
    model, processor = make_tiny()
    stage = Stage("planning", 4, 2, symbolic_batch=3)
    source = BatchSource(("pick-and-place-primitive",), seed=0, workers=0, replay_buffer_size=8)
    batches = source.batches(stage, 0, 0, 1)
    first, second = next(batches), next(batches)
    assert len(first["instruction"]) == 2
    assert len(first["symbolic"]["instruction"]) == len(second["symbolic"]["instruction"]) == 3
    assert first["symbolic"]["instruction"] != second["symbolic"]["instruction"]
    losses = StageLosses(model, processor, stage)(first, 0)
    assert {"text/ar", "table/text/ar", "table/roles"} <= set(losses)
    losses["table/roles"].backward()
    assert model.roles.weight.grad is not None
    with pytest.raises(UserError, match="trains sub-tasks"):
        StageLosses(*make_tiny(use_subtasks=False), stage)
    with pytest.raises(UserError, match="symbolic_batch is for stage planning"):
        Stage("action", 4, symbolic_batch=3)


def test_a_model_of_the_byte_level_tokenizer_learns_the_meaning_of_goals(make_tiny):
    model, processor = make_tiny()
    processor = to_byte_level(model, processor)
    samples = iter(TableScenes(["composed-goals"], 2, direct=0.0, pool=1))
    batch = collate([next(samples) for _ in range(4)])
    optimizer = torch.optim.Adam([p for p in model.parameters()], 3e-3)
    losses = []
    for seed in range(25):
        torch.manual_seed(seed)
        loss = table_losses(model, batch, processor)["program"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    nothing = {**batch, "program": [""] * 4}
    assert "program" not in table_losses(model, nothing, processor)


def test_the_meaning_is_written_from_goal_and_scene_and_changes_nothing_else(make_tiny):
    """No sub-task sees it, and it sees no sub-task."""
    model, processor = make_tiny()
    processor = to_byte_level(model, processor)
    samples = iter(TableScenes(["composed-goals"], 2, direct=0.0, pool=1))
    batch = collate([next(samples) for _ in range(3)])

    def losses(**changes):
        torch.manual_seed(3)
        return {
            name: float(loss.detach()) for name, loss in table_losses(model, {**batch, **changes}, processor).items()
        }

    whole, without = losses(), losses(program=[""] * 3)
    assert without == pytest.approx({name: loss for name, loss in whole.items() if name != "program"}, abs=1e-4)
    other = losses(subtask=["Done."] * 3)
    assert other["program"] == pytest.approx(whole["program"], abs=1e-4)
    assert other["text/ar"] != pytest.approx(whole["text/ar"], abs=1e-2)
