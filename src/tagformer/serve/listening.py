"""Listening on a port, and answering there until Ctrl-C."""

from __future__ import annotations

import errno
import logging
import os
import socket

import uvicorn
from fastapi import FastAPI

from tagformer.errors import TagformerError

BACKLOG = 256  # connections that wait to be accepted
GRACE = 10  # seconds in which open requests may be finished at the end


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        host: a name or an address.
        port: 0: any that is free.

    Raises:
        TagformerError: the port is in use, or the address is none of this machine.

    >>> from tagformer.serve.listening import address_of, listen
    >>> with listen("127.0.0.1", 0) as first:
    ...     address_of(first)
    'http://127.0.0.1:...'
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise TagformerError(f"--host {host}: there is no such address.") from error
    listening = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # elsewhere this would let two programs have one port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise TagformerError(
                f"port {port} of {host} is in use: choose another with --port, or 0 for any."
            ) from error
        reason = error.strerror or str(error)
        raise TagformerError(f"cannot listen on port {port} of {host} ({reason}): choose others.") from error
    return listening


def address_of(listening: socket.socket) -> str:
    """The address at which a browser finds the server."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run_until_interrupted(app: FastAPI, listening: socket.socket) -> None:
    """Answer requests until Ctrl-C, after which open requests are finished.

    What is wrong with requests is answered, and not logged: a client could fill the disk with it.
    """
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
    )
    try:
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:  # uvicorn raises it again once it has ended
        pass
    finally:
        listening.close()
