"""Whether the database can be read and written: one line in the log when that ends, and one when it is back."""

from __future__ import annotations

import logging
import threading
import time

from dpc.study.records import Unsaved

__all__ = ["Health"]

HOLD = 30.0  # seconds after a failure in which a small write that succeeds does not yet mean that votes do

log = logging.getLogger("dpc.study")


class Health:
    """State of a database, safe for many threads. trouble: what is wrong, "" for nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.trouble = ""
        self._since = self._last = 0.0
        self._refused = 0

    def failed(self, error: BaseException) -> Unsaved:
        """Note a failure; what to raise."""
        reason = " ".join(str(getattr(error, "orig", None) or error).split())[:200]
        with self._lock:
            self._last = time.monotonic()
            self._refused += 1
            if not self.trouble:
                self._since = self._last
                log.error("not saved: %s; raters are asked to try again until it is mended", reason)
            self.trouble = reason
        return Unsaved("Not saved. The study's computer cannot store answers at the moment. Please try again.")

    def stored(self) -> None:
        """Note that something was written."""
        with self._lock:
            if self.trouble:
                spent = time.monotonic() - self._since
                log.warning("saved again after %.0f s, in which %d requests were refused", spent, self._refused)
                self.trouble, self._refused = "", 0

    def probed(self) -> None:
        """Note that a trial write succeeded: it ends trouble that has not shown for HOLD seconds."""
        if time.monotonic() - self._last > HOLD:
            self.stored()
