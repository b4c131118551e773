"""Detectors that are ONNX files: YOLOX, NanoDet, FastestDet, others by a description (docs/guide/detection.md).

    picture -> fitted to the network's input -> ONNX Runtime -> boxes, scores -> suppression per class -> picture pixels

Fitting and suppression repeat the reference programs of YOLOX to the last bit: OpenCV's linear resizing with its
11-bit weights, and demo_utils.multiclass_nms (class aware).
"""

from __future__ import annotations

import ast
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpc.codec.runtime import onnxruntime
from dpc.errors import DPCError, ModelError, OptionError, ToolMissing
from dpc.evaluation.codecs import Rgb
from dpc.evaluation.detection.decoding import decode_fastestdet, decode_nanodet, decode_yolox, suppress
from dpc.evaluation.detection.description import FAMILIES, Description, describe
from dpc.evaluation.detection.protocol import COCO, Found

__all__ = ["Onnx", "resize"]

Floats = NDArray[np.float32]


class Onnx:
    """A detector in an ONNX file. path: the file, of one of FAMILIES, or a description of another.

    threads: of ONNX Runtime. device: cpu or cuda. Raises OptionError, ModelError, ToolMissing.
    """

    def __init__(self, path: Path, threads: int = 1, device: str = "cpu") -> None:
        ort = onnxruntime()
        described = None if path.suffix.lower() == ".onnx" else describe(path)
        file = path if described is None else path.parent / described.model
        try:
            data = file.read_bytes()
        except OSError as error:
            raise OptionError(f"the detector {file} cannot be opened: {error.strerror}; give its path") from error
        provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}.get(device, "")
        if provider not in ort.get_available_providers():
            raise ToolMissing(f"this ONNX Runtime cannot run on {device!r}; cuda needs pip install onnxruntime-gpu")
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(str(file), options, providers=[provider])
        except Exception as error:  # ONNX Runtime has an exception of its own for everything
            raise ModelError(f"{file} is not a network that ONNX Runtime can load: {_first(error)}") from error
        if len(self._session.get_inputs()) != 1:
            raise ModelError(
                f"{file} takes {len(self._session.get_inputs())} inputs, a detector takes the picture only"
            )
        self._input = self._session.get_inputs()[0]
        self._kind = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}.get(self._input.type)
        if self._kind is None:
            raise ModelError(f"{file} takes {self._input.type}; only float and uint8 are known here")
        self._how = described or replace(self._family(), model=str(path))
        self.classes = self._names() if path.suffix.lower() == ".onnx" else self._how.classes
        self._size = self._measure(file)
        self._mean, self._std = (np.array(v, np.float32) for v in (self._how.mean, self._how.std))
        self.name = self._how.name or path.stem
        self.version = f"{file.name} {hashlib.sha256(data).hexdigest()[:16]}, ONNX Runtime {ort.__version__}" + (
            "" if device == "cpu" else f" on {device}"
        )
        self.settings = self._words()
        self._try(file)

    def _family(self) -> Description:
        """The family that the outputs belong to: maps in pairs are NanoDet's, planes FastestDet's, a table YOLOX's."""
        shapes = [output.shape for output in self._session.get_outputs()]
        if len(shapes) > 1 and len(shapes) % 2 == 0 and all(len(shape) == 3 for shape in shapes):
            return FAMILIES["nanodet"]
        return FAMILIES["fastestdet" if len(shapes[0]) == 4 else "yolox"]

    def _names(self) -> tuple[str, ...]:
        """The classes that some exporters write into the file, or COCO's."""
        text = self._session.get_modelmeta().custom_metadata_map.get("names", "")
        try:
            names = ast.literal_eval(text)
            names = tuple(str(names[i]) for i in range(len(names)))
        except (ValueError, SyntaxError, KeyError, TypeError):
            return COCO
        return names or COCO

    def _measure(self, file: Path) -> tuple[int, int]:
        """(width, height) of the network's input."""
        shape = self._input.shape
        if len(shape) != 4 or shape[1] not in (3, None) and not isinstance(shape[1], str):
            raise ModelError(f"{file} takes {shape}, a detector here takes (1, 3, height, width)")
        if self._how.input:
            return self._how.input
        if not all(isinstance(n, int) for n in shape[2:]):
            raise ModelError(f"{file} leaves the size of its input open; write a description with input = [640, 640]")
        return shape[3], shape[2]

    def _words(self) -> str:
        how, (width, height) = self._how, self._size
        parts = [
            f"input {width}x{height}, {how.fit}" + (f" on {how.pad}" if how.fit != "stretch" else ""),
            f"{how.colour.upper()}, linear resizing without smoothing",
        ]
        if (how.scale, how.mean, how.std) != (1, (0, 0, 0), (1, 1, 1)):
            parts.append(f"(x / {how.scale:g} - {list(how.mean)}) / {list(how.std)}")
        parts.append(f"output {how.output}, score > {how.score:g}")
        parts.append("no suppression" if how.nms is None else f"suppression per class at IoU {how.nms:g}")
        # what is left of the description, so that rows of another one are never taken for these
        for name in ("strides", "objectness", "boxes", "scores", "labels", "first_label", "relative"):
            value = getattr(how, name)
            if value != getattr(Description, name, None):
                parts.append(f"{name} {list(value) if isinstance(value, tuple) else value}")
        if self.classes != COCO:
            digest = hashlib.sha256("\n".join(self.classes).encode()).hexdigest()
            parts.append(f"{len(self.classes)} classes {digest[:8]}")
        return "; ".join(parts)

    def _try(self, file: Path) -> None:
        """Run it once, so that a network of another kind is found before hours are spent."""
        try:
            self.detect(np.full((64, 96, 3), 114, np.uint8))
        except DPCError:
            raise
        except Exception as error:
            raise ModelError(f"{file} cannot be run as {self._how.output}: {_first(error)}") from error

    def detect(self, image: Rgb) -> Found:
        """What there is in a uint8 (H, W, 3) sRGB picture."""
        how = self._how
        fitted, (across, down), (left, top) = self._fit(image)
        pixels = fitted[:, :, ::-1] if how.colour == "bgr" else fitted
        if self._kind is np.uint8:
            values: NDArray[Any] = pixels
        else:
            values = pixels.astype(np.float32)
            if (how.scale, how.mean, how.std) != (1, (0, 0, 0), (1, 1, 1)):
                values = (values / np.float32(how.scale) - self._mean) / self._std
        outputs = self._session.run(None, {self._input.name: np.ascontiguousarray(values.transpose(2, 0, 1)[None])})
        if how.output == "boxes":
            found = self._listed(dict(zip([o.name for o in self._session.get_outputs()], outputs, strict=True)))
        else:
            read = {"nanodet": self._maps, "fastestdet": self._planes}.get(how.output, self._candidates)
            boxes, scores = read(outputs)
            found = suppress(boxes, scores, how.score, how.nms)
        shift = np.array([left, top, left, top], np.float32)
        ratio = np.array([across, down, across, down], np.float32)
        return Found((found.boxes - shift) / ratio, found.scores, found.labels)

    def _fit(self, image: Rgb) -> tuple[Rgb, tuple[float, float], tuple[int, int]]:
        """The picture at the size of the input, its scale across and down, and where its corner is."""
        (width, height), (rows, columns) = self._size, image.shape[:2]
        if self._how.fit == "stretch":
            return resize(image, width, height), (width / columns, height / rows), (0, 0)
        ratio = min(height / rows, width / columns)
        inner = resize(image, max(1, int(columns * ratio)), max(1, int(rows * ratio)))
        left, top = 0, 0
        if self._how.fit == "letterbox-centre":
            left, top = (width - inner.shape[1]) // 2, (height - inner.shape[0]) // 2
        fitted = np.full((height, width, 3), self._how.pad, np.uint8)
        fitted[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
        return fitted, (ratio, ratio), (left, top)

    def _maps(self, outputs: list[Floats]) -> tuple[Floats, Floats]:
        """Boxes and scores of NanoDet: a map of scores and one of distances for each stride."""
        strides, classes = self._how.strides, len(self.classes)
        shapes = [list(output.shape) for output in outputs]
        fit = all(output.ndim == 3 and output.shape[0] == 1 for output in outputs)
        scores = [output[0] for output in outputs if fit and output.shape[2] == classes]
        distances = [output[0] for output in outputs if fit and output.shape[2] != classes]
        if not len(scores) == len(distances) == len(strides) or any(d.shape[1] % 4 for d in distances):
            raise ModelError(
                f"{self.name} gives {shapes}; nanodet with {classes} classes is (1, N, {classes}) and (1, N, 4 x bins) "
                f"for each of the strides {list(strides)}; write a description of this detector "
                "(docs/guide/detection.md)"
            )
        return decode_nanodet(scores, distances, self._size, strides)

    def _planes(self, outputs: list[Floats]) -> tuple[Floats, Floats]:
        """Boxes and scores of FastestDet."""
        shape, classes = outputs[0].shape, len(self.classes)
        if len(shape) != 4 or shape[:2] != (1, 5 + classes):
            raise ModelError(
                f"{self.name} gives {list(shape)}; fastestdet with {classes} classes is (1, {5 + classes}, rows, "
                "columns); write a description of this detector (docs/guide/detection.md)"
            )
        return decode_fastestdet(outputs[0][0], self._size, self._how.strides)

    def _candidates(self, outputs: list[Floats]) -> tuple[Floats, Floats]:
        """(N, 4) boxes in pixels of the input and (N, classes) scores of a network's only output."""
        how, classes, output = self._how, len(self.classes), outputs[0]
        objectness = how.output == "yolox" or how.objectness
        columns = 4 + objectness + classes
        table = output[0] if output.ndim == 3 and output.shape[0] == 1 else output
        if table.ndim == 2 and how.output == "yolo" and table.shape[0] == columns != table.shape[1]:
            table = table.T
        if table.ndim != 2 or table.shape[1] != columns:
            raise ModelError(
                f"{self.name} gives {list(output.shape)}, {how.output} with {classes} classes is (1, N, {columns}); "
                "write a description of this detector (docs/guide/detection.md)"
            )
        if how.output == "yolox":
            table = decode_yolox(table, self._size, how.strides)
        half = table[:, 2:4] / 2
        boxes = np.concatenate([table[:, :2] - half, table[:, :2] + half], 1)
        if how.relative:
            boxes = boxes * np.array([*self._size, *self._size], np.float32)
        scores = table[:, 4 + objectness :]
        return boxes, table[:, 4:5] * scores if objectness else scores

    def _listed(self, outputs: dict[str, NDArray[Any]]) -> Found:
        """What a network that ends with its own suppression says, in pixels of the input."""
        how = self._how
        missing = [n for n in (how.boxes, how.scores, how.labels) if n not in outputs]
        if missing:
            raise ModelError(f"{self.name} has no output {', '.join(missing)}, it has {', '.join(outputs)}")
        boxes = outputs[how.boxes].reshape(-1, 4).astype(np.float32)
        scores = outputs[how.scores].reshape(-1).astype(np.float32)
        labels = outputs[how.labels].reshape(-1).astype(np.int64) - how.first_label
        if how.relative:
            boxes = boxes * np.array([*self._size, *self._size], np.float32)
        kept = (scores > how.score) & (labels >= 0) & (labels < len(self.classes))
        if how.nms is None:
            return Found(boxes[kept], scores[kept], labels[kept])
        spread = np.zeros((int(kept.sum()), len(self.classes)), np.float32)
        spread[np.arange(len(spread)), labels[kept]] = scores[kept]
        return suppress(boxes[kept], spread, how.score, how.nms)


def resize(image: Rgb, width: int, height: int) -> Rgb:
    """Linear, without smoothing, in 11-bit weights: cv2.resize(..., INTER_LINEAR) of an 8-bit picture, bit by bit."""
    if image.shape[:2] == (height, width):
        return image
    left, right, first, second = _taps(image.shape[1], width)
    # a column beyond the border has no second neighbour; a row has its own once more
    outside = (left < 0) | (left >= image.shape[1] - 1)
    first[outside], second[outside] = 2048, 0
    left, right = (np.clip(i, 0, image.shape[1] - 1) for i in (left, right))
    wide = image.astype(np.int32)
    wide = wide[:, left] * first[:, None] + wide[:, right] * second[:, None]
    top, bottom, first, second = _taps(image.shape[0], height)
    top, bottom = (np.clip(i, 0, image.shape[0] - 1) for i in (top, bottom))
    upper, lower = (
        (weight[:, None, None] * (wide[rows] >> 4)) >> 16 for rows, weight in ((top, first), (bottom, second))
    )
    return np.clip((upper + lower + 2) >> 2, 0, 255).astype(np.uint8)


def _taps(size: int, out: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int32], NDArray[np.int32]]:
    """Places of both neighbours of every new sample, unclipped, and their weights of 2048."""
    place = ((np.arange(out) + 0.5) * (1 / (out / size)) - 0.5).astype(np.float32)
    low = np.floor(place).astype(np.int64)
    part = place - low.astype(np.float32)
    second = np.rint(part * np.float32(2048)).astype(np.int32)
    return low, low + 1, np.rint((np.float32(1) - part) * np.float32(2048)).astype(np.int32), second


def _first(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
