"""A server with the page on a port of this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from tagformer.serve.listening import address_of, listen


@contextmanager
def live(app: FastAPI) -> Iterator[str]:
    """Answer requests in a thread; the address."""
    listening = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    yield address_of(listening)
    server.should_exit = True
    thread.join()
    listening.close()
