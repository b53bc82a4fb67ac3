"""The text tasks: reference answers are right, and wrong ones are found out."""

import re

import pytest

from lohovla.collect.text_tasks import NAMES, text_task
from lohovla.collect.text_tasks.plans import TASKS, Plans
from lohovla.collect.text_tasks.symbolic_executor import Impossible, carry_out
from lohovla.collect.text_tasks.tokenizer import build_tokenizer
from lohovla.d2f.encode_prompt import encode_prompt
from lohovla.envs.tasks.entities import in_bowl, is_on
from lohovla.envs.tasks.registry import get_task, initial_scene
from lohovla.errors import UserError


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.mark.parametrize("name", [*NAMES, "short-plan"])
def test_reference_answers_are_right_and_repeat(name, tokenizer):
    task = text_task(name)
    for seed in range(10001, 10121, 2):
        example = task.draw_problem(seed)
        score = task.score(example, example.answer)
        assert (score.right, score.valid, score.fault) == (True, True, "")
        assert task.draw_problem(seed) == example
        for text in (example.prompt, example.answer):
            assert tokenizer.decode(encode_prompt(tokenizer, text)) == text


def test_plans_are_long_and_of_every_task():
    task = text_task("plan")
    examples = [task.draw_problem(seed) for seed in range(10001, 10161, 2)]
    assert min(example.answer.count("\n") for example in examples) >= 6
    assert len({example.prompt.split("\n")[0] for example in examples}) >= len(TASKS) - 2


def test_wrong_plans_are_found_out():
    task = Plans(tasks=("put-block-into-matching-bowl",))
    example = task.draw_problem(10001)
    lines = example.answer.splitlines()
    colors = [re.search(r"the (\w+) block", line)[1] for line in lines]

    def fault(changed):
        return task.score(example, "\n".join(changed) + "\n").fault

    assert fault(lines[:-1]) == "the goal is not reached"
    assert "occupied" in fault([lines[0], lines[1].replace(f"{colors[1]} bowl", f"{colors[0]} bowl"), *lines[2:]])
    assert fault(["1. Pick up the moon.", *lines[1:]]) == "step 1: not a sub-task"
    assert fault([lines[0], lines[0].replace("1.", "2."), *lines[2:]]).startswith("step 2: it is in the")
    assert fault([*lines[:2], "4. " + lines[2][3:]]) == "step 3 has no number"
    order = [f"{n}. {line.partition('. ')[2]}" for n, line in enumerate(reversed(lines), 1)]
    assert task.score(example, "\n".join(order) + "\n").right, "any order that works is right"


def test_the_executor_moves_blocks_as_the_world_would():
    task = get_task("put-hidden-blocks-in-two-layer-towers-into-matching-bowls")
    import numpy as np

    problem = task.sample(np.random.default_rng(4))
    scene = initial_scene(problem.layout)
    lower = next(b for b in problem.goal.allowed if any(is_on(scene, other, b) for other in scene.blocks if other != b))
    upper = next(other for other in scene.blocks if other != lower and is_on(scene, other, lower))
    color, top = scene.blocks[lower].color, scene.blocks[upper].color
    bowl = f"Pick up the smaller {color} block and place it in the {color} bowl."
    with pytest.raises(Impossible, match="covered"):
        carry_out(scene, bowl)
    aside = carry_out(scene, f"Pick up the bigger {top} block and place it on the table.")
    after = carry_out(aside, bowl)
    assert in_bowl(after, lower, problem.goal.allowed[lower][0])
    assert problem.goal.score(after) > problem.goal.score(scene)
    with pytest.raises(Impossible, match="there is no"):
        carry_out(scene, bowl.replace("smaller", "bigger").replace(f"{color} block", "white block"))


def test_wrong_working_is_found_out():
    task = text_task("arithmetic")
    example = task.draw_problem(10001)
    first, second, _ = example.answer.split("\n")
    last = second[-1]
    other = str((int(last) + 1) % 10)
    assert not task.score(example, f"{first}\n{second[:-1]}{other}\n").right
    changed = task.score(example, f"{first.replace('=', '=9', 1)}\n{second}\n")
    assert (changed.right, changed.valid, changed.fault) == (True, False, "line 1 is wrong")
    assert task.score(example, first + "\n").fault == "1 lines of working instead of 2"


def test_working_by_hand():
    """478 + 9127 = 9605 carries in the first column only; 9605 - 3055 borrows in the second."""
    import lohovla.collect.text_tasks.arithmetic as arithmetic

    assert arithmetic._line(478, "+", 9127) == "0478+9127:8+7+0=15,7+2+1=10,4+1+1=06,0+9+0=09=9605"
    assert arithmetic._line(9605, "-", 3055) == "9605-3055:5-5-0=00,0-5-0=15,6-0-1=05,9-3-0=06=6550"


def test_prompts_with_unknown_words_are_refused(tokenizer):
    with pytest.raises(UserError, match="does not know 'hello'"):
        encode_prompt(tokenizer, "hello world")
    with pytest.raises(UserError, match="mask token"):
        encode_prompt(tokenizer, "<mask>")
