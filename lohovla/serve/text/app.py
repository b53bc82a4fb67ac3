"""The routes of the text server."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from importlib import resources
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse

from lohovla import __version__
from lohovla.d2f.engine import QueueFull, RequestOutput
from lohovla.d2f.generation_output import GenerationOutput
from lohovla.errors import UserError
from lohovla.serve.lifecycle import HealthEndpoints
from lohovla.serve.text import api_errors
from lohovla.serve.text.api_errors import ApiError, PlainJson
from lohovla.serve.text.api_schema import ChatRequest, CompletionRequest, ErrorAnswer
from lohovla.serve.text.body_limit import BodyLimit
from lohovla.serve.text.engine_thread import EngineThread, RequestHandle
from lohovla.serve.text.responses import ResponseBuilder, stream_canvas
from lohovla.serve.text.stream_detokenizer import StreamDetokenizer
from lohovla.serve.text.text_service import PreparedRequest, TextService, to_api_error

_REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"model": ErrorAnswer, "description": text}
    for code, text in {
        400: "malformed, or it cannot be carried out",
        401: "no key, or a wrong one",
        404: "no such model",
        413: "too large",
        429: "too many requests are waiting; see Retry-After",
        500: "the model failed",
        503: "the server is going away",
    }.items()
}
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"


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

    async def answer(self, body: CompletionRequest | ChatRequest, request: Request) -> Response:
        """The response to a request."""
        began = time.monotonic()

        def count(outcome: str) -> None:
            self._count(outcome, time.monotonic() - began)

        try:
            job, plan, form = await self._begin(body)
        except ApiError as error:
            count({429: "overloaded", 503: "draining"}.get(error.status, "refused"))
            raise
        if body.stream:
            return _Events(self._events(job, plan, form, body), lambda: self._end(job), count)
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
        self, body: CompletionRequest | ChatRequest
    ) -> tuple[RequestHandle, PreparedRequest, ResponseBuilder]:
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
        chat = isinstance(body, ChatRequest)
        return (
            job,
            plan,
            ResponseBuilder(body.model, chat, self.service.decode, self.service.token_bytes, plan.ranks, plan.most),
        )

    def _end(self, job: RequestHandle) -> None:
        self.worker.leave(job)
        self.jobs.discard(job)

    async def _wait(
        self, job: RequestHandle, plan: PreparedRequest, form: ResponseBuilder, gone: asyncio.Future[None]
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
        self, job: RequestHandle, plan: PreparedRequest, form: ResponseBuilder, body: CompletionRequest | ChatRequest
    ) -> AsyncIterator[dict[str, Any]]:
        """The chunks of a stream."""
        spoken = [StreamDetokenizer(self.service.decode, plan.stops, plan.most) for _ in plan.requests]
        answers: dict[int, GenerationOutput] = {}
        for index in range(len(plan.requests)):
            if (chunk := form.opening(index)) is not None:
                yield chunk
            if plan.before[index]:
                yield form.piece(index, plan.before[index])
        while len(answers) < len(plan.requests):
            for index, update in sorted((await job.news()).items()):
                _check(update)
                shown = (
                    stream_canvas(update, self.service.piece, plan.requests[index].size) if body.provisional else None
                )
                if update.answer is not None:
                    answers[index] = update.answer
                    text = spoken[index].decode_remaining_text(update.answer)
                    yield form.ending(index, text, update.answer, shown)
                elif (text := spoken[index].decode_new_text(update.tokens)) or shown:
                    yield form.piece(index, text, shown)
        if body.stream_options is not None and body.stream_options.include_usage:
            yield form.closing([answers[index] for index in sorted(answers)], plan.prompt_tokens)


class _Events(StreamingResponse):
    """Server-sent events. Whatever becomes of the client, ``end`` is called, and ``count`` told how it went."""

    def __init__(self, chunks: AsyncIterator[dict[str, Any]], end: Callable[[], None], count: Callable[[str], None]):
        self._end, self._count, self._outcome = end, count, "left"
        super().__init__(
            self._told(chunks),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
        )

    async def _told(self, chunks: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
        try:
            async for chunk in chunks:
                yield f"data: {json.dumps(chunk)}\n\n"
            self._outcome = "ok"
        except ApiError as error:
            self._outcome = "failed"
            yield f"data: {json.dumps(error.body)}\n\n"
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


def build(answering: CompletionHandler, pages: HealthEndpoints, body_mb: float, patience: float) -> FastAPI:
    """The application.

    Args:
        answering: of requests.
        pages: health and metrics, and who may come in.
        body_mb: largest body, MB.
        patience: seconds in which a body has to come.
    """
    app = FastAPI(title="LoHoVLA text server", version=__version__, docs_url=None, redoc_url=None)
    app.add_middleware(BodyLimit, most=int(body_mb * 2**20), patience=patience, refused=answering.refused)
    api_errors.install(app, answering.refused)
    service, started = answering.service, int(time.time())

    def admit(request: Request) -> None:
        if not pages.keys.allows(request.headers.get("Authorization")):
            answering.refused()
            raise ApiError(401, "an API key is needed: Authorization: Bearer ...", code="invalid_api_key")

    keyed = [Depends(admit)]

    @app.post("/v1/completions", dependencies=keyed, responses=_REFUSALS)
    async def completions(body: CompletionRequest, request: Request) -> Response:
        """Go on from a text."""
        return await answering.answer(body, request)

    @app.post("/v1/chat/completions", dependencies=keyed, responses=_REFUSALS)
    async def chat(body: ChatRequest, request: Request) -> Response:
        """Go on with a conversation."""
        return await answering.answer(body, request)

    def card(name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": started, "owned_by": "lohovla"}

    @app.get("/v1/models", dependencies=keyed, responses={401: _REFUSALS[401]})
    async def models() -> dict[str, Any]:
        """What can be asked for."""
        return {"object": "list", "data": [card(name) for name in service.names]}

    @app.get("/v1/models/{name:path}", dependencies=keyed, responses={code: _REFUSALS[code] for code in (401, 404)})
    async def model(name: str) -> dict[str, Any]:
        """One of them."""
        if name not in service.names:
            answering.refused()
            raise ApiError(404, f"there is no model {name[:80]!r}", "model", "model_not_found")
        return card(name)

    async def page(request: Request) -> Response:
        answer = pages.answer(request.url.path, request.headers.get("Authorization"))
        assert answer is not None
        return PlainTextResponse(answer.body, answer.status, headers=answer.headers)

    @app.get("/readyz", include_in_schema=False)
    async def ready() -> Response:
        """Whether a request sent now would be taken: as ``/healthz``, and 503 while the queue is full."""
        health = pages.answer("/healthz", None)
        assert health is not None
        if health.status == 200 and service.full:
            return PlainTextResponse("the queue is full\n", 503, headers={"Retry-After": "1"})
        return PlainTextResponse(health.body, health.status)

    app.add_api_route("/healthz", page, include_in_schema=False)
    app.add_api_route("/metrics", page, include_in_schema=False)

    @app.get("/", include_in_schema=False)
    async def watch() -> HTMLResponse:
        """Watch text being denoised."""
        text = resources.files("lohovla.serve.text").joinpath("page.html").read_text(encoding="utf-8")
        return HTMLResponse(text, headers={"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"})

    for operations in app.openapi()["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)  # refusals here are 400, and look as OpenAI's do
    return app
