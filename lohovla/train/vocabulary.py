"""Every sentence that the block world can say, for the nano model's tokenizer."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lohovla.envs.language import vocabulary


def sentences() -> Iterator[str]:
    """Goals in all their wordings and the parts of sub-tasks, with every filling's words."""
    words = vocabulary()
    for wordings in words["goals"].values():
        yield from (_without_fields(wording) for wording in wordings)
    yield _without_fields(words["subtask"])
    yield words["done"]
    yield from (_without_fields(phrase) for phrase in [*words["pick"].values(), *words["place"].values()])
    for group in ("colors", "color_categories", "sizes", "areas", "relations"):
        yield from words[group]


def subtask_parts() -> dict[str, list[str]]:
    """What sub-tasks are made of, for :meth:`lohovla.model.processor.Processor.grammar`: about six thousand of them."""
    words = vocabulary()
    sizes = ["", *(f"{size} " for size in words["sizes"])]
    blocks = [{"color": color, "size": size} for color in words["colors"] for size in sizes]
    phrases = words["place"]
    places = [phrases[kind].format(color=color) for kind in ("bowl", "zone") for color in words["colors"]]
    places += [phrases["block"].format(**block) for block in blocks]
    places += [phrases["area"].format(area=area) for area in words["areas"]]
    places += [phrases["relation"].format(relation=side, **block) for side in words["relations"] for block in blocks]
    return {
        "sentence": re.split(r"\{pick\}|\{place\}", words["subtask"]),
        "pick": [words["pick"]["block"].format(**block) for block in blocks],
        "place": [*places, phrases["table"]],
        "others": [words["done"]],
    }


def _without_fields(template: str) -> str:
    return re.sub(r"\{\w*\}", " ", template)
