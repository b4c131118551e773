"""What a browser may send: every field has a type and bounds, and unknown fields are refused."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from dpc.study.records import RaterKind

__all__ = ["Ballot", "Looks", "Screen", "Start"]

Token = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Start(_Body):
    """Consent. nonce: made by the page, so that a double click starts one session. worker, ticket: of a platform.
    rater: who answers; whoever is no person shows the key of this kind, `store.rater_key`."""

    consent: Literal[True]
    nonce: Token
    worker: str = Field("", max_length=128)
    ticket: str = Field("", max_length=128)
    rater: RaterKind = "people"
    key: str = Field("", max_length=128)


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

    trial: Token
    answer: Literal["a", "b", "none"]
    seconds: float = Field(ge=0, le=1e6, allow_inf_nan=False)
    looks: Looks
