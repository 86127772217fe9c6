"""Who may ask, and what a browser may do with the answer.

Every request passes four checks, in this order:

- its Host is a name of this server, so that another site's name that was pointed at this machine is of no use (DNS
  rebinding);
- it does not come from another site's page: browsers say so in Sec-Fetch-Site and Origin. Links that lead here are
  allowed, all else is not;
- it has the token, where one is set: ``Authorization: Bearer TOKEN``, or the token as the password of Basic, which
  browsers and Label Studio can send;
- its body is small enough and arrives in time, see `tagformer.serve.http.limits`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tagformer.serve.http.responses import error_response
from tagformer.serve.settings import ServeSettings

LOOPBACK = ("localhost", "127.0.0.1", "::1")
HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
READING = frozenset({"GET", "HEAD", "OPTIONS"})
WITHOUT_TOKEN = frozenset({"/healthz", "/v2/health/live", "/v2/health/ready"})  # they say no more than "yes"
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "font-src 'self'",
        "manifest-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class SecureHeaders:
    """Gives every answer the headers that limit what a browser does with it; an answer's own headers stay.

    Args:
        app: that answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_with_headers)


class Security:
    """The checks of a request before its body is read.

    Args:
        app: that answers what passes.
        settings: with the host, the further hosts, and the token.

    >>> from tagformer.serve import ServeSettings
    >>> from tagformer.serve.security import Security
    >>> security = Security(app=None, settings=ServeSettings(token="x" * 16))
    >>> security.refusal("GET", "/v1/labels", {"host": "evil.example"})
    (403, "this server does not answer to the host 'evil.example': if that is its name, start it with --allowed-host.")
    >>> security.refusal("GET", "/v1/labels", {"host": "localhost:8000"})[0]
    401
    >>> security.refusal("GET", "/v1/labels", {"host": "localhost:8000", "authorization": "Bearer " + "x" * 16})
    """

    def __init__(self, app: ASGIApp, settings: ServeSettings) -> None:
        self.app = app
        self._hosts = {bare_host(host) for host in (*LOOPBACK, settings.host, *settings.hosts)} - {"0.0.0.0", "::", ""}
        self._token = None if settings.token is None else _digest(settings.token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        refusal = self.refusal(scope["method"], scope["path"], headers) if len(hosts) == 1 else _no_host()
        if refusal is None:
            await self.app(scope, receive, send)
            return
        status, sentence = refusal
        challenge = {"WWW-Authenticate": 'Bearer, Basic realm="tagformer", charset="UTF-8"'} if status == 401 else {}
        await error_response(status, sentence, challenge)(scope, receive, send)

    def refusal(self, method: str, path: str, headers: Headers | dict[str, str]) -> tuple[int, str] | None:
        """The status and the sentence with which a request is refused; None where it may pass.

        Args:
            headers: with names in lower case.
        """
        host = headers.get("host", "")
        if not HOST.fullmatch(host):
            return _no_host()
        if bare_host(host) not in self._hosts:
            return 403, (
                f"this server does not answer to the host '{host}': if that is its name, start it with --allowed-host."
            )
        if self._is_of_another_site(method, host, headers):
            return 403, "this request comes from another site's page: open this server's own page."
        if self._token is not None and path not in WITHOUT_TOKEN:
            sent = sent_token(headers.get("authorization", ""))
            if sent is None or not hmac.compare_digest(_digest(sent), self._token):
                return 401, "the token is missing or wrong: send it as 'Authorization: Bearer TOKEN'."
        return None

    @staticmethod
    def _is_of_another_site(method: str, host: str, headers: Headers | dict[str, str]) -> bool:
        """Whether a page of another site made a browser send this; programs send neither header.

        A page of another port or scheme of this host is another site too.
        """
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is not None and site not in ("same-origin", "none"):
            follows_link = method in ("GET", "HEAD") and headers.get("sec-fetch-mode") == "navigate"
            return not follows_link
        if origin is None or method in READING:
            return False
        return not _same_host(origin, host)


def bare_host(host: str) -> str:
    """A host in lower case without brackets, port and final dot.

    >>> from tagformer.serve.security import bare_host
    >>> bare_host("[::1]:8000"), bare_host("LocalHost.:80"), bare_host("::1")
    ('::1', 'localhost', '::1')
    """
    found = HOST.fullmatch(host)
    return (found[1] if found else host).strip("[]").lower().rstrip(".")


def sent_token(authorization: str) -> str | None:
    """The token of an Authorization header: that of Bearer, or the password of Basic; None where there is none.

    >>> from tagformer.serve.security import sent_token
    >>> sent_token("Bearer abc"), sent_token("basic dXNlcjphYmM="), sent_token("Basic ?")
    ('abc', 'abc', None)
    """
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip() or None
    if scheme.lower() != "basic":
        return None
    try:
        _, colon, password = base64.b64decode(value.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        return None
    return password if colon else None


def _same_host(origin: str, host: str) -> bool:
    """Whether an origin, such as ``http://localhost:8000``, is that of the host of the request, port included."""
    try:
        parts, mine = urlsplit(origin), urlsplit(f"{urlsplit(origin).scheme}://{host}")
        default = {"http": 80, "https": 443}.get(parts.scheme)
        return default is not None and (parts.hostname, parts.port or default) == (mine.hostname, mine.port or default)
    except ValueError:
        return False


def _digest(text: str) -> bytes:
    """Of equal length for all texts, so that the time of a comparison says nothing about the token."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def _no_host() -> tuple[int, str]:
    return 400, "the request names no host, or not just one: send one header Host."
