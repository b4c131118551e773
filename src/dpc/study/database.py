"""The database of a study: its tables, and engines for SQLite and PostgreSQL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dpc.errors import OptionError, ToolMissing

__all__ = ["PEOPLE", "RULES", "STUDY", "TABLES", "TRIALS", "VOTES", "default_url", "engine_of"]

TABLES = sa.MetaData()
PEOPLE = sa.Table(
    "people",
    TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(32), nullable=False, unique=True),
    sa.Column("nonce", sa.String(64), unique=True),
    sa.Column("worker", sa.String(64), unique=True),
    sa.Column("ticket", sa.String(64)),
    sa.Column("started", sa.Float, nullable=False),
    sa.Column("phase", sa.String(16), nullable=False),
    sa.Column("reason", sa.String(200)),
    sa.Column("finished", sa.Float),
    sa.Column("screen", sa.JSON),
    sa.Column("simulated", sa.Boolean, nullable=False),
)
TRIALS = sa.Table(
    "trials",
    TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("person", sa.ForeignKey("people.id"), nullable=False, index=True),
    sa.Column("place", sa.Integer, nullable=False),
    sa.Column("token", sa.String(32), nullable=False, unique=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("comparison", sa.Integer, nullable=False, index=True),
    sa.Column("left", sa.String(32), nullable=False),
    sa.Column("right", sa.String(32), nullable=False),
    sa.Column("original", sa.String(32), nullable=False),
    sa.Column("again", sa.Integer),
    sa.Column("handed_out", sa.Float, nullable=False),
    sa.UniqueConstraint("person", "place"),
)
VOTES = sa.Table(
    "votes",
    TABLES,
    sa.Column("trial", sa.ForeignKey("trials.id"), primary_key=True),
    sa.Column("answer", sa.String(8), nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("looks", sa.JSON, nullable=False),
    sa.Column("received", sa.Float, nullable=False),
)
# the rules of exclusion as they were when the first vote of people (and of simulated raters) was stored
RULES = sa.Table(
    "rules",
    TABLES,
    sa.Column("simulated", sa.Boolean, primary_key=True),
    sa.Column("stored", sa.Float, nullable=False),
    sa.Column("exclusion", sa.JSON, nullable=False),
)
# what the numbers and names in trials stand for: one line
STUDY = sa.Table(
    "study",
    TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("pictures", sa.String(64), nullable=False),
)


def default_url(folder: Path) -> str:
    """The SQLite file of a study."""
    return f"sqlite:///{folder / 'votes.sqlite'}"


def engine_of(url: str) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
        if parsed.get_backend_name() == "postgresql" and parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.get_backend_name() not in ("sqlite", "postgresql"):
            raise OptionError(
                f"{parsed.get_backend_name()} databases are not supported; give sqlite:///FILE or "
                "postgresql://USER@HOST/NAME"
            )
        if parsed.get_backend_name() == "sqlite":
            engine = sa.create_engine(parsed, json_serializer=json.dumps, pool_size=48, max_overflow=16)
            sa.event.listen(engine, "connect", _sqlite)
            # SQLAlchemy's own advice: without it pysqlite decides by itself when a transaction begins
            sa.event.listen(engine, "begin", _begin)
            return engine
        return sa.create_engine(parsed, pool_size=20, max_overflow=20, pool_pre_ping=True)
    except sa.exc.ArgumentError as error:
        raise OptionError(f"{url!r} is not a database URL; write postgresql://USER@HOST/NAME") from error
    except ModuleNotFoundError as error:
        raise ToolMissing("PostgreSQL needs the package psycopg; pip install '.[postgresql]'") from error


def _sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    # FULL: an answer that was acknowledged is on disk, even when the power fails
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=15000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    """A transaction that will write asks for that at once: one that reads first could be refused later."""
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
