"""Bodies larger than wanted are refused before they are in memory, and those that do not come are not waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from lohovla.serve.text.api_errors import ApiError, response_of


class BodyLimit:
    """Middleware of ASGI that answers 413 where a body is too large.

    Args:
        app: the application.
        most: bytes.
        patience: seconds in which a body has to come.
        refused: told of each refusal.
    """

    def __init__(self, app: Any, most: int, patience: float, refused: Callable[[], None]):
        self._app, self._most, self._patience, self._refused = app, most, patience, refused

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on, its body read up to the limit."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body, whole = bytearray(), False
        deadline = asyncio.get_running_loop().time() + self._patience
        while not whole:
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                self._refused()
                error = ApiError(408, f"the body has not come within {self._patience:g} s", code="timeout")
                await response_of(error, {"Connection": "close"})(scope, receive, send)
                return
            if message["type"] != "http.request":
                return  # the client has gone
            body += message.get("body", b"")
            if len(body) > self._most:
                self._refused()
                error = ApiError(413, f"the body has more than {self._most} bytes", code="too_large")
                await response_of(error, {"Connection": "close"})(scope, receive, send)
                return
            whole = not message.get("more_body", False)
        first = True

        async def again() -> Any:
            nonlocal first
            if first:
                first = False
                return {"type": "http.request", "body": bytes(body), "more_body": False}
            return await receive()

        await self._app(scope, again, send)
