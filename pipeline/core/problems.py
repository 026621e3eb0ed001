"""Every code of a problem, an exclusion or a set-aside file: what it means and what to do about it.

Codes are for tables; people also get the sentence. `docs/problems.md` is this list.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from types import MappingProxyType


class Area(StrEnum):
    """The part of the work in which a code comes up."""

    FILES = "files"
    SERIES = "series"
    CONVERSION = "conversion"
    INCLUSION = "inclusion"
    DEIDENTIFICATION = "de-identification"
    LABELS = "labels"
    REVIEW = "review"
    CONSENSUS = "consensus"
    RELEASE = "release"
    VERIFICATION = "verification"
    RUN = "run"


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """What a code stands for.

    Attributes:
        code: as it stands in tables.
        areas: where it comes up.
        meaning: what was found, in words a radiologist accepts, without a full stop.
        fix: what a person can do; empty where nothing can or need be done.
    """

    code: str
    areas: tuple[Area, ...]
    meaning: str
    fix: str


EXPORT_AGAIN = "export the series again"
EXPORT_FILE_AGAIN = "export the file again"
LOOK_AT_VOLUME = "look at the volume on the quality page"
DECIDE = "decide in decisions.csv"
SET_LIMIT = "change the limit under [inclusion], if this should be included"
FINISH_REVIEW = "finish the review, then cut the release"
CUT_AGAIN = "cut the release again"
TAKE_AGAIN = "take the release again from where it was published, or cut a new version"
OPEN_AS_SENT = "open the folder of the case as it was sent, and save the mask from there"
PACK_FOR_LEAD = "pack it for the lead radiologist with `liverset review adjudicate`"
SEE_MESSAGE = "do what the message says, then run the command again"
STAGE_FAILED = "<stage>-failed"


def _kinds(*areas: Area, rows: Mapping[str, tuple[str, str]]) -> Iterator[ProblemKind]:
    for code, (meaning, fix) in rows.items():
        yield ProblemKind(code, areas, meaning, fix)


_FILES = {
    "unreachable": ("the path cannot be opened or listed", "check that the disk is there and that you may read it"),
    "dangling-link": ("the file vanished, or is a link to nothing", EXPORT_FILE_AGAIN),
    "not-a-file": ("a device, socket or pipe, not a file", ""),
    "bad-archive": (
        "the archive is damaged, encrypted, or larger than any export",
        "unpack it, or export it again without a password",
    ),
    "nested-archive": ("an archive inside an archive", "unpack the inner archive"),
    "not-dicom": ("not a DICOM file", ""),
    "directory-file": ("a DICOMDIR: the index of other files, which are read themselves", ""),
    "dose-report": ("a dose report or protocol page", ""),
    "structured-report": ("a structured report", ""),
    "segmentation": ("a segmentation object: a mask, not an image", ""),
    "structure-set": ("a structure set: contours, not an image", ""),
    "not-an-image": ("an object without an image", ""),
}

_FILES_AND_DEIDENTIFICATION = {
    "localizer": ("a localizer: planning views, not a volume, often with text in them", ""),
    "secondary-capture": ("a secondary capture: a picture of a screen, which may show the patient's name", ""),
    "presentation-state": ("a presentation state: how to show other images, with annotations", ""),
    "duplicate": ("the same image as another file", ""),
}

_SERIES = {
    "colour": ("colour images, without HU or MR intensity", ""),
    "truncated": ("the file is cut short: it holds fewer pixels than its header says", EXPORT_AGAIN),
    "no-pixel-data": ("slices have no PixelData", EXPORT_AGAIN),
    "no-position": ("slices have no ImagePositionPatient", EXPORT_AGAIN),
    "no-orientation": ("ImageOrientationPatient is missing, or its axes are not at a right angle", EXPORT_AGAIN),
    "no-pixel-spacing": ("PixelSpacing, Rows or Columns is missing or not positive", EXPORT_AGAIN),
    "not-monochrome": ("slices are neither monochrome nor a known kind of colour", EXPORT_AGAIN),
    "frame-count": ("a multi-frame object describes a different number of frames than it holds", EXPORT_AGAIN),
    "frames-without-place": ("a multi-frame object does not say where its frames lie", EXPORT_AGAIN),
    "mosaic": (
        "pictures of many slices side by side (mosaic), without the private attributes that say where each slice lies",
        "export the series again with its private attributes (Siemens CSA header), or as enhanced or single slices",
    ),
    "joined-series": (
        "one even volume whose slices each have a SeriesInstanceUID of their own",
        "check whether the slices belong together",
    ),
    "bad-geometry": ("positions and orientation form no grid", EXPORT_AGAIN),
    "not-a-volume": ("all slices lie at one position: a series in time, not a volume", ""),
    "too-few-slices": ("two slices cannot show that the spacing is even", EXPORT_AGAIN),
    "single-slice": ("a single slice: its depth is the slice thickness, not a measured spacing", ""),
    "tilted": (
        "the gantry was tilted: the grid is sheared",
        "keep the sheared grid with --keep-tilt, or with allow_tilt under [inclusion]",
    ),
    "repeated-positions": (
        "several slices share a position, and nothing separates them",
        EXPORT_AGAIN,
    ),
    "uneven-spacing": ("the slices are not evenly spaced", EXPORT_AGAIN),
    "odd-position": ("one slice lies slightly off the line of the others: its position may be damaged", EXPORT_AGAIN),
    "odd-slice": ("one slice differs from all others in an attribute: it may be damaged", EXPORT_AGAIN),
    "broken-neighbour": (
        "its folder or archive holds a damaged file or a stray slice that may belong to it",
        "export the folder again",
    ),
    "conflicting-duplicates": ("one SOPInstanceUID is used for two different images", EXPORT_AGAIN),
    "shared-uid": (
        "one SeriesInstanceUID is used in two patients or studies",
        "find out to which of them the series belongs",
    ),
    "told-apart-by-number": (
        "several volumes in one series, separated by InstanceNumber alone",
        "check that each volume holds one phase",
    ),
    "slices-lost": (
        "the header says that there were more slices: some were not sent, or were lost",
        "compare the number of slices with the scanner or the archive, then export the series again",
    ),
    "stored-as-capture": (
        "slices that were stored under the class of secondary captures, with the place of a scan",
        "check that the volume is a scan, and that no text is burned into it",
    ),
    "mixed-slices": (
        "one even volume whose slices differ in something that one scan has only once",
        "check whether the slices belong together",
    ),
    "two-acquisitions": (
        "two acquisitions, one behind the other along the body: they may be two phases",
        "check whether the contrast changes between them",
    ),
}

_CONVERSION = {
    "padding": ("padding around the image was set to air", ""),
    "padding-in-tissue": ("the padding value could also be tissue", "compare the volume with the original images"),
    "monochrome1": ("viewers show the image inverted; its values are kept as stored", ""),
    "lossy": (
        "compressed with loss: values are only close to the original ones",
        "export the series again without lossy compression",
    ),
    "surplus-bytes": (
        "PixelData holds a few bytes that are not part of the image; the image itself is whole",
        EXPORT_AGAIN,
    ),
    "modality-lut": (
        "a ModalityLUTSequence is present and not applied: the values may not be Hounsfield units",
        "export the series with RescaleSlope and RescaleIntercept",
    ),
    "no-modality": ("Modality is missing, so the meaning of the values is unknown", EXPORT_AGAIN),
    "not-hounsfield": ("RescaleType says that the values are not Hounsfield units", "check the HU of air and fat"),
    "odd-rescale": ("RescaleSlope or RescaleIntercept cannot give Hounsfield units", "check the HU of air and fat"),
    "no-rescale": ("a CT without RescaleIntercept: stored values were taken as HU", "check the HU of air and fat"),
}

_INCLUSION = {
    "unknown-series": (
        "a line of decisions.csv names a series that is not there, so it decides nothing",
        "correct the name by reports/series.csv, or delete the line",
    ),
    "no-case": ("no patient passed the inclusion rules", "look at reports/exclusions.csv, and change the rules"),
    "needs-person": ("a series needs review: the rules cannot decide", DECIDE),
    "arriving": (
        "the patient waits: files are still being copied, or fewer images are there than the headers promise",
        "build again when the export is complete and has been still for settle_minutes; if images are missing and no "
        "more will come, add the series to decisions.csv with its phase",
    ),
    "unusable": ("no volume can be made from the slices", EXPORT_AGAIN),
    "patient-conflict": (
        "one patient number stands for people who differ in date of birth, sex, issuer or name",
        "give patients of different hospitals different numbers, or decide in decisions.csv",
    ),
    "image-type": ("a derived image: a reformatted slice, projection or localizer", ""),
    "tilt": ("the gantry was tilted", "set allow_tilt under [inclusion], if this should be included"),
    "slice-count": ("too few slices", SET_LIMIT),
    "slice-thickness": ("the slice thickness is out of range, or not stated", SET_LIMIT),
    "slice-spacing": ("the spacing measured between slices is out of range", SET_LIMIT),
    "pixel-spacing": ("the pixel spacing is out of range, or not stated", SET_LIMIT),
    "matrix": ("the matrix has another size than the dataset's", SET_LIMIT),
    "coverage": ("too little from the first slice to the last", SET_LIMIT),
    "kernel": ("the reconstruction kernel is none of those asked for", SET_LIMIT),
    "kvp": ("the tube voltage is out of range, or not stated", SET_LIMIT),
    "phase-unknown": ("neither header, text nor timing shows the contrast phase", DECIDE),
    "phase-not-required": ("a phase that the dataset does not hold", ""),
    "not-preferred": (
        "another series of the same phase is better",
        "decide in decisions.csv, if this one should be used",
    ),
    "tied": ("two series or studies are equally good", DECIDE),
    "age": ("the patient is too young", SET_LIMIT),
    "diagnosis": ("the patient's diagnosis is none of those asked for", SET_LIMIT),
    "clinical-missing": ("age or diagnosis is asked for and not known", "add it to the clinical table"),
    "phases-complete": ("the patient lacks a required phase", 'export it, or set missing = "allow" under [phases]'),
}

_INCLUSION_AND_LABELS = {
    "noise": ("the image is noisier than the limit", LOOK_AT_VOLUME),
    "metal": ("there is more metal than the limit: streaks may hide lesions", LOOK_AT_VOLUME),
    "motion": ("the skin jumps from slice to slice by more than the limit: the patient moved", LOOK_AT_VOLUME),
    "phase-conflict": ("header, text, timing or image disagree about the contrast phase, or leave several", DECIDE),
}

_DEIDENTIFICATION = {
    "report": ("a report or dose report: text about the patient", ""),
    "document": ("an embedded document, which may say anything", ""),
    "radiotherapy": ("a radiotherapy object, not an image", ""),
    "derived-object": ("a segmentation, registration or raw data, not an original image", ""),
    "directory": ("a DICOMDIR, which lists patients and holds no image", ""),
    "storage-class": ("not a CT or MR image", ""),
    "not-original": ("not an original, primary image", ""),
    "burned-in": ("the header says that text is burned into the image", ""),
    "color": ("a colour image: a capture, not a CT or MR slice", ""),
    "withdrawn": ("patients who withdrew consent are in the sources", "delete their files from the sources"),
    "recall": (
        "a package or a version holds what is no longer part of the dataset, or was masked since",
        "recall it; reports/recall.csv lists all",
    ),
    "mixed-patients": ("one study holds images of several patients", "correct PatientID in the export"),
    "text-suspected": (
        "text seems to be burned into the image",
        "look at its montage in the private folder; decide in decisions.csv",
    ),
    "text-masked": ("text burned into the image was masked: the boxes have the background value", ""),
    "text-published": ("what looked like text was published as it is: a person looked at it", ""),
}

_INCLUSION_AND_DEIDENTIFICATION = {
    "modality": ("of another modality than the dataset's", ""),
    "not-axial": ("not an axial image", ""),
    "face": (
        "the scan shows a head, from which a face could be rebuilt",
        "export a series without the head, or accept this one: in decisions.csv, or with --allow-faces",
    ),
    "rejected": ("excluded by a decision in decisions.csv", ""),
}

_LABELS = {
    "liver-cut": ("the liver reaches the edge of the scan: part of it may be missing", LOOK_AT_VOLUME),
    "liver-hu": ("the liver is too bright or too dark for any phase", LOOK_AT_VOLUME),
}

_REVIEW = {
    "damaged": ("the mask is cut short or damaged, or its format is not read", "save the mask again as .nii.gz"),
    "wrong-grid": ("the mask does not lie on its image: other spacing, directions or place", OPEN_AS_SENT),
    "between-voxels": ("the mask lies between the voxels of its image", OPEN_AS_SENT),
    "outside-image": ("the mask has labels outside its image", OPEN_AS_SENT),
    "wrong-labels": ("the mask holds fractions or unknown labels", "save the mask with the labels of the package"),
    "wrong-case": ("the mask belongs to another case", "open the case, and save its own mask"),
    "mirrored": ("the mask fits only when mirrored: its voxels were flipped without their header", OPEN_AS_SENT),
    "unfamiliar": ("the mask hardly overlaps the one sent", "check that image and mask belong together"),
    "unchanged": (
        "the mask is exactly the one sent: an edit may not have been saved",
        "save the mask again, or write `agree` into the worklist",
    ),
    "lesion-outside-liver": (
        "lesions touch no liver, or there is no liver",
        "remove stray strokes, or outline the liver around them",
    ),
    "mixed-kinds": (
        "one lesion is marked as several kinds",
        "give each lesion one kind, or accept the mask where two lesions touch",
    ),
    "outside-body": ("more than a tenth of the mask lies in air or lung", "check that image and mask belong together"),
    "separate-parts": ("the liver has new separate parts", ""),
    "holes": ("the liver has new holes", ""),
    "two-masks": ("two different masks came for one case", "send the right one only"),
    "two-decisions": ("a mask came, and the worklist chooses a reader", "clear the status, or send the mask unchanged"),
    "set-aside": ("the mask is of a volume that is no longer part of the dataset", ""),
    "earlier-image": (
        "the image was replaced after this mask was sent: the mask is kept, and carried over by position",
        "return the mask of the newest package; or look at this one on the new image, and accept it",
    ),
    "unknown-item": ("the file is named for none of the cases sent", "save the mask under the name it was sent with"),
    "not-assigned": ("the rater was not sent this case", "check whose package it was"),
    "unknown-rater": ("nothing says whose return this is", "put it into a folder named by the rater's code"),
    "no-mask": ("the return holds no mask", "send the masks under the names they were sent with"),
    "unreadable-return": ("the return cannot be opened", "send it again"),
    "return-flag": ("a returned mask needs review", "look at it; accept it, or ask for a better mask"),
    "return-reject": ("a returned mask cannot be used", "ask the rater to follow the message"),
}

_CONSENSUS = {
    "two-raters": ("two raters disagree, and no third one decides", PACK_FOR_LEAD),
    "ties": ("too many voxels are tied", PACK_FOR_LEAD),
    "volume-difference": ("the raters' lesion volumes differ by more than the limit", PACK_FOR_LEAD),
    "low-dice": ("two raters agree less than the limit", PACK_FOR_LEAD),
    "minority-lesion": ("half of the raters or fewer marked a lesion", PACK_FOR_LEAD),
    "lost-lesion": ("more than half of the raters marked a lesion, and the vote keeps nothing of it", PACK_FOR_LEAD),
    "dropped-piece": ("the vote keeps a lesion and drops a piece beyond its border", PACK_FOR_LEAD),
    "liver-hole": ("the vote leaves a hole in the liver where raters marked it", PACK_FOR_LEAD),
    "outside-liver": ("a voted lesion touches no voted liver", PACK_FOR_LEAD),
    "unsettled-kind": ("no majority of the raters who saw a lesion gives its kind", PACK_FOR_LEAD),
    "kinds-between-phases": (
        "one lesion is of one kind on one phase and of another kind on another",
        "look at both phases, and send a corrected mask of one",
    ),
    "staple-unsettled": ("the mask is STAPLE's, and STAPLE did not converge", PACK_FOR_LEAD),
}

_RELEASE = {
    "not-settled": ("a case is not in this version: its review is not finished", FINISH_REVIEW),
    "version": ("the version is not three numbers", "use a version such as 1.0.0"),
    "twice": ("a volume comes twice", CUT_AGAIN),
    "missing-reviews": ("reviews are missing", FINISH_REVIEW),
    "undecided": ("voxels are undecided", FINISH_REVIEW),
    "adjudication": ("the lead radiologist has not decided yet", FINISH_REVIEW),
}

_VERIFICATION = {
    "sums": ("SHA256SUMS is missing or damaged", TAKE_AGAIN),
    "missing-file": ("a listed file is not there", TAKE_AGAIN),
    "extra-file": ("a file is there that is not listed", TAKE_AGAIN),
    "changed-file": ("a file is not the one that was released", TAKE_AGAIN),
    "link": ("a file is a link to another place", TAKE_AGAIN),
    "writable": ("a file could be changed by accident", "make the release read-only with `chmod -R a-w`"),
    "manifest": ("the manifest cannot be read, or has cells that are not as documented", TAKE_AGAIN),
    "duplicate-row": ("a volume stands in two rows of the manifest", CUT_AGAIN),
    "patient-differs": ("a patient has two values of what must be the same in all rows", CUT_AGAIN),
    "unsorted": ("the rows of the manifest are not in order", CUT_AGAIN),
    "path": ("the paths of a row do not follow from its patient and phase", TAKE_AGAIN),
    "path-twice": ("two rows name one file", TAKE_AGAIN),
    "orphan": ("a file is in no row of the manifest", TAKE_AGAIN),
    "twin": ("one scan, or the same voxels, under two names", "find out which one is right"),
    "grid": ("a mask does not lie on its image, or shape, spacing or slices differ from the manifest", TAKE_AGAIN),
    "label-values": ("a mask holds unknown labels", TAKE_AGAIN),
    "mask-differs": ("the masks of a volume contradict one another", TAKE_AGAIN),
    "figure": ("a volume or count in the manifest is not that of the mask", TAKE_AGAIN),
    "content": ("a content hash in the manifest is not that of the file", TAKE_AGAIN),
    "window": ("an image has HU outside its window", TAKE_AGAIN),
    "table-differs": ("a table does not follow from manifest and masks", TAKE_AGAIN),
    "splits": ("the splits are damaged, or differ from the manifest", TAKE_AGAIN),
    "second-reader": (
        "ITK, behind ITK-SNAP, Slicer and nnU-Net, reads another image than we wrote",
        TAKE_AGAIN,
    ),
    "header-text": ("there is text in a NIfTI header, where a name could hide", TAKE_AGAIN),
    "header-extension": ("a NIfTI file has an extension, where a name could hide", TAKE_AGAIN),
    "gzip-header": ("a gzip header holds a file name or a time", TAKE_AGAIN),
    "telltale": ("a text holds what looks like a UID, date, path or address", "find where it comes from"),
    "leak": ("an identifier of the sources was found", "find where it comes from, then cut the release again"),
    "not-anonymous": ("fewer patients look alike than min_k promises", CUT_AGAIN),
    "class-differs": ("diagnosis and mask contradict each other", LOOK_AT_VOLUME),
    "cut-liver": ("the liver reaches the first or last released slice", LOOK_AT_VOLUME),
    "liver-parts": ("the liver mask is in several parts", LOOK_AT_VOLUME),
}

_RUN = {
    STAGE_FAILED: ("a step stopped, for one case or for the dataset", SEE_MESSAGE),
    "truth": ("the demo's result is not the planted truth", "report it, with the message"),
}


def _shared() -> Iterator[ProblemKind]:
    yield from _kinds(Area.FILES, Area.DEIDENTIFICATION, rows=_FILES_AND_DEIDENTIFICATION)
    yield from _kinds(Area.INCLUSION, Area.DEIDENTIFICATION, rows=_INCLUSION_AND_DEIDENTIFICATION)
    yield from _kinds(Area.INCLUSION, Area.LABELS, rows=_INCLUSION_AND_LABELS)
    yield ProblemKind(
        "unreadable",
        (Area.FILES, Area.DEIDENTIFICATION, Area.VERIFICATION),
        "the file cannot be read: it is damaged or cut short",
        EXPORT_FILE_AGAIN,
    )
    yield ProblemKind(
        "empty",
        (Area.FILES, Area.REVIEW, Area.RELEASE),
        "there is nothing in it: a file without bytes, a mask without labels, a release without volumes",
        EXPORT_FILE_AGAIN,
    )
    yield ProblemKind(
        "missing-slices",
        (Area.SERIES, Area.REVIEW),
        "slices are missing between others, in a series or in a mask",
        EXPORT_AGAIN,
    )
    yield ProblemKind(
        "no-patient",
        (Area.INCLUSION, Area.RELEASE),
        "there is no patient number, or there are no clinical facts for a patient",
        "export the files with PatientID, or say in [source] patient where the path names the patient",
    )
    yield ProblemKind(
        "no-liver",
        (Area.CONSENSUS, Area.VERIFICATION),
        "the mask holds no liver",
        "look at the ratings",
    )


@cache
def problems() -> Mapping[str, ProblemKind]:
    """Every code there is; made when it is first asked for, so that to import this decides nothing."""
    of_one_area = (
        (Area.FILES, _FILES),
        (Area.SERIES, _SERIES),
        (Area.CONVERSION, _CONVERSION),
        (Area.INCLUSION, _INCLUSION),
        (Area.DEIDENTIFICATION, _DEIDENTIFICATION),
        (Area.LABELS, _LABELS),
        (Area.REVIEW, _REVIEW),
        (Area.CONSENSUS, _CONSENSUS),
        (Area.RELEASE, _RELEASE),
        (Area.VERIFICATION, _VERIFICATION),
        (Area.RUN, _RUN),
    )
    kinds = (kind for area, rows in of_one_area for kind in _kinds(area, rows=rows))
    return MappingProxyType({kind.code: kind for kind in (*kinds, *_shared())})


def words_sha256() -> str:
    """Changes with any word of the registry: an input of the stages that print them."""
    return hashlib.sha256(problem_list().encode()).hexdigest()


def kind_of(code: str) -> ProblemKind | None:
    """What a code stands for: also `scan-failed`, and `adjudicate-ties`, the ties of a vote that is open.

    None for a code that is not ours, such as one that a receipt of another version holds.
    """
    return problems().get(STAGE_FAILED if code.endswith("-failed") else code.removeprefix("adjudicate-"))


def meaning_of(code: str) -> str:
    """What a registered code means, as a clause."""
    return problems()[code].meaning


def fix_of(code: str) -> str:
    """What people can usually do about it; "" where nothing can be done, or the code is not ours."""
    kind = kind_of(code)
    return kind.fix if kind else ""


def problem_list() -> str:
    """The registry as a Markdown table, in order of area and code."""
    order = list(Area)
    ranked = sorted(problems().values(), key=lambda kind: (order.index(kind.areas[0]), kind.code))
    cells = [(f"`{kind.code}`", ", ".join(kind.areas), _sentence(kind.meaning), _sentence(kind.fix)) for kind in ranked]
    rows = [("code", "area", "what it means", "what to do"), ("---",) * 4, *cells]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _sentence(clause: str) -> str:
    return f"{clause[:1].upper()}{clause[1:]}." if clause else ""
