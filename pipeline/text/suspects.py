"""A second opinion on a series that looks as if it held text.

Tesseract, where it is installed, is asked whether it reads anything at the place. It never clears a series: what it
cannot read, a person may. What it reads is not kept.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.pictures.display import Picture, display_range, to_gray
from pipeline.pictures.sheets import png_bytes
from pipeline.text.find import TextFinding
from pipeline.text.lines import TextLine

INK_PERCENTILES = (1.0, 99.9)
"""Black and white of a slice: few pixels are ink, and it is often the brightest."""

SLICES_READ = 3
"""Of a series, to which tesseract is asked; text usually stands in all slices or in one."""

READABLE_HEIGHT_PIXELS = 40
"""To which a line is enlarged; tesseract was trained on print of about this size."""

MIN_CONFIDENCE = 50.0
MIN_CHARACTERS = 4
"""Letters and digits of one word, or of several, that are no chance reading of edges."""

TIMEOUT_S = 20.0
_AS_ONE_LINE = ("stdin", "stdout", "--psm", "7", "tsv")
_CONFIDENCE, _TEXT = 10, 11


def is_read(slices: Sequence[NDArray[Any]], finding: TextFinding) -> bool | None:
    """Whether tesseract reads letters where lines were found; None where it is not installed, or nothing was found."""
    program = shutil.which("tesseract")
    if program is None or not finding.is_suspect:
        return None
    crops = (_crop(slices[number], line) for number, line in _suspects(slices, finding))
    return any(_characters(program, picture) >= MIN_CHARACTERS for crop in crops for picture in (crop, 255 - crop))


def _suspects(slices: Sequence[Any], finding: TextFinding) -> list[tuple[int, TextLine]]:
    """Slices with the line to look at in each; where none stands out, the line that stays in place in some of all."""
    if finding.lines or finding.static is None:
        return list(finding.lines[:SLICES_READ])
    return [(number, finding.static) for number in range(0, len(slices), max(1, len(slices) // SLICES_READ))][
        :SLICES_READ
    ]


def _crop(values: NDArray[Any], line: TextLine) -> Picture:
    """The line and half its height around it, enlarged, in shades of grey."""
    height = line.bottom - line.top
    margin = height // 2 + 1
    rows = slice(max(line.top - margin, 0), line.bottom + margin)
    part = _shades(values[rows, max(line.left - margin, 0) : line.right + margin])
    gray = part if part.ndim == 2 else part.mean(axis=2)
    zoom = max(1.0, READABLE_HEIGHT_PIXELS / height)
    return np.asarray(ndimage.zoom(gray, zoom, order=1), dtype=np.uint8)


def _shades(values: NDArray[Any]) -> Picture:
    return to_gray(values, display_range(values, percentiles=INK_PERCENTILES))


def _characters(program: str, picture: Picture) -> int:
    """How many letters and digits are read with confidence; 0 when the program fails."""
    try:
        said = subprocess.run(
            [program, *_AS_ONE_LINE], input=png_bytes(picture), capture_output=True, timeout=TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    return sum(len(word) for word in _words(said.stdout.decode(errors="replace")))


def _words(table: str) -> Iterator[str]:
    for row in table.splitlines()[1:]:
        cells = row.split("\t")
        if len(cells) > _TEXT and float(cells[_CONFIDENCE]) >= MIN_CONFIDENCE:
            yield "".join(character for character in cells[_TEXT] if character.isalnum())
