"""The losses of the core, on cases worked out by hand."""

import math
from dataclasses import replace

import pytest
import torch

from lohovla.data.samples import collate
from lohovla.model.action.action_expert import scale_pick_place
from lohovla.model.attention_mask import expert_attention_mask
from lohovla.model.encoders.detector import heatmap_cells
from lohovla.model.keyframes.pick_place_head import to_readout
from lohovla.train import objectives
from lohovla.train.objectives import progress_loss
from lohovla.train.training_batch import ActionChunks, labelled_batch
from lohovla.train.training_forward import TrainingForward, noise_words


@pytest.fixture
def batch(tiny, drawn):
    return labelled_batch(collate(drawn["scenes"]), tiny[1])


@pytest.fixture
def sequence(tiny, batch):
    model, processor = tiny
    torch.manual_seed(0)
    with torch.no_grad():
        seen, objects = model.detect_objects(batch.inputs)
        return TrainingForward(model, batch, seen, objects, processor)


def test_a_batch_has_the_oracles_subtask_then_others_then_none(tiny, batch, drawn):
    processor = tiny[1]
    for row, sample in enumerate(drawn["scenes"]):
        said = [processor.sentence(tokens) for tokens in batch.subtasks[row]]
        assert said == [sample["subtask"], *sample["other.subtasks"], ""]
        for number, points in enumerate([sample["points"], *sample["other.points"], sample["points"]]):
            expected = torch.from_numpy(points).float()
            torch.testing.assert_close(batch.points[row, number], expected, equal_nan=True)


def test_one_more_is_told_by_its_picture_half_of_the_time_alone_where_the_move_succeeded(tiny, batch):
    _, processor = tiny
    torch.manual_seed(0)
    reached = torch.arange(len(batch.reached)) % 2
    again = [replace(batch, reached=reached).with_subgoal_image(processor.end) for _ in range(200)]
    words = torch.stack([one.subtasks[:, -1] for one in again])
    hidden = (words == processor.end).all(-1)
    assert hidden.float().mean().item() == pytest.approx(0.5, abs=0.08)
    assert (hidden | (words == batch.subtasks[:, 0]).all(-1)).all()
    assert torch.equal(again[0].subtasks[:, :-1], batch.subtasks)
    for row, points in enumerate(again[0].points[:, -1]):
        expected = batch.points[row, 0] if reached[row] else torch.full_like(points, torch.nan)
        torch.testing.assert_close(points, expected, equal_nan=True)


def test_words_are_scored_up_to_their_end_each_alike(tiny, sequence, batch):
    model, processor = tiny
    end = processor.tokenizer.eos_token_id
    total, count = 0.0, 0
    states = sequence.states[:, sequence.at["text", 0]]
    for row, words in enumerate(batch.subtasks[:, 0].tolist()):
        for step, word in enumerate(words[: words.index(end) + 1]):
            total -= model.vocabulary_logits(states[row, step]).log_softmax(-1)[word].item()
            count += 1
    assert sequence.text_losses()["text/ar"].item() == pytest.approx(total / count, rel=1e-4)


def test_masked_words_count_by_one_over_their_ratio(tiny, sequence, batch):
    model, _ = tiny
    total = 0.0
    states = sequence.states[:, sequence.at["noised", 0]]
    for row, at in sequence.masked.nonzero().tolist():
        word = batch.subtasks[row, 0, at]
        total -= model.vocabulary_logits(states[row, at]).log_softmax(-1)[word].item() / sequence.ratio[row, at].item()
    assert sequence.text_losses()["text/d2f"].item() == pytest.approx(total / sequence.masked.numel(), rel=1e-4)


def test_later_blocks_are_masked_more_and_some_sentences_wholly(tiny, batch):
    """The ratios of D2F: each block at least as noisy as the one before; the share that is masked is the ratio."""
    model, processor = tiny
    sentences, mask = batch.subtasks[:1, 0].repeat(4000, 1), processor.tokenizer.mask_token_id
    torch.manual_seed(0)
    size = model.config.block_size
    noised, masked, ratio = noise_words(sentences, size, mask)
    first, second = ratio[:, 0], ratio[:, size]
    assert (ratio.view(4000, 2, size) == ratio.view(4000, 2, size)[..., :1]).all()
    assert (second >= first).all()
    whole = (ratio == 1).all(1)
    assert whole.float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert first[~whole].min() >= 0.2
    assert first[~whole].max() <= 0.7
    assert second[~whole].max() <= 0.95
    assert (masked.float() - ratio).mean().abs() < 0.01
    assert (masked.float() / ratio).mean().item() == pytest.approx(1, abs=0.01)
    assert torch.equal(noised, torch.where(masked, mask, sentences))


def test_pointing_is_scored_at_the_true_cell_of_subtasks_that_exist(tiny, sequence, batch):
    model, _ = tiny
    losses = sequence.point_losses()
    groups = batch.subtasks.shape[1]
    hidden = torch.cat([sequence.states[:, sequence.at["point", g]] for g in range(groups)], 1)
    tokens = sequence.states[:, : model.config.num_object_tokens]
    logits = model.pointer.score(hidden, model.pointer.keys(sequence.seen), sequence.objects, tokens).log_softmax(-1)
    sums = {0: [], 1: []}
    for row in range(len(hidden)):
        for group in range(groups):
            for which in range(2):
                point = batch.points[row, group, which]
                if not point.isnan().any():
                    sums[which].append(-logits[row, 2 * group + which, heatmap_cells(model.config, point[:2])].item())
    assert losses["point/pick"].item() == pytest.approx(sum(sums[0]) / len(sums[0]), rel=1e-4)
    assert losses["point/place"].item() == pytest.approx(sum(sums[1]) / len(sums[1]), rel=1e-4)


def test_the_readout_is_taken_near_the_point(tiny, sequence):
    model, _ = tiny
    columns = model.config.cells[1]
    apart = (sequence.read_cell - sequence.true_cell)[sequence.exists]
    rows, across = torch.round(apart / columns), apart - torch.round(apart / columns) * columns
    assert rows.abs().max() <= 1
    assert across.abs().max() <= 1


def test_the_readout_says_the_point_from_the_cell_where_it_is_read(tiny, sequence):
    model, _ = tiny
    paid = []
    for row, group, which in (sequence.exists[..., None].expand(-1, -1, 2)).nonzero().tolist():
        cell = sequence.read_cell[row, group, which].view(1, 1)
        hidden = sequence.states[row, sequence.at["point", group]][None, which : which + 1]
        said = model.pointer.regress(sequence.seen.select_row(row), cell, hidden)
        wanted = to_readout(sequence.points[row, group, which].view(1, 1, 5), cell, model.config)
        paid.append(torch.nn.functional.smooth_l1_loss(said, wanted, beta=0.05).item())
    assert sequence.point_losses()["point/read"].item() == pytest.approx(sum(paid) / len(paid), rel=1e-3)


def test_an_action_is_learned_from_its_own_subtask_and_moves_no_decoder(tiny, batch, monkeypatch):
    model, processor = tiny
    with torch.no_grad():
        seen, objects = model.detect_objects(batch.inputs)
    sequence = TrainingForward(model, batch, seen, objects, processor)
    points = sequence.read_points(1)
    data = scale_pick_place(sequence.points[:, 1, :, :4].flatten(1), points).clamp(-5, 5)

    def expert(x, t, condition, cache, valid):
        assert torch.equal(valid, expert_attention_mask(sequence.layout, 1))
        assert not any(part.requires_grad for pair in cache for part in pair)
        return (x - data) / t[..., None]  # noise - data

    monkeypatch.setattr(model.experts["pick_place"], "forward", expert)
    monkeypatch.setattr(torch, "randint", lambda *_: torch.tensor(1))
    assert sequence.action_loss().item() < 1e-5


def test_progress_knows_what_happened_and_what_did_not(tiny, batch, monkeypatch):
    """A head that says 0 everywhere pays ln 2; one that says what happened pays nothing."""
    model, _ = tiny
    with torch.no_grad():
        seen, after = model.stem(batch.inputs.picture), model.stem(batch.after)
    monkeypatch.setattr(model.progress, "forward", lambda before, now, points: torch.zeros(len(points)))
    assert progress_loss(model, batch, seen, after).item() == pytest.approx(math.log(2), rel=1e-5)
    calls = iter([batch.reached * 80 - 40, torch.full_like(batch.reached, -40), torch.full_like(batch.reached, -40)])
    monkeypatch.setattr(model.progress, "forward", lambda *_: next(calls))
    assert progress_loss(model, batch, seen, after).item() == pytest.approx(0, abs=1e-6)
    calls = iter([torch.full_like(batch.reached, -40)] * 2 + [torch.full_like(batch.reached, 40)])
    monkeypatch.setattr(model.progress, "forward", lambda *_: next(calls))
    assert progress_loss(model, batch, seen, after).item() > 1


def test_an_observation_without_a_subtask_moves_only_its_words(tiny, batch, drawn):
    """After the last sub-task there is nothing to point at, to do, or to watch; "Done." is still said."""
    model, processor = tiny
    done = [{**sample, "points": sample["points"] * float("nan")} for sample in drawn["scenes"]]
    for sample in done:
        sample["other.points"] = sample["other.points"] * float("nan")
    losses = objectives.core_losses(model, labelled_batch(collate(done), processor), processor)
    assert {name for name, loss in losses.items() if loss != 0} == {"text/ar", "text/d2f"}


def test_a_quarter_is_told_by_facts_alone_and_half_of_the_pictures_are_such_as_are_painted(tiny, batch, monkeypatch):
    model, processor = tiny
    plain, painted = [], []

    class Enough(Exception):
        pass

    def stop(model, batch, seen, objects, processor, **_):
        plain.extend((objects.features == 0).flatten(1).all(1).tolist())
        raise Enough

    monkeypatch.setattr(objectives, "TrainingForward", stop)
    monkeypatch.setattr(objectives, "as_painted", lambda model, batch: painted.append(1) or batch.after)
    torch.manual_seed(0)
    for _ in range(80):
        with pytest.raises(Enough):
            objectives.core_losses(model, batch, processor)
    assert sum(plain) / len(plain) == pytest.approx(0.25, abs=0.08)
    assert len(painted) / 80 == pytest.approx(0.5, abs=0.15)


def test_pictures_are_as_painted_where_the_autoencoder_was_trained(tiny, batch, monkeypatch):
    model, _ = tiny
    assert objectives.as_painted(model, batch) is batch.after
    monkeypatch.setattr(model.config, "trained_stages", ["autoencoder"])
    with torch.no_grad():
        painted = objectives.as_painted(model, batch)
    assert painted.shape == batch.after.shape
    assert not torch.equal(painted, batch.after)


def test_without_subtasks_it_learns_from_the_goal_alone(make_tiny, batch, drawn):
    """The published baseline: the same points and actions, told by nothing but goal and scene; no words."""
    model, processor = make_tiny(use_subtasks=False)
    losses = objectives.core_losses(model, batch, processor)
    assert set(losses) == {"point/pick", "point/place", "point/read", "act/pick_place", "progress"}
    said = [{**sample, "subtask": "Pick up the red block and place it on the table."} for sample in drawn["scenes"]]
    torch.manual_seed(0)
    points, _, sequence = objectives.expert_inputs(model, batch, processor)
    torch.manual_seed(0)
    again, _, _ = objectives.expert_inputs(model, labelled_batch(collate(said), processor), processor)
    torch.testing.assert_close(points, again)
    assert (sequence.batch.subtasks == processor.end).all()
    assert torch.equal(sequence.exists[:, 0], ~batch.points[:, 0].isnan().flatten(1).any(1))


def test_the_first_actions_of_a_chunk_are_given_clean_and_not_scored(tiny, drawn, monkeypatch):
    model, processor = tiny
    played = collate(drawn["played"])
    pieces = ActionChunks(*(played[f"piece.{name}"] for name in ("state", "motion", "action")))
    seen = []

    def expert(x, t, condition, cache, valid, anchors):
        seen.append((x, t))
        return torch.zeros_like(x)

    monkeypatch.setattr(model.experts["ee"], "forward", expert)
    torch.manual_seed(0)
    loss = objectives.motion_loss(model, labelled_batch(played, processor), pieces, processor)
    ((x, t),) = seen
    data = objectives.scale_ee(pieces.action.flatten(0, 1), pieces.state.flatten(0, 1))
    given = (t == 0).sum(1)
    assert given.max() <= model.config.max_prefix
    assert given.unique().numel() > 2
    assert (given == 0).float().mean() > 0.35  # half of the chunks begin from nothing
    for row, count in enumerate(given.tolist()):
        torch.testing.assert_close(x[row, :count], data[row, :count])
        assert t[row, count:].unique().numel() == 1
    # The velocity is (x - data) / t, and a head that says 0 pays for it, by the noise level.
    late = t > 0
    velocity = (x - data)[late] / t[late][:, None]
    weight = t.clamp(min=0.1)[late][:, None] / 0.1
    paid = torch.nn.functional.smooth_l1_loss(weight * velocity, torch.zeros_like(velocity))
    assert loss.item() == pytest.approx(paid.item(), rel=1e-3)
