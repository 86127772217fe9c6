"""The application: the routes, behind the checks that every request passes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI

from tagformer._version import __version__
from tagformer.serve.engine import Engine
from tagformer.serve.hooks import CountingHooks, LoopHooks
from tagformer.serve.http.limits import BodyLimits
from tagformer.serve.http.observed import Observed
from tagformer.serve.http.responses import add_error_handlers
from tagformer.serve.http.schemas import ErrorAnswer
from tagformer.serve.instruments import Instruments
from tagformer.serve.routes import (
    health,
    hugging_face,
    inference_protocol,
    label_studio,
    labels,
    page,
    page_model,
    tagging,
)
from tagformer.serve.security import SecureHeaders, Security
from tagformer.serve.services import Services
from tagformer.serve.settings import ServeSettings
from tagformer.serve.workspace.loop import Loop
from tagformer.tagging.encoded import EncodedTagger

# The routes, each a function from the services to a router. A new file in serve/routes/ is added here.
ROUTERS = (
    tagging.router,
    labels.router,
    inference_protocol.router,
    hugging_face.router,
    label_studio.router,
    health.router,
    page.router,
    page_model.router,
)
ERRORS = {
    400: "The request cannot be read.",
    401: "The token is missing or wrong.",
    403: "The request comes from another site's page, or names a host that is not this server.",
    404: "There is no such image, model or address.",
    408: "The request took too long to arrive.",
    413: "The request is too large.",
    422: "The image cannot be read, or a parameter is wrong.",
    503: "The server is busy: send the request again after the seconds in Retry-After.",
}
DESCRIPTION = "Tags of images, with some labels already known. Every error is one sentence in {'error': ...}."


def create_app(
    settings: ServeSettings,
    tagger: EncodedTagger,
    hooks: LoopHooks | None = None,
    page: Callable[[Engine], Loop] | None = None,
) -> FastAPI:
    """A server for a model.

    Args:
        settings: of the server.
        tagger: the model; only the server may use it from now on.
        hooks: called when people answer, or want the model trained again; None: only counted.
        page: makes what the page works on; None: there is no page.

    Returns:
        The application; `app.state.services` has its parts.

    >>> import tagformer, torch
    >>> from tagformer.images import Preprocessing
    >>> from tagformer.serve import ServeSettings, create_app
    >>> model = tagformer.create_model("ctran", ["boat", "dog", "sea"], "tiny", width=16)
    >>> tagger = tagformer.Tagger(model, Preprocessing(size=32), thresholds=torch.full((3,), 0.5))
    >>> app = create_app(ServeSettings(name="boats"), tagger)
    >>> "/v1/tag" in app.openapi()["paths"]
    True
    """
    instruments = Instruments()
    engine = Engine(tagger, settings, instruments)
    loop = page(engine) if page else None
    workspace = loop.workspace if loop else None
    services = Services(settings, engine, instruments, hooks or loop or CountingHooks(), workspace, loop)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        engine.start()
        if workspace:
            workspace.start()
        try:
            yield
        finally:
            if loop:
                loop.close()
            engine.close()

    app = FastAPI(
        title="Tagformer",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,  # these pages would load scripts from another site
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        responses={status: {"model": ErrorAnswer, "description": text} for status, text in ERRORS.items()},
    )
    app.state.services = services
    for router in ROUTERS:
        app.include_router(router(services))
    add_error_handlers(app)
    # The last that is added is the first that a request passes.
    app.add_middleware(BodyLimits, most_bytes=settings.most_bytes, seconds=settings.timeout)
    app.add_middleware(Security, settings=settings)
    app.add_middleware(Observed, instruments=instruments)
    app.add_middleware(SecureHeaders)
    return app
