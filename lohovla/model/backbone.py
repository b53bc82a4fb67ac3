"""Pretrained backbones: the decoder, and the vision tower where there is one, of a published checkpoint.

PaliGemma (Beyer et al., 2407.07726) gives its SigLIP tower, its projector and its Gemma decoder; a Qwen3-class
checkpoint its decoder. They are read by transformers' own classes, which know the published layouts. The stem, the
entries and the heads are new.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoTokenizer,
    PaliGemmaForConditionalGeneration,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen3ForCausalLM,
)
from transformers.utils import logging

from lohovla.d2f.load_checkpoint import find, read_checkpoint_json
from lohovla.errors import UserError
from lohovla.model.checkpoint import quiet, refuse_other_weights
from lohovla.model.configuration import PRECISIONS, LoHoVLAConfig
from lohovla.model.modeling_lohovla import LoHoVLA
from lohovla.model.processor import Processor

FAMILIES: dict[str, type[PreTrainedModel]] = {"paligemma": PaliGemmaForConditionalGeneration, "qwen3": Qwen3ForCausalLM}
_AGAIN = "download it again, or check that config.json belongs to the weights"
_STARTS = ("<|im_start|>", "<|endoftext|>")  # what may begin a sentence where a family has no token for it
_UNUSED = re.compile(r"<unused(\d+)>")


def pretrained(name: str | Path, settings: Mapping[str, Any]) -> tuple[LoHoVLA, Processor]:
    """A core of the block world on a published backbone, and its processor; see :func:`pretrained_parts`."""
    model, tokenizer = pretrained_parts(name, settings)
    return model, Processor.from_model_config(model.config, tokenizer)


def pretrained_parts(name: str | Path, settings: Mapping[str, Any]) -> tuple[LoHoVLA, PreTrainedTokenizerBase]:
    """A core on a published backbone, and its tokenizer.

    Args:
        name: a folder, or OWNER/NAME on the hub.
        settings: of :class:`LoHoVLAConfig`, all but the backbone's own; ``backbone_dtype`` is its precision.

    Raises:
        UserError: there is none, it is damaged, or of another family.
    """
    folder = find(name)
    settings = {"backbone_dtype": "float32", **settings}
    if settings["backbone_dtype"] not in PRECISIONS:
        raise UserError(f"backbone_dtype cannot be {settings['backbone_dtype']!r}", f"choose {' or '.join(PRECISIONS)}")
    source = _read(folder, getattr(torch, settings["backbone_dtype"]))
    decoder, vision, projector = _parts(source)
    tokenizer = read_tokenizer(folder, decoder.get_input_embeddings().num_embeddings)  # type: ignore[attr-defined]
    config = LoHoVLAConfig(
        # Copies: the whole model's configuration resets the attention that each part has chosen.
        text_config=deepcopy(decoder.config),
        vision_config=deepcopy(vision.config) if vision is not None else None,
        **settings,
    )
    model = LoHoVLA(config, decoder, vision)
    if projector is not None:
        model.projector.load_state_dict(projector.state_dict())
    # At the start the backbone sees words and patches just as it was trained to.
    nn.init.zeros_(model.kind_entry.weight)
    return model, tokenizer


def _read(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    kind = read_checkpoint_json(folder / "config.json").get("model_type")
    if kind not in FAMILIES:
        raise UserError(f"{folder} holds a model of type {kind}", f"backbones are of type {' or '.join(FAMILIES)}")
    logging.disable_progress_bar()
    try:
        with quiet():
            model, report = FAMILIES[kind].from_pretrained(  # type: ignore
                str(folder), dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True, use_safetensors=True
            )
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise UserError(f"{folder} is damaged: {str(error).strip().splitlines()[0]}", _AGAIN) from None
    refuse_other_weights(folder, report, _AGAIN)
    if not model.config.get_text_config().tie_word_embeddings:
        raise UserError(
            f"{folder} has a language head of its own", "choose a model whose language head is tied to its embeddings"
        )
    return model


def _parts(source: PreTrainedModel) -> tuple[PreTrainedModel, PreTrainedModel | None, nn.Module | None]:
    """Decoder, vision tower and projector."""
    inner: Any = source.model
    if isinstance(source, PaliGemmaForConditionalGeneration):
        return inner.language_model, inner.vision_tower, inner.multi_modal_projector.linear
    return inner, None, None


def read_tokenizer(folder: Path, rows: int) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint, with tokens that begin a sentence and stand for a masked word.

    The mask is one of the vocabulary's unused tokens (Gemma's ``<unused...>``), or a new token in a row of the
    embeddings that no token has (Qwen pads its embeddings).

    Args:
        folder: of the checkpoint.
        rows: of its embeddings.

    Raises:
        UserError: it is missing or damaged, or has no room for a mask.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder} has no readable tokenizer: {str(error).splitlines()[0]}", _AGAIN) from None
    known = tokenizer.get_vocab()
    unused = sorted((int(found[1]), token) for token in known if (found := _UNUSED.fullmatch(token)))
    if unused:
        tokenizer.mask_token = unused[0][1]
    elif len(tokenizer) < rows:
        tokenizer.add_special_tokens({"mask_token": "<|mask|>"})
    else:
        raise UserError(
            f"{folder} has {len(tokenizer)} tokens for {rows} rows of embeddings: none is left for a mask", _AGAIN
        )
    if tokenizer.bos_token is None:
        tokenizer.bos_token = next((token for token in _STARTS if token in known), tokenizer.eos_token)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.eos_token is None:
        raise UserError(f"{folder} has a tokenizer without an end token", _AGAIN)
    return tokenizer
