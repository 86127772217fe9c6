"""``/healthz`` and ``/metrics``."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from tagformer.serve.http.responses import Json, error_response
from tagformer.serve.services import Services


def router(services: Services) -> APIRouter:
    """The routes by which others watch the server."""
    routes = APIRouter(tags=["health"])

    @routes.get("/healthz", summary="Whether the server works")
    async def healthz() -> Response:
        """Needs no token."""
        if not services.engine.is_alive:
            return error_response(503, "the model does not run.", {"Retry-After": "10"})
        return Json({"status": "ok"})

    @routes.get("/metrics", summary="Counts and times for Prometheus")
    async def metrics() -> Response:
        """The text format of Prometheus."""
        page = await run_in_threadpool(services.instruments.page)
        return Response(page, media_type="text/plain; version=0.0.4; charset=utf-8")

    return routes
