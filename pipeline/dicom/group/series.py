"""DICOM objects grouped into series that form one volume each; whatever is no slice is set aside with a reason."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from pipeline.core.problems import meaning_of
from pipeline.core.records import Fate, FileFate, Instance, Problem, Series, Severity, SourceFile
from pipeline.dicom.group.grid import stack, vector
from pipeline.dicom.group.lost import images_lost, slices_lost, spacing_problems
from pipeline.dicom.group.outliers import continued, folder_of, odd_slice_problems
from pipeline.dicom.group.split import MIN_SLICES, Part, Portion, at_one_place, by_geometry, into_volumes, is_even_line
from pipeline.dicom.group.times import begun_s
from pipeline.dicom.read import header as words
from pipeline.dicom.read.kinds import is_colour, is_monochrome, is_placed_capture, why_no_slice
from pipeline.dicom.read.mosaic import is_mosaic
from pipeline.dicom.read.pixels import same_pixels
from pipeline.dicom.read.syntaxes import DEFLATED

_WHERE_NOT_WHAT = frozenset({words.PIXEL_OFFSET, words.PIXEL_LENGTH, words.TRANSFER_SYNTAX})
"""Header keys that may differ between two copies of one object."""

_WHOSE = ("PatientID", words.WRITTEN_PATIENT, "StudyInstanceUID")
"""What files of one series have in common, besides its UID."""

_BROKEN_NEIGHBOUR = Problem("broken-neighbour", Severity.FLAG, meaning_of("broken-neighbour"))
_BROKEN_SLICE = frozenset(
    {"no-pixel-data", "truncated", "no-position", "no-orientation", "no-pixel-spacing", "not-monochrome"}
)
"""Codes of what breaks single slices."""

_WHOLE_ELSEWHERE = "cut short; another file holds the whole of it"

COLOUR = "colour"
"""Code of a series of colour pictures: no dataset takes it, `convert` writes it as a colour image."""

_OF_THE_COPY = _WHERE_NOT_WHAT | {"SOPInstanceUID", "InstanceNumber", "ContentDate", "ContentTime", words.FRAME_INDEX}
"""Header keys that may differ when one image was sent twice under two UIDs."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """Series, and the objects that belong to none.

    Attributes:
        series: in order of key.
        set_aside: localizers, reports, captures, duplicates and the like, each with code and reason.
    """

    series: tuple[Series, ...]
    set_aside: tuple[FileFate, ...]


def group_series(instances: Sequence[Instance], unread: Sequence[FileFate] = ()) -> Grouping:
    """Series of one volume each, in slice order, with everything that is wrong with them.

    A file that could not be read may have been a slice of a series in its folder: such a series is flagged.

    The same objects give the same series in the same order, whatever the order they come in. Files are opened only
    where two objects claim to be the same image.

    Args:
        instances: from `scan`.
        unread: what `scan` set aside.
    """
    excluded: Part = []
    families: dict[tuple[str, ...], Part] = defaultdict(list)
    captures: dict[tuple[str, ...], Part] = defaultdict(list)
    for instance in sorted(instances, key=_identity):
        if is_placed_capture(instance):
            captures[_family(instance)].append(instance)
        elif why_no_slice(instance):
            excluded.append(instance)
        else:
            families[_family(instance)].append(instance)
    scans = {key: family for key, family in captures.items() if key not in families and _is_scan(family)}
    families.update(scans)
    excluded.extend(one for key, family in captures.items() if key not in scans for one in family)
    aside = [_excluded(instance) for instance in excluded]
    joined = _join_lone_slices(families)
    lost = images_lost(families.values())
    series: list[Series] = []
    for key, family in families.items():
        whole, cut = _without_cut_copies(family)
        kept, copies, problems = _without_duplicates(whole)
        formed, more_copies = _series_of(kept, problems)
        noticed = [*_of_the_whole(family, lost, is_capture=key in scans), *joined.get(key, ())]
        series.extend(replace(one, problems=(*one.problems, *noticed, *spacing_problems(one))) for one in formed)
        aside.extend(FileFate(copy.source, Fate.UNREADABLE, "truncated", _WHOLE_ELSEWHERE) for copy in cut)
        aside.extend(_duplicate(copy) for copy in (*copies, *more_copies))
    flagged = _beside_broken_files(_with_unique_keys(series), unread, excluded)
    return Grouping(flagged, tuple(sorted(aside, key=lambda fate: _place(fate.source))))


def _excluded(instance: Instance) -> FileFate:
    code = why_no_slice(instance) or "secondary-capture"
    return FileFate(instance.source, Fate.EXCLUDED, code, meaning_of(code))


def _is_scan(captures: Part) -> bool:
    """True for captures that are as many as a volume has slices, and lie each at a place of its own."""
    places = {slice_.text("ImagePositionPatient") for capture in captures for slice_ in frames_of(capture)} - {""}
    return len(places) >= MIN_SLICES


def _join_lone_slices(families: dict[tuple[str, ...], Part]) -> dict[tuple[str, ...], list[Problem]]:
    """Put series of a slice or two into one where they form an even line; which series they are now in, with a flag."""
    alike: dict[tuple[str, ...], list[tuple[str, ...]]] = defaultdict(list)
    for key in sorted(families):
        family = families[key]
        if len(family) < MIN_SLICES and all(len(frames_of(one)) == 1 for one in family):
            words_ = (*_WHOSE, "Modality", "SeriesDescription")
            alike[tuple(family[0].text(word) for word in words_)].append(key)
    joined = {}
    for keys in alike.values():
        parts = by_geometry([one for key in keys for one in families[key]]) if len(keys) > 1 else []
        for part in parts:
            own = [key for key in keys if all(one in part for one in families[key])]
            if is_even_line(part) and sum(len(families[key]) for key in own) == len(part):
                for key in own:
                    del families[key]
                families[own[0]] = sorted(part, key=_identity)
                message = f"slices of {len(own)} SeriesInstanceUIDs form one even volume"
                joined[own[0]] = [Problem("joined-series", Severity.FLAG, message)]
    return joined


def _of_the_whole(family: Part, lost: Mapping[str, str], *, is_capture: bool) -> list[Problem]:
    """What is doubtful about all volumes of a family."""
    message = lost.get(family[0].text("SeriesInstanceUID"))
    doubts = [slices_lost(message)] if message else []
    if is_capture:
        doubts.append(Problem("stored-as-capture", Severity.FLAG, meaning_of("stored-as-capture")))
    return doubts


def _duplicate(copy: Instance) -> FileFate:
    return FileFate(copy.source, Fate.DUPLICATE, "duplicate", meaning_of("duplicate"))


def _identity(instance: Instance) -> tuple[str, float, str, str]:
    number = instance.number("InstanceNumber")
    place = _place(instance.source)
    return instance.text("SOPInstanceUID"), -1.0 if number is None else number, *place


def _place(source: SourceFile) -> tuple[str, str]:
    return str(source.path), source.member or ""


def _family(instance: Instance) -> tuple[str, ...]:
    """Objects of one patient, study and SeriesInstanceUID; without a UID, of one SeriesNumber and description."""
    patient = tuple(instance.text(keyword) for keyword in _WHOSE)
    uid = instance.text("SeriesInstanceUID")
    if uid:
        return *patient, uid
    rest = ("StudyDate", "Modality", "SeriesNumber", "SeriesDescription", "SeriesTime", "FrameOfReferenceUID")
    return *patient, "", *(instance.text(keyword) for keyword in rest)


def _without_cut_copies(family: Part) -> tuple[Part, Part]:
    """Objects, and those that are the beginning of another one: left behind by an export that was interrupted."""
    by_uid: dict[str, Part] = defaultdict(list)
    for instance in family:
        by_uid[instance.text("SOPInstanceUID")].append(instance)
    whole: Part = []
    cut: Part = []
    for uid, group in by_uid.items():
        originals = [one for one in group if not _is_cut(one)] if uid and len(group) > 1 else []
        for one in group:
            is_copy = _is_cut(one) and any(_begins_like(one, original) for original in originals)
            (cut if is_copy else whole).append(one)
    return whole, cut


def _is_cut(instance: Instance) -> bool:
    return _has_no_pixels(instance) or _is_truncated(instance)


def _begins_like(one: Instance, other: Instance) -> bool:
    return all(other.header.get(key) == one.header[key] for key in one.header.keys() - _WHERE_NOT_WHAT)


def _without_duplicates(family: Part) -> tuple[Part, Part, tuple[Problem, ...]]:
    """Each image once, its copies, and a problem where two different images have one SOPInstanceUID."""
    firsts: dict[str, Instance] = {}
    kept, copies, conflicts = [], [], 0
    for instance in family:
        uid = instance.text("SOPInstanceUID")
        first = firsts.setdefault(uid, instance) if uid else instance
        if first is instance:
            kept.append(instance)
        elif _same_header(first, instance) and same_pixels(first, instance):
            copies.append(instance)
        else:
            kept.append(instance)
            conflicts += 1
    if not conflicts:
        return kept, copies, ()
    message = f"two different images have one SOPInstanceUID, {conflicts} times"
    return kept, copies, (Problem("conflicting-duplicates", Severity.REFUSE, message),)


def _same_header(one: Instance, other: Instance, but: frozenset[str] = _WHERE_NOT_WHAT) -> bool:
    keys = (set(one.header) | set(other.header)) - but
    return all(one.header.get(key) == other.header.get(key) for key in keys)


def _series_of(family: Part, problems: tuple[Problem, ...]) -> tuple[list[Series], Part]:
    """The volumes of a family, and images that are in it twice under two SOPInstanceUIDs."""
    slices = [slice_ for instance in family for slice_ in frames_of(instance)]
    volumes, copies = [Portion(slices, problems)] if problems else [], []
    if not problems:
        for part in by_geometry(slices):
            found = _copies(part)
            copies.extend(found)
            volumes.extend(into_volumes([slice_ for slice_ in part if slice_ not in found]))
    volumes.sort(key=lambda volume: _first_of(volume.slices))
    many = len(volumes) > 1
    series = [
        _series(volume, f"{_key(family[0])}#{number}" if many else _key(family[0]))
        for number, volume in enumerate(volumes, start=1)
    ]
    return series, copies


def _copies(slices: Part) -> Part:
    """Slices that equal another one at their place in all but their own UID and number."""
    copies: Part = []
    for group in at_one_place(slices):
        originals: Part = []
        for slice_ in group:
            if any(_same_header(one, slice_, _OF_THE_COPY) and same_pixels(one, slice_) for one in originals):
                copies.append(slice_)
            else:
                originals.append(slice_)
    return copies


def _beside_broken_files(
    series: Sequence[Series], unread: Sequence[FileFate], excluded: Sequence[Instance]
) -> tuple[Series, ...]:
    """Series, those flagged that share a folder with broken DICOM or with a slice that may be theirs."""
    broken = {folder_of(fate.source) for fate in unread if fate.code in ("unreadable", "empty")}
    archives = {fate.source.path for fate in unread if fate.code == "bad-archive"}
    few = [one for one in series if len(one.instances) < MIN_SLICES]
    goes_on = continued(series, (*(slice_ for one in few for slice_ in one.instances), *excluded))
    return tuple(
        replace(one, problems=(*one.problems, _BROKEN_NEIGHBOUR))
        if one.key in goes_on
        or any(folder_of(slice_.source) in broken or slice_.source.path in archives for slice_ in one.instances)
        or any(_may_belong(other, one) for other in few if other is not one)
        else one
        for one in series
    )


def _may_belong(few: Series, series: Series) -> bool:
    """True for a broken slice or two that may have lost the name of their series, or their place in it."""
    if not any(problem.code in _BROKEN_SLICE for problem in few.problems):
        return False
    if folder_of(few.first.source) != folder_of(series.first.source):
        return False
    matrix = [few.first.text(word) in ("", series.first.text(word)) for word in ("Rows", "Columns")]
    return all(matrix) or few.first.text("SeriesInstanceUID") == series.first.text("SeriesInstanceUID")


def _series(volume: Portion, key: str) -> Series:
    slices = volume.slices
    stacked = stack(slices)
    ordered = tuple(slices[index] for index in stacked.order)
    found = (*volume.problems, *stacked.problems, *_pixel_problems(ordered), *odd_slice_problems(ordered))
    return Series(key, ordered, stacked.geometry, found, volume.distinguished_by)


def _key(instance: Instance) -> str:
    return instance.text("SeriesInstanceUID") or f"no-uid-{_digest(_family(instance))}"


def _digest(words_: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(words_).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _with_unique_keys(series: Sequence[Series]) -> tuple[Series, ...]:
    """Series of two patients or studies that share one UID get the patient and study into their keys, as a digest."""
    counts: dict[str, int] = defaultdict(int)
    for one in series:
        counts[one.key] += 1
    unique = []
    for one in series:
        if counts[one.key] > 1:
            shared = Problem("shared-uid", Severity.FLAG, meaning_of("shared-uid"))
            key = f"{one.key}@{_digest(_family(one.first))}"
            unique.append(replace(one, key=key, problems=(*one.problems, shared)))
        else:
            unique.append(one)
    return tuple(sorted(unique, key=lambda one: one.key))


def _first_of(slices: Part) -> tuple[float, str]:
    return begun_s(slices) or 0.0, min(slice_.text("SOPInstanceUID") for slice_ in slices)


def frames_of(instance: Instance) -> list[Instance]:
    """One instance a frame of a multi-frame object, each with its own header; a plain object is its only frame."""
    frames = instance.header.get(words.FRAMES)
    count = instance.number("NumberOfFrames") or 1
    if not isinstance(frames, tuple) or not frames or (len(frames) == 1 and count == 1):
        frame = frames[0] if isinstance(frames, tuple) and frames else {}
        return [Instance(instance.source, MappingProxyType({**instance.header, **frame}))]
    common = {key: value for key, value in instance.header.items() if key != words.FRAMES}
    common[words.FRAME_COUNT] = len(frames)
    return [
        Instance(instance.source, MappingProxyType({**common, **frame, words.FRAME_INDEX: index}))
        for index, frame in enumerate(frames)
    ]


def slice_faults(slice_: Instance) -> tuple[str, ...]:
    """Codes of what makes one slice unusable by itself, whatever its series; empty for a sound slice."""
    return tuple(code for code, (is_wrong, _) in SLICE_CHECKS.items() if is_wrong(slice_))


def _pixel_problems(slices: Sequence[Instance]) -> list[Problem]:
    """What single slices lack, one problem a kind."""
    problems = []
    for code, (is_wrong, words_) in SLICE_CHECKS.items():
        wrong = [number for number, slice_ in enumerate(slices, start=1) if is_wrong(slice_)]
        if wrong and code != "no-position":
            message = f"{len(wrong)} of {len(slices)} slices {words_} (the first is slice {wrong[0]})"
            problems.append(Problem(code, Severity.REFUSE, message))
    return problems


def _has_no_pixels(slice_: Instance) -> bool:
    deflated = slice_.text(words.TRANSFER_SYNTAX) == DEFLATED
    return not deflated and words.PIXEL_OFFSET not in slice_.header


def _is_truncated(slice_: Instance) -> bool:
    there = slice_.number(words.PIXEL_LENGTH)
    if there is None or there < 0:
        return False
    facts = [slice_.number(keyword) or 0 for keyword in ("Rows", "Columns", "BitsAllocated")]
    frames = slice_.number("NumberOfFrames") or 1
    return there < facts[0] * facts[1] * facts[2] / 8 * frames


def _miscounts_frames(slice_: Instance) -> bool:
    described = slice_.number(words.FRAME_COUNT)
    return (
        described is not None
        and words.MOSAIC_SIDE not in slice_.header
        and described != (slice_.number("NumberOfFrames") or 1)
    )


def _is_unplaced_mosaic(slice_: Instance) -> bool:
    return is_mosaic(slice_.header) and words.MOSAIC_SIDE not in slice_.header


def _has_loose_frames(slice_: Instance) -> bool:
    return (slice_.number("NumberOfFrames") or 1) > 1 and words.FRAME_INDEX not in slice_.header


SLICE_CHECKS: Mapping[str, tuple[Callable[[Instance], bool], str]] = {
    "no-position": (lambda one: vector(one, "ImagePositionPatient", 3) is None, "have no position"),
    "no-pixel-data": (_has_no_pixels, "have no PixelData"),
    "truncated": (_is_truncated, "are cut short: PixelData holds fewer bytes than Rows and Columns say"),
    COLOUR: (is_colour, "are colour images, without HU or MR intensity"),
    "not-monochrome": (
        lambda one: not is_monochrome(one) and not is_colour(one),
        "are neither monochrome nor a known kind of colour",
    ),
    "mosaic": (_is_unplaced_mosaic, "are pictures of many slices side by side (mosaic)"),
    "frame-count": (_miscounts_frames, "belong to an object that describes a different number of frames than it holds"),
    "frames-without-place": (_has_loose_frames, "hold several frames without positions of their own"),
}
"""Code to what is looked at, and to how it is told of several slices; "no-position" is told by the stack itself."""
