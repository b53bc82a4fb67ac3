"""Which sub-tasks are decoded, by which planner, and what they are held to; the model's calls are written by hand."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from lohovla.model.language.token_trie import TokenTrie
from lohovla.policies import subtask_decoder
from lohovla.policies.policy_config import LoHoVLAPolicyConfig
from lohovla.policies.subtask_decoder import SubtaskDecoder

START, END, MASK = 90, 91, 92
DONE, NOTHING, RED, BLUE, GREEN = [1], [2], [3, 4], [3, 5], [3, 6]


class Rows(list):
    """Rows of a batch, each with a name."""

    def select_rows(self, rows):
        return Rows(self[row] for row in rows)


@dataclass
class WrittenBackend:
    """Says what was written for each scene, and keeps what it was asked."""

    autoregressive: dict = field(default_factory=dict)
    diffusion: dict = field(default_factory=dict)
    asked: list = field(default_factory=list)

    def decode_autoregressive(self, prefix, start, end, grammars=None):
        assert (start, end) == (START, END)
        self.asked.append(("ar", list(prefix.objects), grammars))
        return SimpleNamespace(tokens=[self.autoregressive[scene] for scene in prefix.objects])

    def decode_block_diffusion(self, prefix, start, end, mask):
        assert (start, end, mask) == (START, END, MASK)
        self.asked.append(("d2f", list(prefix.objects), None))
        return SimpleNamespace(tokens=[self.diffusion[scene] for scene in prefix.objects])


class SceneConstraints:
    """A scene is called by the sub-tasks that fit it: r, b, g."""

    everything = TokenTrie([RED, BLUE, GREEN], END, [DONE])

    def for_scene(self, objects, row, failed, goal):
        said = [words for name, words in (("r", RED), ("b", BLUE), ("g", GREEN)) if name in objects[row]]
        return TokenTrie([words for words in said if words not in failed], END, [DONE])

    def ends(self, words, grammar):
        return {1: "done" if grammar.count else "nothing"}.get(words[0] if words else 0, "")


@pytest.fixture
def make(monkeypatch):
    def select(model, prefix, rows):
        return SimpleNamespace(objects=prefix.objects.select_rows(rows))

    def from_tokens(model, prefix, tokens, start):
        assert start == START
        return SimpleNamespace(tokens=[list(row) for row in tokens])

    monkeypatch.setattr(subtask_decoder, "select_rows", select)
    monkeypatch.setattr(subtask_decoder, "subtask_from_tokens", from_tokens)

    def decoder(backend=None, **rules):
        stops = []
        processor = SimpleNamespace(
            start=START, end=END, mask=MASK, subtask_constraints=lambda stop: stops.append(stop) or SceneConstraints()
        )
        made = SubtaskDecoder(None, processor, LoHoVLAPolicyConfig(**rules), backend or WrittenBackend())
        made.asked_for_stop = stops
        return made

    return decoder


def scenes(*names):
    return SimpleNamespace(objects=Rows(names))


def memory(tokens=None, failed=(), goal="a goal"):
    return SimpleNamespace(subtask_tokens=tokens, failed_subtasks=list(failed), goal=goal, over="")


def test_without_subtasks_nothing_is_decoded(make):
    backend = WrittenBackend()
    new = make(backend, subtasks="none").next_subtasks(scenes("r", "b"), [memory(RED), memory()], [True, True])
    assert new.tokens == [[], []]
    assert backend.asked == []


def test_only_those_that_are_due_are_decoded(make):
    backend = WrittenBackend(autoregressive={"b": BLUE})
    memories = [memory(RED), memory(GREEN), memory()]
    new = make(backend, planner="ar").next_subtasks(scenes("r", "b", "g"), memories, [False, True, False])
    assert new.tokens == [RED, BLUE, []]
    assert [asked[:2] for asked in backend.asked] == [("ar", ["b"])]


def test_all_that_are_due_are_decoded_at_once(make):
    backend = WrittenBackend(autoregressive={"r": RED, "b": BLUE})
    new = make(backend, planner="ar").next_subtasks(scenes("r", "b"), [memory(), memory(RED)], [True, True])
    assert new.tokens == [RED, BLUE]
    assert [asked[:2] for asked in backend.asked] == [("ar", ["r", "b"])]


def test_nothing_due_decodes_nothing(make):
    backend = WrittenBackend()
    assert make(backend).next_subtasks(scenes("r"), [memory(RED)], [False]).tokens == [RED]
    assert backend.asked == []


@pytest.mark.parametrize(
    ("grammar", "allowed", "refused"),
    [("scene", [RED], [BLUE, GREEN]), ("all", [RED, BLUE, GREEN], [[7]]), ("none", None, None)],
)
def test_what_may_be_said(make, grammar, allowed, refused):
    backend = WrittenBackend(autoregressive={"rb": RED})
    decoder = make(backend, planner="ar", grammar=grammar)
    decoder.next_subtasks(scenes("rb"), [memory(failed=[BLUE])], [True])
    grammars = backend.asked[0][2]
    if allowed is None:
        assert grammars is None
        assert decoder.constraints is None
    else:
        assert all(words in grammars[0] for words in allowed)
        assert not any(words in grammars[0] for words in refused)


@pytest.mark.parametrize("allow_done", [True, False])
def test_the_constraints_know_whether_an_end_may_be_said(make, allow_done):
    assert make(allow_done=allow_done).asked_for_stop == [allow_done]


def test_block_diffusion_that_says_what_may_not_be_said_is_decoded_again_word_by_word(make):
    backend = WrittenBackend(diffusion={"r": RED, "b": GREEN}, autoregressive={"b": BLUE})
    new = make(backend, planner="d2f").next_subtasks(scenes("r", "b"), [memory(), memory()], [True, True])
    assert new.tokens == [RED, BLUE]
    assert [asked[:2] for asked in backend.asked] == [("d2f", ["r", "b"]), ("ar", ["b"])]
    assert BLUE in backend.asked[1][2][0]
    assert len(backend.asked[1][2]) == 1


@pytest.mark.parametrize("grammar", ["scene", "none"])
def test_block_diffusion_that_may_be_said_stands(make, grammar):
    said = RED if grammar == "scene" else [7]
    backend = WrittenBackend(diffusion={"r": said})
    assert make(backend, planner="d2f", grammar=grammar).next_subtasks(scenes("r"), [memory()], [True]).tokens == [said]
    assert [kind for kind, *_ in backend.asked] == ["d2f"]


@pytest.mark.parametrize(
    ("due", "violated"), [((True, True), True), ((False, True), True), ((True, False), False), ((False, False), False)]
)
def test_only_what_is_new_can_violate_the_constraints(make, due, violated):
    words, memories = [RED, RED], [memory(), memory()]  # the second scene has no red block
    assert make().violates_constraints(Rows(["r", "b"]), words, memories, due) is violated
    assert make(grammar="none").violates_constraints(Rows(["r", "b"]), words, memories, due) is False


def test_the_end_of_an_episode_is_noted_where_it_is_new(make):
    memories = [memory(DONE), memory(DONE), memory(RED), memory(DONE, failed=[BLUE])]
    make(allow_done=True).note_episode_end(Rows(["r", "r", "r", "b"]), memories, [True, False, True, True])
    assert [one.over for one in memories] == ["done", "", "", "nothing"]


@pytest.mark.parametrize("rules", [{"allow_done": False}, {"allow_done": True, "grammar": "none"}])
def test_no_end_is_noted_where_none_may_be_said(make, rules):
    one = memory(DONE)
    make(**rules).note_episode_end(Rows(["r"]), [one], [True])
    assert one.over == ""
