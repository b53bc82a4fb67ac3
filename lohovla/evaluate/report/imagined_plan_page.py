"""The storyboard of an imagined plan: one page that needs nothing but itself, and the same as one picture."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from lohovla.evaluate.report import html
from lohovla.evaluate.subgoal.imagined_rollout import ExecutedStep, ImaginedStep
from lohovla.evaluate.subgoal.subgoal_image_metrics import changed_patches, psnr
from lohovla.model.processor import picture_of

_STYLE = (
    "<style>.step { display: grid; grid-template-columns: 2fr 2fr 1.33fr; gap: 14px; margin: 8px 0 26px; }"
    " .words { font-size: 17px; margin: 26px 0 2px; } .words b { color: var(--soft); font-weight: 500; }"
    " @media (max-width: 760px) { .step { grid-template-columns: 1fr; } }</style>"
)


def record(
    plan: Sequence[ImaginedStep], happened: Sequence[ExecutedStep], observation: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Of each step its words, points, outcome and score, and how near its picture came to the truth.

    ``psnr`` is of the patches that differ from the scene at the start, ``copy`` that of the start itself.
    """
    start = _picture(observation["images.top"], observation["depth.top"])
    facts = []
    for step, real in zip(plan, happened, strict=True):
        true = _picture(real.color, real.depth)
        where = changed_patches(start, true)
        fact: dict[str, Any] = {
            "text": step.text,
            "pick": [round(float(x), 4) for x in step.points[0]],
            "place": [round(float(x), 4) for x in step.points[1]],
            "note": real.note,
            "score": round(real.score, 4),
        }
        if where.any():
            for name, said in (("psnr", _picture(step.color, step.depth)), ("copy", start)):
                error = ((said - true)[:, :3] / 2).square().mean(1, keepdim=True)
                fact[name] = round(psnr(float((error * where).sum() / where.sum())), 2)
        facts.append(fact)
    return facts


def write_page(
    path: Path,
    title: Mapping[str, Any],
    observation: Mapping[str, Any],
    plan: Sequence[ImaginedStep],
    happened: Sequence[ExecutedStep],
    facts: Sequence[Mapping[str, Any]],
) -> None:
    """Write the page."""
    body = [_STYLE, *_head(title, observation, facts), *_steps(plan, happened, facts)]
    path.write_text(html.page(f"Imagined: {title['goal']}", body), encoding="utf-8")


def _head(
    title: Mapping[str, Any], observation: Mapping[str, Any], facts: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    yield f"<h1>{escape(title['goal'])}</h1>"
    yield (
        f'<p class="soft">{escape(title["task"])}, seed {title["seed"]}. On the left what the model imagines, each step'
        " from its own picture of the one before; it has seen only the first picture. Beside it what came of its words"
        " when the oracle carried them out.</p>"
    )
    near = [fact for fact in facts if "psnr" in fact]
    figures = [(str(len(facts)), "sub-tasks"), (f"{100 * (facts[-1]['score'] if facts else 0):.0f} %", "of the goal")]
    if near:
        for name, words in (("psnr", "imagined pictures, where the scene changed"), ("copy", "the first picture")):
            figures.append((f"{np.mean([fact[name] for fact in near]):.1f} dB", words))
    yield html.number_row(figures)
    yield "<h2>What is there</h2>"
    yield f'<div class="step">{_figure(observation["images.top"], "from above, at the start")}</div>'


def _steps(
    plan: Sequence[ImaginedStep], happened: Sequence[ExecutedStep], facts: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    yield "<h2>The plan</h2>"
    for number, (step, real, fact) in enumerate(zip(plan, happened, facts, strict=True), 1):
        near = f", {fact['psnr']:.1f} dB" if "psnr" in fact else ""
        yield f'<p class="words"><b>{number}</b> {escape(step.text)}</p>'
        yield (
            f'<div class="step">{_figure(step.color, f"imagined{near}", step.points)}'
            f"{_figure(real.color, f'{real.note}, {100 * real.score:.0f} % of the goal')}"
            f"{_figure(real.front, 'from the front')}</div>"
        )
    yield '<p class="words">Done.</p>' if plan else '<p class="words">There is nothing to do, the model says.</p>'


def _figure(pixels: np.ndarray, words: str, points: np.ndarray | None = None) -> str:
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    if image.width < 400:
        image = image.resize((2 * image.width, 2 * image.height), Image.Resampling.BICUBIC)
    image.save(buffer, "JPEG", quality=88)
    data = base64.b64encode(buffer.getvalue()).decode()
    where = ""
    if points is not None:
        (px, py), (qx, qy) = points[:, :2]
        where = f"<br><small>from ({px:.3f}, {py:.3f}) to ({qx:.3f}, {qy:.3f}) m</small>"
    return (
        f'<figure><img alt="{escape(words)}" src="data:image/jpeg;base64,{data}">'
        f"<figcaption>{escape(words)}{where}</figcaption></figure>"
    )


def sheet(
    title: Mapping[str, Any],
    observation: Mapping[str, Any],
    plan: Sequence[ImaginedStep],
    happened: Sequence[ExecutedStep],
) -> Image.Image:
    """The start, and a row a step: imagined, happened."""
    width, height, bar = 480, 240, 26
    image = Image.new("RGB", (2 * width + 8, bar + (1 + len(plan)) * (height + bar)), (24, 27, 31))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(15)
    draw.text((8, 4), title["goal"], (240, 242, 245), font)
    rows = [("the start", observation["images.top"], None)]
    rows += [(step.text, step.color, real.color) for step, real in zip(plan, happened, strict=True)]
    for number, (words, *pictures) in enumerate(rows):
        top = bar + number * (height + bar)
        draw.text((8, top + 4), f"{number}. {words}" if number else words, (150, 158, 168), font)
        for column, pixels in enumerate(pictures):
            if pixels is not None:
                one = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
                image.paste(one, (column * (width + 8), top + bar))
    return image


def _picture(color: np.ndarray, depth: np.ndarray) -> torch.Tensor:
    return picture_of(torch.from_numpy(color)[None], torch.from_numpy(depth)[None])
