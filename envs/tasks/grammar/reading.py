"""The lexicon read backwards: the meaning of a sentence that the wording grammar made.

For scoring and for training data alone (no two goals may have one sentence). A policy never reads by it, and what a
person types is mostly beyond it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass

from lohovla.envs.language import vocabulary
from lohovla.envs.tasks.grammar.meaning import RELATIONS, Condition, Meaning, Noun, Place, canonical
from lohovla.envs.tasks.grammar.wording import lexicon, plural_of

_PARTS = ("cover", "categories", "sizes", "which", "do", "be", "by", "order", "order_row")
_WHERE = ("where", "where_tower", "where_each")
_FILLERS = ("all", "the")


@dataclass(frozen=True)
class _Found:
    """A phrase of the lexicon in a sentence: its list, its entry, and what its {names} were."""

    part: str
    name: str
    fields: dict[str, str]


def read_meaning(sentence: str) -> Meaning | None:
    """The canonical meaning of a sentence, or None where it is not one of the wording grammar's."""
    text = _plain(sentence)
    found: list[_Found] = []
    while text:
        match = _longest(text)
        if match is None:
            return None
        size, part = match
        text = text[size:].lstrip()
        if part is not None:
            found.append(part)
    return _assembled(found)


def _plain(sentence: str) -> str:
    """Small letters without punctuation and without what is only polite, and verbs of several."""
    text = " ".join(re.sub(r"[.,?!]", " ", sentence.lower()).split())
    for pattern in lexicon()["polite"]:
        before, after = (" ".join(re.sub(r"[.,?!]", " ", part).split()) for part in pattern.split("{}"))
        if before and text.startswith(f"{before} "):
            text = text[len(before) + 1 :]
        if after and text.endswith(f" {after}"):
            text = text[: -len(after) - 1]
    for one, several in (("belongs", "belong"), ("is to", "are to"), ("has to", "have to")):
        text = re.sub(rf"\b{one}\b", several, text, count=1)
    return text


def _longest(text: str) -> tuple[int, _Found | None] | None:
    """The longest phrase that a text begins with."""
    best: tuple[int, _Found | None] | None = None
    for part, name, pattern in _patterns():
        match = pattern.match(text)
        if match and (best is None or match.end() > best[0]):
            fields = {key: value for key, value in match.groupdict().items() if value}
            if name != "block" or part != "where_tower" or _kind(fields["kind"]) == "block":
                best = match.end(), _Found(part, name, fields)
    word = text.split()[0]
    if best is None and word in _FILLERS:
        return len(word), None
    return best


@functools.cache
def _patterns() -> list[tuple[str, str, re.Pattern[str]]]:
    """Every phrase as a pattern, with its list and its entry."""
    found = [
        (part, name, phrase)
        for part in (*_PARTS, *_WHERE)
        for name, phrases in lexicon()[part].items()
        for phrase in phrases
    ]
    found += [
        ("color", color, word) for color in vocabulary()["colors"] for word in lexicon()["colors"].get(color, [color])
    ]
    found += [("block", "", "{block}"), ("block", "", "{block}s")]
    return [(part, name, re.compile(_pattern(phrase) + r"(?!\S)")) for part, name, phrase in found]


def _pattern(phrase: str) -> str:
    """The pattern of a phrase, its things by any of their names."""
    return "".join(
        _thing(part) if part.startswith("{") else re.escape(part) for part in re.split(r"(\{\w+\}s?)", _bare(phrase))
    )


def _bare(phrase: str) -> str:
    return " ".join(re.sub(r"[.,?!]", " ", phrase).split())


def _thing(slot: str) -> str:
    plural = slot.endswith("s")
    name = slot.removesuffix("s").strip("{}")
    if name == "color":
        return f"(?P<color>{_any(_color_words())})"
    if name == "area":
        areas = _any(word for words in lexicon()["areas"].values() for word in words)
        return f"(?P<area>{areas}) (?:{_any(lexicon()['nouns']['area'])})"
    if name == "noun":
        sizes = _any(word for words in lexicon()["sizes"].values() for word in words)
        kinds = _any(word for kind in ("block", "bowl", "zone") for word in lexicon()["nouns"][kind])
        return f"(?:(?P<size>{sizes}) )?(?P<color>{_any(_color_words())}) (?P<kind>{kinds})"
    words = lexicon()["nouns"][name]
    return f"(?:{_any(map(plural_of, words) if plural else words)})"


def _color_words() -> list[str]:
    return [word for color in vocabulary()["colors"] for word in lexicon()["colors"].get(color, [color])]


def _any(words: Iterable[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


def _entry(part: str, word: str) -> str:
    """The entry of a list that holds a word; the word itself if none does."""
    return next((name for name, words in lexicon()[part].items() if word in words), word)


def _kind(word: str) -> str:
    return _entry("nouns", word)


def _noun(fields: dict[str, str]) -> str:
    size = _entry("sizes", fields["size"]) if "size" in fields else ""
    return str(Noun(_kind(fields["kind"]), _entry("colors", fields["color"]), size))


def _assembled(found: list[_Found]) -> Meaning | None:
    """The meaning of phrases in order; None where they say no goal, or something twice."""
    what, by, order, where = "", "", "", Place()
    conditions: set[Condition] = set()
    each = any(one.part == "where_each" for one in found)
    for one in found:
        part, name = one.part, one.name
        if part in ("do", "be"):
            what = "each" if each else {"towers": "tower", "each": "place"}.get(name, name)
        elif part in ("order", "order_row"):
            order = name
        elif part == "by":
            by = name
        elif part in _WHERE:
            where = _place(one)
        elif part == "which":
            conditions.add(_which(one))
        elif part != "block":
            kinds = {"sizes": "size", "categories": "category"}
            conditions.add(Condition(kinds.get(part, part), name))
    return canonical(Meaning(what, frozenset(conditions), by, order, where)) if what else None


def _which(found: _Found) -> Condition:
    if found.name == "area":
        return Condition("area", _entry("areas", found.fields["area"]))
    if found.name.endswith("-of"):
        return Condition(found.name, _noun(found.fields))
    kinds = {"bottom": "layer", "pyramid": "in", "two-layer-towers": "in", "three-layer-towers": "in"}
    return Condition(kinds.get(found.name, "count"), found.name)


def _place(found: _Found) -> Place:
    kind, _, value = found.name.partition(":")
    if kind == "area":
        return Place("area", _entry("areas", found.fields["area"]))
    if value:
        return Place(kind, value)
    if kind in ("block", *RELATIONS):
        return Place(kind, _noun(found.fields))
    return Place(kind, _entry("colors", found.fields["color"]))
