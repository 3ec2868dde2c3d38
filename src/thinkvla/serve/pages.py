"""The HTTP side of the port: health, readiness, metrics, the live page; and who may come in at all."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from thinkvla.serve.live import PAGE
from thinkvla.serve.metrics import CONTENT_TYPE, Metrics

# Nothing on the live page comes from elsewhere, and nothing on it can be made to go elsewhere.
_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Pages:
    """Answers requests that are no websocket, and decides on those that want to become one.

    Args:
        token: what clients must give, or None.
        metrics: of the server.
        live: makes the live page's numbers and pictures.
        ready: why the server is not ready, or None when it is.
        full: why there is no room for another session, or None when there is.
    """

    def __init__(
        self,
        token: str | None,
        metrics: Metrics,
        live: Callable[[], Awaitable[dict[str, Any]]],
        ready: Callable[[], str | None],
        full: Callable[[], str | None],
    ) -> None:
        self.token, self.metrics, self.live, self.ready, self.full = token, metrics, live, ready, full

    async def __call__(self, connection: ServerConnection, request: Request) -> Response | None:
        """A response; None lets the websocket handshake go on."""
        path = request.path.partition("?")[0]
        if path == "/healthz":
            return _response(HTTPStatus.OK, "OK\n")
        if path in ("/readyz", "/health"):  # vla-eval asks the second
            reason = self.ready()
            status = HTTPStatus.OK if reason is None else HTTPStatus.SERVICE_UNAVAILABLE
            return _response(
                status, json.dumps({"status": "ok" if reason is None else reason}) + "\n", "application/json"
            )
        if self.token is not None and not authorized(request.headers.get("Authorization", ""), self.token):
            return _response(HTTPStatus.UNAUTHORIZED, "token: missing or wrong; see the server's --token-file\n")
        if "Upgrade" in request.headers:
            reason = self.full()
            return None if reason is None else _response(HTTPStatus.SERVICE_UNAVAILABLE, reason + "\n")
        if path == "/metrics":
            return _response(HTTPStatus.OK, self.metrics.exposition(), CONTENT_TYPE)
        if path == "/live.json":
            return _response(HTTPStatus.OK, json.dumps(await self.live()), "application/json")
        if path == "/":
            return _response(HTTPStatus.OK, PAGE.read_bytes(), "text/html; charset=utf-8")
        return _response(HTTPStatus.NOT_FOUND, "there are /healthz, /readyz, /metrics and the live page at /\n")


def authorized(header: str, token: str) -> bool:
    """Whether an Authorization header gives the token, compared in constant time.

    openpi's client sends ``Api-Key TOKEN``; ``Bearer TOKEN`` does as well; browsers, and vla-eval by an address such as
    ``ws://robot:TOKEN@host:port``, send it as a password.
    """
    scheme, _, given = header.partition(" ")
    if scheme.lower() == "basic":
        try:
            given = base64.b64decode(given, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return False
    elif scheme.lower() not in ("api-key", "bearer"):
        return False
    return hmac.compare_digest(given.encode(), token.encode())


def _response(status: HTTPStatus, body: str | bytes, kind: str = "text/plain; charset=utf-8") -> Response:
    data = body.encode() if isinstance(body, str) else body
    headers = Headers(
        {
            "Content-Type": kind,
            "Content-Length": str(len(data)),
            "Connection": "close",
            "Cache-Control": "no-store",
            "Content-Security-Policy": _POLICY,
            "X-Content-Type-Options": "nosniff",
        }
    )
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Basic realm="thinkvla"'
    return Response(status.value, status.phrase, headers, data)
