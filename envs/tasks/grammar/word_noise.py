"""Sentences as people type them: with slips, and with words that nobody taught the model."""

from __future__ import annotations

import functools
import re

import numpy as np

from lohovla.envs.tasks.grammar.wording import lexicon, plural_of, trained

_SLIP = 0.5  # chance that what is changed is a slip of typing, and not another word
_SHORTEST = 4  # letters of a word that may have a slip
_ONSETS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "bl", "dr", "fl", "gr", "sk", "tr")
_VOWELS, _CODAS = tuple("aeiou"), tuple("bdgklmnprst")


def with_word_noise(sentence: str, rng: np.random.Generator) -> str:
    """A sentence with one word changed: two letters swapped, one left out or doubled, or a noun or verb nobody knows.

    Words that say which one is meant (colours, sizes, places, orders) get slips alone, so that the sentence keeps its
    meaning for somebody who knows the rest.
    """
    words = [match for match in re.finditer(r"[A-Za-z]+", sentence)]
    if rng.random() < _SLIP:
        found = [match for match in words if len(match[0]) >= _SHORTEST]
        change = _slip
    else:
        found = [match for match in words if match[0].lower() in _replaceable()]
        change = _unknown
    if not found:
        return sentence
    match = found[rng.integers(len(found))]
    return sentence[: match.start()] + change(match[0], rng) + sentence[match.end() :]


def _slip(word: str, rng: np.random.Generator) -> str:
    at, kind = int(rng.integers(1, len(word) - 1)), rng.integers(3)
    if kind == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return word[:at] + word[at + 1 :] if kind == 1 else word[:at] + word[at] + word[at:]


def _unknown(word: str, rng: np.random.Generator) -> str:
    def syllable() -> str:
        return "".join(str(rng.choice(sounds)) for sounds in (_ONSETS, _VOWELS, _CODAS))

    made = "".join(syllable() for _ in range(int(rng.integers(1, 3))))
    return plural_of(made) if word.endswith("s") else made


@functools.cache
def _replaceable() -> frozenset[str]:
    """Nouns, in one number and several, and verbs that training says."""
    nouns = [noun for phrases in lexicon()["nouns"].values() for noun in trained(tuple(phrases))]
    verbs = [phrase.split()[0] for phrases in lexicon()["do"].values() for phrase in trained(tuple(phrases))]
    return frozenset([*nouns, *map(plural_of, nouns), *verbs])
