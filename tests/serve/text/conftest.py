"""A tiny checkpoint that knows every byte, and the server over it: in this process, and in one of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from lohovla.d2f.engine import EngineSettings
from lohovla.d2f.text_model import TextModel
from lohovla.serve.api_keys import ApiKeys
from lohovla.serve.text.text_server import TextServer, TextServerSettings
from lohovla.serve.text.text_service import TextService

TEMPLATE = (
    "{% for m in messages %}<|turn|>{{ m.role }}\n{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)


def make(folder: Path, chat: bool = True) -> Path:
    """Write a checkpoint of a model with random weights; its answers are of all bytes and differ with the prompt."""
    special = ["<|eos|>", "<|mask|>", "<|turn|>", "<|end|>"]
    vocabulary = {piece: k for k, piece in enumerate([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    inner = Tokenizer(models.BPE(vocabulary, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token="<|eos|>",
        mask_token="<|mask|>",
        additional_special_tokens=["<|turn|>", "<|end|>"],
    )
    if chat:
        tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    sizes: dict[str, Any] = {
        "vocab_size": len(vocabulary),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
        "tie_word_embeddings": False,
    }
    model, generator = Qwen2ForCausalLM(Qwen2Config(**sizes)), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter.shape[1] ** 0.5)
        model.lm_head.weight.mul_(3.0)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(
        json.dumps(
            {
                **sizes,
                "model_type": "qwen2",
                "eos_token_id": 0,
                "mask_token_id": 1,
                "d2f": {"shift": True, "block": 8, "thresholds": {"accept": 0.3, "add": 0.1, "activate": 0.5}},
            }
        )
    )
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    return make(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def bare_checkpoint(tmp_path_factory) -> Path:
    """Without a chat template."""
    return make(tmp_path_factory.mktemp("bare"), chat=False)


class Running:
    """A server in a thread of its own."""

    def __init__(
        self,
        folder: Path,
        keys: tuple[str, ...] = (),
        drain: float = 5.0,
        body_mb: float = 4.0,
        connections: int = 1024,
        patience: float = 20.0,
        **limits: Any,
    ):
        self.service = TextService(TextModel.load(folder), "tiny", EngineSettings(**{"cache_mb": 4.0, **limits}))
        self.engine = self.service.student
        self._ready, self.whole = threading.Event(), None
        settings = TextServerSettings(
            port=0, drain=drain, body_mb=body_mb, max_connections=connections, patience=patience, access_log=True
        )
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main(settings, ApiKeys(keys))), daemon=True)
        self._thread.start()
        assert self._ready.wait(120)
        self.url = f"http://127.0.0.1:{self.port}"

    async def _main(self, settings: TextServerSettings, keys: ApiKeys) -> None:
        self.loop = asyncio.get_running_loop()
        self.server = TextServer(self.service, settings, keys)
        await self.server.start()
        self.port = self.server.port
        self._ready.set()
        self.whole = await self.server.run()

    def begin_drain(self) -> None:
        self.loop.call_soon_threadsafe(self.server.drain.begin)

    def stop(self) -> None:
        with contextlib.suppress(RuntimeError):  # its loop may have ended by itself
            self.loop.call_soon_threadsafe(self._end)
        self.join()

    def _end(self) -> None:
        self.server.drain.begin()
        self.server.drain.at_once.set()

    def join(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()


@pytest.fixture(scope="session")
def tiny(checkpoint) -> Iterator[Running]:
    """A server that tests share."""
    running = Running(checkpoint)
    yield running
    running.stop()


@pytest.fixture
def serve(checkpoint) -> Iterator[Callable[..., Running]]:
    """Serves with settings of one's own until the test is over."""
    made: list[Running] = []

    def begin(folder: Path = checkpoint, **settings: Any) -> Running:
        made.append(Running(folder, **settings))
        return made[-1]

    yield begin
    for running in made:
        running.stop()
