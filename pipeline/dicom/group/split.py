"""Slices of one SeriesInstanceUID told apart into volumes.

One UID can hold several phases, echoes, b-values or reconstructions. What decides is where the slices lie. Slices that
form one even line, each at a place of its own, are one scan, whatever else differs between them; a volume is flagged
where something differs that one scan has only once. Where places repeat, or no even line goes through all slices, they
are several volumes, and come apart by the attribute that leaves even lines.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import dictionary_VR

from pipeline.core.records import Instance, Problem, Severity
from pipeline.dicom.group.grid import SAME_PLACE_MM, axes, in_plane, stack, vector
from pipeline.dicom.group.times import pauses, time_s
from pipeline.dicom.read import header as words

MIN_SLICES = 3
"""Fewer slices show no spacing: what splits off less than this is an oddity of one slice, not a volume."""

SHARED_COVERAGE = 0.5
"""Two sets of slices cover the same part of the body when they share this much of the shorter one."""

LONG_PAUSE_S = 15.0
"""A pause between two blocks that lie one behind the other, too long for one breath-held scan."""

NUMBER_TOLERANCE = 0.3
"""How far, relatively, numbers and positions of neighbouring slices may go apart by rounding and still go together."""

PLACE_TOLERANCE_MM = 0.05
"""Positions of one place in two phases differ by rounding, less than this; slices are at least 0.2 mm apart."""

ORIENTATION_TOLERANCE = 1e-3
PIXEL_SPACING_TOLERANCE = 1e-3
"""Slices of one volume agree in direction cosines, and in pixel spacing (relative), up to rounding."""

SAME_VALUE = 0.005
SAME_VALUE_UNITS = 0.015
"""Numbers that differ by less, relatively or in their own unit, are one number that was rounded."""

Part = list[Instance]
Discriminator = Callable[[Sequence[Instance]], list[str]]
"""A name for each slice; slices with one name belong together."""

_OF_THE_SERIES = (
    *("SeriesNumber", "SeriesDescription", "ProtocolName", "SeriesDate", "SeriesTime", "FrameOfReferenceUID"),
    *("ContrastBolusAgent", "ContrastBolusStartTime", "ConvolutionKernel", "StackID"),
)
_OF_THE_SCAN = (
    *("TemporalPositionIdentifier", "EchoNumbers", "EchoTime", "DiffusionBValue", "ImageType", "InversionTime"),
    *("FlipAngle", "ScanningSequence", "KVP", "SliceThickness", "DiffusionGradientOrientation"),
    *("DiffusionDirectionality", "ContrastBolusAgentAdministered", "MonoenergeticEnergyEquivalent"),
)
ONCE_A_SCAN = (*_OF_THE_SERIES, *_OF_THE_SCAN)
"""What one scan has only once."""

_OF_THE_SWEEP = ("AcquisitionNumber", "TriggerTime")
"""What may also change within one scan: a number for each step of the table, a time for each slice."""

_OF_THE_SLICE = frozenset(
    {
        *("SOPInstanceUID", "InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
        *("SpecificCharacterSet", "DimensionIndexValues", words.FRAMES, words.FRAME_INDEX),
        *(words.FRAME_COUNT, words.PIXEL_OFFSET, words.PIXEL_LENGTH, words.TRANSFER_SYNTAX, words.WRITTEN_PATIENT),
    }
)
"""What differs between slices without making volumes of them."""

COUNTED_VRS = frozenset({"DA", "DT", "PN", "TM", "UI"})
"""Values that could tell of a patient: `Portion.distinguished_by` counts them from 1 instead."""


@dataclass(frozen=True, slots=True)
class Portion:
    """Slices of one volume.

    Attributes:
        slices: in no order.
        problems: what is doubtful about telling them apart from others, or putting them together.
        distinguished_by: attribute to value of what tells them apart from others of their series. Dates, times and
            UIDs are counted from 1 instead.
    """

    slices: Part
    problems: tuple[Problem, ...] = ()
    distinguished_by: Mapping[str, str] = field(default_factory=dict)


def by_geometry(slices: Sequence[Instance]) -> list[Part]:
    """Slices by matrix, pixel spacing, orientation and modality.

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
        key = (*_matrix(slice_), _plane_class(planes, directions, plane[2:]))
        groups.setdefault(key, []).append(slice_)
    for slice_ in incomplete:
        known = slice_.number("Rows") is not None
        same = [group for key, group in groups.items() if key[1:3] == _matrix(slice_)[1:] or not known]
        home = max(same, key=len, default=None)
        if home is None:
            home = groups.setdefault((*_matrix(slice_), -1), [])
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


def into_volumes(slices: Part) -> list[Portion]:
    """Slices of one geometry as volumes, each with what is doubtful about telling them apart."""
    if any(vector(slice_, "ImagePositionPatient", 3) is None for slice_ in slices):
        return [Portion(slices)]
    heights = _heights(slices)
    if np.ptp(heights) < SAME_PLACE_MM:
        return [Portion(slices)]
    times = _repeats(heights)
    is_even = times == 1 and is_even_line(slices)
    if is_even and not _passes_again(slices, heights):
        return [Portion(slices, _doubts(slices, heights))]
    found = _apart(slices, times=times, is_even=is_even)
    return found or _by_number(slices, heights)


def is_even_line(slices: Part) -> bool:
    """True where slices lie on one evenly spaced line, none missing, each at a place of its own."""
    return len(slices) >= MIN_SLICES and stack(slices).geometry is not None


def _passes_again(slices: Part, heights: NDArray[np.float64]) -> bool:
    """True for a CT whose numbers go along the patient more than once: two scans, the second between the first.

    MR acquires odd and even slices in turn, so there it means nothing.
    """
    return slices[0].text("Modality") == "CT" and _cover_the_same(_sweeps(slices, heights))


def _apart(slices: Part, *, times: int, is_even: bool) -> list[Portion]:
    """Volumes by the attribute that leaves even lines, else by one that leaves fewer slices at a place; or none."""
    choices = [choice for choice in _choices(slices, repeats=times > 1) if _are_volumes(choice[1])]
    for keyword, classes in choices:
        if all(map(is_even_line, classes.values())):
            if times > 1 or _cover_the_same(list(classes.values())):
                return _portions(keyword, classes)
            if not is_even and keyword in _OF_THE_SERIES:
                return _portions(keyword, classes, _two_acquisitions(f"of another {keyword}"))
    for keyword, classes in choices:
        if times > 1 and max(_repeats(_heights(part)) for part in classes.values()) < times:
            return _portions(keyword, classes)
    return []


def _choices(slices: Part, *, repeats: bool) -> Iterator[tuple[str, dict[str, Part]]]:
    """Every way to tell slices apart: what a scan has once, then times; where places repeat, whatever differs."""
    sweeps = _OF_THE_SWEEP if repeats or slices[0].text("Modality") == "CT" else ()
    for keyword in (*ONCE_A_SCAN, *sweeps):
        yield keyword, _classes(slices, _named(keyword)(slices))
    if sweeps:
        yield "AcquisitionTime", _classes(slices, pauses(slices))
    if repeats:
        yield "AcquisitionTime", _classes(slices, _rounds(slices))
        known = {*ONCE_A_SCAN, *sweeps, *_OF_THE_SLICE}
        for keyword in dict.fromkeys(keyword for slice_ in slices for keyword in slice_.header):
            if keyword not in known:
                yield keyword, _classes(slices, _named(keyword)(slices))
        if words.FRAME_INDEX in slices[0].header:
            yield "SOPInstanceUID", _classes(slices, _named("SOPInstanceUID")(slices))


def _are_volumes(classes: Mapping[str, Part]) -> bool:
    return len(classes) > 1 and min(map(len, classes.values())) >= MIN_SLICES


def _portions(keyword: str, classes: Mapping[str, Part], *doubts: Problem) -> list[Portion]:
    """The volumes of classes, each of which may hold several again."""
    is_identifying = dictionary_VR(keyword) in COUNTED_VRS
    found = []
    for number, (name, part) in enumerate(classes.items(), start=1):
        own = {keyword: str(number) if is_identifying else name}
        for portion in into_volumes(part):
            by = {**own, **portion.distinguished_by}
            found.append(Portion(portion.slices, (*doubts, *portion.problems), by))
    return found


def _cover_the_same(parts: Sequence[Part]) -> bool:
    """True when each of several parts covers the same part of the body as another."""
    if len(parts) < 2 or min(map(len, parts)) < MIN_SLICES:
        return False
    spans = [_heights(part) for part in parts]
    return all(any(_share_coverage(one, other) for other in spans if other is not one) for one in spans)


def _share_coverage(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    shared = min(one.max(), other.max()) - max(one.min(), other.min())
    return bool(shared > SHARED_COVERAGE * min(np.ptp(one), np.ptp(other)))


def _by_number(slices: Part, heights: NDArray[np.float64]) -> list[Portion]:
    """What only InstanceNumber can tell apart; always flagged."""
    times = _repeats(heights)
    numbers = set(map(_instance_number, slices))
    complete = len(slices) == times * len(set(_places(heights).tolist()))
    if times > 1 and complete and len(numbers) == len(slices):
        return _numbered(_by_occurrence(slices, heights), f"{times} volumes at the same positions")
    runs = _sweeps(slices, heights) if times == 1 else []
    if _cover_the_same(runs) and slices[0].text("Modality") == "CT":
        return _numbered(runs, f"{len(runs)} passes along the patient")
    return [Portion(slices, _doubts(slices, heights) if times == 1 else ())]


def _numbered(parts: Sequence[Part], what: str) -> list[Portion]:
    doubt = Problem("told-apart-by-number", Severity.FLAG, f"{what}, separated by InstanceNumber alone")
    return [Portion(part, (doubt,), {"InstanceNumber": str(n)}) for n, part in enumerate(parts, start=1)]


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
    """What makes slices of one line look like several scans, although nothing solid says so."""
    order = np.argsort(heights, kind="stable")
    ordered = [slices[index] for index in order]
    mixed = [keyword for keyword in ONCE_A_SCAN if len(set(_named(keyword)(ordered))) > 1]
    if slices[0].text("Modality") == "CT":
        for why, names in (
            (f"more than {LONG_PAUSE_S:.0f} s apart", _long_pauses(ordered)),
            ("with no times to show that one followed the other at once", _untimed_acquisitions(ordered)),
            ("with a gap in their numbers", _number_gaps(ordered, heights[order])),
            *((f"of another {keyword}", _named(keyword)(ordered)) for keyword in mixed),
        ):
            changes = [index for index, (one, other) in enumerate(pairwise(names), start=1) if one != other]
            if len(changes) == 1 and MIN_SLICES <= changes[0] <= len(ordered) - MIN_SLICES:
                return (_two_acquisitions(why),)
    elif _cover_the_same(runs := _sweeps(slices, heights)):
        return (_passes_kept_together(len(runs)),)
    if mixed:
        message = f"one even volume, but its slices differ in {', '.join(mixed)}: they may come from several scans"
        return (Problem("mixed-slices", Severity.FLAG, message),)
    return ()


def _two_acquisitions(why: str) -> Problem:
    message = f"two acquisitions, one behind the other along the body, {why}: they may be two phases"
    return Problem("two-acquisitions", Severity.FLAG, message)


def _passes_kept_together(count: int) -> Problem:
    message = f"{count} passes along the patient, separated by InstanceNumber alone, and kept together"
    return Problem("told-apart-by-number", Severity.FLAG, message)


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


def _rounds(slices: Sequence[Instance]) -> list[str]:
    """Which time its place was scanned with each slice, where a round ends before the next begins; else nothing."""
    times = [time_s(slice_) for slice_ in slices]
    if None in times:
        return [""] * len(slices)
    places = _places(_heights(slices))
    order = sorted(range(len(slices)), key=lambda index: (places[index], times[index]))
    rounds, seen = [0] * len(slices), Counter[int]()
    for index in order:
        rounds[index] = seen[int(places[index])]
        seen[int(places[index])] += 1
    by_round: dict[int, list[float]] = defaultdict(list)
    for number, time in zip(rounds, times, strict=True):
        by_round[number].append(time or 0.0)
    apart = all(max(by_round[number]) < min(by_round[number + 1]) for number in range(len(by_round) - 1))
    return [str(number) for number in rounds] if apart else [""] * len(slices)


def _named(keyword: str) -> Discriminator:
    return lambda slices: _names_of([slice_.header.get(keyword) for slice_ in slices])


def _names_of(values: Sequence[object]) -> list[str]:
    """A name for each value; numbers that differ by their rounding only have one."""
    known = sorted({value for value in values if isinstance(value, float)})
    first_of = {value: value for value in known}
    for before, value in pairwise(known):
        if value - before <= max(SAME_VALUE_UNITS, SAME_VALUE * abs(value)):
            first_of[value] = first_of[before]
    return [f"{first_of[value]:g}" if isinstance(value, float) else _text(value) for value in values]


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return "\\".join(f"{part:.3f}" if isinstance(part, float) else str(part).upper() for part in value)
    return "" if value is None else str(value).upper()


def _classes(slices: Sequence[Instance], names: Iterable[str]) -> dict[str, Part]:
    classes: dict[str, Part] = defaultdict(list)
    for slice_, name in zip(slices, names, strict=True):
        classes[name].append(slice_)
    return {name: classes[name] for name in sorted(classes, key=_rank)}


def _rank(name: str) -> tuple[float, str]:
    """Sorts numbers by their size, so that the tenth of several times is counted as the tenth; then other words."""
    try:
        number = float(name)
    except ValueError:
        number = math.inf
    return (number if math.isfinite(number) else math.inf), name


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
