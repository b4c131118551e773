"""The payload of the ICC chunk: a colour profile, deflated."""

from __future__ import annotations

import zlib

from dpc.codec.fields import DAMAGED
from dpc.errors import Corrupt, TooLarge

__all__ = ["MAX_ICC", "deflated", "inflated"]

MAX_ICC = 1 << 22
"""The longest ICC profile in bytes, before it is deflated."""


def deflated(profile: bytes) -> bytes:
    """The payload of the ICC chunk: the profile as a zlib stream. TooLarge above MAX_ICC bytes."""
    if len(profile) > MAX_ICC:
        raise TooLarge(
            f"the ICC profile is {len(profile)} bytes long, the limit is {MAX_ICC}; "
            "convert the picture to sRGB and remove its profile"
        )
    return zlib.compress(profile, 9)


def inflated(payload: bytes) -> bytes:
    """The profile of an ICC chunk; Corrupt unless the payload is one whole zlib stream of 1 to MAX_ICC bytes."""
    stream = zlib.decompressobj()
    try:
        profile = stream.decompress(payload, MAX_ICC + 1)
    except zlib.error as error:
        raise Corrupt(f"the ICC profile cannot be inflated ({error}); {DAMAGED}") from error
    if not 1 <= len(profile) <= MAX_ICC or not stream.eof or stream.unused_data:
        raise Corrupt(f"the ICC profile is not one whole zlib stream of 1 to {MAX_ICC} bytes; {DAMAGED}")
    return profile
