"""Every error that dpc raises on purpose.

    DPCError
    ├── FormatError                 bytes that cannot be read as a DPC file
    │   ├── NotADPCFile             the first bytes are not those of a DPC file
    │   ├── UnsupportedVersion      a DPC file of a format version this release does not read
    │   ├── Truncated               the bytes end before the file does
    │   ├── Corrupt                 a rule of docs/format.md is broken
    │   └── TooLarge                a size above a limit, refused before memory is taken
    ├── ModelError                  something about the model artifact
    │   ├── UnknownModel            no artifact of this name, path or identity is at hand
    │   └── WrongModel              the artifact is not the one that the file was made with, or is damaged
    ├── ImageError                  a picture that cannot be taken: unreadable, animated, unsupported mode
    ├── ToolMissing                 an optional program or package is not installed
    └── OptionError (ValueError)    an option outside its range, or options that exclude each other

PictureWarning, a UserWarning, says what of an input picture is not kept.

A message is one line that names the value, the limit and the way out.
"""

from __future__ import annotations

__all__ = [
    "Corrupt",
    "DPCError",
    "FormatError",
    "ImageError",
    "ModelError",
    "NotADPCFile",
    "OptionError",
    "PictureWarning",
    "TooLarge",
    "ToolMissing",
    "Truncated",
    "UnknownModel",
    "UnsupportedVersion",
    "WrongModel",
]


class DPCError(Exception):
    """Base of every error that dpc raises on purpose; catch this one to catch them all."""


class FormatError(DPCError):
    """The bytes cannot be read as a DPC file."""


class NotADPCFile(FormatError):
    """The first bytes are not those of a DPC file."""


class UnsupportedVersion(FormatError):
    """A DPC file, but of a format version that this release does not read."""


class Truncated(FormatError):
    """The bytes end before the file does."""


class Corrupt(FormatError):
    """The file breaks a rule of docs/format.md: it was damaged, or a faulty program wrote it."""


class TooLarge(FormatError):
    """A size above a limit of the format, refused before memory is taken for it."""


class ModelError(DPCError):
    """Something is wrong with the model artifact."""


class UnknownModel(ModelError):
    """No artifact of this name, path or identity is at hand."""


class WrongModel(ModelError):
    """The artifact is not the one that the file was made with, or it is damaged."""


class ImageError(DPCError):
    """The input picture cannot be taken: unreadable, animated, or of an unsupported mode."""


class PictureWarning(UserWarning):
    """Something of the input, beside its colours, is not kept: a profile of another colour space, damaged XMP."""


class ToolMissing(DPCError):
    """An optional program or package that this operation needs is not installed."""


class OptionError(DPCError, ValueError):
    """An option is outside its range, or two options exclude each other."""
