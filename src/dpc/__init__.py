"""DPC, a lossy image codec trained on a perceptual metric.

    data = dpc.encode("photo.jpg", quality=40)      or bpp=0.25, or max_bytes=40_000
    image = dpc.decode(data)                        a PIL.Image.Image

Every name is loaded on first use: `import dpc` itself imports nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dpc.api import FileInfo, ModelInfo, add_model, decode, encode, inspect, models
    from dpc.codec.codec import Codec
    from dpc.errors import (
        Corrupt,
        DPCError,
        FormatError,
        ImageError,
        ModelError,
        NotADPCFile,
        OptionError,
        PictureWarning,
        TooLarge,
        ToolMissing,
        Truncated,
        UnknownModel,
        UnsupportedVersion,
        WrongModel,
    )
    from dpc.pillow_plugin import register

__version__ = "0.1.0"

__all__ = [
    "Codec",
    "Corrupt",
    "DPCError",
    "FileInfo",
    "FormatError",
    "ImageError",
    "ModelError",
    "ModelInfo",
    "NotADPCFile",
    "OptionError",
    "PictureWarning",
    "TooLarge",
    "ToolMissing",
    "Truncated",
    "UnknownModel",
    "UnsupportedVersion",
    "WrongModel",
    "__version__",
    "add_model",
    "decode",
    "encode",
    "inspect",
    "models",
    "register",
]

_HOMES = {"Codec": "codec.codec", "register": "pillow_plugin"} | dict.fromkeys(
    ("FileInfo", "ModelInfo", "add_model", "decode", "encode", "inspect", "models"), "api"
)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
