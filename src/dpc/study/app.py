"""The web application of a study: one page, a few JSON calls, and pictures under names that tell nothing.

    GET  /                  the page, for new people            GET  /s/SESSION     the same, to go on
    POST /api/start         consent given -> session            POST /api/screen    screening -> state
    GET  /api/state         phase, this trial and the next      POST /api/vote      answer -> state
    GET  /api/me            everything stored of this person    DELETE /api/me      delete it
    GET  /i/TRIAL/a         a picture: a (left), b (right), o (original)

A session is a signed name, sent as a bearer token; there are no cookies. Nothing is fetched from anywhere else.
"""

from __future__ import annotations

import hmac
import json
import time
import urllib.parse
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Annotated, Any, Literal

import jinja2
from fastapi import Depends, FastAPI, Header, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from itsdangerous import BadSignature, TimestampSigner
from pydantic import BaseModel, ConfigDict, Field

from dpc.errors import DPCError
from dpc.study.database import default_url
from dpc.study.plan import Plan
from dpc.study.stimuli import Made, secret
from dpc.study.store import Closed, Gone, Person, Store, Trial, rehearsal

__all__ = ["Limiter", "create", "environment"]

LARGEST_BODY = 8192
SECONDS = 8.0  # that a trial takes, for the time on the welcome page
PLACES = 50_000  # addresses and sessions that the rate limit remembers
STATIC = {"study.css": "text/css; charset=utf-8", "study.js": "text/javascript; charset=utf-8"}

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Start(_Body):
    """Consent. nonce: made by the page, so that a double click starts one session. worker, ticket: of a platform.
    simulated: `rehearsal` of the study's secret for a simulated rater, "" for a person."""

    consent: Literal[True]
    nonce: str = Field(pattern=r"^[0-9a-f]{32}$")
    worker: str = Field("", max_length=128)
    ticket: str = Field("", max_length=128)
    simulated: str = Field("", max_length=128)


class Screen(_Body):
    """What the page can show: the window in device pixels, device pixels of a CSS pixel, the browser's zoom (0: not
    known), whether it is a touch screen, and what was read on the colour plates."""

    width: int = Field(ge=1, le=100_000)
    height: int = Field(ge=1, le=100_000)
    ratio: float = Field(gt=0, le=20, allow_inf_nan=False)
    zoom: float = Field(ge=0, le=20, allow_inf_nan=False)
    touch: bool
    plates: list[Annotated[str, Field(max_length=8)]] = Field(max_length=4)


class Looks(_Body):
    """How a trial was looked at: how often A, B and the original were shown, seconds away, device pixels of a CSS
    pixel, and whether the whole picture was visible. The page lets nobody answer who has not seen both A and B."""

    a: int = Field(ge=1, le=100_000)
    b: int = Field(ge=1, le=100_000)
    original: int = Field(ge=0, le=100_000)
    away: float = Field(ge=0, le=1e7, allow_inf_nan=False)
    ratio: float = Field(gt=0, le=20, allow_inf_nan=False)
    fits: bool


class Ballot(_Body):
    """An answer: a is the left, b the right, none is not sure; seconds since both pictures could be seen."""

    trial: str = Field(pattern=r"^[0-9a-f]{32}$")
    answer: Literal["a", "b", "none"]
    seconds: float = Field(ge=0, le=1e6, allow_inf_nan=False)
    looks: Looks


def named(request: Request, authorization: Annotated[str, Header()] = "") -> str:
    """The session that a bearer token names. Raises Gone for one that this study did not sign, or that is too old."""
    kind, _, token = authorization.partition(" ")
    if kind.lower() != "bearer":
        raise Gone("This session does not exist: its link is not complete.")
    try:
        return str(request.app.state.signer.unsign(token.strip(), max_age=request.app.state.age).decode())
    except BadSignature as error:  # SignatureExpired is one
        raise Gone("This session does not exist or is too old: its link is not complete.") from error


Session = Annotated[str, Depends(named)]


def environment() -> jinja2.Environment:
    """The templates of the package."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def create(made: Made, url: str | None = None) -> FastAPI:
    """The application of a study folder, with its database at a URL (default: votes.sqlite in the folder)."""
    plan, key = made.plan, secret(made.folder)
    store = Store(plan, made.stimuli, url or default_url(made.folder), key)
    signer = TimestampSigner(key, salt="session")
    page = environment().get_template("study.html")
    sizes = {p.name: (p.width, p.height) for p in plan.pictures}
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.state.store, app.state.signer, app.state.age = store, signer, 3600 * plan.limits.hours
    app.add_middleware(Limiter, plan=plan)

    def state(name: str) -> dict[str, Any]:
        person, trials, done = store.state(name)
        answer: dict[str, Any] = {
            "phase": person.phase,
            "reason": person.reason,
            "done": done,
            "total": store.total,
            "training": plan.checks.training,
            "trials": [shown(t) for t in trials] if person.phase in ("training", "trials") else [],
            "simulated": person.simulated,
        }
        if person.phase == "done":
            code = store.code(name)
            link = plan.people.completion_link.replace("{code}", urllib.parse.quote(code))
            answer |= {"code": code, "link": link}
        return answer

    def shown(trial: Trial) -> dict[str, Any]:
        width, height = sizes[store.stimuli[trial.original].picture]
        return {
            "token": trial.token,
            "training": trial.kind == "training",
            "width": width,
            "height": height,
            "number": trial.place,
        }

    @app.exception_handler(DPCError)
    def refused(_: Request, error: DPCError) -> JSONResponse:
        status = 410 if isinstance(error, Gone) else 403 if isinstance(error, Closed) else 409
        return JSONResponse({"error": str(error)}, status)

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return JSONResponse({"error": f"{'.'.join(map(str, first['loc']))}: {first['msg']}"}, 422)

    @app.get("/", response_class=HTMLResponse)
    @app.get("/s/{session}", response_class=HTMLResponse)
    def welcome(session: str = "") -> HTMLResponse:
        return HTMLResponse(html)

    @app.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in STATIC:
            return JSONResponse({"error": "There is no such file."}, 404)
        data = (Path(__file__).parent / "static" / name).read_bytes()
        return Response(data, media_type=STATIC[name], headers={"Cache-Control": "no-cache"})

    @app.get("/plate/{number}")
    def plate(number: int) -> Response:
        file = made.folder / "plates" / f"{number}.png"
        if not 1 <= number <= len(plan.screening.plates) or not file.is_file():
            return JSONResponse({"error": "There is no such plate."}, 404)
        return Response(file.read_bytes(), media_type="image/png")

    @app.get("/i/{trial}/{which}")
    def picture(trial: str, which: Literal["a", "b", "o"]) -> Response:
        found = store.trial(trial)
        name = {"a": found.left, "b": found.right, "o": found.original}[which]
        return Response((made.folder / "stimuli" / f"{name}.png").read_bytes(), media_type="image/png")

    @app.post("/api/start")
    def start(body: Start) -> dict[str, Any]:
        simulated = bool(body.simulated)
        if simulated and not hmac.compare_digest(body.simulated.encode(), rehearsal(key).encode()):
            raise Closed("This is not the rehearsal link of this study; dpc study serve prints it.")
        person: Person = store.start(body.nonce, worker=body.worker, ticket=body.ticket, simulated=simulated)
        return {"session": signer.sign(person.name).decode()}

    @app.get("/api/state")
    def get_state(name: Session) -> dict[str, Any]:
        return state(name)

    @app.post("/api/screen")
    def screen(body: Screen, name: Session) -> dict[str, Any]:
        store.screened(name, body.model_dump(), _unsuitable(plan, body))
        return state(name)

    @app.post("/api/vote")
    def vote(body: Ballot, name: Session) -> dict[str, Any]:
        stored, trial = store.vote(name, body.trial, body.answer, body.seconds, body.looks.model_dump())
        answer = {"stored": stored, "state": state(name)}
        if trial.kind == "training":
            kinds = [store.stimuli[s].kind for s in (trial.left, trial.right)]
            right = None if "worst" not in kinds else {"a": kinds[0], "b": kinds[1]}.get(body.answer) == "original"
            answer["right"] = right
        return answer

    @app.get("/api/me")
    def export(name: Session) -> JSONResponse:
        headers = {"Content-Disposition": 'attachment; filename="my-answers.json"'}
        return JSONResponse(store.export(name), headers=headers)

    @app.delete("/api/me")
    def delete(name: Session) -> dict[str, Any]:
        return {"deleted": store.delete(name)}

    @app.get("/health")
    def health() -> dict[str, Any]:
        with store.engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
        return {"ok": True}

    total = store.total
    html = page.render(
        plan=plan,
        total=total,
        minutes=max(1, round(total * SECONDS / 60)),
        plates=len(plan.screening.plates) if plan.screening.colour != "off" else 0,
        settings=json.dumps(_settings(plan, total)).replace("<", "\\u003c"),
    )
    return app


def _settings(plan: Plan, total: int) -> dict[str, Any]:
    """What the page needs to know, and nothing of methods."""
    return {
        "notSure": plan.design.not_sure,
        "original": plan.design.original,
        "width": max(p.width for p in plan.pictures),
        "height": max(p.height for p in plan.pictures),
        "screen": plan.screening.screen,
        "platform": plan.people.platform,
        "total": total,
    }


def _unsuitable(plan: Plan, screen: Screen) -> str:
    """Why somebody cannot take part, or ""."""
    width, height = max(p.width for p in plan.pictures), max(p.height for p in plan.pictures)
    if plan.screening.screen == "fit" and (screen.width < width or screen.height < height):
        return (
            f"The pictures have {width} × {height} pixels, and this window can show {screen.width} × {screen.height}. "
            "Please use a larger screen."
        )
    if plan.screening.colour == "require" and [p.strip() for p in screen.plates] != list(plan.screening.plates):
        return "The colours of these pictures matter, and the numbers on the plates were not read as they are meant."
    return ""


class Limiter:
    """Middleware: limits of requests and bodies, and headers that every answer has.

    A bucket for each session, each address, and starts of each address fills evenly and holds one minute's worth.
    """

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], plan: Plan) -> None:
        self.app, self.plan = app, plan
        self._buckets: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()
        frames, forms = "'none'", "'self'"
        if plan.people.platform == "mturk":
            frames = "https://www.mturk.com https://workersandbox.mturk.com https://worker.mturk.com"
            forms = frames
        policy = (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
            f"base-uri 'none'; form-action {forms}; frame-ancestors {frames}"
        )
        self.headers = [
            (b"content-security-policy", policy.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"x-robots-tag", b"noindex"),
        ]

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
        headers = dict(scope["headers"])
        limits, now = self.plan.limits, time.monotonic()
        address = (scope.get("client") or ("", 0))[0]
        session = headers.get(b"authorization", b"").decode("latin-1")
        wait = self.allow("address", address, limits.address, now)
        if session and not wait:
            wait = self.allow("session", session[:200], limits.session, now)
        if scope["path"] == "/api/start" and not wait:
            wait = self.allow("starts", address, limits.starts, now)
        if wait:
            retry = str(int(wait) + 1)
            answer = JSONResponse({"error": "Too many requests; please wait a moment."}, 429, {"Retry-After": retry})
            await answer(scope, receive, self._with_headers(send, b"no-store"))
            return
        if scope["method"] in ("POST", "PUT", "PATCH"):
            length = headers.get(b"content-length", b"")
            if not length.isdigit() or int(length) > LARGEST_BODY:
                status = 413 if length.isdigit() else 411
                await JSONResponse({"error": "The request is too large."}, status)(scope, receive, send)
                return
        await self.app(scope, receive, self._with_headers(send, b"no-store"))

    def _with_headers(self, send: Send, cache: bytes) -> Send:
        async def wrapped(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                extra = [] if b"cache-control" in given else [(b"cache-control", cache)]
                message["headers"] = [*message["headers"], *self.headers, *extra]
            await send(message)

        return wrapped
