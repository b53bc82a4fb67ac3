"""Planning on the cache gives what a training pass over the whole sequence gives."""

import importlib.util
from pathlib import Path

import pytest
import torch

from lohovla.model.attention_mask import SequenceLayout, TokenType, expert_attention_mask
from lohovla.model.encoders.detector import cell_centres
from lohovla.model.inference import pick_place_prediction, subtask_decoding
from lohovla.model.language.token_trie import TokenTrie
from lohovla.train import training_forward as sequence_module

SENTENCES = (
    "Pick up the red block and place it on the table.",
    "Pick up the smaller green block and place it in the blue bowl.",
    "Done.",
)


@pytest.fixture
def ids(tiny):
    tokenizer = tiny[1].tokenizer
    return tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.mask_token_id


@pytest.fixture
def spoken(tiny):
    return [tiny[1].tokenizer.encode(text, add_special_tokens=False) for text in SENTENCES]


@pytest.fixture
def full_pass(tiny, inputs, labels, monkeypatch):
    """Runs SENTENCES through the training sequence with the points at the centres of given cells (B, 2)."""
    model, processor = tiny
    monkeypatch.setattr(sequence_module, "_JITTER", 0.0)

    @torch.no_grad()
    def run(cells, subgoal=None, worded=True):
        points = torch.full((3, 1, 2, 5), 0.05)
        points[:, 0, :, :2] = cell_centres(model.config, cells)
        batch = labels(inputs, [[text] for text in SENTENCES], points)
        if not worded:
            batch.subtasks.fill_(processor.end)
        seen, objects = model.detect_objects(inputs)
        return sequence_module.TrainingForward(model, batch, seen, objects, processor, subgoal=subgoal)

    return run


def pointed_at(model, sequence):
    """Logits over cells (B, 2, cells) of a training pass."""
    hidden = sequence.states[:, sequence.at["point", 0]]
    tokens = sequence.states[:, : sequence.objects.cell.shape[1]]
    return model.pointer.score(hidden, model.pointer.keys(sequence.seen), sequence.objects, tokens)


def test_words_fed_one_by_one_have_the_logits_of_the_full_pass(tiny, inputs, full_pass, spoken, ids):
    model, _ = tiny
    sequence = full_pass(torch.zeros(3, 2, dtype=torch.long))
    expected = model.vocabulary_logits(sequence.states[:, sequence.at["text", 0]])
    prefix = model.encode(inputs)
    cache, layout = pick_place_prediction.copy_cache(prefix.cache, model), prefix.layout
    fed = [[ids[0], *row] for row in spoken]
    with torch.no_grad():
        for step in range(max(map(len, fed))):
            waiting = [row[step : step + 1] for row in fed]
            logits, layout = subtask_decoding.next_token_logits(
                model, cache, layout, waiting, [min(step, len(row)) for row in fed]
            )
            for row, words in enumerate(waiting):
                if words:
                    torch.testing.assert_close(logits[row], expected[row, step], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("told_by", ["text", "image", "text+image"])
def test_points_on_the_cache_are_those_of_the_full_pass(tiny, inputs, full_pass, spoken, ids, told_by):
    model, _ = tiny
    prefix = model.encode(inputs)
    given = pick_place_prediction.subtask_from_tokens(model, prefix, [[]] * 3 if told_by == "image" else spoken, ids[0])
    how = {}
    if "image" in told_by:
        with torch.no_grad():
            how["subgoal"] = model.subgoal_entry(prefix.seen, model.stem(inputs.picture.roll(1, 0)))
        given = pick_place_prediction.append_subgoal(model, given, how["subgoal"])
    if told_by == "image":
        how["worded"] = False
    pointed = pick_place_prediction.predict_pick_place(model, prefix, given)
    with torch.no_grad():
        nowhere = torch.zeros(3, 2, dtype=torch.long)
        picked = pointed_at(model, full_pass(nowhere, **how))[:, 0].argmax(-1)
        placed = pointed_at(model, full_pass(torch.stack([picked, picked], 1), **how))[:, 1].argmax(-1)
        cells = torch.stack([picked, placed], 1)
        sequence = full_pass(cells, **how)
        logits = pointed_at(model, sequence)
    torch.testing.assert_close(pointed.confidence, logits.softmax(-1).amax(-1), atol=1e-4, rtol=1e-4)
    expected = sequence.read_points(0)
    torch.testing.assert_close(pointed.points, expected, atol=1e-4, rtol=1e-4)
    # The expert's keys and values are the same too: the prefix, then the words and points of each row.
    for (keys, values), (all_keys, all_values) in zip(pointed.cache, model.expert_cache(sequence.cache), strict=True):
        for row in range(3):
            mine, theirs = pointed.valid[row], expert_attention_mask(sequence.layout, 0)[row]
            torch.testing.assert_close(keys[row][:, mine], all_keys[row][:, theirs], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(values[row][:, mine], all_values[row][:, theirs], atol=1e-4, rtol=1e-4)


def test_pointing_after_planning_is_pointing_at_the_same_words(tiny, inputs, ids):
    model, processor = tiny
    prefix = model.encode(inputs)
    words = subtask_decoding.decode_autoregressive(model, prefix, *ids[:2], processor.subtask_constraints().everything)
    again = pick_place_prediction.subtask_from_tokens(model, prefix, words.tokens, ids[0])
    ours, theirs = (
        pick_place_prediction.predict_pick_place(model, prefix, words),
        pick_place_prediction.predict_pick_place(model, prefix, again),
    )
    torch.testing.assert_close(ours.points, theirs.points, atol=1e-4, rtol=1e-4)
    assert torch.equal(ours.valid.sum(1), theirs.valid.sum(1))


@pytest.mark.parametrize("planner", ["ar", "free", "d2f"])
def test_a_row_does_not_depend_on_its_company(tiny, inputs, row_of, ids, planner):
    model, processor = tiny
    start, end, mask = ids

    def plan(prefix):
        if planner == "d2f":
            return subtask_decoding.decode_block_diffusion(model, prefix, start, end, mask, accept=0.5)
        return subtask_decoding.decode_autoregressive(
            model, prefix, start, end, processor.subtask_constraints(stop=False).everything if planner == "ar" else None
        )

    prefix = model.encode(inputs)
    words = plan(prefix)
    together = pick_place_prediction.predict_pick_place(model, prefix, words)
    for number in range(3):
        own = model.encode(row_of(inputs, number))
        said = plan(own)
        assert said.tokens[0] == words.tokens[number]
        alone = pick_place_prediction.predict_pick_place(model, own, said)
        torch.testing.assert_close(alone.points[0], together.points[number], atol=1e-4, rtol=1e-4)
    assert len({tuple(row) for row in words.tokens}) > 1, "the rows say the same, which proves little"


def test_planning_leaves_the_prefix_as_it_was(tiny, inputs, ids):
    model, processor = tiny
    prefix = model.encode(inputs)
    before = [(layer.keys.clone(), layer.values.clone()) for layer in prefix.cache.layers]
    first = subtask_decoding.decode_autoregressive(model, prefix, *ids[:2], processor.subtask_constraints().everything)
    subtask_decoding.decode_block_diffusion(model, prefix, *ids)
    for layer, (keys, values) in zip(prefix.cache.layers, before, strict=True):
        assert torch.equal(layer.keys, keys)
        assert torch.equal(layer.values, values)
    assert (
        subtask_decoding.decode_autoregressive(
            model, prefix, *ids[:2], processor.subtask_constraints().everything
        ).tokens
        == first.tokens
    )


@pytest.mark.parametrize("accept", [0.3, 0.9, 1.0])
def test_block_diffusion_decodes_what_whole_passes_decode(tiny, inputs, row_of, ids, accept):
    model, _ = tiny
    start, end, mask = ids
    reference = _reference()
    size = model.config.block_size
    found = subtask_decoding.decode_block_diffusion(model, model.encode(inputs), start, end, mask, accept)
    for number in range(3):
        one = row_of(inputs, number)
        with torch.no_grad():
            _, objects = model.detect_objects(one)
            tokens, layout, places = model.prefix_tokens(one, objects)

        @torch.no_grad()
        def logits(words, allowed, tokens=tokens, layout=layout, places=places):
            steps = torch.arange(len(words))
            part = SequenceLayout.of_type(
                TokenType.NOISED, torch.ones(1, len(words), dtype=torch.bool), 0, steps // size
            )
            everything = SequenceLayout.concat([layout, part])
            given = torch.cat([tokens, model.embed_tokens(words[None], TokenType.NOISED)], 1)
            at = torch.cat([places, (model.places.text + 1 + steps)[None]], 1)
            assert torch.equal(everything.attention_mask()[0, 0, -len(words) :, -len(words) :], allowed)
            return model.vocabulary_logits(model.run(given, everything, at))[0, -len(words) :]

        decoded, _ = reference.decode(
            logits,
            [],
            mask_id=mask,
            eos_ids=(end,),
            shift=False,
            size=size,
            accept=accept,
            add=0.1,
            activate=0.95,
            max_tokens=model.config.max_subtask,
        )
        assert found.tokens[number] == reference.cut(decoded, (end,))


def test_words_without_a_choice_cost_no_pass_and_change_nothing(tiny, inputs, ids):
    model, processor = tiny
    prefix = model.encode(inputs)
    grammar = processor.subtask_constraints().everything
    quick = subtask_decoding.decode_autoregressive(model, prefix, *ids[:2], grammar)
    longest = max(map(len, quick.tokens))
    assert quick.forwards < longest
    for number, row in enumerate(quick.tokens):
        assert row in grammar
        assert row == _word_by_word(model, prefix, number, *ids[:2], grammar)


def test_a_grammar_of_one_sentence_needs_no_pass_at_all(tiny, inputs, ids, spoken):
    model, _ = tiny
    words = subtask_decoding.decode_autoregressive(model, model.encode(inputs), *ids[:2], TokenTrie(spoken[:1], ids[1]))
    assert words.tokens == spoken[:1] * 3
    assert words.forwards == 0


def test_sampling_stays_in_the_grammar_and_follows_from_its_seed(tiny, inputs, ids):
    model, processor = tiny
    prefix, grammar = model.encode(inputs), processor.subtask_constraints().everything
    drawn = [
        subtask_decoding.decode_autoregressive(
            model, prefix, *ids[:2], grammar, temperature=3.0, generator=torch.Generator().manual_seed(seed)
        ).tokens
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(row in grammar for rows in drawn for row in rows)


def test_a_sentence_without_end_stops_at_the_longest(tiny, inputs, ids):
    model, _ = tiny
    words = subtask_decoding.decode_autoregressive(model, model.encode(inputs), ids[0], end=-1)
    assert [len(row) for row in words.tokens] == [model.config.max_subtask - 1] * 3


@torch.no_grad()
def _word_by_word(model, prefix, number, start, end, grammar):
    """The grammar's likeliest sentence with a pass for every word, forced or not."""
    rows = prefix.state.shape[0]
    cache, layout = pick_place_prediction.copy_cache(prefix.cache, model), prefix.layout
    said, word = [], start
    while True:
        logits, layout = subtask_decoding.next_token_logits(model, cache, layout, [[word]] * rows, [len(said)] * rows)
        word = max(grammar.allowed_next(said), key=lambda token: float(logits[number, token]))
        if word == end:
            return said
        said.append(word)


def _reference():
    spec = importlib.util.spec_from_file_location("reference", Path(__file__).parents[2] / "d2f" / "reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
