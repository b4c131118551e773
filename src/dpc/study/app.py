"""The web application of a study: one page, a few JSON calls, and pictures under names that tell nothing.

    GET  /                  the page, for new raters            GET  /s/SESSION     the same, to go on
    POST /api/start         consent given -> session            POST /api/screen    screening -> state
    GET  /api/state         phase, this trial and the next      POST /api/vote      answer -> state
    GET  /api/me            everything stored of this rater     DELETE /api/me      delete it
    GET  /i/TRIAL/a         a picture: a (left), b (right), o (original)
    GET  /health            200 while answers can be stored, else 503

A session is a signed name, sent as a bearer token; there are no cookies. Nothing is fetched from anywhere else.
A database that cannot be written to is answered with 503 and Retry-After; nothing is lost, the page sends again.
"""

from __future__ import annotations

import hmac
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, FastAPI, Header, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from itsdangerous import BadSignature, TimestampSigner
from starlette.exceptions import HTTPException

from dpc.errors import DPCError
from dpc.study.bodies import Ballot, Screen, Start
from dpc.study.database import default_url
from dpc.study.guard import Guard, security_headers
from dpc.study.pages import environment
from dpc.study.plan import Plan
from dpc.study.records import Unsaved
from dpc.study.stimuli import Made, secret
from dpc.study.store import Closed, Gone, Store, Trial, rater_key

__all__ = ["create"]

SECONDS = 8.0  # that a trial takes, for the time on the welcome page
RETRY = 5  # seconds after which a browser tries again
STATIC = Path(__file__).parent / "static"
KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}

routes = APIRouter()


class Study:
    """What every call needs: the study as it lies on disk, its database and the page."""

    def __init__(self, made: Made, url: str | None) -> None:
        self.made, self.plan, self.key = made, made.plan, secret(made.folder)
        self.store = Store(made.plan, made.stimuli, url or default_url(made.folder), self.key)
        self.signer = TimestampSigner(self.key, salt="session")
        self.sizes = {p.name: (p.width, p.height) for p in made.plan.pictures}
        self.templates = environment()
        total = self.store.total
        self.html = self.templates.get_template("study.html").render(
            plan=self.plan,
            total=total,
            minutes=max(1, round(total * SECONDS / 60)),
            plates=len(self.plan.screening.plates) if self.plan.screening.colour != "off" else 0,
            settings=_settings(self.plan, total),
        )

    def state(self, name: str) -> dict[str, Any]:
        """What a page needs to go on: phase, open trials, how many are done."""
        person, trials, done = self.store.state(name)
        answer: dict[str, Any] = {
            "phase": person.phase,
            "reason": person.reason,
            "done": done,
            "total": self.store.total,
            "training": self.plan.checks.training,
            "trials": [self._shown(t) for t in trials] if person.phase in ("training", "trials") else [],
            "rater": person.kind,
        }
        if person.phase == "done":
            code = self.store.code(name)
            answer |= {
                "code": code,
                "link": self.plan.people.completion_link.replace("{code}", urllib.parse.quote(code)),
            }
        return answer

    def _shown(self, trial: Trial) -> dict[str, Any]:
        width, height = self.sizes[self.store.stimuli[trial.original].picture]
        return {
            "token": trial.token,
            "training": trial.kind == "training",
            "width": width,
            "height": height,
            "number": trial.place,
        }


def create(made: Made, url: str | None = None, headers: bool = True) -> FastAPI:
    """The application of a study folder, with its database at a URL (default: votes.sqlite in the folder).

    headers: add the security headers; False where the server itself adds them (state.headers) to every answer.
    """
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    study = Study(made, url)
    app.state.study, app.state.store = study, study.store
    app.state.headers = security_headers(study.plan.people.platform)
    app.add_middleware(Guard, limits=study.plan.limits, headers=app.state.headers if headers else [])
    app.add_exception_handler(DPCError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _absent)
    app.include_router(routes)
    return app


# errors


def _problem(request: Request, status: int, text: str) -> Response:
    """An error as a page for who looks at it, and as JSON for a program."""
    extra = {"Retry-After": str(RETRY)} if status == 503 else {}
    if "text/html" not in request.headers.get("accept", ""):
        return JSONResponse({"error": text}, status, extra)
    title = "Not saved, try again" if status == 503 else "This does not work"
    page = request.app.state.study.templates.get_template("problem.html")
    return HTMLResponse(page.render(title=title, text=text, again=status == 503), status, extra)


async def _refused(request: Request, error: Exception) -> Response:
    kinds: Sequence[tuple[type[Exception], int]] = ((Unsaved, 503), (Gone, 410), (Closed, 403))
    return _problem(request, next((status for kind, status in kinds if isinstance(error, kind)), 409), str(error))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return _problem(request, 422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")


async def _absent(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _problem(request, error.status_code, "There is nothing here." if error.status_code == 404 else error.detail)


# calls


def _study(request: Request) -> Study:
    found: Study = request.app.state.study
    return found


Here = Annotated[Study, Depends(_study)]


def named(study: Here, authorization: Annotated[str, Header()] = "") -> str:
    """The session that a bearer token names. Raises Gone for one that this study did not sign, or that is too old."""
    kind, _, token = authorization.partition(" ")
    if kind.lower() != "bearer":
        raise Gone("This session does not exist: its link is not complete.")
    try:
        return str(study.signer.unsign(token.strip(), max_age=3600 * study.plan.limits.hours).decode())
    except BadSignature as error:  # SignatureExpired is one
        raise Gone("This session does not exist or is too old: its link is not complete.") from error


Session = Annotated[str, Depends(named)]


@routes.get("/", response_class=HTMLResponse)
@routes.get("/s/{session}", response_class=HTMLResponse)
def welcome(study: Here, session: str = "") -> HTMLResponse:
    return HTMLResponse(study.html)


@routes.get("/static/{name}")
def static(name: str) -> Response:
    files = {path.name: path for path in STATIC.iterdir()}
    if name not in files:
        raise HTTPException(404)
    kind = KINDS[files[name].suffix]
    return Response(files[name].read_bytes(), media_type=kind, headers={"Cache-Control": "no-cache"})


@routes.get("/plate/{number}")
def plate(study: Here, number: int) -> Response:
    file = study.made.folder / "plates" / f"{number}.png"
    if not 1 <= number <= len(study.plan.screening.plates) or not file.is_file():
        raise HTTPException(404)
    return Response(file.read_bytes(), media_type="image/png")


@routes.get("/i/{trial}/{which}")
def picture(study: Here, trial: str, which: Literal["a", "b", "o"]) -> Response:
    found = study.store.trial(trial)
    name = {"a": found.left, "b": found.right, "o": found.original}[which]
    return Response((study.made.folder / "stimuli" / f"{name}.png").read_bytes(), media_type="image/png")


@routes.post("/api/start")
def start(study: Here, body: Start) -> dict[str, Any]:
    wanted = rater_key(study.key, body.rater)
    if body.rater != "people" and not hmac.compare_digest(body.key.encode(), wanted.encode()):
        raise Closed(f"This link is not of this study: raters of kind {body.rater} need its key, see dpc study serve.")
    person = study.store.start(body.nonce, worker=body.worker, ticket=body.ticket, kind=body.rater)
    return {"session": study.signer.sign(person.name).decode()}


@routes.get("/api/state")
def state(study: Here, name: Session) -> dict[str, Any]:
    return study.state(name)


@routes.post("/api/screen")
def screen(study: Here, body: Screen, name: Session) -> dict[str, Any]:
    study.store.screened(name, body.model_dump(), _unsuitable(study.plan, body))
    return study.state(name)


@routes.post("/api/vote")
def vote(study: Here, body: Ballot, name: Session) -> dict[str, Any]:
    stored, trial = study.store.vote(name, body.trial, body.answer, body.seconds, body.looks.model_dump())
    answer = {"stored": stored, "state": study.state(name)}
    if trial.kind == "training":
        kinds = [study.store.stimuli[s].kind for s in (trial.left, trial.right)]
        right = None if "worst" not in kinds else {"a": kinds[0], "b": kinds[1]}.get(body.answer) == "original"
        answer["right"] = right
    return answer


@routes.get("/api/me")
def export(study: Here, name: Session) -> JSONResponse:
    headers = {"Content-Disposition": 'attachment; filename="my-answers.json"'}
    return JSONResponse(study.store.export(name), headers=headers)


@routes.delete("/api/me")
def delete(study: Here, name: Session) -> dict[str, Any]:
    return {"deleted": study.store.delete(name)}


@routes.get("/health")
def health(study: Here) -> JSONResponse:
    trouble = study.store.trouble()
    if trouble:
        return JSONResponse({"ok": False, "error": trouble}, 503, {"Retry-After": str(RETRY)})
    return JSONResponse({"ok": True})


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
