"""Goals in words: sentences from the lexicon, read back, and the words that are held out."""

from __future__ import annotations

import numpy as np
import pytest

from lohovla.envs.instruction_space import InstructionSpace
from lohovla.envs.language import palette, vocabulary
from lohovla.envs.tasks.grammar.cells import all_cells, draw_meaning
from lohovla.envs.tasks.grammar.handwritten import handwritten_goals
from lohovla.envs.tasks.grammar.meaning import canonical, parse_meaning
from lohovla.envs.tasks.grammar.reading import read_meaning
from lohovla.envs.tasks.grammar.wording import LONGEST, MOST_WORDS, Speaker, held_out_phrases, lexicon, trained


def drawn(seed: int, unseen: bool = False):
    """A sentence of each cell, with its meaning."""
    rng = np.random.default_rng(seed)
    for cell in all_cells():
        meaning = draw_meaning(cell, rng, palette("all"))
        yield meaning, Speaker(rng, unseen).sentence(meaning, plural=bool(rng.random() < 0.7))


@pytest.mark.parametrize("unseen", [False, True])
def test_sentences_are_read_back_and_no_two_goals_share_one(unseen):
    said = {}
    for meaning, sentence in drawn(3, unseen):
        assert read_meaning(sentence) == canonical(meaning), sentence
        assert said.setdefault(sentence, meaning) == meaning


def test_sentences_fit_the_model_and_the_environments():
    space = InstructionSpace()
    for _, sentence in drawn(5):
        assert len(sentence) <= LONGEST
        assert len(sentence.split()) <= MOST_WORDS
        assert space.contains(sentence), sentence


@pytest.mark.parametrize("text", ["", "Stack the purple elephants.", "What is the time?"])
def test_what_the_grammar_did_not_say_is_not_read(text):
    assert read_meaning(text) is None


def test_a_goal_has_many_sentences():
    meaning = parse_meaning("what=tower who=category:warm order=bigger-first where=near:bowl-white")
    said = {Speaker(np.random.default_rng(seed)).sentence(meaning) for seed in range(40)}
    assert len(said) > 35
    firsts = {sentence.split()[0] for sentence in said}
    assert {"All", "The"} & firsts
    assert {"Stack", "Please", "Build"} & firsts


def test_held_out_phrases_have_a_word_that_training_never_says():
    out = {phrase for phrases in held_out_phrases().values() for phrase in phrases}
    assert 20 <= len(out) <= 60
    assert {"mat", "basin", "box"} <= out  # by hash: they stay when others are added
    known = {
        word
        for part, entries in lexicon().items()
        if isinstance(entries, dict) and part != "plurals"
        for phrases in entries.values()
        for phrase in trained(tuple(phrases))
        for word in phrase.lower().split()
    }
    known |= {
        word.strip(".,").lower() for lines in vocabulary()["goals"].values() for line in lines for word in line.split()
    }
    for phrase in out:
        assert not set(phrase.split()) <= known, phrase


def test_words_that_are_never_trained_are_said_only_where_asked():
    out = {phrase for phrases in held_out_phrases().values() for phrase in phrases if phrase.isalpha()}
    for _, sentence in drawn(7):
        assert not out & set(sentence.lower().strip(".?").split()), sentence
    having = [bool(out & set(_singulars(sentence))) for _, sentence in drawn(7, unseen=True)]
    assert np.mean(having) > 0.95


def _singulars(sentence: str) -> list[str]:
    words = sentence.lower().strip(".?").replace(",", "").split()
    return [*words, *(word.removesuffix("es") for word in words), *(word.removesuffix("s") for word in words)]


def test_two_hundred_sentences_were_written_by_hand():
    goals = handwritten_goals()
    assert len(goals) == len({sentence for sentence, _ in goals}) == 200
    assert sum(read_meaning(sentence) is not None for sentence, _ in goals) == 0  # none is of the templates
    assert {meaning.what for _, meaning in goals} == {"tower", "row", "place", "each", "uncover"}
    published = {line for lines in vocabulary()["goals"].values() for line in lines}
    assert not published & {sentence for sentence, _ in goals}
