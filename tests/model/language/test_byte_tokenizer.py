"""The byte-level tokenizer: any text in and out, known words whole, nothing that is held out."""

import re

import numpy as np
import pytest

from lohovla.envs.language import vocabulary
from lohovla.envs.tasks.grammar.handwritten import handwritten_goals
from lohovla.envs.tasks.grammar.meaning import canonical
from lohovla.envs.tasks.grammar.wording import held_out_phrases, plural_of
from lohovla.envs.tasks.registry import get_task
from lohovla.errors import UserError
from lohovla.model.language.byte_tokenizer import BYTE_SPECIAL, as_read, is_byte_level, make_byte_tokenizer
from lohovla.model.language.tokenizer import make_tokenizer
from lohovla.model.processor import Processor
from lohovla.train.vocabulary import byte_level_corpus, composed_subtask_parts


@pytest.fixture(scope="module")
def processor():
    tokenizer = make_byte_tokenizer(byte_level_corpus())
    return Processor(tokenizer, max_goal=64, statistics={"subtasks": composed_subtask_parts()})


@pytest.mark.parametrize(
    "text",
    [
        "Pick up the smaller red block and place it to the left of the bigger blue block.",
        "  Two  spaces,\ta tab\nand a line. ",
        "Ünïcode, 中文, emoji 🤖 and a NUL \0 byte",
        "12 * 34 = 408; x<y>z <s> and </s> as text?",
    ],
)
def test_any_text_comes_back_as_it_was(processor, text):
    tokens = processor.tokenizer.encode(text, add_special_tokens=False)
    assert processor.tokenizer.decode(tokens) == text


def test_its_size_is_that_of_a_small_model_and_the_same_corpus_makes_the_same(processor):
    assert 1000 <= len(processor.tokenizer) <= 4096
    again = make_byte_tokenizer(byte_level_corpus())
    assert again.get_vocab() == processor.tokenizer.get_vocab()


def test_sub_tasks_are_a_token_a_word(processor):
    for text, words in (
        ("Pick up the smaller red block and place it on the bigger blue block.", 15),
        ("Pick up the cyan block and place it in the bottom right area.", 14),
        ("Done.", 2),
        ("There is no purple bowl.", 6),
    ):
        tokens = processor.words(text)
        assert len(tokens) == words, processor.tokenizer.convert_ids_to_tokens(tokens)
        assert processor.sentence(tokens) == text


def test_goals_of_the_grammar_are_read_whole_and_case_and_spaces_do_not_matter(processor):
    rng = np.random.default_rng(0)
    for _ in range(40):
        problem = get_task("composed-goals").sample(rng)
        tokens, _ = processor.goals([problem.instruction])
        assert tokens.shape[1] <= len(problem.instruction.split()) + 8
    assert max(processor.goals([sentence])[0].shape[1] for sentence, _ in handwritten_goals()) <= 64
    one, other = (processor.goals([text])[0] for text in ("Stack the  blocks.", "stack THE blocks."))
    assert one.tolist() == other.tolist()
    assert as_read("Stack") == " stack"
    with pytest.raises(UserError, match="too long"):
        processor.goals(["many words " * 40])


def test_no_word_that_is_held_out_is_in_the_corpus():
    words = {word for phrases in held_out_phrases().values() for word in phrases if word.isalpha()}
    words |= {plural_of(word) for word in words}
    assert len(words) > 16
    for text in byte_level_corpus():
        assert not words & set(re.findall(r"[a-z]+", text.lower())), text


def test_meanings_are_read_back(processor):
    problem = get_task("composed-goals").sample(np.random.default_rng(1))
    notation = str(canonical(problem.meaning))
    tokens, real = processor.programs([notation, ""])
    assert real.any(1).tolist() == [True, False]
    assert tokens[0, -1] == processor.end
    assert processor.tokenizer.decode(tokens[0, :-1]) == notation
    assert tokens.shape[1] <= 30


def test_it_is_told_from_the_word_list():
    words = make_tokenizer(["Put the red block in the bowl."])
    assert not is_byte_level(words)
    assert is_byte_level(make_byte_tokenizer(["a b"]))
    assert Processor(words).program_start is None
    assert Processor(make_byte_tokenizer(["a b"])).program_start == BYTE_SPECIAL.index("<program>")


def test_what_can_be_said_is_one_sentence_with_one_spelling(processor):
    constraints = processor.subtask_constraints()
    assert processor.words("Pick up the red block and place it on the blue block.") in constraints.everything
    for reason in processor.statistics["subtasks"]["missing"]:
        assert processor.words(reason["text"]) in constraints.everything
        assert len(processor.words(reason["text"])) < processor.max_subtask
    assert constraints.everything.count == 33 * (22 + 33 + 5 + 4 * 33 + 1)
    assert vocabulary()["nothing"] in {reason["text"] for reason in processor.statistics["subtasks"]["missing"]}
