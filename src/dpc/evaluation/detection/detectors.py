"""Detectors by a text, as on the command line.

yolox_nano.onnx                             an ONNX file of YOLOX, NanoDet or FastestDet, known by its outputs
mine.toml, mine.json                        another ONNX detector, by a description
torchvision:fasterrcnn_resnet50_fpn         torchvision's, with its own weights (a download)
torchvision:fasterrcnn_resnet50_fpn=FILE    with weights from a file
"""

from __future__ import annotations

from pathlib import Path

from dpc.errors import OptionError
from dpc.evaluation.detection.protocol import Detector

__all__ = ["get"]


def get(text: str, *, threads: int = 1, device: str = "cpu") -> Detector:
    """A detector, see above, ready to use. Raises OptionError, ModelError, ToolMissing, each with the way out."""
    if device not in ("cpu", "cuda"):
        raise OptionError(f"device {device!r} is unknown; choose from cpu, cuda")
    kind, colon, rest = text.partition(":")
    if colon and kind == "torchvision":
        from dpc.evaluation.detection.torchvision_detector import Torchvision

        name, _, weights = rest.partition("=")
        return Torchvision(name, Path(weights) if weights else None, threads, device)
    if Path(text).suffix.lower() not in (".onnx", ".toml", ".json"):
        raise OptionError(
            f"detector {text!r} is unknown; give an .onnx file of YOLOX, NanoDet or FastestDet, a description (.toml, "
            ".json) of another, or torchvision:MODEL"
        )
    from dpc.evaluation.detection.onnx_detector import Onnx

    return Onnx(Path(text), threads, device)
