"""The images of Label Studio's tasks, from the places that the server's settings name and from nowhere else.

A task is data that anyone who may import tasks wrote, and the server stands in a network that they may not reach. So an
address is followed only to the configured Label Studio, its path and query alone are taken from the task, and a
redirection to another place is not followed.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qs, quote, unquote, unquote_to_bytes, urlsplit

from tagformer.errors import BadImageError, TagformerError
from tagformer.files import read_bytes
from tagformer.serve.http.uploads import Upload
from tagformer.serve.settings import LabelStudioSettings

LOCAL_FILES = "/data/local-files/"
SHOWN = 200  # characters of an address in messages
CHUNK = 1 << 20


def file_names(address: str) -> list[str]:
    """The names that the file at an address of a task may have, the likeliest first.

    Args:
        address: a URL; a path, in which ``?`` and ``#`` may belong to the name; or anything else that a task has.

    >>> from tagformer.serve.label_studio.fetching import file_names
    >>> file_names("https://host/data/upload/1/my%20dog.jpg?token=1")
    ['my dog.jpg', 'my dog.jpg?token=1']
    >>> file_names("/data/local-files/?d=pets/dog.jpg"), file_names("photo#1.jpg")
    (['dog.jpg'], ['photo', 'photo#1.jpg'])
    """
    paths = [unquote(address)]
    try:
        parts = urlsplit(address)
    except ValueError:  # no URL, such as "//[x/a.jpg"
        parts = SplitResult("", "", "", "", "")
    local = parse_qs(parts.query).get("d", []) if parts.path.endswith(LOCAL_FILES) else []
    paths = [*local, unquote(parts.path), *paths]
    return [name for name in dict.fromkeys(path.rpartition("/")[2] for path in paths) if name]


@dataclass(frozen=True)
class Fetcher:
    """Reads the images of tasks.

    Attributes:
        settings: where they may come from.
        most_bytes: of an image.
        seconds: in which one has to arrive.

    >>> from tagformer.serve.label_studio.fetching import Fetcher
    >>> from tagformer.serve.settings import LabelStudioSettings
    >>> fetcher = Fetcher(LabelStudioSettings("http://localhost:8080"), most_bytes=1000, seconds=5)
    >>> fetcher.read("http://10.0.0.1/secret.jpg")
    Traceback (most recent call last):
    tagformer.errors.BadImageError: the image http://10.0.0.1/secret.jpg cannot be read (it is not on \
http://localhost:8080, the only place that images may come from).
    >>> fetcher.read("data:image/gif;base64,R0lG").data
    b'GIF'
    """

    settings: LabelStudioSettings
    most_bytes: int
    seconds: float

    def read(self, address: str) -> Upload:
        """The image at an address of a task.

        Raises:
            BadImageError: it may not be read, or cannot; the message has the address and the reason.
        """
        shown = address if len(address) <= SHOWN else f"{address[:SHOWN]}..."
        try:
            data = self._read(address)
        except TagformerError as error:
            raise BadImageError(f"the image {shown} cannot be read ({error}).") from error
        except urllib.error.HTTPError as error:
            reason = f"Label Studio answers with the status {error.code}"
            if error.code in (401, 403):
                reason += ": give its access token with --label-studio-token"
            raise BadImageError(f"the image {shown} cannot be read ({reason}).") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            cause = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            raise BadImageError(f"the image {shown} cannot be read ({str(cause) or type(error).__name__}).") from error
        return Upload(shown, data)

    def _read(self, address: str) -> bytes:
        if address[:5].lower() == "data:":
            return self._data_uri(address)
        parts = urlsplit(address)
        local = parts.path.startswith(LOCAL_FILES) and (not parts.netloc or self._is_label_studio(parts))
        if self.settings.files is not None and local:
            return self._local_file(self.settings.files, parts)
        if self.settings.url is None:
            raise TagformerError("no Label Studio is named that images may come from: give --label-studio-url")
        is_path = not parts.scheme and not parts.netloc and address.startswith("/")
        if not is_path and not self._is_label_studio(parts):
            raise TagformerError(f"it is not on {self.settings.url}, the only place that images may come from")
        return self._fetch(parts, is_path)

    def _is_label_studio(self, parts: SplitResult) -> bool:
        mine = urlsplit(self.settings.url or "")
        return bool(mine.hostname) and _origin(parts) == _origin(mine)

    def _fetch(self, parts: SplitResult, is_path: bool) -> bytes:
        mine = urlsplit(self.settings.url or "")
        prefix = mine.path.rstrip("/")
        path = parts.path if not is_path or parts.path.startswith(f"{prefix}/") else prefix + parts.path
        query = f"?{quote(parts.query, safe=_URL_CHARACTERS)}" if parts.query else ""
        url = f"{mine.scheme}://{mine.netloc}{quote(path or '/', safe=_URL_CHARACTERS)}{query}"
        token = self.settings.token
        headers = {"User-Agent": "tagformer", **({"Authorization": f"Token {token}"} if token else {})}
        deadline = time.monotonic() + self.seconds
        opener = urllib.request.OpenerDirector()  # without proxies, and without ftp: and file:
        for handler in (
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            _NoOtherPlace(_origin(mine)),
        ):
            opener.add_handler(handler)
        with opener.open(urllib.request.Request(url, headers=headers), timeout=self.seconds) as answer:
            data = bytearray()
            while chunk := answer.read1(CHUNK):
                data += chunk
                self._check_size(len(data))
                if time.monotonic() > deadline:
                    raise TagformerError(f"it takes over {self.seconds:g} seconds to arrive")
        return bytes(data)

    def _local_file(self, root: Path, parts: SplitResult) -> bytes:
        names = parse_qs(parts.query).get("d", [])
        if len(names) != 1:
            raise TagformerError("it names no local file: write /data/local-files/?d=PATH")
        root = root.resolve()
        path = (root / names[0].lstrip("/")).resolve()
        if not path.is_relative_to(root):
            raise TagformerError(f"it is not within {root}")
        self._check_size(path.stat().st_size)
        return read_bytes(path)

    def _data_uri(self, address: str) -> bytes:
        self._check_size(len(address) * 3 // 4)
        head, comma, text = address.partition(",")
        if not comma:
            raise TagformerError("it has no comma")
        if not head.lower().endswith(";base64"):
            return unquote_to_bytes(text)
        try:
            return base64.b64decode(unquote_to_bytes(text), validate=True)
        except binascii.Error as error:
            raise TagformerError("it is not base64") from error

    def _check_size(self, size: int) -> None:
        if size > self.most_bytes:
            raise TagformerError(f"it has over {self.most_bytes} bytes")


_URL_CHARACTERS = "/%:=&?~#+!$,;'@()*[]"


class _NoOtherPlace(urllib.request.HTTPRedirectHandler):
    """Follows redirections within Label Studio only."""

    def __init__(self, origin: tuple[str, str | None, int | None]) -> None:
        self._origin = origin

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """The request that follows a redirection.

        Raises:
            TagformerError: it leads elsewhere.
        """
        parts = urlsplit(newurl)
        if _origin(parts) != self._origin:
            raise TagformerError(f"it leads to {parts.scheme}://{parts.netloc}, where images may not come from")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    """Scheme, host and port.

    Raises:
        ValueError: a port that is no number.
    """
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
