"""Goals in words: sentences of a meaning from a lexicon, with synonyms and clauses in several orders.

Words are data (``lexicon.yaml``). A fixed share of the phrases is held out from training by a hash of the phrase, so
that the list depends neither on a seed nor on who asks.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterator
from importlib import resources
from typing import Any

import numpy as np
import yaml

from lohovla.envs.language import vocabulary
from lohovla.envs.tasks.grammar.meaning import RELATIONS, Condition, Meaning, Noun, canonical

HELD_OUT_SHARE = 0.35  # of a list's phrases, its first and those without a word of their own aside
LONGEST = 155  # characters of a sentence
MOST_WORDS = 35  # the model reads 40 tokens, and a full stop is one


@functools.cache
def lexicon() -> dict[str, Any]:
    """The whole of ``lexicon.yaml`` as a mapping."""
    text = resources.files("lohovla.envs.tasks.grammar").joinpath("lexicon.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def _drawn(phrase: str) -> bool:
    """Whether the hash of a phrase draws it to be held out."""
    return int(hashlib.sha256(phrase.encode()).hexdigest()[:8], 16) / 16**8 < HELD_OUT_SHARE


def _lists() -> dict[str, tuple[str, ...]]:
    """The lexicon's lists of phrases, by the place they are at: ``nouns.block`` and so on."""
    return {
        f"{part}.{name}": tuple(phrases)
        for part, entries in lexicon().items()
        if isinstance(entries, dict) and part != "plurals"
        for name, phrases in entries.items()
    }


@functools.cache
def _known_words() -> frozenset[str]:
    """Words that training meets: of the published tasks' sentences, and of phrases that are not drawn."""
    said = [line for lines in vocabulary()["goals"].values() for line in lines]
    said += [
        phrase for phrases in _lists().values() for i, phrase in enumerate(phrases) if i == 0 or not _drawn(phrase)
    ]
    return frozenset(word for line in said for word in re.findall(r"[a-z]+", line.lower()))


@functools.cache
def is_held_out(phrase: str) -> bool:
    """Whether a phrase that is not the first of its list is never trained.

    Its hash draws it, and it has a word that nothing else in training says.
    """
    return _drawn(phrase) and not set(re.findall(r"[a-z]+", phrase.lower())) <= _known_words()


@functools.cache
def trained(phrases: tuple[str, ...]) -> tuple[str, ...]:
    """Of a list the phrases that are trained."""
    return tuple(phrase for i, phrase in enumerate(phrases) if i == 0 or not is_held_out(phrase))


def held_out_phrases() -> dict[str, tuple[str, ...]]:
    """Every phrase that is never trained, by the list it is in (``nouns.block`` and so on)."""
    return {name: out for name, phrases in _lists().items() if (out := tuple(sorted({*phrases} - {*trained(phrases)})))}


def trained_phrases() -> Iterator[str]:
    """Every phrase that may be trained, without its fields; nouns in the plural too."""
    for name, phrases in _lists().items():
        for phrase in trained(phrases):
            yield re.sub(r"\{\w+\}", " ", phrase)
            if name.startswith("nouns."):
                yield plural_of(phrase)
    yield from (re.sub(r"\{\w*\}", " ", pattern) for pattern in (*lexicon()["orders"], *lexicon()["polite"]))


@functools.cache
def plain_words() -> dict[str, str]:
    """Of each single word of the lexicon that is trained, in one number and several, the plain phrase of its list."""
    found: dict[str, str] = {}
    for name, phrases in _lists().items():
        plain, *others = (re.sub(r"\{\w+\}", "", phrase).strip() for phrase in trained(phrases))
        for other in filter(str.isalpha, others):
            found.setdefault(other, plain)
            if name.startswith("nouns."):
                found.setdefault(plural_of(other), plural_of(plain))
    return found


class Speaker:
    """Says goals in words drawn at random.

    Args:
        rng: draws them.
        unseen: use words that are never trained wherever there are some, instead of those that are.
    """

    def __init__(self, rng: np.random.Generator, unseen: bool = False):
        self._rng, self._unseen = rng, unseen
        self._names: dict[str, str] = {}  # one name for a thing within a sentence
        self.used_unseen = False

    def sentence(self, meaning: Meaning, plural: bool = True) -> str:
        """One sentence for a goal; ``plural`` is false where it is one block that is meant."""
        said = self._draw(meaning, plural)
        for _ in range(30):
            if len(said) <= LONGEST and len(said.split()) <= MOST_WORDS and self.used_unseen >= self._unseen:
                break
            said = self._draw(meaning, plural)
        return said

    def _draw(self, meaning: Meaning, plural: bool) -> str:
        meaning = canonical(meaning)
        self._names, self.used_unseen = {}, False
        what = "towers" if meaning.what == "tower" and meaning.by else meaning.what
        slots = {
            "do": self._fill(self._choose("do", what)),
            "be": self._fill(self._choose("be", what)),
            "who": self._who(meaning, plural),
            "by": self._choose("by", meaning.by) if meaning.by else "",
            "order": self._order(meaning),
            "where": self._where(meaning),
        }
        pattern = str(self._rng.choice(lexicon()["orders"]))
        said = " ".join(pattern.format(**slots).split())
        if "{be}" in pattern:
            said = f"{said}." if plural else f"{_singular(said)}."
        else:
            said = str(self._rng.choice(lexicon()["polite"])).format(said)
        said = re.sub(r"\bi\b", "I", said)
        return said[0].upper() + said[1:]

    def _pick(self, phrases: list[str] | tuple[str, ...]) -> str:
        known = trained(tuple(phrases))
        new = [phrase for phrase in phrases if phrase not in known]
        if self._unseen and new:
            self.used_unseen = True
            return new[self._rng.integers(len(new))]
        return known[self._rng.integers(len(known))]

    def _choose(self, part: str, name: str) -> str:
        return self._pick(lexicon()[part][name])

    def _name(self, kind: str) -> str:
        if kind not in self._names:
            self._names[kind] = self._choose("nouns", kind)
        return self._names[kind]

    def _color(self, color: str) -> str:
        return self._pick(lexicon()["colors"].get(color, (color,)))

    def _noun(self, noun: Noun) -> str:
        size = self._choose("sizes", noun.size) if noun.size else ""
        return " ".join(filter(None, (size, self._color(noun.color), self._name(noun.kind))))

    def _area(self, area: str) -> str:
        return f"{self._choose('areas', area)} {self._name('area')}"

    def _fill(self, phrase: str, **fields: str) -> str:
        """A phrase with its things named; ``{bowl}s`` becomes a plural."""

        def name(match: re.Match[str]) -> str:
            key, plural = match[1], match[2]
            if key in fields:
                return fields[key] + plural
            return plural_of(self._name(key)) if plural else self._name(key)

        return re.sub(r"\{(\w+)\}(s?)", name, phrase)

    def _who(self, meaning: Meaning, plural: bool) -> str:
        block = plural_of(self._name("block")) if plural else self._name("block")
        before = [
            self._choose("cover", meaning.said("cover")) if meaning.said("cover") else "",
            self._choose("sizes", meaning.said("size")) if meaning.said("size") else "",
            self._color(meaning.said("color")) if meaning.said("color") else "",
            self._choose("categories", meaning.said("category")) if meaning.said("category") else "",
        ]
        ranks = {"layer": 0, "in": 1}  # "at the foot of the pyramid"
        conditions = sorted(meaning.who, key=lambda c: (ranks.get(c.kind, 2), c))
        after = [self._which(condition) for condition in conditions]
        article = self._rng.choice(["all the", "the"]) if plural else "the"
        return " ".join(filter(None, (article, *before, block, *after)))

    def _which(self, condition: Condition) -> str:
        entries = lexicon()["which"]
        if condition.kind == "area":
            return self._fill(self._pick(entries["area"]), area=self._area(condition.value))
        if condition.relation:
            return self._fill(self._pick(entries[condition.kind]), noun=self._noun(condition.noun))
        return self._pick(entries[condition.value]) if condition.kind in ("layer", "in", "count") else ""

    def _order(self, meaning: Meaning) -> str:
        if not meaning.order:
            return ""
        row = meaning.what == "row" and meaning.order in lexicon()["order_row"]
        return self._choose("order_row" if row else "order", meaning.order)

    def _where(self, meaning: Meaning) -> str:
        kind, value = meaning.where.kind, meaning.where.value
        if kind == "here" or (kind == "area" and meaning.what == "tower" and value == meaning.said("area")):
            return ""
        key = f"{kind}:{value}" if value in ("same", "other", "any") else kind
        if meaning.what == "each":
            return self._fill(self._choose("where_each", key))
        part = "where_tower" if meaning.what == "tower" or kind in ("block", *RELATIONS) else "where"
        phrase, noun = self._choose(part, key), meaning.where.noun
        fields = {"area": self._area(value)} if kind == "area" else {}
        if noun is not None:
            fields = {"color": self._color(noun.color), "noun": self._noun(noun)}
        return self._fill(phrase, **fields)


def plural_of(noun: str) -> str:
    """A noun for several things.

    >>> plural_of("box"), plural_of("cube")
    ('boxes', 'cubes')
    """
    return lexicon()["plurals"].get(noun, f"{noun}s")


def _singular(said: str) -> str:
    """A sentence about several things made to be about one: its verb's ending."""
    for several, one in (("belong", "belongs"), ("are to", "is to"), ("have to", "has to")):
        said = re.sub(rf"\b{several}\b", one, said, count=1)
    return said
