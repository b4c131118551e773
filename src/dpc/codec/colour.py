"""Colour spaces: recognised in a profile, written as one, made of numbers, converted to sRGB.

    recognise   ICC profile -> Colour.SRGB, DISPLAY_P3 or ADOBE_RGB, by what it says; None for any other
    profile     Colour -> a small ICC profile of this project's own making
    to_srgb     ICC profile -> a converter of PIL images

Neither numpy nor a network is loaded here: opening a file needs the profiles.
"""

from __future__ import annotations

import functools
import hashlib
import io
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from PIL import Image

from dpc.codec.container import Colour

__all__ = [
    "SRGB_CURVE",
    "SRGB_PRIMARIES",
    "Converter",
    "named",
    "of_chromaticities",
    "of_cicp",
    "profile",
    "recognise",
    "space_of",
    "to_srgb",
]

XYZ: TypeAlias = "tuple[float, float, float]"
Converter: TypeAlias = Callable[[Image.Image], Image.Image]

_D50: XYZ = (0.9642, 1.0, 0.8249)  # the white of every profile's connection space
_D65_XY = (0.3127, 0.3290)
SRGB_PRIMARIES = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
_D65: XYZ = (0.9505, 1.0, 1.0890)
_BRADFORD = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))
_COLUMN_TOLERANCE = 0.002  # of X, Y or Z: roundings and adaptations of one space differ by 0.0005, two spaces by 0.05
_WHITE_TOLERANCE = 0.01
_CURVE_TOLERANCE = 1.0  # levels of 255: short tables come within that, gamma 2.2 is 8 from the curve of sRGB

# sRGB profiles of color.org whose perceptual tables say more than primaries and a curve: MD5 as ICC.1 defines it.
_SRGB_TABLES = frozenset(
    bytes.fromhex(text) for text in ("fc66337837e2886bfd72e9838228f1b8", "34562abf994ccd066d2c5721d0d68c5d")
)


@dataclass(frozen=True)
class Space:
    """Three primaries and one tone curve.

    columns: XYZ of red, green and blue at full strength, adapted to D50. curve: the parameters of ICC's function of
    type 3 (g, a, b, c, d), (a x + b)^g from d on, else c x; or (g,) for x^g.
    """

    name: str
    columns: tuple[XYZ, XYZ, XYZ]
    curve: tuple[float, ...]


SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_SPACES = {
    Colour.SRGB: Space(
        "sRGB", ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)), SRGB_CURVE
    ),
    Colour.DISPLAY_P3: Space(
        "Display P3",
        ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)),
        SRGB_CURVE,
    ),
    Colour.ADOBE_RGB: Space(
        "Compatible with Adobe RGB (1998)",
        ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)),
        (563 / 256,),
    ),
}
_NAMES = {
    Colour.UNKNOWN: "unknown, shown as sRGB",
    Colour.SRGB: "sRGB",
    Colour.DISPLAY_P3: "Display P3",
    Colour.ADOBE_RGB: "Adobe RGB (1998)",
    Colour.ICC: "ICC profile",
}


def named(colour: Colour) -> str:
    """The name of a colour space, for people."""
    return _NAMES[colour]


# what a profile says


def space_of(icc: bytes) -> str | None:
    """The colour space of a profile's device values, such as "RGB", "GRAY" or "CMYK"; None for what is no profile."""
    if len(icc) < 132 or icc[36:40] != b"acsp":
        return None
    return icc[16:20].decode("ascii", "replace").strip()


def recognise(icc: bytes) -> Colour | None:
    """SRGB, DISPLAY_P3 or ADOBE_RGB where a profile says one of them, in whatever words; else None.

    A profile for grey has a tone curve only: that of sRGB and Display P3 gives SRGB, that of Adobe RGB gives ADOBE_RGB.
    """
    try:
        if _digest(icc) in _SRGB_TABLES:
            return Colour.SRGB
        tags = _tags(icc)
        if any(name.startswith(b"A2B") for name in tags) or not _white_is_usual(tags):
            return None
        if space_of(icc) == "GRAY":
            return next((c for c in (Colour.SRGB, Colour.ADOBE_RGB) if _is_curve(tags[b"kTRC"], c)), None)
        if space_of(icc) != "RGB" or icc[20:24] != b"XYZ ":
            return None
        columns = tuple(_xyz(tags[name]) for name in (b"rXYZ", b"gXYZ", b"bXYZ"))
        curves = [tags[name] for name in (b"rTRC", b"gTRC", b"bTRC")]
        for colour, space in _SPACES.items():
            if _near(columns, space.columns) and all(_is_curve(curve, colour) for curve in curves):
                return colour
        return None
    except (struct.error, KeyError, ValueError, OverflowError, ZeroDivisionError, IndexError):
        return None


def _tags(icc: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", icc, 128)
    if count > 100:
        raise ValueError(f"{count} tags")
    entries = (struct.unpack_from(">4sII", icc, 132 + 12 * i) for i in range(count))
    return {name: icc[offset : offset + size] for name, offset, size in entries}


def _digest(icc: bytes) -> bytes:
    """The MD5 of a profile as ICC.1 defines it: flags, intent and the sum itself count as zero."""
    blank = icc[:44] + bytes(4) + icc[48:64] + bytes(4) + icc[68:84] + bytes(16) + icc[100:]
    return hashlib.md5(blank, usedforsecurity=False).digest()


def _xyz(tag: bytes) -> XYZ:
    x, y, z = struct.unpack_from(">3i", tag, 8)
    return x / 65536, y / 65536, z / 65536


def _near(found: tuple[XYZ, ...], wanted: tuple[XYZ, ...]) -> bool:
    pairs = zip(found, wanted, strict=True)
    return all(abs(a - b) <= _COLUMN_TOLERANCE for one, two in pairs for a, b in zip(one, two, strict=True))


def _white_is_usual(tags: dict[bytes, bytes]) -> bool:
    """Whether the white is D50, as newer profiles have it, or D65, that of the three spaces themselves."""
    if b"wtpt" not in tags:
        return True
    white = _xyz(tags[b"wtpt"])
    usual = (_D50, _D65)
    return any(all(abs(a - b) <= _WHITE_TOLERANCE for a, b in zip(white, one, strict=True)) for one in usual)


def _is_curve(tag: bytes, colour: Colour) -> bool:
    """Whether a tone curve is that of a space, within a level of 8 bits everywhere."""
    curve, back = _curve_of(tag), _inverse(_SPACES[colour].curve)
    return all(abs(back(curve(v / 255)) * 255 - v) <= _CURVE_TOLERANCE for v in range(256))


def _curve_of(tag: bytes) -> Callable[[float], float]:
    """The function of a curv or para tag, from 0..1 to 0..1."""
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count == 0:
            return lambda x: x
        values = struct.unpack_from(f">{count}H", tag, 12)
        if count == 1:
            return lambda x: x ** (values[0] / 256)
        return functools.partial(_table, values)
    if tag[:4] != b"para":
        raise ValueError("no curve")
    (kind,) = struct.unpack_from(">H", tag, 8)
    length = (1, 3, 4, 5, 7)[kind]
    numbers = [n / 65536 for n in struct.unpack_from(f">{length}i", tag, 12)]
    g, a, b, c, d, e, f = {
        0: lambda: [numbers[0], 1, 0, 0, 0, 0, 0],
        1: lambda: [*numbers, 0, -numbers[2] / numbers[1], 0, 0],
        2: lambda: [*numbers[:3], 0, -numbers[2] / numbers[1], numbers[3], numbers[3]],
        3: lambda: [*numbers, 0, 0],
        4: lambda: numbers,
    }[kind]()
    return lambda x: max(a * x + b, 0.0) ** g + e if x >= d else c * x + f


def _table(values: tuple[int, ...], x: float) -> float:
    at = x * (len(values) - 1)
    low = min(int(at), len(values) - 2)
    return (values[low] + (at - low) * (values[low + 1] - values[low])) / 65535


def _inverse(curve: tuple[float, ...]) -> Callable[[float], float]:
    if len(curve) == 1:
        return lambda y: max(y, 0.0) ** (1 / curve[0])
    g, a, b, c, d = curve
    return lambda y: (y ** (1 / g) - b) / a if y >= c * d else y / c


# profiles of our own making


@functools.lru_cache(maxsize=8)
def profile(colour: Colour, grey: bool = False) -> bytes:
    """An ICC profile (version 4.2, under 600 bytes) of SRGB, DISPLAY_P3 or ADOBE_RGB; for grey its tone curve alone."""
    space = _SPACES[colour]
    return _profile(replace(space, name=f"Grey, tone curve of {space.name}") if grey else space, grey)


def _profile(space: Space, grey: bool) -> bytes:
    parameters = struct.pack(f">{len(space.curve)}i", *(round(65536 * n) for n in space.curve))
    curve = b"para" + struct.pack(">IHH", 0, 3 if len(space.curve) == 5 else 0, 0) + parameters
    tags: list[tuple[bytes, bytes]] = [
        (b"desc", _text(space.name)),
        (b"cprt", _text("No copyright, use freely")),
        (b"wtpt", _xyz_tag(_D50)),
    ]
    if grey:
        tags.append((b"kTRC", curve))
    else:
        adapted = struct.pack(">9i", *(round(65536 * n) for row in _adaptation(_xyz_of(*_D65_XY)) for n in row))
        tags.append((b"chad", b"sf32" + bytes(4) + adapted))
        names = (b"rXYZ", b"gXYZ", b"bXYZ")
        tags += [(name, _xyz_tag(column)) for name, column in zip(names, space.columns, strict=True)]
        tags += [(name, curve) for name in (b"rTRC", b"gTRC", b"bTRC")]
    start = 132 + 12 * len(tags)
    places: dict[bytes, int] = {}
    index, data = b"", b""
    for name, body in tags:
        if body not in places:
            places[body] = start + len(data)
            data += body + bytes(-len(body) % 4)
        index += struct.pack(">4sII", name, places[body], len(body))
    kind = b"GRAY" if grey else b"RGB "
    head = struct.pack(">I4sI4s4s4s", start + len(data), bytes(4), 0x04200000, b"mntr", kind, b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += struct.pack(">3i", *(round(65536 * n) for n in _D50))
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + index + data


def _text(text: str) -> bytes:
    body = text.encode("utf-16-be")
    return b"mluc" + struct.pack(">III2s2sII", 0, 1, 12, b"en", b"US", len(body), 28) + body


def _xyz_tag(value: XYZ) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(65536 * n) for n in value))


# chromaticities and code points


def _xyz_of(x: float, y: float) -> XYZ:
    return x / y, 1.0, (1 - x - y) / y


def _times(matrix: tuple[XYZ, ...], vector: XYZ) -> XYZ:
    a, b, c = (sum(m * v for m, v in zip(row, vector, strict=True)) for row in matrix)
    return a, b, c


def _solve(columns: tuple[XYZ, XYZ, XYZ], right: XYZ) -> XYZ:
    """The weights of three columns whose sum is right; ZeroDivisionError where there are none."""

    def determinant(p: XYZ, q: XYZ, r: XYZ) -> float:
        return (
            p[0] * (q[1] * r[2] - q[2] * r[1]) - q[0] * (p[1] * r[2] - p[2] * r[1]) + r[0] * (p[1] * q[2] - p[2] * q[1])
        )

    p, q, r = columns
    whole = determinant(p, q, r)
    return determinant(right, q, r) / whole, determinant(p, right, r) / whole, determinant(p, q, right) / whole


def _adaptation(white: XYZ) -> tuple[XYZ, XYZ, XYZ]:
    """The matrix that takes colours seen under a white to D50, after Bradford."""
    scale = [d / s for d, s in zip(_times(_BRADFORD, _D50), _times(_BRADFORD, white), strict=True)]
    rows: list[XYZ] = []
    first, second, third = zip(*_BRADFORD, strict=True)
    for unit in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)):
        cone = _times(_BRADFORD, unit)
        scaled = (cone[0] * scale[0], cone[1] * scale[1], cone[2] * scale[2])
        rows.append(_solve((first, second, third), scaled))
    a, b, c = zip(*rows, strict=True)
    return a, b, c


def of_chromaticities(
    white: tuple[float, float], primaries: tuple[tuple[float, float], ...], curve: tuple[float, ...]
) -> bytes:
    """The ICC profile of a space given by x, y of its white and its primaries; ValueError where they span none."""
    try:
        if not all(0 < y <= 1 and 0 <= x <= 1 for x, y in (white, *primaries)) or not all(
            0.1 <= n <= 10 for n in curve[:1]
        ):
            raise ValueError("chromaticities or gamma are out of range")
        red, green, blue = (_xyz_of(x, y) for x, y in primaries)
        strength = _solve((red, green, blue), _xyz_of(*white))
        to_d50 = _adaptation(_xyz_of(*white))
        columns = [
            _times(to_d50, (s * c[0], s * c[1], s * c[2])) for s, c in zip(strength, (red, green, blue), strict=True)
        ]
        return _profile(Space("As the picture's file says", (columns[0], columns[1], columns[2]), curve), grey=False)
    except (ZeroDivisionError, OverflowError, struct.error) as error:
        raise ValueError("these chromaticities span no colour space") from error


_C_XY = (0.310, 0.316)
_PRIMARIES = {  # ITU-T H.273: white, red, green, blue
    1: (_D65_XY, SRGB_PRIMARIES),
    4: (_C_XY, ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08))),
    5: (_D65_XY, ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06))),
    6: (_D65_XY, ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070))),
    7: (_D65_XY, ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070))),
    8: (_C_XY, ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049))),
    9: (_D65_XY, ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))),
    11: ((0.314, 0.351), ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))),
    12: (_D65_XY, ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))),
    22: (_D65_XY, ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077))),
}
# The camera curves of BT.709, 601 and 2020 (1, 6, 14, 15) are shown as sRGB is, so they are taken as it.
_TRANSFERS: dict[int, tuple[float, ...]] = {
    **dict.fromkeys((1, 6, 13, 14, 15), SRGB_CURVE),
    4: (2.2,),
    5: (2.8,),
    8: (1.0,),
}
_UNSPECIFIED = 2


def of_cicp(primaries: int, transfer: int) -> bytes | None:
    """The ICC profile of ITU-T H.273's code points; None where both are unspecified.

    Raises ValueError, with the reason in a line, for what 8 bits without tone mapping cannot show (PQ, HLG) or nobody
    has defined.
    """
    if primaries == transfer == _UNSPECIFIED:
        return None
    white, points = _PRIMARIES.get(1 if primaries == _UNSPECIFIED else primaries, (None, None))
    curve = SRGB_CURVE if transfer == _UNSPECIFIED else _TRANSFERS.get(transfer)
    if white is None or points is None or curve is None:
        kind = {16: "PQ, high dynamic range", 18: "HLG, high dynamic range"}.get(transfer, "unknown here")
        raise ValueError(f"primaries {primaries}, transfer {transfer}: {kind}")
    return of_chromaticities(white, points, curve)


# conversion


def to_srgb(icc: bytes, mode: str) -> Converter | None:
    """A converter of PIL images to RGB in sRGB, through this mode (L, RGB or CMYK); None for a profile of no use."""
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (OSError, ImageCms.PyCMSError):
        return None
    return lambda image: transform.apply(image.convert(mode))
