"""Every request is counted and timed, and an error of the server itself becomes an answer too."""

from __future__ import annotations

import logging
import time

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tagformer.serve.http.responses import error_response
from tagformer.serve.instruments import Instruments

METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
log = logging.getLogger(__name__)


class Observed:
    """Counts what an application answers; what it fails to answer gets the status 500, and a traceback in the log.

    Args:
        app: the application.
        instruments: where it is counted.
    """

    def __init__(self, app: ASGIApp, instruments: Instruments) -> None:
        self.app, self.instruments = app, instruments

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0

        async def observed_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, observed_send)
        except ClientDisconnect:
            log.info("a client left before its request was complete")
        except Exception:
            self.instruments.failures.inc()
            log.exception("%s %s failed", scope["method"], scope["path"])
            if status == 0:
                await error_response(500, "the server failed: its log says why.")(scope, receive, observed_send)
            else:  # half of an answer cannot be taken back
                raise
        finally:
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if scope["method"] in METHODS else "other"
            self.instruments.requests.labels(route, method, str(status)).inc()
            self.instruments.seconds.labels(route).observe(time.perf_counter() - started)
