"""Makes spec/vectors: valid and invalid files, and what a reader must find in them, as data for other implementations.

    python tests/make_vectors.py

Valid files are made with exact.dpcmodel and bytes.dpcmodel in tests/data, the first and the second generation of
networks, whose pixels are the same everywhere. They are kept once they exist, since another machine's encoder may
choose other latents. All else is made again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import make_tiny
import numpy as np
from paths import ROOT
from PIL import Image, ImageDraw

from dpc.codec import (
    container,
    entropy,
    indexed,
    lossless,
    opacity,
    quality_map,
    smoothing,
    stream,
    transforms,
    wide_smoothing,
)
from dpc.codec.artifact import Artifact
from dpc.codec.codec import Codec
from dpc.codec.container import MAGIC, Colour, DPCFile
from dpc.codec.icc import deflated
from dpc.errors import DPCError

FOLDER = ROOT / "spec" / "vectors"
MODELS = (make_tiny.EXACT_MODEL, make_tiny.BYTES_MODEL)


def sealed(body: bytes) -> bytes:
    """A body with the checksum that belongs to it."""
    return body + zlib.crc32(body).to_bytes(4, "little")


def header(size: bytes = b"\x05\x06", version: int = 2, flags: int = 0) -> bytes:
    """A header of a 5x6 picture unless another size is given."""
    return MAGIC + bytes([version, flags]) + size + (b"" if flags & 2 else b"mode\x00\x00")


BODY = b"\x02\x04body"

# rule, bytes, name of the error: what docs/format.md calls broken in a container
CONTAINER: list[tuple[str, bytes, str]] = [
    ("R1", b"\x89PNG\r\n\x1a\n" + bytes(40), "NotADPCFile"),
    ("R1", b"GI", "NotADPCFile"),
    ("R2", b"", "Truncated"),
    ("R2", MAGIC[:2], "Truncated"),
    ("R2", header()[:11], "Truncated"),
    ("R2", header(b"\x85")[:7], "Truncated"),
    ("R3", sealed(header(version=1) + BODY), "UnsupportedVersion"),
    ("R3", sealed(header(version=3) + BODY), "UnsupportedVersion"),
    ("R3", MAGIC + b"\x03", "UnsupportedVersion"),
    *(("R4", sealed(header(flags=1 << bit) + BODY), "Corrupt") for bit in (5, 6, 7)),
    *(("R4", sealed(header(flags=code << 2) + BODY), "Corrupt") for code in (5, 6, 7)),
    ("R5", sealed(header(b"\x80\x80\x80\x01\x06") + BODY), "Corrupt"),
    ("R5", sealed(header(b"\x06\x80\x80\x80\x01") + BODY), "Corrupt"),
    ("R6", sealed(header(b"\x85\x00\x06") + BODY), "Corrupt"),
    ("R6", sealed(header(b"\x06\x85\x80\x00") + BODY), "Corrupt"),
    ("R7", sealed(header(b"\x00\x06") + BODY), "Corrupt"),
    ("R7", sealed(header(b"\x06\x00") + BODY), "Corrupt"),
    ("R8", sealed(header(b"\x80\x80\x04\x01") + BODY), "TooLarge"),
    ("R8", sealed(header(b"\x01\x80\x80\x04") + BODY), "TooLarge"),
    ("R9", sealed(header(b"\xff\xff\x03\xff\xff\x03") + BODY), "TooLarge"),
    ("R9", sealed(header(b"\x80\x80\x01\x81\x80\x01") + BODY), "TooLarge"),
    *(("R10", header() + bytes(n), "Truncated") for n in range(4)),
    ("R11", sealed(header() + BODY + b"\x07\x00"), "UnsupportedVersion"),
    ("R11", sealed(header() + BODY + b"\x7f\x01x"), "UnsupportedVersion"),
    ("R12", sealed(header() + BODY + BODY), "Corrupt"),
    ("R12", sealed(header() + b"\x03\x01a" + BODY), "Corrupt"),
    ("R12", sealed(header() + b"\x00\x00" + BODY), "Corrupt"),
    ("R12", sealed(header() + BODY + b"\xf0\x01a\xf0\x01a"), "Corrupt"),
    ("R13", sealed(header() + b"\x02"), "Truncated"),
    ("R13", sealed(header() + b"\x02\x81"), "Truncated"),
    ("R14", sealed(header() + b"\x02\x84\x80\x80\x80\x80\x01body"), "Corrupt"),
    ("R15", sealed(header() + b"\x02\x84\x00body"), "Corrupt"),
    ("R15", sealed(header() + b"\x02\x84\x80\x80\x80\x00body"), "Corrupt"),
    ("R16", sealed(header() + b"\x02\x03bod"), "Corrupt"),
    ("R16", sealed(header() + b"\x01\x03map" + BODY), "Corrupt"),
    *(("R16", sealed(header() + BODY + bytes([kind, 0])), "Corrupt") for kind in (3, 0x81, 0x82, 0x83)),
    ("R16", sealed(header() + BODY + b"\x84\x071234567"), "Corrupt"),
    ("R17", sealed(header() + b"\x01\x81\x80\x10map!" + BODY), "TooLarge"),
    ("R17", sealed(header() + b"\x02\x81\x80\x80\x80\x04s"), "TooLarge"),
    ("R17", sealed(header() + b"\x02\xff\xff\xff\xff\x7fs"), "TooLarge"),
    ("R17", sealed(header() + BODY + b"\x03\x81\x80\x80\x80\x02a"), "TooLarge"),
    ("R17", sealed(header() + BODY + b"\x81\x81\x80\x80\x02i"), "TooLarge"),
    ("R17", sealed(header() + BODY + b"\x82\x81\x80\x40e"), "TooLarge"),
    ("R17", sealed(header() + BODY + b"\x83\x81\x80\x80\x02x"), "TooLarge"),
    ("R17", sealed(header() + BODY + b"\x84\x09123456789"), "TooLarge"),
    ("R17", sealed(header() + BODY + b"\xff\x81\x80\x80\x02?"), "TooLarge"),
    ("R18", sealed(header() + b"\x02\x05body"), "Truncated"),
    ("R18", sealed(header() + b"\x02\x80\x80\x80\x80\x04body"), "Truncated"),
    ("R18", sealed(header() + BODY + b"\xff\x02?"), "Truncated"),
    ("R19", sealed(header()), "Corrupt"),
    ("R19", sealed(header() + b"\x03\x01a"), "Corrupt"),
    ("R20", sealed(header(flags=2) + BODY + b"\x03\x01a"), "Corrupt"),
    ("R20", sealed(header(flags=2) + b"\x01\x04map!" + BODY), "Corrupt"),
    ("R20", sealed(header(flags=2) + BODY + b"\x04\x01o"), "Corrupt"),
    ("R20", sealed(header(flags=2) + BODY + b"\x05\x04cell"), "Corrupt"),
    ("R20", sealed(header(flags=2) + BODY + b"\x06\x04cell"), "Corrupt"),
    ("R21", sealed(header(flags=4 << 2) + BODY), "Corrupt"),
    *(("R21", sealed(header(flags=code << 2) + BODY + b"\x81\x01i"), "Corrupt") for code in range(4)),
    ("R22", header() + BODY + bytes(4), "Corrupt"),
    ("R22", sealed(header() + BODY)[:-1] + b"!", "Corrupt"),
    ("R22", sealed(header() + BODY + b"\x03\x01a").replace(b"\x01a", b"\x01b"), "Corrupt"),
    *(("R22", sealed(header() + BODY) + more, "Corrupt") for more in (b"\n", bytes(9), sealed(header() + BODY))),
]


def pixels() -> dict[str, tuple[Any, dict[str, Any]]]:
    """Name -> picture and options of every valid file that is encoded."""
    photo = make_tiny.photograph
    veiled = photo(180, 60, 48, 40)
    veiled.putalpha(Image.fromarray(np.tile(np.arange(0, 240, 5, dtype=np.uint8), (40, 1))))
    page_with_alpha = make_tiny.page(64, 96)
    page_with_alpha.putalpha(Image.fromarray(np.repeat([[255], [40]], 48, 0).repeat(64, 1).astype(np.uint8)))
    return {
        "photo": (photo(150, 40, 96, 80), {"quality": 70}),
        "low": (photo(150, 40, 96, 80), {"quality": 10}),
        "strips": (photo(100, 0, 40, 288).resize((40, 1030)), {"quality": 60}),
        "wide": (photo(0, 100, 448, 20).resize((1900, 20)), {"quality": 30}),
        "grey": (photo(120, 20, 70, 70).convert("L"), {"quality": 60}),
        "alpha": (veiled, {"quality": 50}),
        "one": (Image.new("RGB", (1, 1), (10, 200, 250)), {"quality": 100}),
        "noise": (Image.fromarray(make_tiny.noise(64, 64, 3)), {"quality": 90}),
        "lossless": (photo(0, 0, 20, 10), {"lossless": True}),
        "lossless-alpha": (veiled.crop((0, 0, 9, 7)), {"lossless": True}),
        "merged": (make_tiny.page(96, 128), {"lossless": None, "bpp": 0.6}),
        "merged-alpha": (page_with_alpha, {"lossless": None, "max_bytes": 700}),
        "lossless-grey": (photo(0, 0, 20, 10).convert("L"), {"lossless": True}),
    }


def mapped() -> dict[str, tuple[Any, dict[str, Any]]]:
    """Name -> picture and options of those of the second generation."""
    photo = make_tiny.photograph
    mask = np.zeros((200, 300))
    mask[64:140, 70:200], mask[:, 250:] = 1, 0.7
    tall = photo(100, 0, 70, 288).resize((70, 1030))
    shown = make_tiny.page(256, 224, 0.0)
    shown.paste(photo(100, 40, 96, 80), (64, 48))
    down = np.linspace(0, 1, 1030)[:, None].repeat(70, 1)
    return {
        "bytes-photo": (photo(150, 40, 96, 80), {"quality": 70}),
        "bytes-strips": (tall, {"quality": 40}),
        "map": (photo(60, 40, 300, 200), {"quality": 45, "roi": mask}),
        "map-lowest": (photo(60, 40, 300, 200), {"quality": 1, "roi": mask}),
        "map-highest": (photo(60, 40, 300, 200), {"quality": 100, "roi": mask}),
        "map-strips": (tall, {"quality": 40, "roi": down}),
        "overlay": (shown, {"quality": 60, "lossless": None}),
        "overlay-grey": (shown.convert("L"), {"quality": 60, "lossless": None}),
        "map-small": (photo(60, 40, 20, 10), {"quality": 40, "roi": np.ones((10, 20))}),
    }


def indexed_file(rgb: Any, alpha: Any = None, **header: Any) -> DPCFile:
    """A lossless file whose body is an indexed one."""
    body = indexed.to_bytes(np.asarray(rgb, np.uint8), None if alpha is None else np.asarray(alpha, np.uint8))
    return DPCFile(width=rgb.shape[1], height=rgb.shape[0], model=None, level=None, body=body, **header)


def letters(width: int, height: int) -> Image.Image:
    """Lines of text in three inks, a box and a slope of tones."""
    page = Image.new("RGB", (width, height), (250, 247, 238))
    draw = ImageDraw.Draw(page)
    draw.fontmode = "1"
    for number, top in enumerate(range(4, height - 12, 12)):
        ink = [(20, 24, 40), (150, 30, 30), (60, 60, 64)][number % 3]
        draw.text((5 + number % 4, top), "Every letter comes back " * 3, fill=ink)
    page.paste(Image.linear_gradient("L").resize((30, 12)).convert("RGB"), (width // 2, height // 2))
    draw.rectangle((width - 40, 20, width - 9, height - 31), fill=(30, 60, 140))
    return page


def few_colours(photo: DPCFile) -> dict[str, DPCFile]:
    """Name -> file of every valid one with an indexed body. photo: what an overlay is put on."""
    page = np.array(letters(137, 150))
    shown = np.zeros((150, 137), np.uint8)
    shown[13:90, 20:] = 255
    veil = np.zeros((80, 96), np.uint8)
    veil[5:70, :40] = 255
    ink = np.array(Image.fromarray(page).convert("L")).astype(int) // 51 * 51
    fading = np.full((80, 96, 3), 255, np.uint8), make_tiny.noise(80, 96)  # 256 opacities and more than 256 colours
    fading[0][40:] = (200, 0, 30)
    noise = make_tiny.noise(70, 53)
    assert len(np.unique(noise)) == 256
    grey = np.repeat(noise[..., None], 3, 2)
    return {
        "indexed": indexed_file(page),
        "indexed-alpha": indexed_file(page * (shown[..., None] > 0), shown),
        "indexed-2": indexed_file(np.where(grey[:67] > 220, 255, 20), grey=True),
        "indexed-256": indexed_file(grey, grey=True),
        "indexed-row": indexed_file(page[40:41]),
        "indexed-one": indexed_file(np.broadcast_to(np.uint8((200, 100, 50)), (40, 30, 3))),
        "indexed-wide": indexed_file(np.resize(page[40:42], (2, 16400, 3))),
        "indexed-column": indexed_file(page[:, 60:61]),
        "indexed-translucent": indexed_file(np.where(ink[..., None] < 255, (9, 40, 200), 0), 255 - ink),
        "translucent-overlay": replace(photo, overlay=indexed.to_bytes(np.array(letters(96, 80)), 255 - veil // 3 * 2)),
        "translucent-webp": replace(photo, overlay=lossless.as_webp(*fading)),
        "alpha-webp": replace(photo, alpha=lossless.as_webp(np.dstack([make_tiny.noise(80, 96)] * 3), None)),
        "alpha-indexed": replace(photo, alpha=indexed.to_bytes(np.dstack([veil] * 3))),
        "indexed-overlay": replace(photo, overlay=indexed.to_bytes(np.array(letters(96, 80)), veil)),
    }


def smoothings(photo: DPCFile, page: DPCFile) -> dict[str, bytes]:
    """Name -> file of every valid one with smoothing: every strength beside every other, cells cut by the border."""
    files = {}
    for name, file in (("smoothed", photo), ("smoothed-overlay-grey", page)):
        rows, columns = smoothing.cells_of(file.height, file.width)
        strengths = make_tiny.noise(rows, columns) % 4
        narrow = replace(file, smoothing=smoothing.pack(strengths))
        both = replace(narrow, wide_smoothing=wide_smoothing.pack(strengths[::-1, ::-1]))
        files |= {name: container.pack(narrow), f"widely-{name}": container.pack(both)}
    return files


def valid(codec: Codec, second: Codec) -> dict[str, bytes]:
    """Name -> file of every valid vector, those that exist as they are."""
    kept = {path.stem: path.read_bytes() for path in (FOLDER / "valid").glob("*.dpc")}
    files = {}
    for one, pictures in ((codec, pixels()), (second, mapped())):
        for name, (picture, options) in pictures.items():
            files[name] = kept.get(name) or one.encode(picture, **({"lossless": False} | options))
    photo = container.unpack(files["photo"])
    profile = deflated(make_tiny.noise(300).tobytes())
    more = {
        "exif": make_tiny.EXIF.replace(b"\0\6", b"\0\1"),
        "xmp": b"<x:xmpmeta/>",
        "density": (11811).to_bytes(4, "little") * 2,
    }
    files |= smoothings(container.unpack(files["map"]), container.unpack(files["overlay-grey"]))
    files["everything"] = container.pack(replace(photo, colour=Colour.ICC, icc=profile, **more))
    files |= {name: kept.get(name) or container.pack(file) for name, file in few_colours(photo).items()}
    files["display-p3"] = container.pack(replace(photo, colour=Colour.DISPLAY_P3))
    files["unknown-chunks"] = sealed(files["photo"][:-4] + b"\x85\x00\x90\x05later\xff\x02??")
    return files


def broken_streams(codec: Codec, photo: DPCFile) -> list[tuple[str, DPCFile]]:
    """(rule, file) of what docs/format.md calls broken inside of payloads."""
    tables = codec.artifact.tables
    packed = container.pack(photo)
    body, zero = photo.body, bytes(4)

    def held() -> Any:
        return make_tiny.held(codec, packed)

    def started(change: Callable[[entropy.Encoder, Any], None]) -> bytes:
        encoder, latents = entropy.Encoder(tables), held()
        encoder.add(latents.z, latents.z_index)
        change(encoder, latents)
        return encoder.finish()

    def escape(value: int) -> bytes:
        def change(encoder: entropy.Encoder, latents: Any) -> None:
            encoder._parts[0][0][0] = len(tables.frequencies[latents.z_index.min() - 1]) - 1
            encoder.add_symbols(np.array([value + 32768], np.int32), entropy._uniform())

        return started(change)

    def outside(value: int) -> bytes:
        latents, encoder = held(), entropy.Encoder(tables)
        latents.z[3, 0, 0] = value
        encoder.add(latents.z, latents.z_index)
        return encoder.finish()

    def deltas(*values: int) -> bytes:
        return quality_map.pack(np.resize(np.array(values, np.int32), quality_map.cells_of(5, 6)))

    cells = smoothing.pack(np.arange(9, dtype=np.uint8).reshape(3, 3) % 4)
    grey, other = make_tiny.noise(80, 96), make_tiny.noise(96, 80)
    alpha, turned = (make_tiny._saved(Image.fromarray(of)) for of in (grey, other))
    webp = lossless.to_bytes(make_tiny.noise(80, 96, 3), None)
    whole = {"model": None, "level": None}
    few = indexed.to_bytes(np.array(letters(96, 80)))
    assert few is not None
    words = 2 + 3 * (few[1] + 1)  # where its stream begins
    fourth = bytes([1, 2]) + bytes(9) + indexed._coded(np.full((80, 96), 3, np.uint8), 3)
    icc = {"colour": Colour.ICC}
    tall = {"height": 80 + 512}
    changes: list[tuple[str, dict[str, Any]]] = [
        ("R23", {"alpha": turned}),
        ("R23", {"alpha": lossless.as_webp(np.dstack([other] * 3), None)}),
        ("R23", {"alpha": lossless.as_webp(np.dstack([grey] * 3), grey)}),
        ("R23", {"alpha": b"\2" + few[1:]}),
        ("R24", {"alpha": webp[:25] + bytes(len(webp) - 25)}),
        ("R24", {"alpha": alpha[:60]}),
        ("R24", {"alpha": alpha[:50] + b"!" + alpha[51:]}),
        ("R25", {"icc": b"profile", **icc}),
        ("R25", {"icc": deflated(b"profile") + b"!", **icc}),
        ("R25", {"icc": zlib.compress(bytes(2**22 + 1), 9), **icc}),
        ("R26", {"body": lossless.to_bytes(make_tiny.noise(96, 80, 3), None), **whole}),
        ("R26", {"body": webp + b"!!", **whole}),
        ("R26", {"body": alpha, **whole}),
        ("R28", {"overlay": lossless.to_bytes(make_tiny.noise(96, 80, 3), None)}),
        ("R28", {"overlay": webp + b"!!"}),
        ("R28", {"overlay": alpha}),
        ("R29", {"overlay": webp[:25] + bytes(len(webp) - 25)}),
        ("R27", {"body": webp[:25] + bytes(len(webp) - 25), **whole}),
        ("R30", {"body": few, "width": 4096, "height": 4097, **whole}),
        ("R30", {"body": few[:1] + b"\0" + few[2:5] + few[words:], **whole}),
        ("R30", {"body": few[:words], **whole}),
        ("R30", {"body": few[:-1], **whole}),
        ("R30", {"overlay": few + zero}),
        ("R30", {"overlay": b"\3\0" + bytes(4) + few[words:]}),
        ("R30", {"body": b"\3\1" + bytes(7) + few[-4:], **whole}),
        ("R31", {"body": few[:words] + few[words + 4 :], **whole}),
        ("R31", {"body": few[:words] + b"\x01\0\0\0" + few[words:], **whole}),
        ("R31", {"overlay": few[:words] + zero * 3 + few[words:]}),
        ("R31", {"body": few[:-4], **whole}),
        ("R31", {"body": fourth, **whole}),
        ("S1", {"level": 449}),
        ("S1", {"level": 65535}),
        ("S2", {"body": b"\x00" + body, **tall}),
        ("S2", {"body": b"\x81\x00" + body, **tall}),
        ("S2", {"body": b"\x81\x80\x80\x80\x01" + body, **tall}),
        ("S2", {"body": b"\xff\xff\xff\x7f" + body, **tall}),
        ("S3", {"body": body[:-1]}),
        ("S3", {"body": body + b"\x01"}),
        ("S4", {"body": body + zero}),
        ("S5", {"body": body[4:]}),
        ("S5", {"body": b"\xff\xff\xff\x00"}),
        ("S6", {"body": b"\x01\x00\x00\x00" + body}),
        ("S6", {"body": zero * 3 + body}),
        ("S7", {"body": escape(0)}),
        ("S7", {"body": escape(-32768)}),
        ("S8", {"body": outside(64)}),
        ("S8", {"body": outside(-32767)}),
        ("S9", {"quality_map": deltas(9)}),
        ("S9", {"quality_map": deltas(0, 0, -9)}),
        ("S10", {"quality_map": deltas(1, 0, -8, 8)}),
        ("S3", {"smoothing": cells + b"\1"}),
        ("S4", {"smoothing": cells + zero}),
        ("S5", {"smoothing": b"\xff\xff\xff\x00"}),
        ("S6", {"smoothing": b"\x01\x00\x00\x00" + cells}),
        ("S6", {"smoothing": smoothing.pack(np.full((3, 4), 3, np.uint8))}),
        ("S5", {"wide_smoothing": b"\xff\xff\xff\x00"}),
        ("S6", {"wide_smoothing": wide_smoothing.pack(np.eye(9, dtype=np.uint8))}),
    ]
    return [(rule, replace(photo, **change)) for rule, change in changes]


def hostile(codec: Codec, photo: DPCFile) -> dict[str, bytes]:
    """Name -> file that claims much with few bytes."""
    tables, top = codec.artifact.tables, codec._top
    z_index = codec.artifact.z_indices[top]
    likeliest = [int(np.argmax(tables.frequencies[i - 1])) - int(tables.limits[i]) for i in z_index]

    def free(width: int, height: int) -> bytes:
        """The hyper-latents alone, each with its likeliest value, of every strip."""
        streams = []
        for strip in transforms.strips(*transforms.positions(height, width)):
            shape = (len(z_index), strip.cells.stop - strip.cells.start, -(-strip.w // 4))
            encoder = entropy.Encoder(tables)
            values = np.broadcast_to(np.array(likeliest, np.int32)[:, None, None], shape)
            encoder.add(values, np.broadcast_to(z_index[:, None, None], shape))
            streams.append(encoder.finish())
        return container.pack(replace(photo, width=width, height=height, level=top, body=stream.join(streams)))

    def empty(width: int, height: int, words: int = 1) -> bytes:
        count = len(transforms.strips(*transforms.positions(height, width)))
        body = stream.join([words * (1 << 24).to_bytes(4, "little")] * count)
        return container.pack(replace(photo, width=width, height=height, body=body))

    png = opacity._png_start(16384, 16384)
    return {
        "free-symbols": free(2048, 1024),
        "huge-empty": empty(16384, 16384),
        "wide-empty": empty(65535, 4096),
        "tall-empty": empty(4096, 65535),
        "huge-one-word": empty(16384, 16384, 3),
        "huge-alpha": container.pack(replace(photo, width=16384, height=16384, alpha=png + bytes(40))),
        "profile-bomb": container.pack(replace(photo, colour=Colour.ICC, icc=zlib.compress(bytes(1 << 26), 9))),
        "webp-of-another-size": container.pack(
            replace(
                photo,
                width=16383,
                height=16383,
                model=None,
                level=None,
                body=lossless.as_webp(make_tiny.noise(9, 9, 3), None),
            )
        ),
        "indexed-one-word": container.pack(
            replace(photo, width=4096, height=2048, model=None, level=None, body=b"\1\1" + bytes(9) + b"\1")
        ),
        "many-chunks": sealed(
            container.pack(photo)[:-4] + b"".join(bytes([kind, 0]) for kind in range(0x85, 0x100)) + b"\xff\x00"
        ),
    }


def found(codec: Codec, data: bytes) -> dict[str, Any]:
    """What a reader finds in a valid file."""
    file = container.unpack(data)
    array = codec.decode(data, as_array=True)
    return {
        "width": file.width,
        "height": file.height,
        "grey": file.grey,
        "colour": int(file.colour),
        "lossless": file.lossless,
        "merged": file.merged,
        "model": None if file.model is None else file.model.hex(),
        "level": file.level,
        "chunks": {c.name: len(part) for c in container._CHUNKS if (part := getattr(file, c.name)) is not None},
        "channels": 1 if array.ndim == 2 else array.shape[2],
        "pixels": hashlib.sha256(array.tobytes()).hexdigest(),
    }


def error_of(codec: Codec, data: bytes) -> str:
    """The class of the error that a reader ends in; "" for none."""
    try:
        codec.decode(data, max_pixels=None)
    except DPCError as error:
        return type(error).__name__
    return ""


def main() -> None:
    """Write all of it."""
    codec, second = (Codec(Artifact(model, 1)) for model in MODELS)
    by_id = {None: codec, codec.artifact.id: codec, second.artifact.id: second}
    files = valid(codec, second)
    photo = container.unpack(files["photo"])
    listed: dict[str, Any] = {
        "format": container.VERSION,
        "models": {
            one.artifact.id.hex(): str(path.relative_to(ROOT))
            for one, path in zip((codec, second), MODELS, strict=True)
        },
        "valid": [
            {"file": f"valid/{name}.dpc", **found(by_id[container.peek(data).model], data)}
            for name, data in sorted(files.items())
        ],
        "invalid": [],
        "hostile": [],
    }
    invalid = [*CONTAINER, *((rule, container.pack(file), "Corrupt") for rule, file in broken_streams(codec, photo))]
    written = {f"valid/{name}.dpc": data for name, data in files.items()}
    numbers: dict[str, int] = {}
    for rule, data, error in invalid:
        numbers[rule] = numbers.get(rule, 0) + 1
        name = f"invalid/{rule}-{numbers[rule]}.dpc"
        opened = rule in {r for r, _, _ in CONTAINER}
        listed["invalid"].append({"file": name, "rule": rule, "error": error, "when": "open" if opened else "decode"})
        written[name] = data
    for name, data in hostile(codec, photo).items():
        listed["hostile"].append({"file": f"hostile/{name}.dpc", "error": error_of(codec, data)})
        written[f"hostile/{name}.dpc"] = data
    for folder in ("invalid", "hostile"):
        shutil.rmtree(FOLDER / folder, ignore_errors=True)
    for name, data in written.items():
        (FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / name).write_bytes(data)
    (FOLDER / "vectors.json").write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")
    print(f"{len(written)} files, {sum(map(len, written.values())):,} bytes")


if __name__ == "__main__":
    main()
