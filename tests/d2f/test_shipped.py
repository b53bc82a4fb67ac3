"""The text model in the package: it solves problems that it has not seen, in every way of decoding."""

import pytest
import torch

from lohovla.cli import main
from lohovla.collect.text_tasks import text_task
from lohovla.d2f.decode_loop import decode_prompts
from lohovla.d2f.load_checkpoint import SHIPPED
from lohovla.d2f.sampling import Sampling
from lohovla.d2f.text_model import TextModel

PROBLEMS = 8
ROOM = {"open-plan": 192, "arithmetic": 112}
LEAST = {"open-plan": 4, "arithmetic": 4}  # right answers of the eight


@pytest.fixture(scope="module")
def model():
    return TextModel.load()


@pytest.fixture(scope="module", params=list(ROOM))
def solved(request, model):
    """A task, its problems, and their answers by plain d2f."""
    task = request.param
    examples = [text_task(task).draw_problem(10001 + 2 * k) for k in range(PROBLEMS)]
    return task, examples, answers(model, "d2f", task, examples)


def answers(model, mode, task, examples):
    heads = [model.encode(example.prompt) for example in examples]
    return decode_prompts(model.student, heads, model.settings(mode, Sampling(max_tokens=ROOM[task])))


def right(model, task, examples, found):
    pairs = zip(examples, found, strict=True)
    return sum(text_task(task).score(example, model.decode(a.tokens)).right for example, a in pairs)


def test_it_is_small():
    size = sum(file.stat().st_size for file in SHIPPED.rglob("*") if file.is_file())
    assert size <= 8_000_000
    assert {file.suffix for file in SHIPPED.rglob("*") if file.is_file()} <= {".safetensors", ".json", ".md"}


def test_it_solves_both_tasks_several_tokens_a_forward(model, solved):
    task, examples, found = solved
    assert right(model, task, examples, found) >= LEAST[task]
    assert sum(len(a.tokens) for a in found) > 3.3 * sum(a.forwards for a in found)


def test_the_chain_changes_no_token(model, solved):
    task, examples, plain = solved
    chain = answers(model, "d2f+chain", task, examples)
    assert [a.tokens for a in chain] == [a.tokens for a in plain]
    assert sum(a.forwards for a in chain) < sum(a.forwards for a in plain)


def test_branches_solve_problems_too(model, solved):
    task, examples, _ = solved
    assert right(model, task, examples, answers(model, "d2f+branch", task, examples)) >= LEAST[task] - 2


def test_the_same_weights_are_autoregressive(model):
    example = text_task("arithmetic").draw_problem(10001)
    result = model.generate(example.prompt, "ar")[0]
    assert text_task("arithmetic").score(example, result.text).right
    assert result.answer.forwards == len(result.answer.tokens) + 1


def test_the_adapter_makes_the_student(model):
    """Without its adapter the model would be the teacher; the two differ."""
    ids = torch.tensor([model.encode(text_task("open-plan").draw_problem(10001).prompt)])
    positions, everything = torch.arange(ids.shape[1])[None], torch.ones(1, ids.shape[1], ids.shape[1]).bool()
    ends = [d.forward(ids, positions, everything, d.new_cache(1)) for d in (model.base, model.student)]
    assert not torch.allclose(*ends, atol=1e-3)


def test_the_command_answers_without_further_settings(capsys):
    assert main(["generate", "example=arithmetic", "seed=10001"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "right"
    assert "tokens a forward" in err
