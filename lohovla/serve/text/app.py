"""The routes of the text server."""

from __future__ import annotations

import asyncio
import time
from importlib import resources
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response

from lohovla import __version__
from lohovla.serve.lifecycle import HealthEndpoints
from lohovla.serve.text import api_errors
from lohovla.serve.text.api_errors import ApiError
from lohovla.serve.text.api_schema import ChatRequest, CompletionRequest, ErrorAnswer
from lohovla.serve.text.body_limit import BodyLimit
from lohovla.serve.text.completion_handler import CompletionHandler
from lohovla.serve.text.page_examples import AnswerToJudge, describe_model, judge
from lohovla.serve.text.responses_api import ResponsesRequest

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


def build_app(answering: CompletionHandler, pages: HealthEndpoints, body_mb: float, patience: float) -> FastAPI:
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

    @app.post("/v1/responses", dependencies=keyed, responses=_REFUSALS)
    async def responses(body: ResponsesRequest, request: Request) -> Response:
        """Go on with a conversation, by the Responses API. Nothing is stored."""
        return await answering.answer(body.chat(), request, body)

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

    @app.get("/page/model", dependencies=keyed, include_in_schema=False)
    async def about() -> dict[str, Any]:
        """What the page shows of the model."""
        return describe_model(service.text, service.name, service.modes)

    @app.post("/page/judge", dependencies=keyed, include_in_schema=False)
    async def judged(answer: AnswerToJudge) -> dict[str, Any]:
        """Whether an answer is right."""
        return await asyncio.to_thread(judge, answer)

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
