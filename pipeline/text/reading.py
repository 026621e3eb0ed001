"""The door to the text reader: where letters stand in a picture, in lines, turned or one above the other.

PP-OCR finds what looks like letters, turns what is upside down, and reads it; rapidocr brings it and its weights. It
runs on the CPU and on one thread, so that equal pictures give equal readings, and asks the network for nothing. What is
read is not kept, only where.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.text.lines import TextLine

READABLE_PIXELS = 512
"""Shorter side to which a smaller picture is enlarged; in one as large, print of 10 pixels and more is read."""

LEAST_CONFIDENCE = {1: 0.985, 2: 0.7, 3: 0.5}
"""With which a text is read, by how many different characters it has, three and more being one."""

MOST_ENLARGED = 8

HIGHEST_LETTERS_PIXELS, HIGHEST_LETTERS_SHARE = 48, 1 / 8
"""The higher of both, of the shorter side; what is read higher still is a row of small pictures in a mosaic."""

LIKE_RINGS = frozenset("0123OQCDGU4689BES@●◎○①②③④Φ〇回")
"""Characters as which rings and spots are read, in rows too; they count as one character."""

NOT_ALONE = LIKE_RINGS | frozenset("IiLlTtJjVvrnmuwWMeosc—一三二日口Ⅲ中品电")
"""Characters as which edges and rings are read; one of them alone is no text."""

WEIGHTS = {
    "Det.model_path": "PP-OCRv6_det_small.onnx",
    "Cls.model_path": "ch_ppocr_mobile_v2.0_cls_mobile.onnx",
    "Rec.model_path": "PP-OCRv6_rec_small.onnx",
}
"""Files in the package; without their paths it might fetch others."""

SETTINGS: Mapping[str, Any] = {
    "Global.log_level": "critical",
    "Global.text_score": 0.0,
    "Global.max_side_len": 1 << 14,
    "EngineConfig.onnxruntime.intra_op_num_threads": 1,
    "EngineConfig.onnxruntime.inter_op_num_threads": 1,
    "Det.limit_side_len": 32,
    "Det.box_thresh": 0.4,
    "Cls.cls_thresh": 0.6,
    "Rec.rec_img_shape": [3, 48, 96],
    "Rec.rec_batch_num": 1,
}
"""Silent, on one thread, pictures as large as they come; short texts are not padded and wait for no longer ones."""


def read(picture: NDArray[np.uint8]) -> list[TextLine]:
    """Where letters are read.

    Args:
        picture: (rows, columns), letters brighter or darker than what is around them.
    """
    import cv2

    zoom = float(np.clip(READABLE_PIXELS / min(picture.shape), 1, MOST_ENLARGED))
    larger = cv2.resize(picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC) if zoom > 1 else picture
    found = _reader()(np.asarray(larger, dtype=np.uint8))
    if found.boxes is None:
        return []
    read_there = zip(found.boxes, found.txts, found.scores, strict=True)
    lines = [_line(corners / zoom) for corners, text, confidence in read_there if is_text(text, confidence)]
    highest = max(HIGHEST_LETTERS_PIXELS, HIGHEST_LETTERS_SHARE * min(picture.shape))
    return [line for line in lines if min(line.bottom - line.top, line.right - line.left) <= highest]


@functools.cache
def _reader() -> Callable[[NDArray[np.uint8]], Any]:
    import cv2
    import rapidocr

    cv2.setNumThreads(1)
    folder = Path(rapidocr.__file__).parent / "models"
    weights = {name: str(folder / file) for name, file in WEIGHTS.items()}
    reader: Callable[[NDArray[np.uint8]], Any] = rapidocr.RapidOCR(params={**SETTINGS, **weights})
    return reader


def is_text(text: str, confidence: float) -> bool:
    """Whether what was read stands in the picture, and no ring, edge or row of spots was taken for it."""
    characters = {one for one in text if one.isalnum() or one in LIKE_RINGS}
    different = len({"0" if one in LIKE_RINGS else one for one in "".join(characters).upper()})
    is_alone = different == 1 and characters <= NOT_ALONE
    return different > 0 and not is_alone and confidence >= LEAST_CONFIDENCE[min(different, 3)]


def _line(corners: NDArray[np.floating[Any]]) -> TextLine:
    left, top = np.floor(corners.min(axis=0)).astype(int)
    right, bottom = np.ceil(corners.max(axis=0)).astype(int)
    return TextLine(int(top), int(bottom), int(left), int(right))
