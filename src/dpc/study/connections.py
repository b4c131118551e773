"""Reading and writing the database of a study from many threads, and what happens when it does not answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from dpc.study.database import PROBE
from dpc.study.health import Health
from dpc.study.records import Unsaved

__all__ = ["Connections"]

PATIENCE = 5.0  # seconds that a request waits for others to finish writing


class Connections:
    """Transactions of one process. failed: called after a write that failed. lock: writers take turns."""

    def __init__(self, engine: sa.Engine, failed: Callable[[], None]) -> None:
        self.engine, self.failed = engine, failed
        self.health = Health()
        self.lock = threading.RLock()

    @contextmanager
    def write(self, probe: bool = False) -> Iterator[sa.Connection]:
        """One transaction; within this process one after the other, so that SQLite's writers need not wait and see.

        Raises Unsaved where the database cannot be written to or is locked; nothing is changed then.
        """
        if not self.lock.acquire(timeout=PATIENCE):
            raise self.health.failed(TimeoutError("too many answers wait for the database"))
        try:
            with self.engine.execution_options(immediate=True).begin() as connection:
                yield connection
        except IntegrityError:
            raise
        except (DBAPIError, sa.exc.TimeoutError) as error:
            self.failed()
            raise self.health.failed(error) from error
        else:
            if not probe:
                self.health.stored()
        finally:
            self.lock.release()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection to read with. Raises Unsaved where the database does not answer."""
        try:
            with self.engine.connect() as connection:
                yield connection
        except (DBAPIError, sa.exc.TimeoutError) as error:
            raise self.health.failed(error) from error

    def trouble(self) -> str:
        """What keeps answers from being stored, or "": found by a small write, and by answers that failed."""
        try:
            with self.write(probe=True) as c:
                if not c.execute(PROBE.update().values(checked=time.time())).rowcount:
                    c.execute(PROBE.insert().values(id=1, checked=time.time()))
        except (Unsaved, IntegrityError):
            pass
        else:
            self.health.probed()
        return self.health.trouble
