"""What the routes of one server share."""

from __future__ import annotations

from dataclasses import dataclass

from tagformer.serve.engine import Engine
from tagformer.serve.hooks import LoopHooks
from tagformer.serve.instruments import Instruments
from tagformer.serve.settings import ServeSettings
from tagformer.serve.workspace.loop import Loop
from tagformer.serve.workspace.workspace import Workspace


@dataclass(frozen=True)
class Services:
    """The parts of a server that answer requests.

    Attributes:
        settings: of the server.
        engine: the model.
        instruments: where things are counted.
        hooks: called when people answer, or want the model trained again.
        workspace: of the page; None: there is no page.
        loop: the trainings of the page.
    """

    settings: ServeSettings
    engine: Engine
    instruments: Instruments
    hooks: LoopHooks
    workspace: Workspace | None = None
    loop: Loop | None = None
