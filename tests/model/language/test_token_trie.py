"""The sentences that can be said."""

import pytest

from lohovla.collect.privileged_labels import COLORS
from lohovla.model.language.token_trie import TokenTrie


def test_what_may_follow():
    grammar = TokenTrie([[1, 2], [1, 3, 4]], end=0)
    assert grammar.allowed_next([]) == [1]
    assert grammar.allowed_next([1]) == [2, 3]
    assert grammar.allowed_next([1, 2]) == [0]
    assert grammar.allowed_next([7]) == [0]


def test_nothing_follows_the_end():
    grammar = TokenTrie([[1, 2]], end=0)
    assert grammar.allowed_next([1, 2, 0]) == [0]
    assert [1, 2, 0] not in grammar
    assert TokenTrie([], end=0).allowed_next([]) == [0]


def test_only_whole_sentences_belong():
    grammar = TokenTrie([[1, 2], [1, 2, 3]], end=0)
    assert [1, 2] in grammar
    assert [1, 2, 3] in grammar
    assert [1] not in grammar
    assert [1, 2, 3, 4] not in grammar
    assert [] not in grammar


@pytest.mark.parametrize("color", COLORS)
def test_the_block_worlds_sentences_are_those_of_the_oracle(tiny, color):
    _, processor = tiny
    grammar = processor.subtask_constraints().everything

    def said(text):
        return processor.tokenizer.encode(text, add_special_tokens=False) in grammar

    assert said(f"Pick up the {color} block and place it on the smaller {color} block.")
    assert said(f"Pick up the bigger {color} block and place it in the {color} bowl.")
    assert said("Done.")
    assert not said(f"Pick up the {color} bowl and place it on the table.")
    assert not said(f"Pick up the {color} block.")


def test_every_sentence_fits(tiny):
    model, processor = tiny
    grammar, begun, longest = processor.subtask_constraints().everything, [[]], 0
    while begun:
        words = begun.pop()
        following = grammar.allowed_next(words)
        longest = max(longest, len(words) + (processor.end in following))
        begun += [[*words, word] for word in following if word != processor.end]
    assert 10 < longest <= model.config.max_subtask
