"""The server of `dpc web`: one page on this machine, its scripts, its models, and AVIF files for comparison."""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import mimetypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from dpc.codec import image
from dpc.errors import DPCError, OptionError, ToolMissing
from dpc.evaluation.codecs.pillow import make
from dpc.evaluation.codecs.sizes import at_bytes
from dpc.files import atomic_write
from dpc.web.models import INDEX, index_of, web_models

__all__ = ["CSP", "HEADERS", "Asset", "Server", "assets", "export"]

CSP = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "worker-src 'self'",
        "connect-src 'self'",
        "img-src 'self' blob: data:",
        "style-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "Cross-Origin-Opener-Policy": "same-origin",  # these two give the page threads
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""What every answer carries."""

MAX_UPLOAD = 1 << 28  # bytes of a picture that is sent for AVIF
TYPES = {".mjs": "text/javascript", ".js": "text/javascript", ".wasm": "application/wasm", ".map": "application/json"}
LOCAL = ("127.0.0.1", "localhost", "[::1]")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asset:
    """A file that is served; packed: its gzip form, if it is smaller."""

    data: bytes
    packed: bytes | None
    type: str

    @property
    def etag(self) -> str:
        return f'"{hashlib.sha256(self.data).hexdigest()[:24]}"'


def assets(models: Sequence[Path] = ()) -> dict[str, Asset]:
    """Path below / -> file: the page, its scripts, the installed models and those of these paths.

    ToolMissing where the page was not built.
    """
    folder = Path(str(resources.files("dpc.web"))) / "static"
    if not (folder / "index.html.gz").exists():
        raise ToolMissing(
            "this installation has no page: in a checkout run `make web`, which needs node 20 or newer, or install dpc "
            "from a wheel"
        )
    found: dict[str, Asset] = {}
    for path in sorted(folder.glob("*.gz")):
        packed = path.read_bytes()
        found[path.stem] = Asset(gzip.decompress(packed), packed, _type_of(path.stem))
    all_models = web_models(models)
    found[f"models/{INDEX}"] = Asset(index_of(all_models), None, "application/json")
    for model in all_models:
        for half in (model.decode, model.encode):
            found[f"models/{half.file}"] = Asset(half.data, None, "application/octet-stream")
    return found


def export(folder: Path, models: Sequence[Path] = ()) -> list[Path]:
    """Write all that the browser needs into a folder, for any web server; returns the paths."""
    written = []
    for name, asset in assets(models).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, asset.data)
        written.append(path)
    return written


def _type_of(name: str) -> str:
    return TYPES.get(Path(name).suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"


class Server(ThreadingHTTPServer):
    """Serves the assets at http://HOST:PORT/; port 0 takes a free one. OSError when the port is taken."""

    daemon_threads = True

    def __init__(self, port: int = 0, host: str = "127.0.0.1", files: Mapping[str, Asset] | None = None) -> None:
        self.files = dict(assets() if files is None else files)
        self.local = host in ("127.0.0.1", "localhost", "::1")
        super().__init__((host, port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that leaves in the middle of an answer is no error worth a word."""
        _log.debug("request of %s failed", client_address, exc_info=True)

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]!s}:{self.server_address[1]}/"


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        name = urlsplit(self.path).path.lstrip("/") or "index.html"
        asset = self.server.files.get(name)
        if not self._from_here():
            return
        if asset is None:
            return self._say(HTTPStatus.NOT_FOUND, f"there is no {name}")
        cache = "public, max-age=31536000, immutable" if "sha256=" in self.path else "no-cache"
        headers = {"ETag": asset.etag, "Cache-Control": cache, "Vary": "Accept-Encoding"}
        if self.headers.get("If-None-Match") == asset.etag:
            return self._send(HTTPStatus.NOT_MODIFIED, b"", asset.type, headers)
        if asset.packed and "gzip" in self.headers.get("Accept-Encoding", ""):
            return self._send(HTTPStatus.OK, asset.packed, asset.type, headers | {"Content-Encoding": "gzip"})
        self._send(HTTPStatus.OK, asset.data, asset.type, headers)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """/avif?bytes=N: the picture in the request as an AVIF file of at most N bytes."""
        parts = urlsplit(self.path)
        if not self._from_here():
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MAX_UPLOAD:
            self.close_connection = True
            return self._say(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a picture may have up to {MAX_UPLOAD} bytes")
        body = self.rfile.read(int(length))
        if parts.path != "/avif":
            return self._say(HTTPStatus.NOT_FOUND, f"there is no {parts.path}")
        try:
            _, data = at_bytes(make("avif"), image.load(body).rgb, _whole(parts.query, "bytes"))
        except ToolMissing as error:
            return self._say(HTTPStatus.NOT_IMPLEMENTED, str(error))
        except DPCError as error:
            return self._say(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        self._send(HTTPStatus.OK, data, "image/avif", {"Cache-Control": "no-store"})

    def _from_here(self) -> bool:
        """Whether the page itself asks: another site must not use this server, even by a name that leads here."""
        host = self.headers.get("Host", "")
        origin = self.headers.get("Origin")
        named = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if (self.server.local and named not in LOCAL) or (origin and urlsplit(origin).netloc != host):
            self.close_connection = True
            self._say(HTTPStatus.FORBIDDEN, "this server answers its own page only")
            return False
        return True

    def _say(self, status: HTTPStatus, line: str) -> None:
        body = json.dumps({"error": line}).encode()
        self._send(status, body, "application/json", {"Cache-Control": "no-store"})

    def _send(self, status: HTTPStatus, body: bytes, kind: str, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": kind, **headers}.items():
            self.send_header(name, value)
        if status != HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        _log.debug(format, *args)


def _whole(query: str, name: str) -> int:
    value = parse_qs(query).get(name, [""])[0]
    if not value.isdigit() or int(value) < 1:
        raise OptionError(f"{name}={value!r}: give a whole number above 0")
    return int(value)
