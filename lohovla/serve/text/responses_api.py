"""OpenAI's Responses API: a request as a chat, and its answer as a response or the events of one."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lohovla.d2f.generation_output import GenerationOutput
from lohovla.serve.text.api_schema import NOT_SUPPORTED, ChatRequest, Nothing, Positive, Seed
from lohovla.serve.text.stream_detokenizer import finish_answer


class InputPart(BaseModel):
    """A part of a message; what answers have besides is ignored."""

    model_config = ConfigDict(strict=True)

    type: Literal["input_text", "output_text", "text"]
    text: str


class InputMessage(BaseModel):
    """A turn of a conversation; what answers have besides is ignored."""

    model_config = ConfigDict(strict=True)

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[InputPart], Field(min_length=1, max_length=1000)]


class JsonFormat(BaseModel):
    """Of an answer: text, or JSON, by a schema where there is one."""

    model_config = ConfigDict(strict=True, extra="forbid")

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    definition: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class TextSettings(BaseModel):
    """Of an answer's text."""

    model_config = ConfigDict(strict=True, extra="forbid")

    format: JsonFormat | None = None
    verbosity: Literal["medium"] | None = Field(None, description=NOT_SUPPORTED)


class ResponsesRequest(BaseModel):
    """A conversation to go on with, as the Responses API writes it. Nothing is stored."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    model: Annotated[str, Field(max_length=300)]
    input: str | Annotated[list[InputMessage], Field(min_length=1, max_length=1000)]
    instructions: str | None = None
    max_output_tokens: Positive | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: Seed | None = None
    stream: bool | None = False
    text: TextSettings | None = None
    metadata: Annotated[dict[str, str], Field(max_length=16)] | None = None
    user: str | None = Field(None, description="Not used.")
    safety_identifier: str | None = Field(None, description="Not used.")
    prompt_cache_key: str | None = Field(None, description="Not used: what begins alike shares its cache.")
    store: Literal[False] | None = Field(None, description=NOT_SUPPORTED)
    previous_response_id: None = Field(None, description=NOT_SUPPORTED)
    conversation: None = Field(None, description=NOT_SUPPORTED)
    background: Literal[False] | None = Field(None, description=NOT_SUPPORTED)
    include: Nothing | None = Field(None, description=NOT_SUPPORTED)
    tools: Nothing | None = Field(None, description=NOT_SUPPORTED)
    tool_choice: Literal["none", "auto"] | None = Field(None, description=NOT_SUPPORTED)
    parallel_tool_calls: bool | None = Field(None, description="Not used: there are no tools.")
    reasoning: None = Field(None, description=NOT_SUPPORTED)
    truncation: Literal["disabled"] | None = Field(None, description=NOT_SUPPORTED)
    service_tier: Literal["auto", "default"] | None = Field(None, description=NOT_SUPPORTED)

    def chat(self) -> ChatRequest:
        """The same as a chat."""
        messages: list[dict[str, Any]] = []
        if self.instructions:
            messages.append({"role": "system", "content": self.instructions})
        if isinstance(self.input, str):
            messages.append({"role": "user", "content": self.input})
        else:
            for one in self.input:
                said = one.content if isinstance(one.content, str) else "".join(part.text for part in one.content)
                messages.append({"role": one.role, "content": said})
        body: dict[str, Any] = {"model": self.model, "messages": messages, "stream": self.stream, "seed": self.seed}
        body |= {"max_tokens": self.max_output_tokens, "temperature": self.temperature, "top_p": self.top_p}
        form = self.text.format if self.text else None
        if form is not None and form.type == "json_schema":
            body["response_format"] = {"type": form.type, "json_schema": {"schema": form.definition or {}}}
        elif form is not None:
            body["response_format"] = {"type": form.type}
        if self.stream:
            body["stream_options"] = {"include_usage": True}
        return ChatRequest.model_validate(body)


class ResponsesBuilder:
    """How a request's answer is written down as a response, and as the events of one.

    Args:
        asked: the request.
        most: tokens of an answer at most.
    """

    named = True  # events carry their type, and there is no closing mark

    def __init__(self, asked: ResponsesRequest, most: int):
        self._asked, self._most = asked, most
        self._id, self._item = f"resp_{secrets.token_hex(12)}", f"msg_{secrets.token_hex(12)}"
        self._created, self._number, self._told = int(time.time()), 0, ""
        self._reason = "stop"

    def answer(
        self,
        answers: list[GenerationOutput],
        texts: list[str],
        prompt_tokens: int,
        prompts: list[tuple[int, ...]] | None = None,
    ) -> dict[str, Any]:
        """The whole response."""
        self._told, self._reason = texts[0], finish_answer(answers[0], self._most)[1]
        return self._response(self._usage(answers, prompt_tokens))

    def opening(self, index: int) -> list[dict[str, Any]]:
        """The events that begin an answer."""
        part = {"type": "output_text", "text": "", "annotations": []}
        return [
            self._event("response.created", response=self._response(None)),
            self._event("response.in_progress", response=self._response(None)),
            self._event("response.output_item.added", output_index=0, item=self._message("in_progress", [])),
            self._event("response.content_part.added", **self._place, part=part),
        ]

    def piece(self, index: int, text: str, more: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """The event of more text."""
        self._told += text
        return [self._event("response.output_text.delta", **self._place, delta=text, logprobs=[])] if text else []

    def ending(
        self, index: int, text: str, answer: GenerationOutput, more: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """The events that end an answer's text."""
        told = self.piece(index, text)
        self._reason = finish_answer(answer, self._most)[1]
        part = self._content()[0]
        return [
            *told,
            self._event("response.output_text.done", **self._place, text=self._told, logprobs=[]),
            self._event("response.content_part.done", **self._place, part=part),
            self._event("response.output_item.done", output_index=0, item=self._message(self._status, [part])),
        ]

    def closing(self, answers: Sequence[GenerationOutput], prompt_tokens: int) -> list[dict[str, Any]]:
        """The event with the whole response."""
        return [self._event(f"response.{self._status}", response=self._response(self._usage(answers, prompt_tokens)))]

    @property
    def _place(self) -> dict[str, Any]:
        return {"item_id": self._item, "output_index": 0, "content_index": 0}

    @property
    def _status(self) -> str:
        return "incomplete" if self._reason == "length" else "completed"

    def _event(self, kind: str, **more: Any) -> dict[str, Any]:
        self._number += 1
        return {"type": kind, "sequence_number": self._number - 1, **more}

    def _content(self) -> list[dict[str, Any]]:
        return [{"type": "output_text", "text": self._told, "annotations": [], "logprobs": []}]

    def _message(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self._item, "type": "message", "role": "assistant", "status": status, "content": content}

    def _usage(self, answers: Sequence[GenerationOutput], prompt_tokens: int) -> dict[str, Any]:
        said = sum(len(finish_answer(answer, self._most)[0]) for answer in answers)
        return {
            "input_tokens": prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": said,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt_tokens + said,
        }

    def _response(self, usage: dict[str, Any] | None) -> dict[str, Any]:
        """The response as it stands; it goes on while there is no usage."""
        over, asked = usage is not None, self._asked
        form = asked.text.format if asked.text else None
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": self._status if over else "in_progress",
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if over and self._reason == "length" else None,
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "metadata": asked.metadata or {},
            "model": asked.model,
            "output": [self._message(self._status, self._content())] if over else [],
            "parallel_tool_calls": False,
            "previous_response_id": None,
            "store": False,
            "temperature": asked.temperature or 0.0,
            "text": {"format": {"type": "text"} if form is None else form.model_dump(by_alias=True, exclude_none=True)},
            "tool_choice": "none",
            "tools": [],
            "top_p": asked.top_p or 1.0,
            "truncation": "disabled",
            "usage": usage,
        }
