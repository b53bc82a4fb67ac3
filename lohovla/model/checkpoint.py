"""Saving and loading the model with its processor: one folder, safetensors, no pickle.

A checkpoint stands alone: of a pretrained backbone it holds the weights as well. LoRA adapters are kept beside
them, not merged, so that training goes on from a checkpoint as it would have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers.utils import logging

from lohovla.d2f.load_checkpoint import check_device
from lohovla.data.features import RobotFeatures
from lohovla.errors import UserError
from lohovla.model.action.action_expert import ActionExpert
from lohovla.model.configuration import LoHoVLAConfig
from lohovla.model.modeling_lohovla import SUBGOAL_PARTS, LoHoVLA
from lohovla.model.processor import Processor
from lohovla.model.robot_processor import RobotProcessor

NANO = Path(__file__).parent / "weights" / "nano"


def save_checkpoint(
    model: LoHoVLA, processor: Processor | RobotProcessor, folder: Path | str, dtype: torch.dtype | None = None
) -> None:
    """Write weights (as ``dtype``, if given; else each as it is), configuration, tokenizer and statistics."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: value.to(dtype) if dtype and value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    logging.disable_progress_bar()
    model.save_pretrained(str(folder), state_dict=weights)
    processor.save_pretrained(folder)


def load_checkpoint(
    folder: Path | str | None = None, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[LoHoVLA, Processor]:
    """A checkpoint of the block world, ready to use; ``nano`` or None is the one in the package.

    Args:
        folder: of :func:`save_checkpoint`.
        device: where it goes.
        dtype: of its weights; those of a backbone in another precision (``config.backbone_dtype``) keep that.

    Raises:
        UserError: the folder is missing, damaged, or holds another model.
    """
    folder = NANO if folder in (None, "nano") else Path(str(folder))
    if _config_of(folder).get("detector", True) is False:
        raise UserError(
            f"{folder} learned from a robot's demonstrations: it has no detector, which the block world needs",
            "use it where its cameras, state and actions match: lohovla evaluate world=..., lohovla ros",
        )
    model = _load_model(folder, device, dtype)
    stem = model.stem.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.stem = stem
    return model, Processor.from_pretrained(folder)


def load_robot_checkpoint(
    folder: Path | str, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[LoHoVLA, RobotProcessor]:
    """A checkpoint that ``lohovla train dataset=...`` made, ready to use; see :func:`load_checkpoint`."""
    folder = NANO if folder == "nano" else Path(str(folder))
    if not reads_features(folder):
        raise UserError(
            f"{folder} is a checkpoint of the block world: it has no features of a robot",
            "`lohovla train dataset=...` makes one that has",
        )
    return _load_model(folder, device, dtype), RobotProcessor.from_pretrained(folder)


def reads_features(folder: Path | str | None) -> bool:
    """Whether a checkpoint reads the cameras, state and action of a data set.

    Raises:
        UserError: the folder is missing, or holds no checkpoint.
    """
    return bool(_config_of(NANO if folder in (None, "nano") else Path(str(folder))).get("features"))


def checkpoint_features(folder: Path | str) -> RobotFeatures:
    """What a checkpoint of ``lohovla train dataset=...`` reads and says; see :func:`reads_features`."""
    return RobotFeatures.from_dict(_config_of(Path(str(folder)))["features"])


def _config_of(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise UserError(f"there is no checkpoint in {folder}", _MAKE)
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).exists():
            raise UserError(f"{folder} is no checkpoint: it has no {name}", _MAKE)
    try:
        raw, _ = LoHoVLAConfig.get_config_dict(str(folder))
        kind = raw.get("model_type")
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise _damaged(folder, error) from None
    if kind != LoHoVLAConfig.model_type:
        raise UserError(f"{folder} holds a model of type {kind}, not {LoHoVLAConfig.model_type}", _MAKE)
    return raw


def _load_model(folder: Path, device: torch.device | str, dtype: torch.dtype) -> LoHoVLA:
    check_device(device)
    raw = _config_of(folder)
    logging.disable_progress_bar()
    try:
        config = LoHoVLAConfig.from_dict(raw)
        with quiet():
            model, report = LoHoVLA.from_pretrained(  # type: ignore
                str(folder), config=config, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True
            )
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise _damaged(folder, error) from None
    if config.detector:
        reset_subgoal_parts(model, report)
    refuse_other_weights(folder, report, "it was saved by another version; train it again")
    return model.to(device).eval()


def _damaged(folder: Path, error: Exception) -> UserError:
    return UserError(f"{folder} is damaged: {str(error).strip().splitlines()[0]}", "copy or train it again")


def reset_subgoal_parts(model: LoHoVLA, report: dict[str, Any]) -> None:
    """Make what codes and paints sub-goals anew, untrained, where a checkpoint has none that fit.

    Nothing else reads these weights, so that the rest of the model is as it was. What was handled is taken out of the
    loading ``report``.
    """
    named = [*report["missing_keys"], *report["unexpected_keys"], *(key for key, *_ in report["mismatched_keys"])]
    if not any(name.startswith(SUBGOAL_PARTS) for name in named):
        return
    defaults = LoHoVLAConfig()
    for name in _PICTURE_SIZES:
        setattr(model.config, name, getattr(defaults, name))
    model.config.trained_stages = [
        name for name in model.config.trained_stages if name not in ("autoencoder", "subgoal")
    ]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model.add_subgoal_parts()
    for kind in ("missing_keys", "unexpected_keys"):
        report[kind] = [name for name in report[kind] if not name.startswith(SUBGOAL_PARTS)]
    report["mismatched_keys"] = [key for key in report["mismatched_keys"] if not key[0].startswith(SUBGOAL_PARTS)]


def check_model_settings(model: LoHoVLA, settings: Mapping[str, Any], folder: Path | str, anew: bool = False) -> None:
    """Hold a model that was loaded to the settings that a recipe has for it.

    Args:
        model: of ``folder``.
        settings: of :class:`LoHoVLAConfig`; what is not named may be anything.
        folder: for the message.
        anew: make the ``ee`` expert anew, untrained, where it alone differs (``ee_waypoints``).

    Raises:
        UserError: the model was made with something else.
    """
    settings = {name: value for name, value in settings.items() if name != "backbone"}
    waypoints = settings.get("ee_waypoints", model.config.ee_waypoints)
    if anew and waypoints != model.config.ee_waypoints:
        model.config.ee_waypoints = waypoints
        model.experts["ee"] = ActionExpert(model.config, "ee")
        model.config.trained_stages = [name for name in model.config.trained_stages if name != "action"]
    made = _plain(model.config.to_dict())
    for name, value in settings.items():
        if not _agrees(made.get(name), _plain(value)):
            raise UserError(
                f"{folder} was made with recipe.model.{name}={made.get(name)}, not {_plain(value)}",
                "leave it as it was made, or begin another model: no init, another output=FOLDER",
            )


def _plain(value: Any) -> Any:
    """Without the differences of tuples and lists."""
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def _agrees(made: Any, wanted: Any) -> bool:
    """Whether all that is wanted is so; of a decoder's configuration a recipe names a part."""
    if isinstance(wanted, Mapping) and isinstance(made, Mapping):
        return all(_agrees(made.get(name), value) for name, value in wanted.items())
    return made == wanted


def copy_subgoal_parts(model: LoHoVLA, folder: Path | str) -> None:
    """Take over what codes and paints sub-goals from another checkpoint; the rest of ``model`` stays as it is.

    Raises:
        UserError: there are no such parts, or they are of another size of model.
    """
    other, _ = load_checkpoint(folder)
    learned = {name for name in ("autoencoder", "subgoal") if name in other.config.trained_stages}
    if not learned:
        raise UserError(
            f"{folder} has no trained autoencoder or image head to take over",
            "name a checkpoint whose stages autoencoder and subgoal were trained",
        )
    for name in _PICTURE_SIZES:
        setattr(model.config, name, getattr(other.config, name))
    model.add_subgoal_parts()
    parts = {name: value for name, value in other.state_dict().items() if name.startswith(SUBGOAL_PARTS)}
    try:
        model.load_state_dict(parts, strict=False)
    except RuntimeError as error:
        raise UserError(
            f"the image head of {folder} is of another size of model: {str(error).splitlines()[1].strip()}",
            "train one for this model: stage=autoencoder, then stage=subgoal",
        ) from None
    model.config.trained_stages = sorted({*model.config.trained_stages, *learned})


_PICTURE_SIZES = ("image_channels", "image_head_dim", "image_head_blocks", "image_target", "image_codes", "image_tau")
_MAKE = "`lohovla train` makes one; checkpoint=nano is shipped"


def refuse_other_weights(folder: Path, report: dict[str, Any], remedy: str) -> None:
    """Turn what transformers reports of loading into an error, if weights did not fit."""
    for name, found, expected in sorted(report["mismatched_keys"]):
        raise UserError(f"{folder}: weight {name} has shape {tuple(found)}, not {tuple(expected)}", remedy)
    for kind in ("missing", "unexpected"):
        for name in sorted(report[f"{kind}_keys"]):
            raise UserError(f"{folder} {'lacks' if kind == 'missing' else 'has an unknown'} weight {name}", remedy)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' report of weights that do not fit from the terminal: they become one line of our own."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
