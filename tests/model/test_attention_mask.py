"""Who sees whom, position by position."""

import torch

from lohovla.d2f.denoiser import attention_bias
from lohovla.model.attention_mask import SequenceLayout, TokenType, expert_attention_mask

# One line a position: what it is, its sub-task, its order there, and which of the positions it sees.
SEQUENCE = """
OBJECT  -1 0  1110 000 00 00 00 000 00 00
STATE   -1 0  1110 000 00 00 00 000 00 00
GOAL    -1 0  1110 000 00 00 00 000 00 00
PAD     -1 1  1111 000 00 00 00 000 00 00
TEXT     0 0  1110 100 00 00 00 000 00 00
TEXT     0 1  1110 110 00 00 00 000 00 00
PAD      0 2  1110 001 00 00 00 000 00 00
SUBGOAL  0 0  1110 110 11 00 00 000 00 00
SUBGOAL  0 0  1110 110 11 00 00 000 00 00
POINT    0 0  1110 110 11 10 00 000 00 00
POINT    0 1  1110 110 11 11 00 000 00 00
TEXT     1 0  1110 000 00 00 10 000 00 00
POINT    1 0  1110 000 00 00 11 000 00 00
NOISED   0 0  1110 000 00 00 00 110 00 00
NOISED   0 0  1110 000 00 00 00 110 00 00
NOISED   0 1  1110 000 00 00 00 111 00 00
CONTENT  0 0  1110 110 00 11 00 000 10 00
CONTENT  0 1  1110 110 00 11 00 000 11 00
QUERY    0 1  1110 110 00 11 00 000 10 10
QUERY    0 2  1110 110 00 11 00 000 11 01
"""
ROWS = [line.split() for line in SEQUENCE.strip().splitlines()]
EXPECTED = torch.tensor([[int(digit) for digit in "".join(row[3:])] for row in ROWS]).bool()


def sequence():
    columns = (
        [int(TokenType[row[0]]) for row in ROWS],
        [int(row[1]) for row in ROWS],
        [int(row[2]) for row in ROWS],
    )
    return SequenceLayout(*(torch.tensor([column]) for column in columns))


def test_every_kind_sees_what_it_should_and_nothing_else():
    assert {row[0] for row in ROWS} == {kind.name for kind in TokenType} - {"PATCH"}
    assert torch.equal(sequence().attention_mask()[0, 0], EXPECTED)


def test_patches_of_a_vision_tower_are_like_objects():
    layout = sequence()
    layout.kind[layout.kind == int(TokenType.OBJECT)] = int(TokenType.PATCH)
    assert torch.equal(layout.attention_mask()[0, 0], EXPECTED)


def test_the_last_positions_see_the_same_on_their_own():
    assert torch.equal(sequence().attention_mask(slice(13, None))[0, 0], EXPECTED[13:])


def test_rows_of_a_batch_have_masks_of_their_own():
    one = sequence()
    other = SequenceLayout(one.kind.flip(1), one.group.flip(1), one.order.flip(1))
    both = SequenceLayout(*(torch.cat([getattr(one, n), getattr(other, n)]) for n in ("kind", "group", "order")))
    allowed = both.attention_mask()[:, 0]
    assert torch.equal(allowed[0], EXPECTED)
    assert torch.equal(allowed[1], EXPECTED.flip(0, 1))


def test_tokens_of_one_set_see_each_other_and_nothing_of_another_subtask():
    kinds = [
        TokenType.NOISED,
        TokenType.CONTENT,
        TokenType.CONTENT,
        TokenType.NOISED,
        TokenType.CONTENT,
        TokenType.TEXT,
        TokenType.QUERY,
    ]
    layout = SequenceLayout(
        torch.tensor([[int(kind) for kind in kinds]]),
        torch.tensor([[0, 0, 0, 1, 1, 1, 1]]),
        torch.zeros(1, 7, dtype=torch.long),
    )
    expected = ["1000000", "0110000", "0110000", "0001000", "0000110", "0000010", "0000011"]
    assert ["".join(str(int(sees)) for sees in row) for row in layout.attention_mask()[0, 0]] == expected


def test_the_action_expert_sees_the_prefix_and_its_subtask():
    seen = {group: "".join(str(int(b)) for b in expert_attention_mask(sequence(), group)[0]) for group in (0, 1)}
    assert seen[0] == "11101101111000000000"
    assert seen[1] == "11100000000110000000"


def test_parts_are_padded_where_they_are_not_valid():
    valid = torch.tensor([[True, True], [True, False]])
    part = SequenceLayout.of_type(TokenType.TEXT, valid, 3)
    assert part.kind.tolist() == [[TokenType.TEXT, TokenType.TEXT], [TokenType.TEXT, TokenType.PAD]]
    assert part.group.tolist() == [[3, 3], [3, 3]]
    assert part.order.tolist() == [[0, 1], [0, 1]]
    joined = SequenceLayout.concat([part, SequenceLayout.of_type(TokenType.POINT, valid[:, :1], 3, torch.tensor([7]))])
    assert joined.kind.tolist() == [[4, 4, 6], [4, 0, 6]]
    assert joined.order[:, 2].tolist() == [7, 7]


def test_the_bias_is_zero_where_seen_and_lowest_elsewhere():
    bias = attention_bias(torch.tensor([True, False]), torch.bfloat16)
    assert bias.tolist() == [0.0, torch.finfo(torch.bfloat16).min]
