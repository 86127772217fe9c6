"""The settings of a server, checked before it starts."""

from __future__ import annotations

import ipaddress
import math
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tagformer.errors import TagformerError

SHORTEST_TOKEN = 16
HOST = re.compile(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+")
MEGABYTE = 1 << 20


@dataclass(frozen=True)
class LabelStudioSettings:
    """Where the Label Studio backend may read images from; without any, only from ``data:`` addresses.

    Attributes:
        url: of Label Studio, for example ``http://localhost:8080``.
        token: its access token, sent with requests for images.
        files: the root of its local files, as in ``/data/local-files/?d=...``.

    Raises:
        TagformerError: an address that is not one of http or https, or a folder that does not exist.

    >>> from tagformer.serve.settings import LabelStudioSettings
    >>> LabelStudioSettings(url="localhost:8080")
    Traceback (most recent call last):
    tagformer.errors.TagformerError: --label-studio-url localhost:8080: write it as http://HOST:PORT.
    """

    url: str | None = None
    token: str | None = None
    files: Path | None = None

    def __post_init__(self) -> None:
        if self.url is not None:
            wrong = f"--label-studio-url {self.url}: write it as http://HOST:PORT."
            try:
                parts = urlsplit(self.url)
                if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
                    raise TagformerError(wrong)
            except ValueError as error:
                raise TagformerError(wrong) from error
            if parts.username or parts.query or parts.fragment:
                raise TagformerError(f"{wrong} Leave out names, passwords and questions.")
        if self.files is not None and not self.files.is_dir():
            raise TagformerError(
                f"--label-studio-files {self.files} is not a folder: name the root of its local files."
            )
        if self.token is not None:
            check_token(self.token, "the token of Label Studio", shortest=1)


@dataclass(frozen=True)
class ServeSettings:
    """The settings of a server.

    Attributes:
        name: of the model, in answers and addresses.
        host: the address that is listened on.
        token: what a client must send, ``Authorization: Bearer TOKEN``; None: nothing, on loopback only.
        hosts: names by which clients may call the server, besides those of loopback and `host`.
        batch_size: images that are encoded at a time, at most.
        batch_delay: seconds that an image waits for others to be encoded with it.
        queue: images that are read, waiting or computed at a time; more get the status 503.
        kept_images: how many images' features are kept, for other known labels.
        timeout: seconds in which a request must arrive, and in which an image must be computed.
        most_bytes: of a request.
        most_images: of a request.
        label_studio: where its tasks' images may come from.

    Raises:
        TagformerError: a setting that makes no sense, or no token where other machines can connect.

    >>> from tagformer.serve import ServeSettings
    >>> ServeSettings(host="0.0.0.0")
    Traceback (most recent call last):
    tagformer.errors.TagformerError: --host 0.0.0.0: other machines can connect to this address, so a token is needed: \
give a file that holds one with --token-file.
    """

    name: str = "tagformer"
    host: str = "127.0.0.1"
    token: str | None = None
    hosts: tuple[str, ...] = ()
    batch_size: int = 16
    batch_delay: float = 0.005
    queue: int = 64
    kept_images: int = 128
    timeout: float = 30.0
    most_bytes: int = 32 * MEGABYTE
    most_images: int = 16
    label_studio: LabelStudioSettings = LabelStudioSettings()

    def __post_init__(self) -> None:
        for option, value in (
            ("--batch-size", self.batch_size),
            ("--queue", self.queue),
            ("--kept-images", self.kept_images),
            ("the limit of bytes", self.most_bytes),
            ("the limit of images", self.most_images),
        ):
            if value < 1:
                raise TagformerError(f"{option} must be at least 1, not {value}.")
        if not 0 <= self.batch_delay < self.timeout < math.inf:
            raise TagformerError("--batch-delay-ms must be at least 0 and less than --timeout.")
        if self.most_images > self.queue:
            raise TagformerError(f"--queue {self.queue}: it must hold the {self.most_images} images of a request.")
        for host in self.hosts:
            if not HOST.fullmatch(host):
                raise TagformerError(f"--allowed-host {host}: write a host name without a scheme and a port.")
        if self.token is not None:
            check_token(self.token, "the token")
        elif not is_loopback(self.host):
            raise TagformerError(
                f"--host {self.host}: other machines can connect to this address, so a token is needed: give a file "
                "that holds one with --token-file."
            )


def check_token(token: str, what: str, shortest: int = SHORTEST_TOKEN) -> None:
    """Check that a token can be sent in a header and is hard to guess.

    Raises:
        TagformerError: it is too short, or has spaces or letters beyond ASCII.
    """
    if len(token) < shortest or not (token.isascii() and token.isprintable()) or " " in token:
        raise TagformerError(
            f"{what} must have at least {shortest} characters of ASCII without spaces: "
            "'python -c \"import secrets; print(secrets.token_urlsafe())\"' prints a good one."
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to an address.

    >>> from tagformer.serve.settings import is_loopback
    >>> [is_loopback(host) for host in ("localhost", "127.0.0.1", "::1", "0.0.0.0", "example.org", "")]
    [True, True, True, False, False, False]
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
