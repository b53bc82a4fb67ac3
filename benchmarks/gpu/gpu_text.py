"""The text model's part of the GPU benchmark: D2F steps of a LLaDA of 8 billion random weights, by batch."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch

from lohovla.benchmarks.bench_utils import Row
from lohovla.d2f.block_state import Thresholds
from lohovla.d2f.denoiser import CACHE, DecoderDenoiser
from lohovla.d2f.engine import Engine, EngineSettings, GenerationRequest, RequestOutput
from lohovla.d2f.sampling import Sampling
from lohovla.errors import UserError
from lohovla.kernels.runtime import Cost

SHARE = 1 / 16  # of the masked rows that a step accepts, by the choice of the threshold


@dataclass(frozen=True)
class TextModelShape:
    """Sizes of the model and of what it is asked."""

    hidden: int = 4096
    inner: int = 12288
    layers: int = 32
    heads: int = 32
    vocabulary: int = 126464
    block: int = 32
    prompt: int = 512
    answer: int = 256
    batches: tuple[int, ...] = (1, 4, 16, 64)
    steps: int = 12
    cache_mb: float = 28000.0

    def cost(self, batch: int, rows: float) -> Cost:
        """A forward of ``rows`` rows in all, over ``batch`` prompts in the cache, with the head on all rows."""
        weights = self.layers * (4 * self.hidden**2 + 3 * self.hidden * self.inner) + self.hidden * self.vocabulary
        cache = 2.0 * self.layers * self.hidden * self.prompt * batch
        pairs = 4.0 * self.layers * self.hidden * rows * (self.prompt + rows / batch)
        return Cost(2.0 * (weights + cache), 2.0 * weights * rows + pairs)


LLADA = TextModelShape()
TOY = TextModelShape(64, 96, 2, 4, 128, 4, 8, 16, (1, 2), 3, 16.0)


@torch.inference_mode()
def steps(where: torch.device, text: TextModelShape, bandwidth: float, rate: float) -> list[Row]:
    """Steps of the engine and tokens a second, beside a plain loop of transformers, one token a forward."""
    model = _model(where, text)
    denoiser = DecoderDenoiser(
        model.model,
        model.model.embed_tokens,
        model.lm_head,
        mask_id=text.vocabulary - 1,
        eos_ids=(text.vocabulary - 2,),
        shift=False,
        block=text.block,
    )
    accept = _threshold(denoiser, text)
    rows = []
    for batch in text.batches:
        row: Row = {"batch": batch}
        try:
            spent, tokens, forwarded = _engine(denoiser, text, batch, accept)
            floor = text.cost(batch, forwarded).floor(bandwidth, rate)
            row |= {"step ms": spent * 1e3, "floor ms": floor * 1e3, "of floor": floor / spent}
            row |= {"tokens a step": tokens / batch, "tokens/s": tokens / spent}
            plain = _plain(model, text, batch)
            row |= {"plain loop tokens/s": batch / plain, "ratio": tokens / spent / (batch / plain)}
        except Exception as error:  # memory, at the largest batches
            row["error"] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        rows.append(row)
    return rows


def _model(where: torch.device, text: TextModelShape) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=text.hidden,
        intermediate_size=text.inner,
        num_hidden_layers=text.layers,
        num_attention_heads=text.heads,
        num_key_value_heads=text.heads,
        vocab_size=text.vocabulary,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with where:
            return LlamaForCausalLM(config).eval()
    finally:
        torch.set_default_dtype(before)


def _threshold(denoiser: DecoderDenoiser, text: TextModelShape) -> float:
    """The confidence that one in sixteen masked rows reaches, as random weights are never sure of a word."""
    n = 2 * text.block
    tokens = torch.full((1, n), denoiser.mask_id, device=denoiser.device)
    places = torch.arange(n, device=denoiser.device)[None]
    sees = torch.ones(1, n, n, dtype=torch.bool, device=denoiser.device)
    hidden = denoiser.forward(tokens, places, sees, denoiser.new_cache(1))[0]
    return float(denoiser.logits(hidden).softmax(-1).max(-1).values.quantile(1 - SHARE))


def _engine(denoiser: DecoderDenoiser, text: TextModelShape, batch: int, accept: float) -> tuple[float, float, float]:
    """Seconds a step, tokens accepted in one, and rows of its forward, once all requests run."""
    engine = Engine(denoiser, EngineSettings(cache_mb=text.cache_mb, max_num_seqs=batch, enable_prefix_caching=False))
    generator = torch.Generator().manual_seed(0)
    known = [0] * batch

    def listen(number: int, update: RequestOutput) -> None:
        if update.error:
            raise UserError(update.error, "see the log")
        answer = update.answer
        known[number] = len(answer.tokens) if answer else sum(token is not None for token in update.canvas)

    for number in range(batch):
        prompt = torch.randint(text.vocabulary - 2, (text.prompt,), generator=generator).tolist()
        sampling = Sampling(max_tokens=text.answer, min_tokens=text.answer)
        request = GenerationRequest(tuple(prompt), sampling, Thresholds(accept=accept), size=text.block)
        engine.submit(request, lambda update, number=number: listen(number, update))
    # Prompts come in over several steps; then the pipeline fills.
    while (engine.queued or min(known) == 0) and engine.step():
        pass
    for _ in range(2):
        engine.step()
    times, before, rows, taken = [], sum(known), engine.stats.rows, 0
    for _ in range(text.steps):
        _wait(denoiser.device)
        began = time.perf_counter()
        if engine.running < batch or not engine.step():
            break
        _wait(denoiser.device)
        times.append(time.perf_counter() - began)
        taken += 1
    spent = sum(times) / max(1, taken)
    return spent, (sum(known) - before) / max(1, taken), (engine.stats.rows - rows) / max(1, taken)


def _plain(model: Any, text: TextModelShape, batch: int) -> float:
    """Seconds a token of ``model`` with its own cache, as a loop over it is written first."""
    from transformers import DynamicCache

    device = model.device
    cache = DynamicCache(config=model.config)
    words = torch.randint(text.vocabulary - 2, (batch, text.prompt), device=device)
    out = model(input_ids=words, use_cache=True, logits_to_keep=1, **{CACHE: cache})
    word = out.logits[:, -1:].argmax(-1)
    times = []
    for _ in range(text.steps):
        _wait(device)
        began = time.perf_counter()
        word = model(input_ids=word, use_cache=True, **{CACHE: cache}).logits[:, -1:].argmax(-1)
        _wait(device)
        times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
