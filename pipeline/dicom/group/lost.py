"""Slices that were never sent: a series cut at an end looks whole, but for what its header says of the whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from pipeline.core.records import Instance, Problem, Series, Severity
from pipeline.dicom.group.grid import gaps_mm

MULTIPLE_TOLERANCE = 0.05
"""How far a measured spacing may be from a whole multiple of the stated one, relatively."""

Acquisition = tuple[str, ...]


def images_lost(families: Iterable[Sequence[Instance]]) -> dict[str, str]:
    """SeriesInstanceUID to a sentence, for series of which fewer images are there than their acquisition gave.

    ImagesInAcquisition may count the images of several series: reconstructions that are each incomplete by it, and
    complete together, lack nothing.

    Args:
        families: the objects of each series, of all studies.
    """
    incomplete: dict[Acquisition, list[tuple[str, int]]] = defaultdict(list)
    for family in families:
        expected = family[0].number("ImagesInAcquisition")
        count = sum(int(one.number("NumberOfFrames") or 1) for one in family)
        if expected is not None and count < expected:
            words = ("PatientID", "StudyInstanceUID", "Modality", "AcquisitionNumber", "ImagesInAcquisition")
            acquisition = tuple(family[0].text(word) for word in words)
            incomplete[acquisition].append((family[0].text("SeriesInstanceUID"), count))
    lost = {}
    for acquisition, found in incomplete.items():
        expected, there = float(acquisition[-1]), sum(count for _, count in found)
        if there < expected:
            message = f"ImagesInAcquisition says {expected:.0f} images, {there} are here"
            lost.update(dict.fromkeys((uid for uid, _ in found), message))
    return lost


def spacing_problems(series: Series) -> Iterator[Problem]:
    """A flag where slices lie twice or more as far apart as the header says: those between them may be lost."""
    gaps = gaps_mm(series.instances)
    stated = abs(series.first.number("SpacingBetweenSlices") or 0.0)
    if series.geometry is None or not gaps.size or stated <= 0:
        return
    measured = float(np.mean(gaps))
    times = round(measured / stated)
    if times < 2 or abs(measured / stated - times) > MULTIPLE_TOLERANCE * times:
        return
    if _is_gap_between_edges(series, measured, stated) and not _numbers_skip(series, times):
        return
    message = f"slices lie {measured:.2f} mm apart, SpacingBetweenSlices says {stated:.2f} mm"
    yield slices_lost(message)


def _is_gap_between_edges(series: Series, measured: float, stated: float) -> bool:
    """True where SpacingBetweenSlices may be the gap from edge to edge, as some scanners mean it."""
    thickness = series.first.number("SliceThickness") or 0.0
    return abs(thickness + stated - measured) <= MULTIPLE_TOLERANCE * measured


def _numbers_skip(series: Series, times: int) -> bool:
    """True where instance numbers leave out as many slices as the spacing does."""
    numbers = [slice_.number("InstanceNumber") or 0.0 for slice_ in series.instances]
    return {abs(later - earlier) for earlier, later in pairwise(numbers)} == {float(times)}


def slices_lost(message: str) -> Problem:
    """The flag of a series that may be incomplete."""
    return Problem("slices-lost", Severity.FLAG, f"{message}: slices may be missing")
