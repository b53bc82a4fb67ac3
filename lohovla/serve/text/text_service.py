"""The models that are served, and what a request means to the engine."""

from __future__ import annotations

import asyncio
import copy
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from lohovla.d2f.block_state import Thresholds
from lohovla.d2f.encode_prompt import longest_piece
from lohovla.d2f.end_tokens import control_tokens
from lohovla.d2f.engine import Engine, EngineSettings, GenerationRequest
from lohovla.d2f.engine.model_runner import ModelRunner
from lohovla.d2f.json_schema import JsonConstraint, JsonGrammar
from lohovla.d2f.sampling import Sampling
from lohovla.d2f.text_model import TextModel
from lohovla.d2f.token_bytes import TokenBytes
from lohovla.errors import UserError
from lohovla.serve.text.api_errors import ApiError
from lohovla.serve.text.api_schema import ChatRequest, Common, CompletionRequest, Message

MODES = ("d2f", "cache", "block", "d2f+branch", "d2f+chain", "ar")
_ROOM = 192  # tokens of an answer, where a request does not say


@dataclass(frozen=True)
class PreparedRequest:
    """A request, ready for the engine.

    Attributes:
        engine: that decodes it.
        requests: answers to each prompt one after the other, ``n`` of each.
        prompt_tokens: of all prompts.
        most: tokens of an answer at most; the engine fills whole blocks.
        stops: strings that end one.
        ranks: alternatives to report; None reports no log-probabilities.
        before: of each answer the text that is told before it: its prompt, with ``echo``.
        scored: whether the log-probabilities of the prompts are told too.
    """

    engine: Engine
    requests: list[GenerationRequest]
    prompt_tokens: int
    most: int
    stops: tuple[str, ...]
    ranks: int | None
    before: list[str]
    scored: bool = False


class TextService:
    """A text model under its name, in all the modes that it has.

    Args:
        text: the model.
        name: under which it is asked for; ``NAME:MODE`` asks for another mode than the model's first.
        limits: of each engine. There are two where ``ar`` has weights of its own (a base without its adapter).
        runner: makes each engine's, by its number.
    """

    def __init__(
        self,
        text: TextModel,
        name: str,
        limits: EngineSettings,
        runner: Callable[[int], Any] = lambda number: ModelRunner,
    ):
        self.text, self.name = text, name
        self.vocabulary = int(text.student.decoder.config.vocab_size)  # type: ignore[union-attr]
        # The event loop, the engines' thread and the preparation have a tokenizer each.
        self.decode, own = text.decoder(), text.decoder()
        self.engines = [Engine(denoiser, limits, own, runner(number)) for number, denoiser in enumerate(text.denoisers)]
        self.student, self.base = self.engines[0], self.engines[-1]
        self.modes = tuple(mode for mode in text.modes if mode in MODES)
        # A text of more characters has more tokens than fit, whatever it says: it need not be tokenized.
        self._most_characters = max(engine.max_model_len for engine in self.engines) * longest_piece(text.tokenizer)
        self._control = set(control_tokens(text.tokenizer).values())
        shown = copy.deepcopy(text.tokenizer)  # of the event loop
        self.token_bytes = TokenBytes(shown)
        self.piece = lambda token: shown.decode([token], clean_up_tokenization_spaces=False)
        self._grammar: JsonGrammar | None = None
        self._preparing = ThreadPoolExecutor(1, thread_name_prefix="lohovla-tokenize")

    @property
    def names(self) -> list[str]:
        """What can be asked for."""
        return [self.name, *(f"{self.name}:{mode}" for mode in self.modes[1:])]

    @property
    def full(self) -> bool:
        """Whether the next request would be told that too many wait."""
        return all(engine.full for engine in self.engines)

    async def prepare(self, body: CompletionRequest | ChatRequest) -> PreparedRequest:
        """What a request means.

        Raises:
            ApiError: it cannot be carried out.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._preparing, self.plan, body)
        except UserError as error:
            raise to_api_error(error) from None

    def close(self) -> None:
        """Stop preparing."""
        self._preparing.shutdown(wait=False, cancel_futures=True)

    # In the preparing thread.

    def plan(self, body: CompletionRequest | ChatRequest) -> PreparedRequest:
        """As :meth:`prepare`, here and now; refusals are UserErrors too."""
        mode = self._mode(body.model)
        self._check_length(body)
        if isinstance(body, ChatRequest):
            ids, seams = self._conversation(body.messages)
            prompts, seams = [ids], [seams]
        else:
            prompts = self._prompts(body)
            seams = [()] * len(prompts)
        engine = self.base if mode == "ar" else self.student
        if len(prompts) * body.answers > 64:
            raise UserError(f"{len(prompts) * body.answers} answers in one request", "ask for 64 at most")
        requests, most = [], body.most or _ROOM
        constraint = self._constraint(body)
        ranks = self._prompt_ranks(body, mode)
        seed = secrets.randbits(62) if body.seed is None else body.seed
        for prompt, parts in zip(prompts, seams, strict=True):
            if max(prompt) >= self.vocabulary:
                raise UserError(f"there is no token {max(prompt)}", f"the vocabulary has {self.vocabulary}")
            room = engine.max_model_len - len(prompt)
            if room < 1 or (body.most or 1) > room:
                raise UserError(
                    f"prompt and answer may have {engine.max_model_len} tokens, not {len(prompt)} + {most}",
                    "give a shorter prompt, or a smaller max_tokens",
                )
            most = min(most, room)
            for number in range(body.answers):
                request = self._request(body, mode, prompt, parts, most, seed, number)
                own = None if constraint is None else constraint.copy()
                requests.append(replace(request, constraint=own, prompt_ranks=ranks))
        before = [""] * len(requests)
        if isinstance(body, CompletionRequest) and body.echo:
            before = [self.text.decode(prompt) for prompt in prompts for _ in range(body.answers)]
        tokens = sum(map(len, prompts))
        return PreparedRequest(engine, requests, tokens, most, body.stops, body.ranks, before, ranks is not None)

    def _constraint(self, body: Common) -> JsonConstraint | None:
        """What keeps answers to a schema, where one is asked for."""
        if body.schema_wanted is None:
            return None
        if body.ignore_eos or body.min_tokens:
            raise UserError("response_format decides when an answer ends", "leave ignore_eos and min_tokens out")
        if self._grammar is None:
            self._grammar = JsonGrammar(self.text.tokenizer, self.vocabulary, self.text.student.eos_ids)
        return self._grammar.constraint(body.schema_wanted)

    def _prompt_ranks(self, body: Common, mode: str) -> int | None:
        """Alternatives to report for each token of a prompt, where its log-probabilities are asked for."""
        if not isinstance(body, CompletionRequest) or not body.echo or body.logprobs is None:
            return None
        if mode != "ar":
            raise UserError(
                f"mode {mode} gives no log-probabilities of the prompt", "use the model NAME:ar, or leave echo out"
            )
        if body.stream:
            raise UserError("echo with logprobs is not supported in a stream", "leave one of them out")
        return body.logprobs

    def _mode(self, model: str) -> str:
        if model == self.name:
            return self.modes[0]
        name, _, mode = model.rpartition(":")
        if name != self.name or mode not in self.modes:
            raise ApiError(
                404, f"there is no model {model[:80]!r}; there are {', '.join(self.names)}", "model", "model_not_found"
            )
        return mode

    def _request(
        self, body: Common, mode: str, prompt: list[int], seams: tuple[int, ...], most: int, seed: int, number: int
    ) -> GenerationRequest:
        limits = self.text.limits(accept=body.accept, add=body.add, activate=body.activate)
        sampling: dict[str, Any] = {
            "temperature": body.temperature or 0.0,
            "top_p": body.top_p or 1.0,
            "top_k": body.top_k or 0,
            "min_p": body.min_p or 0.0,
            "min_tokens": most if body.ignore_eos else min(body.min_tokens or 0, most),
            "repetition_penalty": body.repetition_penalty or 1.0,
            "presence_penalty": body.presence_penalty or 0.0,
            "frequency_penalty": body.frequency_penalty or 0.0,
            "logit_bias": self._bias(body),
            "seed": seed,
            "stop": body.stops,
            "logprobs": body.ranks or 0,
        }
        if mode == "ar":
            return GenerationRequest(
                tuple(prompt),
                Sampling(max_tokens=most, **sampling),
                Thresholds(1.0, 1.0, 1.0),
                size=1,
                causal=True,
                number=number,
            )
        if body.schema_wanted is not None and mode != "cache":
            mode = "block"  # a constrained answer is decoded from the left
        how = self.text.settings(mode, Sampling(), limits, body.block, body.width)
        size = body.block or self.text.size
        tail = len(prompt) % size if self.text.student.prompt == "blocks" else 0
        # Whole blocks are decoded, at least as many tokens as are wanted; where there is no room for the last block
        # the answer is a few tokens shorter.
        room = min(-(-(most + tail) // size) * size - tail, self.student.max_model_len - len(prompt))
        return GenerationRequest(
            tuple(prompt),
            Sampling(max_tokens=room, **sampling),
            how.thresholds,
            how.verifier,
            size,
            seams=seams,
            number=number,
        )

    def _check_length(self, body: CompletionRequest | ChatRequest) -> None:
        if isinstance(body, ChatRequest):
            characters = sum(len(message.text) for message in body.messages)
        else:
            given: Any = [body.prompt] if isinstance(body.prompt, str) else body.prompt
            characters = max(len(one) if isinstance(one, str) else 0 for one in given)
        if characters > self._most_characters:
            raise UserError(
                f"the prompt has {characters} characters, and at most {self._most_characters} can fit",
                "give a shorter one",
            )

    def _bias(self, body: Common) -> tuple[tuple[int, float], ...]:
        found = {int(token): value for token, value in (body.logit_bias or {}).items()}
        if found and max(found) >= self.vocabulary:
            raise UserError(f"logit_bias: there is no token {max(found)}", f"the vocabulary has {self.vocabulary}")
        return tuple(sorted(found.items()))

    def _prompts(self, body: CompletionRequest) -> list[list[int]]:
        given: Any = body.prompt
        if isinstance(given, str):
            return [self.text.encode(given)]
        if isinstance(given[0], int):
            return [given]
        return [self.text.encode(one) if isinstance(one, str) else one for one in given]

    def _conversation(self, messages: list[Message]) -> tuple[list[int], tuple[int, ...]]:
        """Token ids of a conversation, and the places where the model's turns in it began."""
        if not self.text.has_chat_template:
            if len(messages) != 1 or messages[0].role != "user":
                raise UserError("this model has no chat template", "send a single user message, or use /v1/completions")
            return self.text.encode(messages[0].text), ()
        for number, message in enumerate(messages):
            if found := sorted(token for token in self._control if token in message.text):
                raise UserError(f"message {number} holds the token {found[0]}", "leave it out")
        turns = [{"role": message.role, "content": message.text} for message in messages]
        whole = self.text.encode_chat(turns)
        seams = []
        for number, message in enumerate(messages):
            if message.role == "assistant" and number:
                begun = self.text.encode_chat(turns[:number])
                if whole[: len(begun)] == begun:  # what follows did not change how the beginning is written
                    seams.append(len(begun))
        return whole, tuple(seams)


def to_api_error(error: UserError) -> ApiError:
    """A user's error as an answer."""
    return ApiError(400, f"{error.cause}; {error.remedy}")
