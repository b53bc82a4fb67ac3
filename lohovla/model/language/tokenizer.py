"""The words of the nano model: those of the block world, each a token, and letters for whatever else is said."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from tokenizers.decoders import Fuse
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<s>", "</s>", "<mask>", "<unk>")
_WORD = r"[A-Za-z]+|[0-9]|[^A-Za-z0-9\s]"


def words_of(sentences: Iterable[str]) -> list[str]:
    """The distinct words and signs of sentences, sorted.

    >>> words_of(["Put the red block in the bowl."])
    ['.', 'block', 'bowl', 'in', 'put', 'red', 'the']
    """
    return sorted({word for sentence in sentences for word in re.findall(_WORD, sentence.lower())})


def make_tokenizer(sentences: Iterable[str]) -> PreTrainedTokenizerFast:
    """A tokenizer whose words are those of ``sentences``; others are spelled, letter by letter.

    Sentences are lower-cased: nothing in the block world depends on capitals.
    """
    letters = [*string.ascii_lowercase, *string.digits, *"-',.?!:;"]
    vocabulary = [*SPECIAL, *letters, *(word for word in words_of(sentences) if word not in letters)]
    core = Tokenizer(models.WordPiece({w: i for i, w in enumerate(_with_pieces(vocabulary))}, unk_token="<unk>"))
    core.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    core.pre_tokenizer = pre_tokenizers.Split(Regex(_WORD), behavior="removed", invert=True)
    core.decoder = Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        mask_token="<mask>",
        unk_token="<unk>",
    )


def spells_words(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer is one of :func:`make_tokenizer`'s."""
    return [tokenizer.convert_tokens_to_ids(token) for token in SPECIAL] == list(range(len(SPECIAL)))


def _with_pieces(words: list[str]) -> list[str]:
    """Word pieces: the letters may also stand inside a word."""
    return [*words, *(f"##{letter}" for letter in string.ascii_lowercase)]


def sentence_of(tokenizer: PreTrainedTokenizerBase, tokens: Iterable[int]) -> str:
    """The sentence of the tokens of such a tokenizer, up to the first end: a capital first, no space before signs.

    >>> tokenizer = make_tokenizer(["Pick up the red block."])
    >>> sentence_of(tokenizer, tokenizer.encode("Pick up the red block."))
    'Pick up the red block.'
    """
    text = ""
    for token in tokens:
        if token == tokenizer.eos_token_id:
            break
        word = str(tokenizer.convert_ids_to_tokens(int(token)))
        if word in SPECIAL:
            continue
        joined = word.startswith("##") or not (word[0].isalnum() or not text)
        text += word.removeprefix("##") if joined else f" {word}" if text else word
    return text[:1].upper() + text[1:]
