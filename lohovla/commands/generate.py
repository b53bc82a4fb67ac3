"""``lohovla generate``: text, with a live view of the blocks being denoised."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lohovla.errors import UserError
from lohovla.progress import colored
from lohovla.settings.hydra_config import results_folder


def run(config: DictConfig) -> int:
    """Print the answers with how many forwards and how long they took."""
    if (config.prompt is None) == (config.example is None):
        raise UserError(
            "one prompt or one example is needed, and not both",
            'for instance `lohovla generate "7480+1100-1691="` or `lohovla generate example=open-plan`',
        )
    if config.picture is not None and Path(config.picture).suffix not in (".gif", ".png"):
        raise UserError(f"{config.picture} is neither a GIF nor a PNG", "picture=FILE.gif or picture=FILE.png")
    from lohovla.collect.text_tasks import text_task
    from lohovla.d2f.sampling import Sampling
    from lohovla.d2f.text_model import TextModel

    example = None if config.example is None else text_task(config.example).draw_problem(config.seed)
    names = (
        "max_tokens",
        "min_tokens",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "repetition_penalty",
        "presence_penalty",
        "frequency_penalty",
        "seed",
        "logprobs",
    )
    stops = tuple(map(_stop, config.stop))
    sampling = Sampling(stop=stops, **{name: config[name] for name in names})  # type: ignore[arg-type]
    model = TextModel.load(
        config.model, config.adapter, live=config.adapter_live, dtype=config.dtype, device=config.device
    )
    prompt = config.prompt if example is None else example.prompt
    if config.chat or (config.chat is None and example is None and model.has_chat_template):
        prompt = [{"role": "user", "content": prompt}]
    results = _generate(model, prompt, sampling, config)
    for number, result in enumerate(results, 1):
        if len(results) > 1:
            print(f"-- {number}")
        print(result.text.rstrip("\n"))
        if example is not None:
            score = text_task(config.example).score(example, result.text)
            print("right" if score.right else f"wrong: {score.fault}")
        answer = result.answer
        tokens = len(answer.tokens)
        print(
            f"{tokens} tokens, {answer.forwards} forwards, {tokens / max(1, answer.forwards):.1f} tokens a forward, "
            f"ended by {answer.reason}",
            file=sys.stderr,
        )
    print(f"{results[0].seconds:.2f} s in all", file=sys.stderr)
    if config.output is not None:
        _write(results_folder(config, "generate"), prompt, results)
    return 0


def _stop(typed: str) -> str:
    r"""A stop string as it is typed, where ``\n``, ``\r``, ``\t`` and ``\\`` mean one character."""
    meant = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}
    return re.sub(r"\\([nrt\\])", lambda found: meant[found[1]], typed)


def _generate(model: Any, prompt: Any, sampling: Any, config: DictConfig) -> list[Any]:
    """The answers; a single one is shown as it comes, and filmed if asked for."""
    limits = model.limits(
        accept=config.confidence_threshold, add=config.block_add_threshold, activate=config.decoded_token_threshold
    )
    settings = {"thresholds": limits, "size": config.block, "width": config.width}
    live = config.live and sys.stdout.isatty() and config.n == 1
    if not live and config.picture is None:
        return model.generate(prompt, config.mode, sampling, n=config.n, **settings)
    if config.n > 1:
        raise UserError("a picture shows one answer", "n=1")
    from lohovla.d2f.denoising_display import Terminal, write_denoising_film

    terminal = Terminal(colored(sys.stdout)) if live else None
    views, result = [], None
    for view, done in model.watch(prompt, config.mode, sampling, **settings):
        views.append(view)
        result = done
        if terminal is not None:
            terminal.show(view)
    if terminal is not None:
        terminal.clear()
    assert result is not None
    if config.picture is not None:
        write_denoising_film(views, prompt if isinstance(prompt, str) else prompt[-1]["content"], Path(config.picture))
    return [result]


def _write(folder: Path, prompt: Any, results: list[Any]) -> None:
    record = {
        "prompt": prompt,
        "answers": [{"text": r.text, "seconds": r.seconds, **vars(r.answer)} for r in results],
    }
    (folder / "answer.json").write_text(json.dumps(record, indent=2), encoding="utf-8")
