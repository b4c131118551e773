"""Rows and data sets from outside: absurd numbers, names that are formulas or markup, files of wrong types."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import make_detection as make
import numpy as np
import pytest
from PIL import Image

from dpc.errors import DPCError, OptionError
from dpc.evaluation import figures
from dpc.evaluation.codecs import Folder
from dpc.evaluation.compression import rows as compression
from dpc.evaluation.compression.drawing import curve_of
from dpc.evaluation.detection import dataset
from dpc.evaluation.detection import rows as detection
from dpc.evaluation.detection.protocol import Found
from dpc.evaluation.detection.run import boxes_of

# A name that is markup, a formula that matplotlib cannot read, a path, and hidden from legends.
WICKED = r"_<script>alert(1)</script> $\frac{ \undefined$ ../../x"


def row(**changes: Any) -> compression.Row:
    given: dict[str, Any] = {
        "codec": "c", "version": "1", "settings": "", "model": "", "image": "p", "sha256": "ab", "width": 10,
        "height": 20, "quality": 5.0, "target": None, "bytes": 25, "bpp": 1.0, "encode_s": 0.25, "decode_s": math.nan,
        "memory_mb": -0.1, "dpc": "0", "commit": "", "tools": "", "metrics": {"psnr": math.inf, "ms_ssim": math.nan},
    }  # fmt: skip
    return compression.Row(**given | changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bytes": 0, "bpp": 0.0}, "line 3: bytes is '0'"),
        ({"bytes": -25, "bpp": -1.0}, "line 3: bytes is '-25'"),
        ({"bytes": 10**400}, "line 3: bytes is '1000"),
        ({"width": 0}, "line 3: width is '0'"),
        ({"bpp": math.inf}, "line 3: bpp is 'inf'"),
        ({"bpp": math.nan}, "line 3: bpp is 'nan'"),
        ({"bpp": 0.001}, "bpp is 0.001, but 25 bytes of 10x20 pixels are 1;"),
        ({"quality": math.inf}, "line 3: quality is 'inf'"),
        ({"target": -1.0}, "line 3: target is '-1'"),
        ({"target": math.nan}, "line 3: target is 'nan'"),
        ({"encode_s": -1.0}, "line 3: encode_s is '-1'"),
        ({"encode_s": math.inf}, "line 3: encode_s is 'inf'"),
        ({"metrics": {"ms_ssim": 1.5}}, "line 3: ms_ssim is 1.5, but lies between"),
        ({"metrics": {"ms_ssim": math.inf}}, "line 3: ms_ssim is inf"),
        ({"metrics": {"psnr": -math.inf}}, "line 3: psnr is -inf"),
        ({"metrics": {"psnr": 1e300}}, "line 3: psnr is 1e"),
        ({"metrics": {"lpips_alex": -0.5}}, "line 3: lpips_alex is -0.5"),
        ({"codec": ""}, "line 3: codec is ''"),
        ({"codec": "c" * 10_000}, "line 3: codec is 'ccc"),
    ],
)
def test_numbers_that_cannot_be_are_refused(tmp_path: Path, changes: Any, said: str) -> None:
    compression.append(tmp_path / "rows.csv", [row(), row(**changes)])
    with pytest.raises(DPCError) as error:
        compression.read(tmp_path / "rows.csv")
    assert said in str(error.value) and str(tmp_path / "rows.csv") in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400
    compression.write(tmp_path / "rows.csv", [row()])
    (back,) = compression.read(tmp_path / "rows.csv")
    assert back.metrics["psnr"] == math.inf and math.isnan(back.metrics["ms_ssim"]) and back.memory_mb == -0.1


def seen(**changes: Any) -> detection.Row:
    given: dict[str, Any] = {
        "detector": "d", "detector_version": "1", "detector_settings": "", "codec": "c", "version": "1", "settings": "",
        "model": "", "annotations": "ff", "image": 7, "file": "p.jpg", "sha256": "ab", "width": 10, "height": 20,
        "quality": 12.5, "target": None, "bytes": 25, "bpp": 1.0, "dpc": "0", "commit": "", "tools": "",
        "found": np.array([[1, 0.5, 1, 2, 3, 4.0]]),
    }  # fmt: skip
    return detection.Row(**given | changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bpp": 0.0}, "bpp is '0'"),
        ({"found": np.array([[1, math.nan, 1, 2, 3, 4.0]])}, "boxes are finite numbers"),
        ({"found": np.array([[1, 0.5, math.nan, 2, 3, 4.0]])}, "boxes are finite numbers"),
        ({"found": np.array([[1, 0.5, 1, 2, math.inf, 4.0]])}, "boxes are finite numbers"),
        ({"found": np.array([[1, 7.0, 1, 2, 3, 4.0]])}, "scores are 0 to 1"),
        ({"image": 10**30}, "image is '1000"),
    ],
)
def test_boxes_that_cannot_be_are_refused(tmp_path: Path, changes: Any, said: str) -> None:
    file = tmp_path / "c.csv.gz"
    detection.append(file, [seen(), seen(**changes)])
    with pytest.raises(DPCError, match="line 3") as error:
        detection.read(file)
    assert said in str(error.value) and "\n" not in str(error.value)
    text = gzip.decompress(file.read_bytes()).decode()
    file.write_bytes(gzip.compress(text.replace("1:0.50000:1.00:2.00:3.00:4.00", "1:0.5:1").encode()))
    with pytest.raises(DPCError, match="a box is category:score:left:top:width:height"):
        detection.read(file)


@pytest.mark.parametrize("place", [0, 1])
def test_a_detector_whose_boxes_are_no_numbers_costs_its_rows(place: int) -> None:
    boxes, scores = np.array([[0, 0, 5, 5]], np.float32), np.array([0.5], np.float32)
    (boxes, scores)[place].flat[0] = math.nan
    with pytest.raises(DPCError, match="no numbers"):
        boxes_of(Found(boxes, scores, np.array([0])), {0: 1})


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["annotations"][0].update(bbox=[1, 1, math.nan, 5]), r"bbox\[2\] is nan"),
        (lambda c: c["annotations"][0].update(bbox=[1, 1, math.inf, 5]), r"bbox\[2\] is inf"),
        (lambda c: c["annotations"][0].update(bbox="1234"), r"bbox is '1234'"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 3]), r"bbox"),
        (lambda c: c["annotations"][0].update(area=math.nan), "area is nan"),
        (lambda c: c["annotations"][0].update(area=-1), "area is -1"),
        (lambda c: c["annotations"][0].update(iscrowd=2), "iscrowd is 2"),
        (lambda c: c["annotations"][0].update(image_id=math.inf), "image_id is inf"),
        (lambda c: c["annotations"][0].update(image_id=1.5), r"image_id is 1\.5"),
        (lambda c: c["annotations"][0].update(category_id=10**30), "category_id is 1000"),
        (lambda c: c["annotations"].insert(0, 7), r"annotations\[0\] is 7"),
        (lambda c: c.update(annotations={"a": 1}), "annotations is "),
        (lambda c: c.update(images="p.png"), "images is 'p.png'"),
        (lambda c: c["images"][0].update(width="wide"), "width is 'wide'"),
        (lambda c: c["images"][0].update(id=None), "id is None"),
        (lambda c: c["images"][0].pop("file_name"), "it has no images"),
        (lambda c: c["categories"][0].update(name=["red"]), "name is "),
        (lambda c: c["categories"].append(c["categories"][0]), "1 categories under an id that another one has"),
        (lambda c: c["images"][0].update(file_name="../images/0.png"), "not inside of"),
        (lambda c: c["images"][0].update(file_name="/etc/hostname"), "not inside of"),
    ],
)
def test_annotations_of_wrong_types_are_refused(tmp_path: Path, change: Change, said: str) -> None:
    file = make.dataset(tmp_path)
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(OptionError, match=said) as error:
        dataset.read(file)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


@pytest.mark.parametrize("text", ["[]", "3", "null", '"x"', "[" * 100_000, '{"images": 1e400}', b"\xff\xfe\x00"])
def test_annotations_that_are_something_else_are_refused(tmp_path: Path, text: str | bytes) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(OptionError, match=r"is not JSON|is not in COCO's format") as error:
        dataset.read(file)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ("p,nan,500,a.png", "quality nan"),
        ("p,inf,500,a.png", "quality inf"),
        ("p,30,0,a.png", "0 bytes"),
        ("p,30,-5,a.png", "-5 bytes"),
        ("p,30,1e3,a.png", "sizes.csv"),
        ("p,30,500,../a.png", "not inside of"),
        ("p,30,500,/etc/a.png", "not inside of"),
    ],
)
def test_sizes_that_cannot_be_are_refused(tmp_path: Path, cells: str, said: str) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "sizes.csv").write_text(f"image,qp,bytes,decoded\n{cells}\n")
    with pytest.raises(OptionError, match=said):
        Folder("mine", tmp_path)


def test_a_name_is_drawn_as_text(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    names = (WICKED, "a$b$c", r"a\$b", "$", "plain", "two\nlines")
    made = curve_of("psnr", {name: [(0.1, 30.0), (1.0, 40.0)] for name in names}, names)
    shown = [text.get_text() for text in made.axes[0].get_legend().get_texts()]
    assert len(shown) == len(names)
    written: dict[str, Path] = {}
    figures.save(made, tmp_path, WICKED, written)  # a formula that cannot be read would raise here
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(written) and len(written) == 2
    assert all(path.parent == tmp_path for path in written.values())


def test_a_name_leads_out_of_no_folder(tmp_path: Path) -> None:
    for name in (WICKED, "../../x", "/etc/x", "..", "a/b", "a\\b"):
        assert detection.file_of(tmp_path, name).parent == tmp_path
        assert set(figures.file_name(name)).isdisjoint("/\\") and not figures.file_name(name).startswith(".")
