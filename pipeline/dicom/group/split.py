"""Slices of one SeriesInstanceUID told apart into volumes.

One UID can hold several phases, echoes, b-values or reconstructions. What belongs to a series as a whole (its
description, its start, its contrast agent) tells volumes apart by itself. What also changes inside one scan (an
acquisition number in step-and-shoot, a time in every slice) does so only where the slices it separates cover the same
part of the body: a scan goes along the patient once.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.core.records import Instance, Problem, Severity
from pipeline.dicom.group.grid import SAME_PLACE_MM, axes, in_plane, vector

MIN_SLICES = 3
"""Fewer slices show no spacing: what splits off less than this is an oddity of one slice, not a volume."""

SHARED_COVERAGE = 0.5
"""Two sets of slices cover the same part of the body when they share this much of the shorter one."""

PAUSE_S = 3.0
"""A pause in the times of slices that may separate two scans; a table moves on within less."""

LONG_PAUSE_S = 15.0
"""A pause between two blocks that lie one behind the other, too long for one breath-held scan."""

NUMBER_TOLERANCE = 0.3
"""How far, relatively, numbers and positions of neighbouring slices may go apart by rounding and still go together."""

PLACE_TOLERANCE_MM = 0.05
"""Positions of one place in two phases differ by rounding, less than this; slices are at least 0.2 mm apart."""

ORIENTATION_TOLERANCE = 1e-3
PIXEL_SPACING_TOLERANCE = 1e-3
"""Slices of one volume agree in direction cosines, and in pixel spacing (relative), up to rounding."""

_CLOCK = re.compile(r"(\d\d)(?:(\d\d)(?:(\d\d(?:\.\d+)?))?)?(?:[+-]\d{4})?$", re.ASCII)

Part = list[Instance]
Discriminator = Callable[[Sequence[Instance]], list[str]]
"""A name for each slice; slices with one name belong together."""

_OF_THE_SERIES = (
    "SeriesNumber",
    "SeriesDescription",
    "ProtocolName",
    "SeriesDate",
    "SeriesTime",
    "ContrastBolusAgent",
    "ContrastBolusStartTime",
    "ConvolutionKernel",
    "StackID",
)
_OF_THE_SCAN = (
    "TemporalPositionIdentifier",
    "EchoNumbers",
    "EchoTime",
    "DiffusionBValue",
    "ImageType",
    "InversionTime",
    "FlipAngle",
    "ScanningSequence",
    "KVP",
)
_OF_THE_SWEEP = ("AcquisitionNumber", "TriggerTime")
"""MR acquires odd and even slices in turn, so there these mean something only where positions repeat."""


def by_geometry(slices: Sequence[Instance]) -> list[Part]:
    """Slices by matrix, pixel spacing, orientation, frame of reference and modality.

    A slice without orientation, spacing or modality joins the slices of its matrix (without a matrix, the largest
    group), so that they are refused together instead of silently lacking it.
    """
    groups: dict[tuple[object, ...], Part] = {}
    incomplete: Part = []
    planes: list[tuple[NDArray[np.float64], float, float]] = []
    for slice_ in slices:
        directions, plane = axes(slice_), in_plane(slice_)
        if directions is None or plane is None or not slice_.text("Modality"):
            incomplete.append(slice_)
            continue
        key = (*_matrix(slice_), slice_.text("FrameOfReferenceUID"), _plane_class(planes, directions, plane[2:]))
        groups.setdefault(key, []).append(slice_)
    for slice_ in incomplete:
        known = slice_.number("Rows") is not None
        same = [group for key, group in groups.items() if key[1:3] == _matrix(slice_)[1:] or not known]
        home = max(same, key=len, default=None)
        if home is None:
            home = groups.setdefault((*_matrix(slice_), "", -1), [])
        home.append(slice_)
    return list(groups.values())


def _matrix(slice_: Instance) -> tuple[object, ...]:
    return slice_.text("Modality"), slice_.number("Rows"), slice_.number("Columns")


def _plane_class(
    known: list[tuple[NDArray[np.float64], float, float]],
    directions: NDArray[np.float64],
    spacing: tuple[float, float],
) -> int:
    """Number of the plane a slice is parallel to, a new one where none is."""
    for number, (other, row_mm, column_mm) in enumerate(known):
        parallel = np.abs(directions - other).max() <= ORIENTATION_TOLERANCE
        if parallel and np.allclose(spacing, (row_mm, column_mm), rtol=PIXEL_SPACING_TOLERANCE, atol=0):
            return number
    known.append((directions, *spacing))
    return len(known) - 1


def at_one_place(slices: Part) -> list[Part]:
    """Groups of slices that lie at one position; only groups of at least two."""
    if any(vector(slice_, "ImagePositionPatient", 3) is None for slice_ in slices) or axes(slices[0]) is None:
        return []
    places: dict[int, Part] = defaultdict(list)
    for slice_, place in zip(slices, _places(_heights(slices)).tolist(), strict=True):
        places[place].append(slice_)
    return [group for group in places.values() if len(group) > 1]


def into_volumes(slices: Part) -> list[tuple[Part, tuple[Problem, ...]]]:
    """Slices of one geometry as volumes, each with what is doubtful about telling them apart."""
    if any(vector(slice_, "ImagePositionPatient", 3) is None for slice_ in slices):
        return [(slices, ())]
    volumes = []
    for part in _by_series(slices):
        volumes.extend(_by_scan(part))
    return volumes


def _by_series(slices: Part) -> list[Part]:
    parts = [slices]
    for keyword in _OF_THE_SERIES:
        parts = [piece for part in parts for piece in _solid_classes(part, keyword)]
    return parts


def _solid_classes(slices: Part, keyword: str) -> list[Part]:
    classes = _classes(slices, _named(keyword)(slices))
    return classes if min(map(len, classes)) >= MIN_SLICES else [slices]


def _by_scan(slices: Part) -> list[tuple[Part, tuple[Problem, ...]]]:
    heights = _heights(slices)
    if np.ptp(heights) < SAME_PLACE_MM:
        return [(slices, ())]
    sweeps = _OF_THE_SWEEP if slices[0].text("Modality") == "CT" or _repeats(heights) > 1 else ()
    names = [_named(keyword) for keyword in (*_OF_THE_SCAN, *sweeps)]
    for discriminator in (*names, *([_pauses] if sweeps else [])):
        classes = _classes(slices, discriminator(slices))
        if len(classes) > 1 and _tell_apart(classes, heights, slices):
            return [volume for part in classes for volume in _by_scan(part)]
    return _by_number(slices, heights)


def _tell_apart(classes: list[Part], heights: NDArray[np.float64], slices: Part) -> bool:
    """True when the classes are volumes of their own that cover the same part of the body."""
    if min(map(len, classes)) < MIN_SLICES:
        return False
    height_of = dict(zip(map(id, slices), heights, strict=True))
    spans = [np.array([height_of[id(slice_)] for slice_ in part]) for part in classes]
    if _repeats(heights) > 1:
        return max(map(_repeats, spans)) < _repeats(heights)
    return all(any(_share_coverage(one, other) for other in spans if other is not one) for one in spans)


def _share_coverage(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    shared = min(one.max(), other.max()) - max(one.min(), other.min())
    return bool(shared > SHARED_COVERAGE * min(np.ptp(one), np.ptp(other)))


def _by_number(slices: Part, heights: NDArray[np.float64]) -> list[tuple[Part, tuple[Problem, ...]]]:
    """What only InstanceNumber can tell apart; always flagged."""
    times = _repeats(heights)
    numbers = set(map(_instance_number, slices))
    complete = len(slices) == times * len(set(_places(heights).tolist()))
    if times > 1 and complete and len(numbers) == len(slices):
        parts = _by_occurrence(slices, heights)
        message = f"{times} volumes at the same positions, separated by InstanceNumber alone"
        return [(part, (Problem("told-apart-by-number", Severity.FLAG, message),)) for part in parts]
    runs = _sweeps(slices, heights) if times == 1 else []
    if len(runs) > 1 and _tell_apart(runs, heights, slices):
        message = f"{len(runs)} passes along the patient, separated by InstanceNumber alone"
        doubt = Problem("told-apart-by-number", Severity.FLAG, message)
        if slices[0].text("Modality") == "CT":
            return [(part, (doubt,)) for part in runs]
        return [(slices, (replace(doubt, message=f"{message}, and kept together"),))]
    return [(slices, _doubts(slices, heights) if times == 1 else ())]


def _by_occurrence(slices: Part, heights: NDArray[np.float64]) -> list[Part]:
    """The first slice of each position, the second of each, and so on, by InstanceNumber."""
    places = _places(heights)
    order = sorted(range(len(slices)), key=lambda index: (_instance_number(slices[index]), index))
    seen = Counter[int]()
    parts: dict[int, Part] = defaultdict(list)
    for index in order:
        place = int(places[index])
        parts[seen[place]].append(slices[index])
        seen[place] += 1
    return list(parts.values())


def _sweeps(slices: Part, heights: NDArray[np.float64]) -> list[Part]:
    """Slices in order of InstanceNumber, cut where the way along the patient starts anew."""
    order = sorted(range(len(slices)), key=lambda i: _instance_number(slices[i]))
    numbers = [_instance_number(slices[index]) for index in order]
    if len(set(numbers)) < len(numbers):
        return []
    steps = np.diff(heights[order])
    usual = np.sign(np.median(steps))
    runs: list[Part] = [[slices[order[0]]]]
    for index, step in zip(order[1:], steps, strict=True):
        if np.sign(step) == usual:
            runs[-1].append(slices[index])
        else:
            runs.append([slices[index]])
    return runs


def _doubts(slices: Part, heights: NDArray[np.float64]) -> tuple[Problem, ...]:
    """Two blocks one behind the other that look like two scans, although nothing solid says so; CT only."""
    if slices[0].text("Modality") != "CT":
        return ()
    order = np.argsort(heights, kind="stable")
    ordered = [slices[index] for index in order]
    for why, names in (
        (f"more than {LONG_PAUSE_S:.0f} s apart", _long_pauses(ordered)),
        ("with no times to show that one followed the other at once", _untimed_acquisitions(ordered)),
        ("with a gap in their numbers", _number_gaps(ordered, heights[order])),
        *((f"of another {keyword}", _named(keyword)(ordered)) for keyword in _OF_THE_SCAN),
    ):
        changes = [index for index, (one, other) in enumerate(pairwise(names), start=1) if one != other]
        if len(changes) == 1 and MIN_SLICES <= changes[0] <= len(ordered) - MIN_SLICES:
            message = f"two acquisitions, one behind the other along the body, {why}: they may be two phases"
            return (Problem("two-acquisitions", Severity.FLAG, message),)
    return ()


def _long_pauses(slices: Sequence[Instance]) -> list[str]:
    """How many long pauses came before each slice; nothing where a time is unknown."""
    times = [time_s(slice_) for slice_ in slices]
    known = sorted({time for time in times if time is not None})
    starts = [later for earlier, later in pairwise(known) if later - earlier >= LONG_PAUSE_S]
    return [] if None in times else [str(sum(start <= time for start in starts)) for time in times if time is not None]


def _untimed_acquisitions(slices: Sequence[Instance]) -> list[str]:
    """AcquisitionNumber of each slice where no times tell that one scan followed the other at once."""
    is_timed = len({time_s(slice_) for slice_ in slices}) > 1
    return [] if is_timed else _named("AcquisitionNumber")(slices)


def _number_gaps(slices: Sequence[Instance], heights: NDArray[np.float64]) -> list[str]:
    """How often numbers went on faster or slower than positions before each slice; nothing where some are missing."""
    numbers = [_instance_number(slice_) for slice_ in slices]
    if not np.isfinite(numbers).all():
        return []
    rates = np.abs(np.diff(numbers)) / np.diff(heights)
    return [str(gaps) for gaps in np.cumsum([0, *~np.isclose(rates, np.median(rates), rtol=NUMBER_TOLERANCE)])]


def _pauses(slices: Sequence[Instance]) -> list[str]:
    """Slices by scan, where a pause in their times separates the scans."""
    times = [time_s(slice_) for slice_ in slices]
    known = sorted({time for time in times if time is not None})
    if len(known) < 2 or None in times:
        return [""] * len(slices)
    gaps = np.diff(known)
    limit = max(PAUSE_S, 5 * float(np.median(gaps)) if len(gaps) > MIN_SLICES else 0.0)
    starts = [later for earlier, later in pairwise(known) if later - earlier > limit]
    return [str(sum(start <= time for start in starts)) for time in times if time is not None]


def time_s(slice_: Instance) -> float | None:
    """Seconds into the day at which a slice was acquired; None where the header does not tell."""
    stamp = slice_.text("AcquisitionDateTime")
    text = stamp[8:] if len(stamp) >= 14 else slice_.text("AcquisitionTime") or slice_.text("ContentTime")
    return clock_s(text)


def clock_s(text: str) -> float | None:
    """Seconds into the day of a DICOM time (TM); None when it is none."""
    match = _CLOCK.match(text.replace(":", "").strip())
    if match is None:
        return None
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def _named(keyword: str) -> Discriminator:
    return lambda slices: [_rounded(slice_, keyword) for slice_ in slices]


def _rounded(slice_: Instance, keyword: str) -> str:
    value = slice_.header.get(keyword)
    return f"{value:.3f}" if isinstance(value, float) else slice_.text(keyword).upper()


def _classes(slices: Sequence[Instance], names: Iterable[str]) -> list[Part]:
    classes: dict[str, Part] = defaultdict(list)
    for slice_, name in zip(slices, names, strict=True):
        classes[name].append(slice_)
    return [classes[name] for name in sorted(classes)]


def _heights(slices: Sequence[Instance]) -> NDArray[np.float64]:
    directions = axes(slices[0])
    points = np.array([vector(slice_, "ImagePositionPatient", 3) for slice_ in slices])
    normal = np.array([0.0, 0.0, 1.0]) if directions is None else directions[0]
    heights: NDArray[np.float64] = points @ normal
    return heights


def _places(heights: NDArray[np.float64]) -> NDArray[np.int_]:
    """Number of each slice's position, lowest first; slices nearer than rounding share one."""
    order = np.argsort(heights, kind="stable")
    places = np.empty(len(heights), dtype=np.int_)
    places[order] = np.cumsum(np.diff(heights[order], prepend=heights[order[0]]) > PLACE_TOLERANCE_MM)
    return places


def _repeats(heights: NDArray[np.float64]) -> int:
    """How many slices share the most crowded position."""
    return int(np.bincount(_places(heights)).max())


def _instance_number(slice_: Instance) -> float:
    number = slice_.number("InstanceNumber")
    return float("inf") if number is None else number
