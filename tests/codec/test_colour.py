"""Colour spaces: profiles recognised, written, made of numbers, converted."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import LCMS_SRGB, noise, profile_of
from PIL import Image, ImageCms

from dpc.codec import colour
from dpc.codec.container import Colour

NAMED = (Colour.SRGB, Colour.DISPLAY_P3, Colour.ADOBE_RGB)
D65 = (0.3127, 0.3290)
PRIMARIES = {
    Colour.SRGB: ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
    Colour.DISPLAY_P3: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    Colour.ADOBE_RGB: ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)),
}


def parts(icc: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", icc, 128)
    entries = (struct.unpack_from(">4sII", icc, 132 + 12 * i) for i in range(count))
    return {name: icc[at : at + size] for name, at, size in entries}


def built(tags: dict[bytes, bytes], head: bytes = colour.profile(Colour.SRGB)[:128]) -> bytes:
    """A profile of these tags."""
    at, index, data = 132 + 12 * len(tags), b"", b""
    for name, body in tags.items():
        index += struct.pack(">4sII", name, at + len(data), len(body))
        data += body + bytes(-len(body) % 4)
    return struct.pack(">I", at + len(data)) + head[4:128] + struct.pack(">I", len(tags)) + index + data


def curve(values: list[float]) -> bytes:
    return b"curv" + struct.pack(f">II{len(values)}H", 0, len(values), *(round(65535 * v) for v in values))


def srgb_light(v: float) -> float:
    return v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4


def xyz(x: float, y: float) -> np.ndarray:
    return np.array([x / y, 1, (1 - x - y) / y])


def to_srgb_exactly(rgb: np.ndarray, space: Colour) -> np.ndarray:
    """Colours (N, 3) of a space in sRGB, by the definitions alone: all three have the white D65."""

    def matrix(space: Colour) -> np.ndarray:
        columns = np.stack([xyz(*p) for p in PRIMARIES[space]], axis=1)
        return columns * np.linalg.solve(columns, xyz(*D65))

    v = rgb / 255
    light = v ** (563 / 256) if space == Colour.ADOBE_RGB else np.vectorize(srgb_light)(v)
    light = (np.linalg.inv(matrix(Colour.SRGB)) @ matrix(space) @ light.T).T.clip(0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("space", NAMED)
@pytest.mark.parametrize("grey", [False, True])
def test_our_profiles_are_small_valid_and_recognised(space: Colour, grey: bool) -> None:
    icc = colour.profile(space, grey)
    assert len(icc) < 600
    assert struct.unpack(">I", icc[:4]) == (len(icc),)
    opened = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    assert opened.profile.xcolor_space.strip() == colour.space_of(icc) == ("GRAY" if grey else "RGB")
    assert ImageCms.isIntentSupported(opened, ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Direction.INPUT) == 1
    assert opened.profile.profile_description
    greys_of_p3 = grey and space == Colour.DISPLAY_P3
    assert colour.recognise(icc) == (Colour.SRGB if greys_of_p3 else space)


@pytest.mark.parametrize("space", NAMED)
def test_our_profiles_say_what_the_standards_say(space: Colour) -> None:
    pixels = noise(40, 50, 3)
    convert = colour.to_srgb(colour.profile(space), "RGB")
    assert convert is not None
    converted = np.asarray(convert(Image.fromarray(pixels))).reshape(-1, 3).astype(float)
    wanted = to_srgb_exactly(pixels.reshape(-1, 3), space)
    inside = ((wanted > 1) & (wanted < 254)).all(axis=1)  # outside of sRGB converters clip in ways of their own
    assert inside.sum() > 500
    assert np.abs(converted - wanted)[inside].max() <= 1.5


def test_sixteen_greys_of_a_profile_for_grey() -> None:
    convert = colour.to_srgb(colour.profile(Colour.ADOBE_RGB, grey=True), "L")
    assert convert is not None
    greys = np.arange(0, 256, 16, dtype=np.uint8)[None]
    wanted = to_srgb_exactly(greys.reshape(-1, 1).repeat(3, axis=1), Colour.ADOBE_RGB)
    assert np.abs(np.asarray(convert(Image.fromarray(greys)))[0] - wanted).max() <= 1.5


def test_common_forms_of_srgb_are_recognised() -> None:
    assert colour.recognise(LCMS_SRGB) == Colour.SRGB
    tags = parts(colour.profile(Colour.SRGB))
    table = curve([srgb_light(i / 1023) for i in range(1024)])
    old = tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), table)  # as in the profile of 1998, 3,144 bytes
    old[b"wtpt"] = b"XYZ " + bytes(4) + struct.pack(">3i", 62289, 65536, 71372)  # D65
    assert colour.recognise(built(old)) == Colour.SRGB
    short = curve([srgb_light(i / 63) for i in range(64)])
    assert colour.recognise(built(tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), short))) == Colour.SRGB
    del tags[b"wtpt"]
    assert colour.recognise(built(tags)) == Colour.SRGB


def test_adobe_rgb_with_a_plain_gamma_is_recognised() -> None:
    gamma = b"curv" + struct.pack(">IIH", 0, 1, 563)
    tags = parts(colour.profile(Colour.ADOBE_RGB)) | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), gamma)
    assert colour.recognise(built(tags)) == Colour.ADOBE_RGB


def test_what_is_near_is_not_taken_for_it() -> None:
    tags = parts(colour.profile(Colour.SRGB))
    gamma = b"curv" + struct.pack(">IIH", 0, 1, 563)
    warm = b"XYZ " + bytes(4) + struct.pack(">3i", 62289, 65536, 60000)
    red = b"XYZ " + bytes(4) + struct.pack(">3i", round(0.4406 * 65536), round(0.2225 * 65536), round(0.0139 * 65536))
    for other in (
        tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), gamma),
        tags | {b"bTRC": gamma},
        tags | {b"wtpt": warm},
        tags | {b"rXYZ": red},
        tags | {b"A2B0": b"mft2" + bytes(40)},
        {name: body for name, body in tags.items() if name != b"gXYZ"},
    ):
        assert colour.recognise(built(other)) is None
    assert colour.recognise(profile_of("RGB")) is None
    assert colour.recognise(profile_of("CMYK")) is None


@pytest.mark.parametrize("icc", [b"", bytes(3144), b"not a profile", LCMS_SRGB[:131], bytes(36) + b"acsp"])
def test_what_is_no_profile_has_no_space(icc: bytes) -> None:
    assert colour.space_of(icc) is None
    assert colour.recognise(icc) is None


@given(st.integers(128, len(LCMS_SRGB) - 1), st.binary(min_size=1, max_size=8))
def test_damaged_profiles_are_survived(at: int, junk: bytes) -> None:
    colour.recognise(LCMS_SRGB[:at])
    colour.recognise(LCMS_SRGB[:at] + junk + LCMS_SRGB[at + len(junk) :])


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ((1, 13), Colour.SRGB),
        ((1, 1), Colour.SRGB),
        ((2, 13), Colour.SRGB),
        ((1, 2), Colour.SRGB),
        ((12, 13), Colour.DISPLAY_P3),
        ((9, 14), None),
        ((5, 4), None),
        ((1, 8), None),
    ],
)
def test_code_points(points: tuple[int, int], expected: Colour | None) -> None:
    icc = colour.of_cicp(*points)
    assert icc is not None
    assert colour.recognise(icc) == expected
    assert colour.to_srgb(icc, "RGB") is not None


def test_code_points_without_a_place() -> None:
    assert colour.of_cicp(2, 2) is None
    for points, reason in (((9, 16), "PQ"), ((9, 18), "HLG"), ((77, 13), "primaries 77"), ((1, 77), "transfer 77")):
        with pytest.raises(ValueError, match=reason):
            colour.of_cicp(*points)


@pytest.mark.parametrize("space", NAMED)
def test_chromaticities_are_adapted_as_the_profiles_are(space: Colour) -> None:
    tone = (563 / 256,) if space == Colour.ADOBE_RGB else colour.SRGB_CURVE
    assert colour.recognise(colour.of_chromaticities(D65, PRIMARIES[space], tone)) == space


@pytest.mark.parametrize(
    "primaries", [((0.3, 0.3), (0.3, 0.3), (0.3, 0.3)), ((0.64, 0), (0.3, 0.6), (0.15, 0.06)), ((9, 9), (0, 1), (1, 1))]
)
def test_chromaticities_that_span_nothing(primaries: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(ValueError, match="chromaticities"):
        colour.of_chromaticities(D65, primaries, (2.2,))


def test_a_profile_of_no_use_gives_no_converter() -> None:
    assert colour.to_srgb(b"not a profile", "RGB") is None
    assert colour.to_srgb(colour.profile(Colour.SRGB), "CMYK") is None
