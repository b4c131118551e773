"""The web server of a study: one process, until it is stopped."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from dpc.errors import OptionError
from dpc.study.app import create
from dpc.study.records import RaterKind
from dpc.study.stimuli import Made, secret
from dpc.study.store import rater_key

__all__ = ["serve"]


class _Protocol(H11Protocol):
    """Uvicorn's, with the headers of all other answers on its answer to what is no HTTP."""

    def send_400_response(self, msg: str) -> None:
        head = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
        response = h11.Response(status_code=400, headers=[*head, *self.server_state.default_headers])
        for event in (response, h11.Data(data=msg.encode()), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def serve(made: Made, host: str, port: int, url: str | None, say: Callable[[str], None]) -> None:
    """Serve a study until it is stopped. say: gets the links, a line each. OptionError for a port that is taken."""
    web, key = create(made, url, headers=False), secret(made.folder)
    try:
        listener = socket.create_server((host, port), backlog=1024)
    except OSError as error:
        raise OptionError(f"{host}:{port} cannot be listened on ({error.strerror}); choose another --port") from error
    with listener:
        place = f"http://{'localhost' if host == '127.0.0.1' else host}:{listener.getsockname()[1]}/"
        say(f"{made.plan.title}: {place}  (Ctrl-C stops)")
        links: list[tuple[RaterKind, str]] = [("simulated", "to rehearse it"), ("model", "for a model as a rater")]
        for kind, purpose in links:
            say(f"{purpose}, counted apart: {place}?rater={kind}&key={rater_key(key, kind)}")
        logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
        config = uvicorn.Config(
            web,
            http=_Protocol,
            log_level="warning",
            log_config=None,
            server_header=False,
            access_log=False,
            timeout_keep_alive=30,
            headers=web.state.headers,
        )
        uvicorn.Server(config).run(sockets=[listener])
    web.state.store.close()
