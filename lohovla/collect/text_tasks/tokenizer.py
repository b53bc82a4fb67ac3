"""The text tasks' tokenizer: whole words with the space before them, digits and signs one by one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import chain

from lohovla.collect.text_tasks import NAMES, text_task
from lohovla.d2f.encode_prompt import WORD_PIECE

EOS, MASK, UNKNOWN = "<eos>", "<mask>", "<unknown>"
_SAMPLES = 100  # training problems of each task that the words are taken from


def build_tokenizer():
    """A ``PreTrainedTokenizerFast`` over the words of both tasks and of the world's vocabulary; lossless on them."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = sorted(set(chain.from_iterable(re.findall(WORD_PIECE, text) for text in _texts())))
    vocabulary = {piece: index for index, piece in enumerate([EOS, MASK, UNKNOWN, *pieces])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORD_PIECE), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=EOS, pad_token=EOS, mask_token=MASK, unk_token=UNKNOWN
    )


def _texts() -> Iterable[str]:
    """Everything that the vocabulary must cover."""
    from lohovla.envs.language import vocabulary

    words = vocabulary()
    parts = [*words["colors"], *words["sizes"], *words["areas"], *words["relations"], "bowl", "zone"]
    yield " ".join(parts)
    yield "\n".join(parts)
    yield from (re.sub(r"\{\w+\}", "", text) for texts in words["goals"].values() for text in texts)
    for name in NAMES:
        for seed in range(0, 2 * _SAMPLES, 2):
            example = text_task(name).draw_problem(seed)
            yield example.prompt
            yield example.answer
