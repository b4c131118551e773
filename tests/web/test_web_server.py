"""The server of `dpc web` and the models that it gives the browser, without a browser."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from dpc.codec import artifact
from dpc.errors import ToolMissing
from dpc.web import server as web
from dpc.web.models import index_of, web_models

PAGE = b"<!doctype html><title>page</title>"


@pytest.fixture
def running() -> Iterator[web.Server]:
    files = {"index.html": web.Asset(PAGE, gzip.compress(PAGE), "text/html")}
    with web.Server(files=files) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(
    server: web.Server, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=300)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    return response, response.read()


def png() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (60, 80, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


def test_the_page_comes_with_its_headers(running: web.Server) -> None:
    response, body = ask(running, "GET", "/")
    assert (response.status, body) == (200, PAGE)
    for name, value in web.HEADERS.items():
        assert response.headers[name] == value
    assert "'self'" in web.CSP and "unsafe-inline" not in web.CSP and "'unsafe-eval'" not in web.CSP
    response, body = ask(running, "GET", "/", Accept_Encoding="gzip, br")
    assert response.headers["Content-Encoding"] == "gzip" and gzip.decompress(body) == PAGE
    response, body = ask(running, "GET", "/", If_None_Match=response.headers["ETag"])
    assert (response.status, body) == (304, b"")
    assert ask(running, "HEAD", "/")[1] == b""


@pytest.mark.parametrize("path", ["/nothing", "/../pyproject.toml", "/index.html/", "//etc/passwd"])
def test_nothing_but_the_files_is_served(running: web.Server, path: str) -> None:
    assert ask(running, "GET", path)[0].status == 404


def test_other_sites_and_names_are_refused(running: web.Server) -> None:
    assert ask(running, "GET", "/", Host="evil.example")[0].status == 403
    assert ask(running, "POST", "/avif?bytes=900", png(), Origin="http://evil.example")[0].status == 403
    port = running.server_address[1]
    assert ask(running, "GET", "/", Host=f"localhost:{port}", Origin=f"http://localhost:{port}")[0].status == 200


def test_avif_of_a_size(running: web.Server) -> None:
    if not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    response, body = ask(running, "POST", "/avif?bytes=2000", png())
    assert response.status == 200 and len(body) <= 2000
    with Image.open(io.BytesIO(body)) as picture:
        assert (picture.format, picture.size) == ("AVIF", (80, 60))


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/avif?bytes=2000", b"no picture", 422),
        ("/avif?bytes=20", png(), 422),
        ("/avif?bytes=none", png(), 422),
        ("/avif", png(), 422),
        ("/other", b"", 404),
    ],
)
def test_bad_requests_get_a_line(running: web.Server, path: str, body: bytes, status: int) -> None:
    response, answer = ask(running, "POST", path, body)
    assert response.status == status
    assert "\n" not in json.loads(answer)["error"]


def test_too_large_an_upload_is_refused_unread(running: web.Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", running.server_address[1], timeout=300)
    connection.putrequest("POST", "/avif?bytes=1")
    connection.putheader("Content-Length", str(web.MAX_UPLOAD + 1))
    connection.endheaders()
    assert connection.getresponse().status == 413


def test_models_are_cut_into_halves() -> None:
    models = web_models()
    assert [m.name for m in models] == list(artifact.installed())
    assert [m.default for m in models] == [name == artifact.DEFAULT for name in artifact.installed()]
    entries = json.loads(index_of(models))["models"]
    for model, entry in zip(models, entries, strict=True):
        path = artifact.installed()[model.name]
        with zipfile.ZipFile(path) as archive:
            whole = {name: archive.read(name) for name in archive.namelist()}
        halves = [zipfile.ZipFile(io.BytesIO(half.data)) for half in (model.decode, model.encode)]
        names = [set(half.namelist()) - {"metadata.json"} for half in halves]
        assert not names[0] & names[1]
        needs = json.loads(whole["metadata.json"])["graph_weights"]
        done = [of_graph for graph, of_graph in needs.items() if graph not in ("gradient", "finer")]  # in a browser
        weights = {f"weights/{name}.npy" for of_graph in done for name in of_graph}
        refining = {"graphs/gradient.onnx", "graphs/finer.onnx"}
        assert {n for n in whole if n.startswith("graphs/")} - refining | weights == {
            n for n in names[0] | names[1] if not n.startswith("tables/")
        }
        for half in halves:
            for name in set(half.namelist()) - {"metadata.json"}:
                assert half.read(name) == whole[name]
        assert len(model.decode.data) < 5_000_000, "a browser must fetch it before it shows a picture"
        assert model.id == entry["id"] == artifact.Artifact(path).id.hex()
        assert hashlib.sha256(model.decode.data).hexdigest() == entry["decode"]["sha256"]
    assert index_of(web_models()) == index_of(models)


def test_an_installation_without_the_page_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web.resources, "files", lambda package: tmp_path)
    with pytest.raises(ToolMissing, match="make web"):
        web.assets()


def test_export_writes_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"index.html": web.Asset(PAGE, None, "text/html"), "models/m.json": web.Asset(b"{}", None, "")}
    monkeypatch.setattr(web, "assets", lambda models: files)
    written = web.export(tmp_path / "site")
    assert {path.relative_to(tmp_path / "site").as_posix(): path.read_bytes() for path in written} == {
        name: asset.data for name, asset in files.items()
    }
