"""Every sentence that the block world can say, for the nano model's tokenizer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

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


def _without_fields(template: str) -> str:
    return re.sub(r"\{\w*\}", " ", template)
