"""The database of a study: its tables, and engines for SQLite and PostgreSQL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dpc.errors import OptionError, ToolMissing

__all__ = ["PEOPLE", "PROBE", "RULES", "STUDY", "TABLES", "TRIALS", "VOTES", "default_url", "engine_of", "migrate"]

WAIT = 3  # seconds for a lock of the database, or for a connection
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
    sa.Column("kind", sa.String(16), nullable=False),
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
# the rules of exclusion as they were when the first vote of each kind of rater was stored
RULES = sa.Table(
    "first_rules",
    TABLES,
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("stored", sa.Float, nullable=False),
    sa.Column("exclusion", sa.JSON, nullable=False),
)
# one line that is written to see whether the database can be
PROBE = sa.Table(
    "probe",
    TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("checked", sa.Float, nullable=False),
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
            engine = sa.create_engine(
                parsed, json_serializer=json.dumps, pool_size=48, max_overflow=16, pool_timeout=WAIT
            )
            sa.event.listen(engine, "connect", _sqlite)
            # SQLAlchemy's own advice: without it pysqlite decides by itself when a transaction begins
            sa.event.listen(engine, "begin", _begin)
            return engine
        engine = sa.create_engine(parsed, pool_size=20, max_overflow=20, pool_timeout=WAIT, pool_pre_ping=True)
        sa.event.listen(engine, "connect", _postgresql)
        return engine
    except sa.exc.ArgumentError as error:
        raise OptionError(f"{url!r} is not a database URL; write postgresql://USER@HOST/NAME") from error
    except ModuleNotFoundError as error:
        raise ToolMissing("PostgreSQL needs the package psycopg; pip install '.[postgresql]'") from error


def migrate(engine: sa.Engine) -> None:
    """Bring a database of an earlier dpc up to date, whole or not at all: `simulated` is now a kind of rater."""
    tables = sa.inspect(engine)
    if not tables.has_table("people") or "kind" in {c["name"] for c in tables.get_columns("people")}:
        return
    kind = "CASE WHEN simulated THEN 'simulated' ELSE 'people' END"
    with engine.execution_options(immediate=True).begin() as c:
        c.exec_driver_sql("ALTER TABLE people ADD COLUMN kind VARCHAR(16) NOT NULL DEFAULT 'people'")
        c.exec_driver_sql(f"UPDATE people SET kind = {kind}")
        c.exec_driver_sql("ALTER TABLE people DROP COLUMN simulated")
        RULES.create(c)
        if tables.has_table("rules"):
            c.exec_driver_sql(f"INSERT INTO first_rules SELECT {kind}, stored, exclusion FROM rules")
            c.exec_driver_sql("DROP TABLE rules")


def _sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    # FULL: an answer that was acknowledged is on disk, even when the power fails
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={1000 * WAIT}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _postgresql(connection: Any, _: Any) -> None:
    """Nobody waits longer than WAIT for a lock that somebody else holds."""
    connection.execute(f"SET lock_timeout = '{WAIT}s'")
    connection.commit()


def _begin(connection: sa.Connection) -> None:
    """A transaction that will write asks for that at once: one that reads first could be refused later."""
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
