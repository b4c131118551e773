"""A detector of red and blue squares, and a test set of them: small, made here, and right or wrong by construction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CELL, SIDE = 16, 64  # squares fill cells of 16 pixels in pictures of 64

TOML = 'model = "squares.onnx"\nclasses = ["red", "blue"]\nstrides = [16]\n'


def network(path: Path) -> None:
    """YOLOX's form: a row for each cell with offset, log size, objectness 1 and the classes (R - B) / 255 and back."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.zeros((7, 3, 1, 1), np.float32)
    weights[5, :, 0, 0] = -1 / 255, 0, 1 / 255  # the input is BGR
    weights[6, :, 0, 0] = 1 / 255, 0, -1 / 255
    bias = np.array([0.5, 0.5, 0, 0, 1, 0, 0], np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("AveragePool", ["x"], ["p"], kernel_shape=[CELL, CELL], strides=[CELL, CELL]),
            helper.make_node("Conv", ["p", "w", "b"], ["c"]),
            helper.make_node("Clip", ["c", "zero", "one"], ["l"]),
            helper.make_node("Reshape", ["l", "shape"], ["r"]),
            helper.make_node("Transpose", ["r"], ["y"], perm=[0, 2, 1]),
        ],
        "squares",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, (SIDE // CELL) ** 2, 7])],
        [
            numpy_helper.from_array(weights, "w"),
            numpy_helper.from_array(bias, "b"),
            numpy_helper.from_array(np.float32(0), "zero"),
            numpy_helper.from_array(np.float32(1), "one"),
            numpy_helper.from_array(np.array([1, 7, -1], np.int64), "shape"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def detector(folder: Path) -> Path:
    """The description of the detector, in the folder with its network."""
    folder.mkdir(exist_ok=True)
    network(folder / "squares.onnx")
    (folder / "squares.toml").write_text(TOML)
    return folder / "squares.toml"


def picture(seed: int) -> tuple[np.ndarray[Any, Any], list[tuple[int, int, int]]]:
    """A grey picture with noise and 3 squares, weaker from one to the next, and (category, column, row) of each."""
    rng = np.random.default_rng(seed)
    rgb = np.full((SIDE, SIDE, 3), 128.0)
    places = rng.permutation((SIDE // CELL) ** 2)[:3]
    squares = []
    for strength, place in zip((200, 110, 40), places.tolist(), strict=True):
        row, column = divmod(place, SIDE // CELL)
        category = int(rng.integers(1, 3))
        sign = 1 if category == 1 else -1
        area = rgb[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]
        area += np.array([sign, 0, -sign]) * strength / 2
        squares.append((category, column, row))
    return np.clip(rgb + rng.normal(0, 8, rgb.shape), 0, 255).astype(np.uint8), squares


def dataset(folder: Path, count: int = 6) -> Path:
    """An annotations file with its images beside it."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {"categories": [{"id": 1, "name": "red"}, {"id": 2, "name": "Blue"}], "images": []}
    content["annotations"] = []
    for i in range(count):
        rgb, squares = picture(i)
        Image.fromarray(rgb).save(folder / "images" / f"{i}.png")
        content["images"].append({"id": 10 + i, "file_name": f"{i}.png", "width": SIDE, "height": SIDE})
        for category, column, row in squares:
            box = [column * CELL, row * CELL, CELL, CELL]
            content["annotations"].append(
                {"id": len(content["annotations"]), "image_id": 10 + i, "category_id": category, "bbox": box}
            )
    file = folder / "instances.json"
    file.write_text(json.dumps(content))
    return file
