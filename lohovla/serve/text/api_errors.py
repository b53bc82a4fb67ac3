"""Refusals in the shape that OpenAI's clients read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from lohovla.serve.text.api_schema import NOT_SUPPORTED, ChatRequest, CompletionRequest
from lohovla.serve.text.responses_api import ResponsesRequest

_UNSUPPORTED = frozenset(
    name
    for kind in (CompletionRequest, ChatRequest, ResponsesRequest)
    for name, field in kind.model_fields.items()
    if field.description == NOT_SUPPORTED
)
_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


class ApiError(Exception):
    """A request that is not answered.

    Attributes:
        status: of HTTP.
        message: one line.
        param: the field at fault.
        code: for programs.
        retry_after: seconds after which it may be tried again.
    """

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ):
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.retry_after = status, message, param, code, retry_after

    @property
    def body(self) -> dict[str, Any]:
        """As JSON."""
        kind = _TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """What goes with it."""
        made = {}
        if self.retry_after is not None:
            made["Retry-After"] = str(max(1, round(self.retry_after)))
        if self.status == 401:
            made["WWW-Authenticate"] = "Bearer"
        return made


class PlainJson(JSONResponse):
    """JSON in ASCII: what a request holds may be quoted, and need not be text that UTF-8 can carry."""

    def render(self, content: Any) -> bytes:
        """The body."""
        return json.dumps(content).encode("ascii")


def response_of(error: ApiError, headers: dict[str, str] | None = None) -> JSONResponse:
    """The answer that says it."""
    return PlainJson(error.body, error.status, {**(headers or {}), **error.headers})


def of_validation(error: RequestValidationError) -> ApiError:
    """What the first field at fault lacks."""
    first = error.errors()[0]
    # The places of a union's choices (`str`, `list[int]`) are no names of the request's.
    place = [str(part) for part in first["loc"][1:] if isinstance(part, int) or part.isidentifier()]
    if first["type"] == "json_invalid":
        return ApiError(400, f"the body is no JSON: {first.get('ctx', {}).get('error', 'it cannot be read')}")
    if not place:
        return ApiError(400, "the body is no JSON object; send one, with Content-Type: application/json")
    if first["type"] == "extra_forbidden":
        return ApiError(400, f"there is no parameter {place[0][:80]}", place[0][:80], "unknown_parameter")
    if place[0] in _UNSUPPORTED:
        return ApiError(400, f"{place[0]} is not supported; leave it out", place[0], "unsupported_parameter")
    return ApiError(400, f"{'.'.join(place)}: {first['msg']}", place[0])


def install(app: FastAPI, refused: Callable[[], None]) -> None:
    """Make every refusal of ``app`` one of these; ``refused`` is called for those that no route has seen."""

    @app.exception_handler(ApiError)
    async def _ours(_: Request, error: ApiError) -> JSONResponse:
        return response_of(error)

    @app.exception_handler(RequestValidationError)
    async def _malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        refused()
        return response_of(of_validation(error))

    @app.exception_handler(HTTPException)
    async def _framework(request: Request, error: HTTPException) -> JSONResponse:
        told = {404: f"there is nothing at {request.url.path[:200]}", 405: f"{request.method} does not work here"}
        refused()
        message = told.get(error.status_code, str(error.detail))
        return response_of(ApiError(error.status_code, message), dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def _broken(_: Request, error: Exception) -> JSONResponse:
        return response_of(ApiError(500, f"the server failed: {type(error).__name__}"))
