"""From a request to its answer: the engine's news become a whole response or the events of a stream."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from lohovla.d2f.engine import QueueFull, RequestOutput
from lohovla.d2f.generation_output import GenerationOutput
from lohovla.errors import UserError
from lohovla.serve.text.api_errors import ApiError, PlainJson
from lohovla.serve.text.api_schema import ChatRequest, CompletionRequest
from lohovla.serve.text.engine_thread import EngineThread, RequestHandle
from lohovla.serve.text.responses import ResponseBuilder, stream_canvas
from lohovla.serve.text.responses_api import ResponsesBuilder, ResponsesRequest
from lohovla.serve.text.stream_detokenizer import StreamDetokenizer
from lohovla.serve.text.text_service import PreparedRequest, TextService, to_api_error


class CompletionHandler:
    """Answers requests by a worker.

    Args:
        service: the models.
        worker: its engines' thread.
        draining: whether nothing new is taken.
        count: told how each request ended, and its seconds.
    """

    def __init__(
        self,
        service: TextService,
        worker: EngineThread,
        draining: Callable[[], bool],
        count: Callable[[str, float], None],
    ):
        self.service, self.worker, self._draining, self._count = service, worker, draining, count
        self.jobs: set[RequestHandle] = set()

    async def answer(
        self, body: CompletionRequest | ChatRequest, request: Request, asked: ResponsesRequest | None = None
    ) -> Response:
        """The response to a request; one of the Responses API is ``asked`` as the chat ``body``."""
        began = time.monotonic()

        def count(outcome: str) -> None:
            self._count(outcome, time.monotonic() - began)

        try:
            job, plan, form = await self._begin(body, asked)
        except ApiError as error:
            count({429: "overloaded", 503: "draining"}.get(error.status, "refused"))
            raise
        if body.stream:
            return _Events(self._events(job, plan, form, body), lambda: self._end(job), count, form.named)
        gone, outcome = asyncio.ensure_future(_gone(request)), "failed"
        try:
            response = await self._wait(job, plan, form, gone)
            outcome = "left" if response is None else "ok"
            return response or Response(status_code=499)
        finally:
            gone.cancel()
            self._end(job)
            count(outcome)

    def refused(self) -> None:
        """Count a request that was refused before it came here."""
        self._count("refused", 0.0)

    async def _begin(
        self, body: CompletionRequest | ChatRequest, asked: ResponsesRequest | None
    ) -> tuple[RequestHandle, PreparedRequest, ResponseBuilder | ResponsesBuilder]:
        if self._draining():
            raise ApiError(503, "the server is going away; another one may answer", code="draining", retry_after=5)
        plan = await self.service.prepare(body)
        try:
            job = self.worker.submit(plan.engine, plan.requests, bool(body.stream))
        except QueueFull as error:
            raise ApiError(429, f"{error}; try again later", None, "overloaded", error.retry_after) from None
        except UserError as error:
            raise to_api_error(error) from None
        self.jobs.add(job)
        if asked is not None:
            return job, plan, ResponsesBuilder(asked, plan.most)
        chat, service = isinstance(body, ChatRequest), self.service
        return (
            job,
            plan,
            ResponseBuilder(body.model, chat, service.decode, service.token_bytes, plan.ranks, plan.most),
        )

    def _end(self, job: RequestHandle) -> None:
        self.worker.leave(job)
        self.jobs.discard(job)

    async def _wait(
        self,
        job: RequestHandle,
        plan: PreparedRequest,
        form: ResponseBuilder | ResponsesBuilder,
        gone: asyncio.Future[None],
    ) -> Response | None:
        """The whole answers; None if nobody is there to hear them."""
        answers: dict[int, GenerationOutput] = {}
        while len(answers) < len(plan.requests):
            news = asyncio.ensure_future(job.news())
            await asyncio.wait({news, gone}, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                news.cancel()
                return None
            for index, update in news.result().items():
                _check(update)
                if update.answer is not None:
                    answers[index] = update.answer
        ordered = [answers[index] for index in sorted(answers)]
        texts = [
            before + StreamDetokenizer(self.service.decode, plan.stops, plan.most).decode_remaining_text(answer)
            for before, answer in zip(plan.before, ordered, strict=True)
        ]
        prompts = [request.prompt for request in plan.requests] if plan.scored else None
        return PlainJson(form.answer(ordered, texts, plan.prompt_tokens, prompts))

    async def _events(
        self,
        job: RequestHandle,
        plan: PreparedRequest,
        form: ResponseBuilder | ResponsesBuilder,
        body: CompletionRequest | ChatRequest,
    ) -> AsyncIterator[dict[str, Any]]:
        """The chunks of a stream."""
        spoken = [StreamDetokenizer(self.service.decode, plan.stops, plan.most) for _ in plan.requests]
        answers: dict[int, GenerationOutput] = {}
        for index in range(len(plan.requests)):
            for chunk in form.opening(index):
                yield chunk
            for chunk in form.piece(index, plan.before[index]) if plan.before[index] else []:
                yield chunk
        while len(answers) < len(plan.requests):
            for index, update in sorted((await job.news()).items()):
                _check(update)
                shown = (
                    stream_canvas(update, self.service.piece, plan.requests[index].size) if body.provisional else None
                )
                if update.answer is not None:
                    answers[index] = update.answer
                    text = spoken[index].decode_remaining_text(update.answer)
                    chunks = form.ending(index, text, update.answer, shown)
                else:
                    text = spoken[index].decode_new_text(update.tokens)
                    chunks = form.piece(index, text, shown) if text or shown else []
                for chunk in chunks:
                    yield chunk
        if body.stream_options is not None and body.stream_options.include_usage:
            for chunk in form.closing([answers[index] for index in sorted(answers)], plan.prompt_tokens):
                yield chunk


class _Events(StreamingResponse):
    """Server-sent events. Whatever becomes of the client, ``end`` is called, and ``count`` told how it went.

    Events that are ``named`` carry their type in a line of its own, and no mark closes them.
    """

    def __init__(
        self,
        chunks: AsyncIterator[dict[str, Any]],
        end: Callable[[], None],
        count: Callable[[str], None],
        named: bool,
    ):
        self._end, self._count, self._outcome, self._named = end, count, "left", named
        super().__init__(
            self._told(chunks),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
        )

    async def _told(self, chunks: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
        try:
            async for chunk in chunks:
                name = f"event: {chunk['type']}\n" if self._named else ""
                yield f"{name}data: {json.dumps(chunk)}\n\n"
            self._outcome = "ok"
        except ApiError as error:
            self._outcome = "failed"
            if self._named:
                told = {"type": "error", "code": error.code or "server_error", "message": error.message, "param": None}
                yield f"event: error\ndata: {json.dumps(told)}\n\n"
            else:
                yield f"data: {json.dumps(error.body)}\n\n"
        if not self._named:
            yield "data: [DONE]\n\n"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send all of it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._end()
            self._count(self._outcome)


def _check(update: RequestOutput) -> None:
    if update.error is not None:
        raise ApiError(503 if update.error == GOING else 500, update.error)


GOING = "the server is going away"


async def _gone(request: Request) -> None:
    """Return when the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
