"""The state machine on traces made by hand."""

import torch

from lohovla.d2f import block_state
from lohovla.d2f.block_state import Thresholds

MASK, EOS = 9, 8


def canvas(max_tokens=12, size=4, rows=1, **options):
    return block_state.empty_state(rows, max_tokens, size, MASK, (EOS,), **options)


def step(state, thresholds, tokens, confidence):
    """One step with proposals given for the whole canvas."""
    state = block_state.append_block(state, thresholds)
    state, filled = block_state.unmask(state, torch.tensor([tokens]), torch.tensor([confidence]), thresholds)
    return block_state.commit_blocks(state), filled[0].nonzero()[:, 0].tolist()


def test_a_trace_by_hand():
    limits = Thresholds(accept=0.9, add=0.25, activate=0.75)
    state = canvas()
    values = list(range(12))
    values[8:] = [0, 1, 2, 3]
    # Only the first block is open; two positions pass.
    state, filled = step(state, limits, values, [0.95, 0.2, 0.91, 0.9] + [0.99] * 8)
    assert filled == [0, 2]
    assert (state.open.item(), state.full[0].tolist()) == (1, [True, False, False])
    # A quarter is decided: block two opens, but is not fully activated, so it may stand still; block one may not.
    state, filled = step(state, limits, values, [0.0, 0.3, 0.0, 0.4] + [0.5] * 8)
    assert filled == [3]
    assert (state.open.item(), state.full[0].tolist()) == (2, [True, False, False])
    # Block one reaches 3 of 4: block two is fully activated now and falls back as well, in the same forward.
    state, filled = step(state, limits, values, [0.0, 0.1, 0.0, 0.0] + [0.5, 0.6, 0.6, 0.1] + [0.99] * 4)
    assert filled == [1, 5]
    assert (state.open.item(), state.retired.item(), state.full[0].tolist()) == (2, 1, [True, True, False])
    # Block one is ready for the cache. Block two is complete before block three, which opened in this step, begins.
    state, filled = step(state, limits, values, [0.0] * 4 + [0.95] * 4 + [0.0] * 4)
    assert filled == [4, 6, 7]
    assert (state.open.item(), state.retired.item()) == (3, 2)
    state, filled = step(state, limits, values, [1.0] * 12)
    assert filled == [8, 9, 10, 11]
    state = block_state.append_block(state, limits)
    assert state.done.item()
    assert state.tokens[0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3]


def test_comparisons_are_strict_where_the_published_ones_are():
    at = Thresholds(accept=0.5, add=0.25, activate=0.25)
    state, filled = step(canvas(), at, [1] * 12, [0.5, 0.4, 0.4, 0.4] + [0.0] * 8)
    assert filled == [0], "0.5 does not pass 0.5: the best one was taken instead"
    state = block_state.append_block(state, at)
    assert state.open.item() == 2, "progress equal to `add` appends"
    assert state.full[0, 1], "progress equal to `activate` activates"


def test_a_finished_block_waits_for_the_one_before_it():
    limits = Thresholds(accept=0.5, add=0.0, activate=1.0)
    state = canvas()
    for _ in range(2):
        state, _ = step(state, limits, [1] * 12, [0.1] * 4 + [0.9] * 4 + [0.0] * 4)
    assert not state.masked[0, 4:8].any()
    assert state.retired.item() == 0
    state, _ = step(state, limits, [1] * 12, [0.9] * 4 + [0.0] * 8)
    assert state.retired.item() == 2, "both are retired at once"


def test_an_end_stops_appending_and_every_open_block_goes_on():
    limits = Thresholds(accept=0.5, add=0.1, activate=1.0)
    state = canvas(early=False)
    state, _ = step(state, limits, [1, EOS, 1, 1] + [1] * 8, [0.9, 0.9, 0.1, 0.1] + [0.0] * 8)
    assert state.ended.item()
    state, filled = step(state, limits, [1] * 12, [0.9] * 12)
    assert (state.open.item(), filled) == (1, [2, 3])
    assert block_state.append_block(state, limits).done.item()


def test_early_ends_as_soon_as_the_text_is_known():
    limits = Thresholds(accept=0.5, add=0.1, activate=1.0)
    state = canvas()
    state, _ = step(state, limits, [1, 1, EOS, 1] + [1] * 8, [0.1, 0.9, 0.9, 0.1] + [0.0] * 8)
    assert not state.done.item(), "position 0 is open"
    state, _ = step(state, limits, [1] * 12, [0.9, 0.0, 0.0, 0.1] + [0.0] * 8)
    assert state.done.item(), "position 3 does not matter any more"
    assert state.tokens[0, :4].tolist() == [1, 1, EOS, MASK]


def test_early_drops_the_blocks_behind_an_end():
    limits = Thresholds(accept=0.5, add=0.0, activate=1.0)
    state = canvas()
    state, _ = step(state, limits, [1] * 12, [0.1] * 12)
    state, _ = step(state, limits, [1, 1, 1, 1, 1, 1, 1, 1] + [1] * 4, [0.1] * 4 + [0.9] * 2 + [0.1] * 6)
    assert state.open.item() == 2
    state, _ = step(state, limits, [1, 1, EOS, 1] + [1] * 8, [0.0, 0.0, 0.9, 0.0] + [0.0] * 8)
    assert state.open.item() == 1
    assert state.masked[0, 4:].all()


def test_room_is_whole_blocks():
    assert canvas(max_tokens=11).blocks == 2
    empty = block_state.append_block(canvas(max_tokens=3), Thresholds())
    assert empty.blocks == 0
    assert empty.done.item()


def test_rows_are_apart():
    limits = Thresholds(accept=0.5, add=0.25, activate=0.9)
    together = canvas(rows=2, max_tokens=torch.tensor([12, 8]))
    proposals = torch.tensor([[1] * 12, [2] * 12])
    confidence = torch.tensor([[0.9, 0.1, 0.1, 0.1] * 3, [0.4, 0.1, 0.1, 0.45] * 3])
    for _ in range(9):
        together = block_state.append_block(together, limits)
        together = block_state.commit_blocks(block_state.unmask(together, proposals, confidence, limits)[0])
    for row, most in enumerate((12, 8)):
        alone = canvas(max_tokens=most)
        for _ in range(9):
            alone, _ = step(alone, limits, [row + 1] * most, confidence[row, :most].tolist())
        assert alone.tokens[0].tolist() == together.tokens[row, :most].tolist()
        assert alone.retired.item() == together.retired[row].item()
    assert together.masked[1, 8:].all()


def test_a_prompts_tail_is_no_progress():
    state = canvas(given=[torch.tensor([5, 6])])
    assert state.progress()[0].tolist() == [0.0, 0.0, 0.0]
    state, filled = step(state, Thresholds(accept=0.5), [1] * 12, [0.9, 0.9, 0.9, 0.1] + [0.0] * 8)
    assert filled == [2]
    assert state.progress()[0, 0] == 0.5


def test_both_libraries_go_the_same_way():
    limits, generator = Thresholds(0.7, 0.25, 0.75), torch.Generator().manual_seed(0)
    ours = canvas(rows=6, max_tokens=torch.tensor([16, 16, 12, 8, 4, 3]))
    host, moves = ours.on_host(), 0
    while not block_state.append_block(ours, limits).done.all():
        tokens = torch.randint(0, MASK, ours.tokens.shape, generator=generator)
        sure = torch.rand(ours.tokens.shape, generator=generator)
        ours, filled = block_state.unmask(block_state.append_block(ours, limits), tokens, sure, limits)
        host, same = block_state.unmask(block_state.append_block(host, limits), tokens.numpy(), sure.numpy(), limits)
        assert (filled.numpy() == same).all()
        ours, host = block_state.commit_blocks(ours), block_state.commit_blocks(host)
        for name in block_state.PER_ROW:
            assert (getattr(ours, name).numpy() == getattr(host, name)).all(), name
        assert type(host.select(host.ended).tokens) is type(host.tokens)
        moves += 1
    assert moves > 5
