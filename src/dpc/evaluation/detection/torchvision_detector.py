"""torchvision's detectors: Faster R-CNN with ResNet-50 and FPN, the family of the paper, and its relatives.

torchvision is not installed with dpc. Its wheel on PyPI is built for the CUDA build of torch and cannot be imported
beside the one for processors; the matching build is at https://download.pytorch.org/whl/cpu.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from dpc.errors import ModelError, OptionError, ToolMissing
from dpc.evaluation.codecs import Rgb
from dpc.evaluation.detection.protocol import Found

__all__ = ["Torchvision"]

SETTINGS = ("score_thresh", "nms_thresh", "detections_per_img", "topk_candidates")


class Torchvision:
    """A model of torchvision.models.detection. name: such as fasterrcnn_resnet50_fpn.

    weights: a file with its state dict, None for torchvision's own best, which are downloaded to torch's cache.
    Thresholds are the model's defaults. Raises OptionError, ModelError, ToolMissing.
    """

    def __init__(self, name: str, weights: Path | None = None, threads: int = 1, device: str = "cpu") -> None:
        try:
            import torch
            import torchvision
            from torchvision.models import get_model, get_model_weights, list_models
        except ImportError as error:
            raise ToolMissing(f"torchvision:{name} needs torch and torchvision ({error}); pip install both") from error
        except RuntimeError as error:  # its operators are not there
            raise ToolMissing(
                f"torchvision is installed and does not fit this torch ({' '.join(str(error).split())[:120]}); "
                "pip install torchvision --index-url https://download.pytorch.org/whl/cpu"
            ) from error
        names = list_models(module=torchvision.models.detection)
        if name not in names:
            raise OptionError(f"torchvision has no detector {name!r}; choose from {', '.join(names)}")
        if device == "cuda" and not torch.cuda.is_available():
            raise ToolMissing("this torch finds no CUDA device; use --device cpu")
        own = get_model_weights(name).DEFAULT
        torch.set_num_threads(threads)
        try:
            if weights is None:
                self._model = get_model(name, weights=own)
            else:
                self._model = get_model(name, weights=None, weights_backbone=None)
                self._model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        except Exception as error:  # a download or a file: everything may be raised
            where = weights or f"{own.url}; give a file with torchvision:{name}=FILE"
            said = " ".join(str(error).split())[:200]
            raise ModelError(f"the weights of {name} cannot be loaded ({said}) from {where}") from error
        self._torch, self._device = torch, device
        self._model.eval().to(device)
        self.classes = tuple(own.meta["categories"])
        digest = hashlib.sha256()
        for tensor in self._model.state_dict().values():
            digest.update(tensor.cpu().numpy().tobytes())
        self.name = name
        self.version = (
            f"{weights.name if weights else own} {digest.hexdigest()[:16]}, torchvision {torchvision.__version__}, "
            f"torch {torch.__version__}" + ("" if device == "cpu" else f" on {device}")
        )
        parts = [f"{key} {value}" for key in SETTINGS if (value := self._of(key)) is not None]
        transform = self._model.transform
        self.settings = f"input {transform.min_size} to {transform.max_size}, RGB; {', '.join(parts)}"

    def _of(self, setting: str) -> Any:
        return getattr(getattr(self._model, "roi_heads", self._model), setting, None)

    def detect(self, image: Rgb) -> Found:
        """What there is in a uint8 (H, W, 3) sRGB picture."""
        torch = self._torch
        pixels = torch.from_numpy(np.ascontiguousarray(image)).to(self._device).permute(2, 0, 1).float() / 255
        with torch.inference_mode():
            (found,) = self._model([pixels])
        boxes, scores, labels = (found[key].cpu().numpy() for key in ("boxes", "scores", "labels"))
        return Found(boxes.astype(np.float32), scores.astype(np.float32), labels.astype(np.int64))
