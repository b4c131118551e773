"""Around the web application: limits of requests and bodies, security headers, and a last answer to any error."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.responses import JSONResponse

from dpc.study.plan import Limits

__all__ = ["Guard", "security_headers"]

LARGEST_BODY = 8192
PLACES = 50_000  # addresses and sessions that the rate limit remembers
MTURK = "https://www.mturk.com https://workersandbox.mturk.com https://worker.mturk.com"

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

log = logging.getLogger("dpc.study")


def security_headers(platform: str) -> list[tuple[str, str]]:
    """The headers of every answer. platform: whose pages may show the study in a frame (mturk)."""
    frames, forms = (MTURK, MTURK) if platform == "mturk" else ("'none'", "'self'")
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        f"base-uri 'none'; form-action {forms}; frame-ancestors {frames}"
    )
    return [
        ("content-security-policy", policy),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("x-robots-tag", "noindex"),
    ]


class Guard:
    """Middleware around everything. headers: that every answer has, errors too.

    A bucket for each session, each address, and starts of each address fills evenly and holds one minute's worth.
    """

    def __init__(
        self,
        app: Callable[[Scope, Receive, Send], Awaitable[None]],
        limits: Limits,
        headers: list[tuple[str, str]],
    ) -> None:
        self.app, self.limits = app, limits
        self.headers = [(name.encode(), value.encode()) for name, value in headers]
        self._buckets: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()

    def allow(self, kind: str, who: str, per_minute: int, now: float) -> float:
        """0 when one more is allowed (it counts), or the seconds to wait."""
        level, last = self._buckets.pop((kind, who), (float(per_minute), now))
        level = min(float(per_minute), level + (now - last) * per_minute / 60)
        wait = 0.0 if level >= 1 else (1 - level) * 60 / per_minute
        self._buckets[kind, who] = (level - 1 if wait == 0 else level, now)
        if len(self._buckets) > PLACES:
            self._buckets.popitem(last=False)
        return wait

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                given = {name for name, _ in message["headers"]}
                extra = [] if b"cache-control" in given else [(b"cache-control", b"no-store")]
                message["headers"] = [*message["headers"], *self.headers, *extra]
            await send(message)

        refused = self._refused(scope)
        try:
            await (refused or self.app)(scope, receive, answer)
        except Exception as error:
            log.error("%s %s: %s: %s", scope["method"], scope["path"], type(error).__name__, error, exc_info=error)
            if started:
                raise
            text = "Something is wrong on the study's computer. Please try again."
            await JSONResponse({"error": text}, 500)(scope, receive, answer)

    def _refused(self, scope: Scope) -> JSONResponse | None:
        """The answer to a request that goes over a limit."""
        if wait := self._wait(scope):
            retry = {"Retry-After": str(int(wait) + 1)}
            return JSONResponse({"error": "Too many requests; please wait a moment."}, 429, retry)
        length = dict(scope["headers"]).get(b"content-length", b"")
        if scope["method"] in ("POST", "PUT", "PATCH") and not (length.isdigit() and int(length) <= LARGEST_BODY):
            return JSONResponse({"error": "The request is too large."}, 413 if length.isdigit() else 411)
        return None

    def _wait(self, scope: Scope) -> float:
        """Seconds to wait before this request may come again, 0 when it may come now."""
        limits, now = self.limits, time.monotonic()
        address = (scope.get("client") or ("", 0))[0]
        session = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        wait = self.allow("address", address, limits.address, now)
        if session and not wait:
            wait = self.allow("session", session[:200], limits.session, now)
        if scope["path"] == "/api/start" and not wait:
            wait = self.allow("starts", address, limits.starts, now)
        return wait
