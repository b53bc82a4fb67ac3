"""What the page at / says of the model: what it can do, examples to try, and whether an answer is right."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from lohovla.collect.text_tasks import TextExample, text_task
from lohovla.d2f.encode_prompt import knows_words_only
from lohovla.d2f.text_model import TextModel

_FIRST = 10001  # test seeds
_TITLES = {"arithmetic": "arithmetic", "open-plan": "a plan for the block world"}
_CHAT = (
    "What is the capital of France?",
    "Explain in two sentences what a robot arm needs a camera for.",
    "Write a short poem about a red block.",
)
_TEXT = ("The robot arm lifts the red block and", "Once upon a time", "def add(a, b):")


def describe_model(text: TextModel, name: str, modes: tuple[str, ...]) -> dict[str, Any]:
    """What the page shows of a model, as JSON.

    Args:
        text: the model.
        name: that it is served under.
        modes: that it is served in; the first one is what it does if nothing is said.
    """
    if knows_words_only(text.tokenizer):
        says = (
            "This small model does two things: it adds and subtracts three numbers of four digits with the working of "
            "each column, and it writes plans for a table with blocks, bowls and zones. It knows no other words."
        )
        examples = [
            {"title": f"{title} {k + 1}", "task": task, "seed": _FIRST + 2 * k, "prompt": _draw(task, _FIRST + 2 * k)}
            for task, title in _TITLES.items()
            for k in range(2)
        ]
    else:
        chat = text.has_chat_template
        says = "This model answers questions and follows instructions." if chat else "This model goes on from a text."
        examples = [{"title": prompt, "prompt": prompt} for prompt in (_CHAT if chat else _TEXT)]
    return {
        "name": name,
        "modes": list(modes),
        "chat": text.has_chat_template,
        "says": says,
        "examples": examples,
    }


def _draw(task: str, seed: int) -> str:
    return text_task(task).draw_problem(seed).prompt.removesuffix("\n")


class AnswerToJudge(BaseModel):
    """An answer to one of the examples, or to another problem of arithmetic."""

    model_config = ConfigDict(strict=True, extra="forbid")

    prompt: str = Field(max_length=4000)
    text: str = Field(max_length=4000)
    task: str | None = Field(None, max_length=40)
    seed: int | None = Field(None, ge=0, lt=2**31)


def judge(answer: AnswerToJudge) -> dict[str, Any]:
    """Whether an answer is right, and a right one: ``{"right": bool, "fault": str, "answer": str}``.

    ``right`` is null where nobody can tell.
    """
    task, example = "arithmetic", TextExample("arithmetic", 0, answer.prompt.removesuffix("\n") + "\n", "")
    if answer.task in _TITLES and answer.seed is not None:
        drawn = text_task(answer.task).draw_problem(answer.seed)
        if drawn.prompt == example.prompt:
            task, example = answer.task, drawn
    try:
        score = text_task(task).score(example, answer.text)
    except ValueError:  # no problem of that task
        return {"right": None, "fault": "", "answer": ""}
    return {"right": score.right, "fault": score.fault, "answer": example.answer}
