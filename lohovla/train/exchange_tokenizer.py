"""Another tokenizer for a model that is trained already: each new token begins as the words that it stands for."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lohovla.envs.tasks.grammar.wording import plain_words
from lohovla.model.language.byte_tokenizer import PROGRAM, is_byte_level, make_byte_tokenizer
from lohovla.model.modeling_lohovla import LoHoVLA
from lohovla.model.processor import Processor
from lohovla.train.vocabulary import byte_level_corpus, composed_subtask_parts

_MAX_GOAL = 64  # tokens: a sentence of 35 known words and a few that are spelled
_SPREAD = 0.05  # noise on an embedding, as a share of the old ones' standard deviation: no two tokens are the same


def to_byte_level(model: LoHoVLA, processor: Processor) -> Processor:
    """Give a model of the word list the byte-level tokenizer; returns its processor. One that has it keeps it."""
    if is_byte_level(processor.tokenizer):
        return processor
    tokenizer = make_byte_tokenizer(byte_level_corpus())
    exchange_tokenizer(model, processor.tokenizer, tokenizer)
    model.config.max_goal = max(processor.max_goal, _MAX_GOAL)  # positions stay as they were trained
    changed = Processor.from_model_config(model.config, tokenizer)
    changed.statistics = {**processor.statistics, "subtasks": composed_subtask_parts()}
    return changed


@torch.no_grad()
def exchange_tokenizer(model: LoHoVLA, old: PreTrainedTokenizerBase, new: PreTrainedTokenizerBase) -> None:
    """Replace the embeddings (and with them the tied language head) of ``old`` by those of ``new``.

    The embedding of a new token is the mean of those of the old tokens that its text is made of, with a little noise:
    tokens of one text (" red" and "red") must be able to part. A token whose text the old tokenizer does not have
    begins as the mean of all.
    """
    entry = model.decoder.get_input_embeddings()
    weight: Tensor = entry.weight  # type: ignore[assignment]
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(len(new), weight.shape[1], generator=generator).to(weight) * weight.std() * _SPREAD
    rows = []
    for token in range(len(new)):
        text = str(new.convert_ids_to_tokens(token))
        pieces = _special(text, old) if text in new.all_special_tokens or text == PROGRAM else _pieces(token, old, new)
        rows.append(weight[pieces].mean(0) if pieces else weight.mean(0))
    model.decoder.resize_token_embeddings(len(new), mean_resizing=False)
    model.decoder.get_input_embeddings().weight.copy_(torch.stack(rows) + noise)  # type: ignore[operator,union-attr]
    model.config.text_config.vocab_size = len(new)


def _special(text: str, old: PreTrainedTokenizerBase) -> list[int]:
    """The old token of a special one's place; a program begins as a sentence does."""
    name = "<s>" if text == PROGRAM else text
    return [int(old.convert_tokens_to_ids(name))]  # type: ignore[arg-type]


def _pieces(token: int, old: PreTrainedTokenizerBase, new: PreTrainedTokenizerBase) -> list[int]:
    """Old tokens of a new one's text; of the plain word that it stands for, if the old tokenizer has to spell it."""
    text = str(new.decode([token])).strip(" =:").lower()
    pieces = old.encode(text, add_special_tokens=False)
    if len(pieces) > 1 and text in (plain := plain_words()):
        pieces = old.encode(plain[text], add_special_tokens=False)
    return [piece for piece in pieces if piece != old.unk_token_id]
