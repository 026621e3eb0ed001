"""What the stages hand to one another: files found, series formed, phases recognised, cases decided.

Source identifiers (UIDs, patient ids, paths) stand only in `Instance` and `Series`. These two never leave the stages
that need them, and neither is ever logged or written outside `private/`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from pipeline.core.problems import fix_of

if TYPE_CHECKING:
    from pipeline.core.geometry import Geometry


class Phase(StrEnum):
    """Contrast phase of a CT, or sequence of an MR; the value stands in file names and tables."""

    PLAIN = "P"
    ARTERIAL = "C1"
    PORTAL_VENOUS = "C2"
    DELAYED = "C3"
    HEPATOBILIARY = "HBP"
    T1 = "T1"
    T2 = "T2"
    DWI = "DWI"


class Severity(StrEnum):
    """How much a problem weighs: worth knowing, needs a person's look, or the item cannot be used."""

    NOTE = "note"
    FLAG = "flag"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with data, as a row of a table; collected, never raised.

    Attributes:
        code: one of `core.problems.problems()`, such as "missing-slices".
        severity: what follows from it.
        message: what was found and what was expected, with no patient data and no source path.
        own_fix: what a person can do about it, where that is more than the code says.
    """

    code: str
    severity: Severity
    message: str
    own_fix: str = ""

    @property
    def fix(self) -> str:
        """What a person can do about it; empty where nothing can be done."""
        return self.own_fix or fix_of(self.code)

    def to_json(self) -> dict[str, str]:
        """A row of a table of problems."""
        return {"severity": str(self.severity), "code": self.code, "message": self.message, "fix": self.fix}

    def about(self, what: str) -> Problem:
        """The same problem with what it concerns before its message, such as "P0001 C1"."""
        return replace(self, message=f"{what}: {self.message}")


class Fate(StrEnum):
    """What became of a file that was found. used + duplicate + excluded + unreadable = found."""

    USED = "used"
    DUPLICATE = "duplicate"
    EXCLUDED = "excluded"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """Where bytes lie: a file, or a member of an archive. Private.

    Attributes:
        path: the file, or the archive.
        member: the name inside the archive, None for a plain file.
    """

    path: Path
    member: str | None = None


@dataclass(frozen=True, slots=True)
class FileFate:
    """What became of one file and why: a code of `core.problems.problems()`, and a sentence without patient data."""

    source: SourceFile
    fate: Fate
    code: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """One DICOM object as indexed, pixels not read. Private.

    Attributes:
        source: where its bytes lie.
        header: the indexed attributes by DICOM keyword, top level only, in pydicom's Python types but plain (str, int,
            float, tuple of these); text is decoded; an absent or empty attribute has no key.
    """

    source: SourceFile
    header: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))

    def text(self, keyword: str) -> str:
        """An attribute as text, parts of a multi-value joined by a backslash; "" where absent."""
        value = self.header.get(keyword, "")
        return "\\".join(str(part) for part in value) if isinstance(value, tuple) else str(value)

    def number(self, keyword: str) -> float | None:
        """An attribute as a number; None where absent, no number, or not finite."""
        value = self.header.get(keyword)
        first = value[0] if isinstance(value, tuple) and value else value
        try:
            number = float(first)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            return None
        return number if math.isfinite(number) else None


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Instances that form one volume, in slice order. Private.

    Attributes:
        key: unique and stable: the SeriesInstanceUID, with a suffix where one UID held several volumes.
        instances: sorted along the normal, lowest first; one a frame, with its own header, of a multi-frame object.
        geometry: the grid of the volume; None where no true grid exists.
        problems: everything noticed, all of it; any `Severity.REFUSE` means that no volume can be made.
        distinguished_by: attribute to value of what tells it apart from other volumes under its UID; dates, times and
            UIDs are counted from 1 instead.
    """

    key: str
    instances: tuple[Instance, ...]
    geometry: Geometry | None
    problems: tuple[Problem, ...] = ()
    distinguished_by: Mapping[str, str] = field(default_factory=dict)

    @property
    def first(self) -> Instance:
        """The lowest slice, whose header speaks for the series."""
        return self.instances[0]

    @property
    def is_usable(self) -> bool:
        """True when a volume can be made of it."""
        refused = any(problem.severity is Severity.REFUSE for problem in self.problems)
        return self.geometry is not None and not refused


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """What the inclusion rules ask about a series; a fact the header does not tell is "" or None.

    Attributes:
        modality: "CT", "MR"...
        manufacturer: as the scanner writes it.
        model: ManufacturerModelName.
        institution: InstitutionName. Private: only for finding the site's own rules.
        kernel: ConvolutionKernel, parts joined by a backslash.
        kvp: tube voltage in kV.
        slice_thickness_mm: SliceThickness, which is not the distance of the slices.
        slice_spacing_mm: measured from the positions, the usual gap where slices are missing; None for a single slice.
        pixel_spacing_mm: (row, column).
        matrix: (rows, columns).
        slice_count: slices of the volume.
        coverage_mm: from the first slice's centre to the last's, along the normal; None for a single slice.
        image_type: ImageType in upper case.
        study_date: "YYYYMMDD" as in the header. Private.
        acquisition_datetime: "YYYYMMDDHHMMSS" of the earliest slice, the part that is known. Private.
        is_axial: True when the normal lies within 5 degrees of the patient's long axis.
        is_tilted: True when the gantry was tilted, so that the grid is sheared.
        description: SeriesDescription and ProtocolName, decoded. Private.
    """

    modality: str = ""
    manufacturer: str = ""
    model: str = ""
    institution: str = ""
    kernel: str = ""
    kvp: float | None = None
    slice_thickness_mm: float | None = None
    slice_spacing_mm: float | None = None
    pixel_spacing_mm: tuple[float, float] | None = None
    matrix: tuple[int, int] | None = None
    slice_count: int = 0
    coverage_mm: float | None = None
    image_type: tuple[str, ...] = ()
    study_date: str = ""
    acquisition_datetime: str = ""
    is_axial: bool = False
    is_tilted: bool = False
    description: str = ""


@dataclass(frozen=True, slots=True)
class PixelFacts:
    """What the inclusion rules ask about the pixels of a series; what cannot be measured is NaN.

    Attributes:
        noise_hu: standard deviation of the noise in soft tissue; NaN in MR, which has no scale.
        metal_ml: volume brighter than any bone; NaN in MR.
        motion_mm: largest jump of the skin between slices, see `image.motion`.
    """

    noise_hu: float
    metal_ml: float
    motion_mm: float


@dataclass(frozen=True, slots=True)
class PhaseGuess:
    """Which phase a series is, how sure, and why.

    Attributes:
        phase: None when nothing speaks for any phase, or the evidence disagrees.
        confidence: 0.0 to 1.0.
        evidence: one sentence a source (header, text, timing, image, person), without patient data.
        needs_person: True when sources disagree; such a series is never used by default.
        kind: what kind of image it is, in a word or two for a person, such as "ADC map"; "" for a usual CT.
        is_decided: True where a person said which phase it is; nothing overrules that.
    """

    phase: Phase | None
    confidence: float
    evidence: tuple[str, ...] = ()
    needs_person: bool = False
    kind: str = ""
    is_decided: bool = False


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something was kept out or needs review: a code of `core.problems.problems()`, and what was found.

    Neither holds patient data.
    """

    rule: str
    message: str


@dataclass(frozen=True, slots=True)
class Screening:
    """The verdict on one series.

    Attributes:
        series_key: private, see `Series.key`.
        case_id: "P0001"...; None while the patient has none.
        phase: as recognised.
        kept: True when the series becomes this case's volume of this phase.
        reasons: every rule that speaks against it; empty exactly when kept.
    """

    series_key: str
    case_id: str | None
    phase: PhaseGuess
    kept: bool
    reasons: tuple[Reason, ...] = ()


HEALTHY = frozenset({"normal", "none", "healthy"})
"""Diagnoses of a patient without a lesion, in small letters."""

UNLISTED = "unlisted"
"""Stands for a diagnosis that is none of those the configuration lists; what the table says instead is not repeated."""


@dataclass(frozen=True, slots=True)
class Patient:
    """What `clinical.csv` tells of a patient, in the words of the release; unknown is None."""

    age_years: int | None = None
    sex: str | None = None
    diagnosis: str | None = None
    site: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One patient's study as it enters the dataset.

    Attributes:
        case_id: "P0001"...
        series: phase to `Series.key`, in the order of `Phase`.
        patient: age, sex, diagnosis.
    """

    case_id: str
    series: Mapping[Phase, str]
    patient: Patient = Patient()
