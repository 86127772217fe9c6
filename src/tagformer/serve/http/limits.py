"""Limits on what a client can have the server hold: bytes of a request, bytes of all requests, and time."""

from __future__ import annotations

import asyncio
import time

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tagformer.serve.http.responses import error_response

HELD = 8  # bodies of full size that are held at a time


class BodyLimits:
    """Stops reading a body that is too large or too slow; also one in chunks, which does not say how large it is.

    Args:
        app: that reads the bodies.
        most_bytes: of a request. All requests together may hold `HELD` times as many.
        seconds: in which a body has to arrive.
    """

    def __init__(self, app: ASGIApp, most_bytes: int, seconds: float) -> None:
        self.app, self.most_bytes, self.seconds = app, most_bytes, seconds
        self.held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "")
        if length.isdecimal() and int(length[:20]) > self.most_bytes:
            await error_response(413, self._too_large())(scope, receive, send)
            return
        body = _Body(self, receive)
        try:
            await self.app(scope, body.receive, send)
        finally:
            self.held -= body.size

    def _too_large(self) -> str:
        return f"the request has over {self.most_bytes} bytes: send smaller or fewer images."

    def hold(self, size: int, before: int) -> None:
        """Count bytes that arrived after `before` others of the same request.

        Raises:
            HTTPException: they are too many.
        """
        if before + size > self.most_bytes:
            raise HTTPException(413, self._too_large())
        if self.held + size > HELD * self.most_bytes:
            sentence = "the server is busy with other requests: send this one again a little later."
            raise HTTPException(503, sentence, {"Retry-After": "1"})
        self.held += size


class _Body:
    """The body of one request as it arrives."""

    def __init__(self, limits: BodyLimits, receive: Receive) -> None:
        self.size = 0
        self._limits, self._receive = limits, receive
        self._deadline = time.monotonic() + limits.seconds
        self._complete = False

    async def receive(self) -> Message:
        """The next part of the body, or the news that the client has left."""
        if self._complete:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, self._deadline - time.monotonic()))
        except (asyncio.TimeoutError, TimeoutError) as error:
            raise HTTPException(408, f"the request took over {self._limits.seconds:g} seconds to arrive.") from error
        if message["type"] == "http.request":
            size = len(message.get("body", b""))
            self._limits.hold(size, self.size)
            self.size += size
            self._complete = not message.get("more_body", False)
        return message
