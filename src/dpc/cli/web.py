"""The command web: the page that encodes and decodes in the browser."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["web"]


def web(
    port: Annotated[int, typer.Option("--port", metavar="P", min=0, max=65535, help="0 takes a free one.")] = 8380,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
    export_to: Annotated[
        Path | None,
        typer.Option("--export", metavar="D", help="Write page, scripts, models to a folder instead."),
    ] = None,
) -> None:
    """Serve a page on this machine that encodes and decodes in the browser."""
    from dpc.web import server

    if export_to is not None:
        written = server.export(export_to)
        typer.echo(f"{len(written)} files in {export_to}", err=True)
        return
    with server.Server(port) as running:
        typer.echo(f"{running.url}  (Ctrl-C ends it)", err=True)
        if open_page:
            webbrowser.open(running.url)
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            pass
