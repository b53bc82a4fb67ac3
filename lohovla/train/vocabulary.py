"""Every sentence that the block world can say, for the tokenizers; and what may be said as a sub-task."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from lohovla.collect.text_tasks import text_task
from lohovla.envs.language import vocabulary
from lohovla.envs.tasks.grammar.cells import all_cells, draw_meaning, held_out
from lohovla.envs.tasks.grammar.meaning import CONDITIONS, canonical
from lohovla.envs.tasks.grammar.wording import Speaker, trained_phrases

_SAID = 40  # times that a known word counts, so that each is a token
_DRAWN, _PROBLEMS = 3, 60  # sentences of a cell of the grammar, and problems of each text task


def vocabulary_sentences() -> Iterator[str]:
    """Goals in all their wordings and the parts of sub-tasks, with every filling's words."""
    words = vocabulary()
    for wordings in words["goals"].values():
        yield from (_without_fields(wording) for wording in wordings)
    yield _without_fields(words["subtask"])
    yield words["done"]
    yield from (_without_fields(phrase) for phrase in [*words["pick"].values(), *words["place"].values()])
    for group in ("colors", "color_categories", "sizes", "areas", "relations"):
        yield from words[group]


def byte_level_corpus() -> Iterator[str]:
    """Texts for the byte-level tokenizer: what is trained of the goal grammar, and the text tasks.

    Nothing that is held out is in it: no phrase that is never trained, no sentence that was written by hand.
    """
    fixed = list(vocabulary_sentences())
    parts = composed_subtask_parts()
    fixed += [*parts["others"], *(said["text"] for said in parts["missing"]), *trained_phrases()]
    words = sorted({word for text in fixed for word in re.findall(r"[A-Za-z]+", text)})
    for word in words:
        yield from [f" {word.lower()}"] * _SAID
        yield from [word.capitalize()] * _SAID
    yield from fixed
    rng = np.random.default_rng(0)
    colors = tuple(vocabulary()["palettes"]["all"])
    for cell in all_cells():
        for _ in range(0 if held_out(cell) else _DRAWN):
            meaning = draw_meaning(cell, rng, colors)
            yield from [Speaker(rng).sentence(meaning).lower(), str(canonical(meaning))]
    for name in ("plan", "arithmetic"):
        for seed in range(0, 2 * _PROBLEMS, 2):
            example = text_task(name).draw_problem(seed)
            yield f"{example.prompt}{example.answer}"


def subtask_parts() -> dict[str, list[Any]]:
    """The parts of sub-tasks, for :meth:`Processor.subtask_constraints`: about six thousand combinations."""
    words = vocabulary()
    colors = list(words["colors"])
    sizes = ["", *words["sizes"]]
    looks = [{"color": color, "size": size} for color in colors for size in sizes]

    def part(kind: str, look: dict[str, str], template: str, **fields: str) -> dict[str, Any]:
        spaced = {**look, "size": f"{look['size']} " if look.get("size") else ""}
        number = colors.index(look["color"]) if "color" in look else -1
        text = template.format(**spaced, **fields)
        return {
            "text": text,
            "kind": kind,
            "color": number,
            "size": look.get("size", ""),
            "goal": fields["area"] if kind == "area" else text if kind == "relation" else "",
        }

    phrases = words["place"]
    places = [part(kind, {"color": color}, phrases[kind]) for kind in ("bowl", "zone") for color in colors]
    places += [part("block", look, phrases["block"]) for look in looks]
    places += [part("area", {}, phrases["area"], area=area) for area in words["areas"]]
    places += [
        part("relation", look, phrases["relation"], relation=side) for side in words["relations"] for look in looks
    ]
    return {
        "sentence": re.split(r"\{pick\}|\{place\}", words["subtask"]),
        "pick": [part("block", look, words["pick"]["block"]) for look in looks],
        "place": [*places, part("table", {}, phrases["table"])],
        "others": [words["done"]],
    }


def composed_subtask_parts() -> dict[str, list[Any]]:
    """The parts for goals in free words: the goal's string decides nothing about which places may be named.

    Under ``missing`` are the sentences that say why nothing can be done.
    """
    parts = subtask_parts()
    places = [{key: value for key, value in place.items() if key != "goal"} for place in parts["place"]]
    words = vocabulary()
    missing = [*_missing(words), {"text": words["nothing"], "kind": "", "color": -1, "size": ""}]
    return {**parts, "place": places, "missing": missing}


def _missing(words: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The sentences "There is no ...", each with the kind, colour and size of the one thing it names, if it is one."""
    colors = list(words["colors"])

    def said(noun: str, kind: str = "", color: str = "", size: str = "") -> dict[str, Any]:
        number = colors.index(color) if color else -1
        return {"text": words["missing"].format(noun=noun), "kind": kind, "color": number, "size": size}

    for kind in ("bowl", "zone"):
        yield said(kind, kind)
        yield from (said(f"{color} {kind}", kind, color) for color in colors)
        yield from (said(f"{kind} of {whose} color") for whose in ("the same", "another"))
    groups = [f"{name}-colored" for name in words["color_categories"]]
    areas = ["", *(f"in the {area} area" for area in words["areas"])]
    sizes, covers = ["", *words["sizes"]], ["", *(CONDITIONS["cover"] or ())]
    for cover, size, color, area in product(covers, sizes, ["", *colors, *groups], areas):
        noun = " ".join(filter(None, (cover, size, color, "block", area)))
        one_thing = not cover and not area and color not in groups
        yield said(noun, "block", color, size) if one_thing else said(noun)


def _without_fields(template: str) -> str:
    return re.sub(r"\{\w*\}", " ", template)
