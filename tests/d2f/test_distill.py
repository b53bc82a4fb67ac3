"""Noise, masks, losses and the loop, each on cases small enough to check by hand."""

import errno
import json
import math
from itertools import pairwise

import pytest
import torch

from lohovla.cli import main
from lohovla.collect.text_tasks.tokenizer import build_tokenizer
from lohovla.d2f.text_model import TextModel
from lohovla.errors import UserError
from lohovla.output_folder import lock_folder
from lohovla.train.distill import distill_loop, distill_stages, training_checkpoint
from lohovla.train.distill.losses import distillation_loss
from lohovla.train.distill.mask_ratios import corrupt, ratios
from lohovla.train.distill.objectives import (
    BaseObjective,
    MaskSchedule,
    StudentObjective,
    head,
    hidden_states,
    hidden_states_at,
    student_mask,
)
from lohovla.train.distill.text_batches import Mixture, TextBatch, stream
from lohovla.train.muon import orthogonal


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def batch_by_hand():
    """Two prompts of 2 and 3 tokens, answers of 3 and 2, blocks of 2."""
    tokens = torch.tensor([[10, 11, 20, 21, 0, 0, 0], [12, 13, 14, 22, 0, 0, 0]])
    block = torch.tensor([[-1, -1, 0, 0, 1, 1, -1], [-1, -1, -1, 0, 0, -1, -1]])
    return TextBatch(tokens, torch.tensor([2, 3]), torch.tensor([3, 2]), torch.tensor([6, 5]), block)


def test_who_sees_whom_in_the_student():
    seen = student_mask(batch_by_hand()).int().tolist()
    assert seen[0] == [
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1, 1, 0],
        [1, 1, 0, 0, 0, 0, 1],
    ]
    assert seen[1][4] == [1, 1, 1, 1, 1, 0, 0]
    causal = student_mask(batch_by_hand(), "causal").int().tolist()
    assert causal[1][:4] == [[1, 0, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 0, 0]]


def test_the_distillation_loss_by_hand():
    """Two masked tokens over two words, in blocks of ratio 0.5 and 0.25, of four answer tokens in all."""
    teacher = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])
    student = torch.tensor([[0.0, 0.0], [0.0, math.log(3.0)]])
    first = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    second = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    ratio = torch.tensor([0.5, 0.25])
    loss = distillation_loss(student, teacher, ratio, 4)
    assert loss.item() == pytest.approx((first / 0.5 + second / 0.25) / 4, abs=1e-6)
    first, second = second, first
    loss = distillation_loss(student, teacher, ratio, 4, "reverse")
    assert loss.item() == pytest.approx((first / 0.5 + second / 0.25) / 4, abs=1e-6)
    with pytest.raises(UserError, match="divergence"):
        distillation_loss(student, teacher, ratio, 4, "sideways")


def test_no_gradient_flows_into_the_teacher():
    student, teacher = torch.randn(3, 5, requires_grad=True), torch.randn(3, 5, requires_grad=True)
    distillation_loss(student, teacher, torch.ones(3), 3).backward()
    assert teacher.grad is None
    assert student.grad.abs().sum() > 0


@pytest.mark.parametrize("schedule", ["monotone", "chain-uniform", "random"])
def test_mask_ratios(schedule):
    drawn = ratios(schedule, 4000, 6, 0.2, 0.7, torch.Generator().manual_seed(0))
    assert drawn.shape == (4000, 6)
    assert drawn.min() >= 0.2
    assert drawn.max() <= 0.7 + 1e-6
    rising = (drawn.diff(dim=1) >= 0).all()
    assert bool(rising) == (schedule != "random")
    # Means of the first and last block from the schedules' definitions: U(.2, .7) has mean .45; a monotone step has
    # mean (.7 - p1) / 2 / 5; in the chain the gap to .7 halves on average at each block.
    wanted = {"monotone": 0.45 + 0.25 / 2, "chain-uniform": 0.7 - 0.25 / 32, "random": 0.45}[schedule]
    assert drawn[:, 0].mean() == pytest.approx(0.45, abs=0.01)
    assert drawn[:, -1].mean() == pytest.approx(wanted, abs=0.01)


def test_corruption_touches_answers_only_and_every_row():
    tokens = torch.arange(60).view(3, 20) + 100
    answer = torch.zeros(3, 20, dtype=torch.bool)
    answer[:2, 8:] = True
    noisy, masked = corrupt(tokens, answer, torch.full((3, 20), 1e-9), 7, torch.Generator().manual_seed(0))
    assert masked.sum(1).tolist() == [1, 1, 0]
    assert (noisy == torch.where(masked, 7, tokens)).all()
    assert not (masked & ~answer).any()
    _, masked = corrupt(tokens, answer, torch.ones(3, 20), 7, torch.Generator().manual_seed(0))
    assert (masked == answer).all()


def test_hidden_states_that_predict():
    hidden = torch.arange(8.0).view(1, 8, 1)
    where = torch.tensor([[False, False, True, False, True, False, False, False]])
    assert hidden_states_at(hidden, where, shift=False)[:, 0].tolist() == [2.0, 4.0]
    assert hidden_states_at(hidden, where, shift=True)[:, 0].tolist() == [1.0, 3.0]


def test_orthogonal_updates():
    drawn = torch.randn(3, 24, 16, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonal(drawn))
    assert values.min() > 0.3
    assert values.max() < 1.3


def test_batches_repeat_and_go_on_in_the_middle(tokenizer):
    mixture = Mixture({"short-plan": 0.5, "arithmetic": 0.5}, batch=2, block=16)
    first = stream(tokenizer, mixture)
    batches = [next(first) for _ in range(18)]
    again = stream(tokenizer, mixture, start=17)
    assert next(again).tokens.equal(batches[17].tokens)
    for batch in batches[:4]:
        assert ((batch.end - batch.prompt) % 16 == 0).all()
        for row in range(2):
            answer = batch.tokens[row, batch.prompt[row] : batch.prompt[row] + batch.answer[row]]
            assert (answer == tokenizer.eos_token_id).nonzero()[:, 0].tolist() == [len(answer) - 1]
            assert (batch.tokens[row, batch.prompt[row] + batch.answer[row] :] == tokenizer.eos_token_id).all()


def tiny(tokenizer, seed=0):
    return distill_stages.small_model(
        len(tokenizer),
        tokenizer.mask_token_id,
        tokenizer.eos_token_id,
        seed,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        intermediate_size=32,
    )


def test_the_base_learns_both_objectives(tokenizer):
    model = tiny(tokenizer)
    batch = next(stream(tokenizer, Mixture({"arithmetic": 1.0}, batch=6, block=16)))
    objective = BaseObjective(tokenizer.mask_token_id)
    optimizer = distill_stages.base_optimizer(model, 1e-2, 1e-2, 2.0)
    first = last = {}
    for step in range(30):
        loss, parts = objective(model, batch, torch.Generator().manual_seed(0))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        first, last = (parts if step == 0 else first), parts
    assert last["ar"] < 0.7 * first["ar"]
    assert last["diffusion"] < 0.7 * first["diffusion"]


def test_the_teacher_is_the_model_without_its_adapter(tokenizer):
    bare = tiny(tokenizer)
    with torch.no_grad():
        for parameter in bare.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    batch = next(stream(tokenizer, Mixture({"arithmetic": 1.0}, batch=2, block=16)))
    everything = batch.inside[:, None].expand(-1, batch.tokens.shape[1], -1)
    before = head(bare, hidden_states(bare, batch.tokens, everything)).detach().clone()
    model = distill_stages.add_adapter(bare, 4, 4, 0.0, ["q_proj", "v_proj"])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0.0, 0.3)
    with model.disable_adapter():
        assert torch.equal(head(model, hidden_states(model, batch.tokens, everything)), before)
    assert not torch.allclose(head(model, hidden_states(model, batch.tokens, everything)), before)
    objective = StudentObjective(tokenizer.mask_token_id, True, MaskSchedule(), padding=False)
    loss, parts = objective(model, batch, torch.Generator().manual_seed(0))
    loss.backward()
    assert parts["divergence"] > 0
    trained = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert trained
    assert all("lora" in name for name in trained)


def test_an_interrupted_run_goes_on_to_the_same_weights(tokenizer, tmp_path):
    mixture = Mixture({"arithmetic": 1.0}, batch=2, block=16)

    def train(folder, steps, stop=None):
        model = tiny(tokenizer)
        optimizer = distill_stages.base_optimizer(model, 1e-2, 1e-2, 2.0)
        folder.mkdir(exist_ok=True)
        schedule = distill_loop.Schedule(steps, warmup=2, save_every=3, seconds=stop)
        done = distill_loop.train_stage(
            model, optimizer, BaseObjective(1), tokenizer, mixture, schedule, folder, device="cpu"
        )
        return done, torch.cat([p.detach().flatten() for p in model.parameters()])

    done, whole = train(tmp_path / "whole", 6)
    assert done
    done, _ = train(tmp_path / "parts", 6, stop=0.0)  # one step and a checkpoint
    assert not done
    done, parts = train(tmp_path / "parts", 6)
    assert done
    assert torch.equal(whole, parts)
    steps = [json.loads(line)["step"] for line in (tmp_path / "parts" / "log.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 5, 6]
    other = distill_stages.add_adapter(tiny(tokenizer), 4, 4, 0.0, ["q_proj"])
    with pytest.raises(UserError, match="another model"):
        training_checkpoint.load_training_state(
            tmp_path / "parts" / "checkpoint", other, distill_stages.student_optimizer(other, 1e-2, 0.0)
        )
    state = tmp_path / "parts" / "checkpoint" / "state.json"
    facts = json.loads(state.read_text())
    state.write_text(
        json.dumps({**facts, "groups": [[group] for group in facts["groups"]]})
    )  # as two optimisers had it
    with pytest.raises(UserError, match="by an older version"):
        train(tmp_path / "parts", 6)
    (tmp_path / "parts" / "checkpoint" / "weights.safetensors").write_bytes(b"12")
    with pytest.raises(UserError, match="cannot read the checkpoint"):
        train(tmp_path / "parts", 6)


def trained(folder, tokenizer, steps, stop=None, warmup=2, fast=1e-2):
    """A training that also keeps the rate of each step and group, at a batch of one sequence."""
    model = tiny(tokenizer)
    optimizer = distill_stages.base_optimizer(model, 1e-2, fast, 2.0)
    met = []
    optimizer.register_step_pre_hook(lambda one, *_: met.append([group["lr"] for group in one.param_groups]))
    folder.mkdir(exist_ok=True)
    schedule = distill_loop.Schedule(steps, warmup=warmup, seconds=stop)
    mixture = Mixture({"arithmetic": 1.0}, batch=1, block=16, padding=0.0)
    distill_loop.train_stage(model, optimizer, BaseObjective(1), tokenizer, mixture, schedule, folder, device="cpu")
    return [[rates[number] for rates in met] for number in range(len(optimizer.param_groups))]


@pytest.mark.parametrize("change", [{"steps": 40}, {"steps": 24, "warmup": 20}, {"steps": 24, "fast": 1e-4}])
def test_the_rate_goes_on_from_where_it_stands(change, tokenizer, tmp_path, capsys):
    """At the end of a run it is small: a longer one starts from there, in either group of weights."""
    before = trained(tmp_path, tokenizer, 12)
    assert before[0][-1] == pytest.approx(before[0][0] * 2 / 3)  # 1 / (decay * steps), against 1 / warmup
    capsys.readouterr()
    asked = dict(change)
    steps = asked.pop("steps")
    after = trained(tmp_path, tokenizer, steps, **asked)
    assert "12 of" in capsys.readouterr().err
    for done, more in zip(before, after, strict=True):
        rates = [done[-1], *more]
        assert len(more) == steps - 12
        assert all(1 / 1.5 - 1e-9 <= b / a <= 1.5 + 1e-9 for a, b in pairwise(rates[:10]))


def test_a_run_that_was_changed_and_interrupted_has_the_same_rates(tokenizer, tmp_path):
    for name in ("whole", "parts"):
        trained(tmp_path / name, tokenizer, 4)
    whole = trained(tmp_path / "whole", tokenizer, 12)
    first = trained(tmp_path / "parts", tokenizer, 12, stop=0.0)
    second = trained(tmp_path / "parts", tokenizer, 12)
    assert [a + b for a, b in zip(first, second, strict=True)] == whole


def test_a_checkpoint_that_does_not_tell_its_rates_goes_on_as_well(tokenizer, tmp_path):
    """Those of an earlier version say the last rate only."""
    whole = trained(tmp_path / "whole", tokenizer, 12)
    trained(tmp_path / "parts", tokenizer, 12, stop=0.0)
    state = tmp_path / "parts" / "checkpoint" / "state.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "notes": {}}))
    assert [rates[1:] for rates in whole] == trained(tmp_path / "parts", tokenizer, 12)
    state = tmp_path / "whole" / "checkpoint" / "state.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "notes": {}}))
    assert trained(tmp_path / "whole", tokenizer, 30)[0][0] / whole[0][-1] < 1.51


def test_fewer_steps_than_are_done_are_told(tokenizer, tmp_path, capsys):
    trained(tmp_path, tokenizer, 3)
    capsys.readouterr()
    assert trained(tmp_path, tokenizer, 2) == [[], []]
    assert "3 steps are done and 2 are asked for, so none is trained; steps=4 goes on" in capsys.readouterr().err


SHORT = [
    "distill",
    "stage=base",
    "steps=1",
    "batch=1",
    "device=cpu",
    "tasks={arithmetic: 1.0}",
    "base.hidden_size=32",
    "base.num_hidden_layers=1",
    "base.intermediate_size=32",
    "padding=0",
]


def test_two_trainings_in_one_folder_are_refused(tmp_path, capsys):
    held = lock_folder(tmp_path, "training")
    assert main([*SHORT, f"output={tmp_path}"]) == 2
    answer = capsys.readouterr()
    assert answer.err.splitlines()[0] == f"lohovla: another training is writing to {tmp_path}"
    assert answer.out == ""
    assert not (tmp_path / "config.yaml").exists()
    held.close()
    assert main([*SHORT, f"output={tmp_path}"]) == 0
    lock_folder(tmp_path, "training").close()  # and it lets others in afterwards


@pytest.mark.parametrize("words", [["model=missing"], ["data=missing"], ["stage=foo"], ["stage=base", "data=missing"]])
def test_what_is_refused_leaves_nothing(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["distill", "device=cpu", *words]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_the_checkpoint_before(tokenizer, tmp_path, monkeypatch):
    trained(tmp_path, tokenizer, 2)
    before = (tmp_path / "checkpoint" / "weights.safetensors").read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(training_checkpoint, "save_file", full)
    with pytest.raises(OSError, match="No space"):
        trained(tmp_path, tokenizer, 4)
    assert (tmp_path / "checkpoint" / "weights.safetensors").read_bytes() == before
    assert not list(tmp_path.glob("checkpoint.*"))
    monkeypatch.chdir(tmp_path)
    assert main([*SHORT, "output=here"]) == 2


def test_the_command_writes_an_adapter_that_names_no_folder(tokenizer, tmp_path):
    base = tmp_path / "base"
    tiny(tokenizer).save_pretrained(base)
    tokenizer.save_pretrained(base)
    output = tmp_path / "mine"
    words = ["steps=1", "batch=1", "student.rank=2", "student.prompt=causal", "tasks={arithmetic: 1.0}", "device=cpu"]
    assert main(["distill", f"model={base}", f"output={output}", *words]) == 0
    settings = json.loads((output / "adapter" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] is None
    assert str(tmp_path) not in "".join(file.read_text() for file in (output / "adapter").glob("*.json"))
    text = TextModel.load(base, output / "adapter")
    assert (text.student.prompt, text.base.prompt, text.size) == ("causal", "bidirectional", 16)
