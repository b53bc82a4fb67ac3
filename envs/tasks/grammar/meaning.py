"""What a goal means, as data: which blocks, how they are grouped, what becomes of them, in which order, and where.

A meaning has a formal notation, one line of ``key=value``, and a canonical form: meanings that ask for the same in
every scene have equal canonical forms. Words are another matter: :mod:`lohovla.envs.tasks.grammar.wording`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from lohovla.envs.language import vocabulary

WHATS: Final = ("tower", "row", "place", "each", "uncover")
GROUPS: Final = ("", "color", "size", "area")
ORDERS: Final = ("", "bigger-first", "smaller-first", "alternating", "alternating-size")
RELATIONS: Final = ("near", *vocabulary()["relations"])
STRUCTURES: Final = ("two-layer-towers", "three-layer-towers", "pyramid")
# Conditions on a block, with what each may say; side conditions say a noun ("left-of:block-red").
CONDITIONS: Final = {
    "color": tuple(vocabulary()["colors"]),
    "size": tuple(vocabulary()["sizes"]),
    "category": tuple(vocabulary()["color_categories"]),
    "area": tuple(name.replace(" ", "-") for name in vocabulary()["areas"]),
    "cover": ("covered", "free"),
    "layer": ("bottom",),
    "in": STRUCTURES,
    "count": ("even", "odd", "1", "2", "3", "4"),
    **{f"{relation}-of": None for relation in vocabulary()["relations"]},
}
# Places, with what each may say beside nouns of its kind.
PLACES: Final = ("here", "zone", "bowl", "block", "area", *RELATIONS)


@dataclass(frozen=True, order=True)
class Noun:
    """One thing that a goal names: "the bigger red block".

    Attributes:
        kind: block, bowl or zone.
        color: its colour.
        size: smaller or bigger, or "" where it is not said; of blocks alone.
    """

    kind: str
    color: str
    size: str = ""

    def __str__(self) -> str:
        return "-".join(filter(None, (self.kind, self.size, self.color)))

    @classmethod
    def parse(cls, text: str) -> Noun:
        """The noun of a notation such as ``block-bigger-red``; raises ValueError."""
        kind, *rest = text.split("-")
        size = rest.pop(0) if len(rest) == 2 else ""
        valid = kind in ("block", "bowl", "zone") and len(rest) == 1 and rest[0] in CONDITIONS["color"]
        if not valid or size not in ("", *CONDITIONS["size"]) or (size and kind != "block"):
            raise ValueError(f"{text!r} names no thing; write block-red, block-bigger-red, bowl-white or zone-blue")
        return cls(kind, rest[0], size)


@dataclass(frozen=True, order=True)
class Condition:
    """What a block must be: ``kind`` a key of :data:`CONDITIONS`, ``value`` one of its words, or a noun's notation."""

    kind: str
    value: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"

    @property
    def noun(self) -> Noun:
        """The thing that a side condition refers to."""
        return Noun.parse(self.value)

    @property
    def relation(self) -> str:
        """Of a side condition left, right, top or bottom; "" of others."""
        return self.kind.removesuffix("-of") if self.kind.endswith("-of") else ""


@dataclass(frozen=True, order=True)
class Place:
    """Where: ``kind`` one of :data:`PLACES`.

    ``value`` is a colour, ``same``, ``other`` or ``any`` of zones and bowls; a name of an area; the notation of a noun
    of a block (on top of it) and of a relation (beside it); "" of ``here``.
    """

    kind: str = "here"
    value: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}" if self.value else self.kind

    @property
    def noun(self) -> Noun | None:
        """The one thing that is named, if one is."""
        if self.kind in ("zone", "bowl"):
            return Noun(self.kind, self.value) if self.value in CONDITIONS["color"] else None
        return Noun.parse(self.value) if self.kind == "block" or self.kind in RELATIONS else None


HERE: Final = Place()


@dataclass(frozen=True)
class Meaning:
    """A goal as data.

    Attributes:
        what: one of :data:`WHATS`: a tower; a row from left to right; all into a place; each into a container of its
            own; nothing on top of any.
        who: conditions on the blocks meant, all of which must hold; none means all blocks.
        by: one tower or row for each colour, size or area; "" is one in all.
        order: from the foot up, or from the left; "" is any.
        where: the place.
    """

    what: str
    who: frozenset[Condition] = frozenset()
    by: str = ""
    order: str = ""
    where: Place = HERE

    def __str__(self) -> str:
        parts = [f"what={self.what}", "who=" + ("+".join(map(str, sorted(self.who))) or "all")]
        parts += [f"by={self.by}"] if self.by else []
        parts += [f"order={self.order}"] if self.order else []
        return " ".join([*parts, *([f"where={self.where}"] if self.where != HERE else [])])

    def said(self, kind: str) -> str:
        """The value of its condition of a kind, or ""."""
        return next((condition.value for condition in self.who if condition.kind == kind), "")

    @property
    def nouns(self) -> frozenset[Noun]:
        """Every single thing that it names."""
        named = {condition.noun for condition in self.who if condition.relation}
        return frozenset(named | ({self.where.noun} if self.where.noun else set()))


def who(**conditions: str) -> frozenset[Condition]:
    """Conditions by name; ``_`` stands for ``-``, and ``structure`` for ``in``.

    >>> sorted(map(str, who(size="bigger", left_of="bowl-red")))
    ['left-of:bowl-red', 'size:bigger']
    """
    names = {"structure": "in"}
    return frozenset(Condition(names.get(kind, kind).replace("_", "-"), value) for kind, value in conditions.items())


def parse_meaning(text: str) -> Meaning:
    """The meaning of a formal notation.

    >>> print(parse_meaning("what=tower who=size:bigger by=color where=zone:same"))
    what=tower who=size:bigger by=color where=zone:same

    Raises:
        ValueError: it is none; the message says what is wrong.
    """
    fields: dict[str, str] = {}
    for part in text.split():
        key, found, value = part.partition("=")
        if not found or key in fields or key not in ("what", "who", "by", "order", "where"):
            raise ValueError(f"{part!r} is not one of what=, who=, by=, order= and where=, each at most once")
        fields[key] = value
    conditions = [] if fields.get("who", "all") == "all" else fields["who"].split("+")
    place, _, at = fields.get("where", "here").partition(":")
    meaning = Meaning(
        fields.get("what", ""),
        frozenset(Condition(*_split(condition)) for condition in conditions),
        fields.get("by", ""),
        fields.get("order", ""),
        Place(place, at),
    )
    _check_words(meaning)
    return meaning


def _split(condition: str) -> tuple[str, str]:
    kind, _, value = condition.partition(":")
    return kind, value


def _check_words(meaning: Meaning) -> None:
    """Refuse words that are not in the grammar."""
    for name, value, known in (
        ("what", meaning.what, WHATS),
        ("by", meaning.by, GROUPS),
        ("order", meaning.order, ORDERS),
        ("where", meaning.where.kind, PLACES),
    ):
        if value not in known:
            raise ValueError(f"{name} cannot be {value!r}; it is one of {', '.join(filter(None, known))}")
    for condition in meaning.who:
        if condition.kind not in CONDITIONS:
            raise ValueError(f"there is no condition {condition.kind!r}; there are {', '.join(CONDITIONS)}")
        values = CONDITIONS[condition.kind]
        if values is None:
            _ = condition.noun
        elif condition.value not in values:
            raise ValueError(f"{condition.kind} cannot be {condition.value!r}; it is one of {', '.join(values)}")
    kind, value = meaning.where.kind, meaning.where.value
    allowed = {
        "here": ("",),
        "area": CONDITIONS["area"],
        "zone": ("same", "other", "any", *CONDITIONS["color"]),
        "bowl": ("same", "other", "any", *CONDITIONS["color"]),
    }.get(kind)
    if allowed is not None and value not in allowed:
        raise ValueError(f"where={kind} cannot say {value!r}; it says one of {', '.join(allowed)}")
    noun = meaning.where.noun
    if kind == "block" and noun and noun.kind != "block":
        raise ValueError("where=block names a block, such as block-red")


def canonical(meaning: Meaning) -> Meaning:
    """The same goal in its one form: what adds nothing is left out, and what has two names has one.

    >>> print(canonical(parse_meaning("what=tower who=area:top-left")))
    what=tower who=area:top-left where=area:top-left
    """
    conditions = set(meaning.who)
    color = meaning.said("color")
    if color:  # a colour's category adds nothing
        categories = vocabulary()["color_categories"]
        conditions -= {c for c in conditions if c.kind == "category" and color in categories[c.value]}
    counts = {c.value for c in conditions if c.kind == "count"}
    for number in counts & {"1", "2", "3", "4"}:  # nor does a number's parity
        conditions.discard(Condition("count", "odd" if int(number) % 2 else "even"))
    if any(c.kind == "in" for c in conditions) and Condition("layer", "bottom") in conditions:
        conditions.discard(Condition("cover", "covered"))  # what is lowest in a tower is covered
    by = "" if meaning.by and meaning.said(meaning.by) else meaning.by
    order = meaning.order
    if "size" in (by, *(c.kind for c in conditions)) and order in ("bigger-first", "smaller-first"):
        order = ""  # all have one size
    where = meaning.where
    if color and where.value == "same":
        where = Place(where.kind, color)
    if meaning.what == "tower" and where == HERE and meaning.said("area"):
        where = Place("area", meaning.said("area"))  # what is stacked where it lies stays in its area
    found = replace(meaning, who=frozenset(conditions), by=by, order=order, where=where)
    if found.what == "tower" and found.where.kind == "block" and not found.by and not found.order:
        found = replace(found, what="place")  # blocks put on one block, one after the other, are a tower on it
    return found


def same_meaning(one: Meaning, other: Meaning) -> bool:
    """Whether two meanings ask for the same in every scene."""
    return canonical(one) == canonical(other)
