"""What one slice says against all the others of its series, and slices that their series has lost.

No checksum guards a DICOM file: a damaged byte gives another number, not an error. But a series tells most facts once a
slice. A value that all slices share but one is more likely damaged than meant, and so is a slice that stands alone
exactly where the line of another series goes on. Pixel values are told only once; of them nothing can be said.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core.records import Instance, Problem, Series, Severity, SourceFile
from pipeline.dicom.group.grid import vector
from pipeline.dicom.read.header import TRANSFER_SYNTAX

MIN_AGREEING = 2
"""So many slices must agree before another one is odd among them."""

CONTINUES = 0.1
"""How far from where the next slice is expected one may lie and be it, as a share of the step."""

_DECIMALS = 5
"""Direction cosines that agree to this differ by less than 0.01 mm across the widest image."""

_ONCE_A_SLICE = (
    *("RescaleSlope", "RescaleIntercept", "RescaleType", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit", "PhotometricInterpretation"),
    *("SamplesPerPixel", "PixelSpacing", "ImageOrientationPatient", TRANSFER_SYNTAX),
)
"""What decides values and place, and is the same in all slices or differs from each to the next."""


def odd_slice_problems(slices: Sequence[Instance]) -> list[Problem]:
    """A flag for each attribute that all slices share but one; none where slices differ in any other way."""
    problems = []
    for keyword in _ONCE_A_SLICE:
        values = [_comparable(slice_.header.get(keyword)) for slice_ in slices]
        counts = Counter(values).most_common()
        if len(counts) == 2 and counts[1][1] == 1 and counts[0][1] >= MIN_AGREEING:
            number = values.index(counts[1][0]) + 1
            message = f"slice {number} of {len(slices)} has a different {keyword} from all others: it may be damaged"
            problems.append(Problem("odd-slice", Severity.FLAG, message))
    return problems


def _comparable(value: object) -> object:
    """A value; several numbers without the rounding in their last digits."""
    if not isinstance(value, tuple):
        return value
    return tuple(round(part, _DECIMALS) if isinstance(part, float) else part for part in value)


def continued(series: Iterable[Series], loose: Iterable[Instance]) -> frozenset[str]:
    """Keys of the series that go on with a loose slice of their folder: it lies one step before or behind them."""
    places: dict[tuple[Path, str], list[NDArray[np.float64]]] = defaultdict(list)
    for slice_ in loose:
        place = vector(slice_, "ImagePositionPatient", 3)
        if place is not None:
            places[folder_of(slice_.source)].append(place)
    return frozenset(one.key for one in series if _goes_on(one, places.get(folder_of(one.first.source), [])))


def _goes_on(series: Series, places: Sequence[NDArray[np.float64]]) -> bool:
    if series.geometry is None or len(series.instances) <= MIN_AGREEING:
        return False
    step, first = series.geometry.affine[:3, 0], series.geometry.affine[:3, 3]
    nearby = CONTINUES * float(np.linalg.norm(step))
    ends = first - step, first + len(series.instances) * step
    return any(float(np.linalg.norm(place - end)) <= nearby for place in places for end in ends)


def folder_of(source: SourceFile) -> tuple[Path, str]:
    """Where a file lies: its folder, or its archive and the folder in it."""
    if source.member is None:
        return source.path.parent, ""
    return source.path, source.member.rpartition("/")[0]
