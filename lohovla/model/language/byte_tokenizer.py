"""A byte-level BPE tokenizer: whole words of the block world, pieces of other words, and bytes for whatever is left."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

PROGRAM = "<program>"  # begins a goal's meaning in the notation of the goal grammar
BYTE_SPECIAL = ("<pad>", "<s>", "</s>", "<mask>", PROGRAM)
# A word with the space before it and the sign of a notation after it ("size:", "where="); a digit; a sign; spaces.
_PIECE = r" ?\p{L}+[=:]?|\p{N}| ?[^\s\p{L}\p{N}]|\s+"


def make_byte_tokenizer(sentences: Iterable[str], size: int = 2048) -> PreTrainedTokenizerFast:
    """A tokenizer of at most ``size`` entries that is lossless: any text in UTF-8 goes in and comes out as it was.

    Args:
        sentences: what the merges are learned from.
        size: entries; 256 are bytes and five are special.

    >>> tokenizer = make_byte_tokenizer(["Pick up the red block."] * 9)
    >>> tokenizer.decode(tokenizer.encode("Pick up the Zeppelin №7"))
    'Pick up the Zeppelin №7'
    """
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECE), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=list(BYTE_SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(sentences, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        mask_token="<mask>",
        clean_up_tokenization_spaces=False,
    )


def is_byte_level(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer is one of :func:`make_byte_tokenizer`'s."""
    return tokenizer.convert_ids_to_tokens(list(range(len(BYTE_SPECIAL)))) == list(BYTE_SPECIAL)


def as_read(goal: str) -> str:
    """A goal as the planner reads it: in small letters, with a space before each word, as inside of a sentence.

    >>> as_read("Put  the Red block")
    ' put the red block'
    """
    return "".join(f" {word}" for word in goal.lower().split())
