"""What the stages leave for one another, file by file, in the order of the way.

    SCREEN      screening.enc, consort.json       who became a case, and how many fell at each rule
    CONVERT     header.json                       where a volume comes from, and what its header says
    LABEL       coarse.json                       how the network's label came about
    PACK        assignment.json                   who reads what
    ADJUDICATE  assignment.json                   which votes the lead radiologist was asked about
    COLLECT     checked.json, adjudicated.json    verdicts on returns; what the lead's mask is about
                accepted.json                     flagged masks that a person accepted
    AGREE       agreement.json                    how far raters agree
    VOTE        consensus.json                    what speaks for the voted mask
    MEASURE     lesions.json, enhancement.json    lesions of the mask that counts
                final.json                        how far each rater agrees with it
                coarse_final.json                 how far the network's label, as sent, agrees with it
    PREPARE     preparation.json                  which slices and which window a released image has

Each says which version of its format it has; see `core.artefacts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import ClassVar, TypeAlias

from pydantic import JsonValue

from pipeline.agreement.records import Agreement, Explanation, FinalScores
from pipeline.cohort.inclusion import FlowStep
from pipeline.core.artefacts import Artefact
from pipeline.core.boxes import BETWEEN_BOXES
from pipeline.core.config import WindowConfig
from pipeline.core.files import digest
from pipeline.core.records import Patient, Phase, PhaseGuess
from pipeline.lesions.records import Enhancement, Lesion
from pipeline.review.assignment import Assignment
from pipeline.segment.segmenter import LabelFacts

VolumeKey: TypeAlias = tuple[str, Phase]
"""Case and phase."""


@dataclass(frozen=True, slots=True)
class ScreenedCase:
    """What later stages ask of a case. Private.

    Attributes:
        series: phase to `Series.key`.
        patient: clinical facts.
        guesses: how each phase was recognised.
        first_study_date: the patient's earliest, "YYYYMMDD"; "" when no header has one.
        site: keyed name of the hospital.
    """

    series: Mapping[Phase, str]
    patient: Patient
    guesses: Mapping[Phase, PhaseGuess]
    first_study_date: str
    site: str


class ScreenedCases(Artefact):
    """`screening.enc`: every case that passed, by case_id. Private."""

    cases: Mapping[str, ScreenedCase]


class ConsortFlow(Artefact):
    """`consort.json`: how many series and patients fell at each rule."""

    steps: tuple[FlowStep, ...]


@dataclass(frozen=True, slots=True)
class SliceOrigin:
    """Where a slice came from, in words that lead back only with the project's secret.

    Attributes:
        instance: keyed name of the DICOM instance.
        frame: of a multi-frame object; None for one of a single frame.
        position_lps_mm: ImagePositionPatient.
        slope: RescaleSlope.
        intercept: RescaleIntercept.
        padded_pixels: how many the scanner did not measure.
    """

    instance: str
    frame: int | None
    position_lps_mm: tuple[float, float, float]
    slope: float
    intercept: float
    padded_pixels: int


@dataclass(frozen=True, slots=True)
class TextSearch:
    """A search of one volume for burned-in text, kept so that later gates can ask for it.

    Attributes:
        content_sha256: the volume that was searched, by its content.
        rules: version of the rules of the search.
        found: what looked like text; empty for nothing.
        was_looked_at: True when a person looked at what was found, and let the series pass.
        masked: boxes that were set to the background value before, as people write them.
        decision: of the person who looked; empty where nothing was found, or nobody was asked.
    """

    content_sha256: str
    rules: int
    found: tuple[str, ...]
    was_looked_at: bool
    masked: tuple[str, ...] = ()
    decision: str = ""


class ConvertedVolume(Artefact):
    """`header.json`: a converted volume, and the allow-listed facts of its header by DICOM keyword.

    `text_search` is None where the settings ask for none.
    """

    format_version: ClassVar[int] = 2

    case_id: str
    phase: Phase
    phase_confidence: float
    phase_evidence: tuple[str, ...]
    content_sha256: str
    text_search: TextSearch | None
    header: Mapping[str, JsonValue]
    slices: tuple[SliceOrigin, ...]

    @property
    def text_mask(self) -> str:
        """Boxes that were masked because text stood there, as people write them; empty for none."""
        return BETWEEN_BOXES.join(self.text_search.masked) if self.text_search else ""

    @property
    def scan_sha256(self) -> str:
        """Of the slices it was made of, whatever was masked in them."""
        return digest([asdict(slice_) for slice_ in self.slices])

    def text(self, keyword: str) -> str | None:
        """A fact as text; None where the header has none."""
        value = self.header.get(keyword)
        return None if value is None else str(value)

    def number(self, keyword: str) -> float | None:
        """A fact as a number; None where the header has none."""
        value = self.header.get(keyword)
        return float(value) if isinstance(value, int | float) else None


class CoarseLabel(Artefact):
    """`coarse.json`: the network's label of one volume.

    `phase_disagreement` is one minus the Dice of this liver with that of the patient's other phases, None without any;
    `liver_cut` names the ends of the scan that the liver touches.
    """

    case_id: str
    phase: Phase
    phase_disagreement: float | None
    liver_cut: tuple[str, ...]
    image_sha256: str
    label_sha256: str
    facts: LabelFacts


@dataclass(frozen=True, slots=True)
class SentImage:
    """The image of one volume as it was handed out.

    Attributes:
        case_id: "P0001"...
        phase: of the case.
        series: pseudonym of its SeriesInstanceUID.
        text_mask: boxes that were masked in it, as people write them; empty for none.
        content_sha256: of its voxels and grid; empty where an earlier version of the program packed it.
        scan_sha256: of the slices it was made of, whatever was masked in them.
    """

    case_id: str
    phase: Phase
    series: str
    text_mask: str
    content_sha256: str = ""
    scan_sha256: str = ""

    @property
    def volume(self) -> VolumeKey:
        """Case and phase."""
        return self.case_id, self.phase


class RoundAssignment(Artefact):
    """`assignment.json` of a round: who reads what; says which items are hidden repeats.

    `images` is empty where an earlier version of the program packed the round.
    """

    assignment: Assignment
    images: tuple[SentImage, ...] = ()


@dataclass(frozen=True, slots=True)
class AskedItem:
    """One vote that the lead radiologist was asked to settle, by the content hash of the voted mask."""

    case_id: str
    phase: Phase
    voted_sha256: str

    @property
    def volume(self) -> VolumeKey:
        """Case and phase."""
        return self.case_id, self.phase


class AskedOfLead(Artefact):
    """`assignment.json` of an adjudication; `images` as in `RoundAssignment`."""

    items: tuple[AskedItem, ...]
    images: tuple[SentImage, ...] = ()


@dataclass(frozen=True, slots=True)
class ReturnRow:
    """One line of `returns.csv`: the verdict on one returned mask, and whether it counts."""

    kind: str
    round: int
    rater: str | None
    item: str | None
    verdict: str
    message: str
    fix: str
    repairs: str
    changed_voxels: int | None
    sha256: str
    used: bool


@dataclass(frozen=True, slots=True)
class CheckedParcel:
    """One return: its verdicts, and the files kept of it by their path in the dataset folder."""

    rows: tuple[ReturnRow, ...]
    kept: tuple[str, ...]


class CheckedReturns(Artefact):
    """`checked.json`: every return of a round by its fingerprint, so that one that did not change is not read again."""

    parcels: Mapping[str, CheckedParcel]


@dataclass(frozen=True, slots=True, order=True)
class AcceptedMask:
    """A flagged mask that a person accepted: this file, as this rater's mask of this item."""

    rater: str
    item: str
    sha256: str


class AcceptedMasks(Artefact):
    """`accepted.json`: flagged masks that a person looked at and accepted."""

    masks: tuple[AcceptedMask, ...] = ()


class LeadDecision(Artefact):
    """`adjudicated.json`: who settled a volume, and which vote that was about."""

    by: str
    voted_sha256: str
    changed_voxels: int | None


class RatedAgreement(Artefact):
    """`agreement.json`: how far the raters of one volume agree."""

    format_version = 2

    agreement: Agreement


class VotedMask(Artefact):
    """`consensus.json`: what speaks for the voted mask of one volume."""

    format_version = 2

    explanation: Explanation


class FinalAgreement(Artefact):
    """`final.json`: how far each rater of one volume agrees with the mask that counts."""

    scores: tuple[FinalScores, ...]


class CoarseAgreement(Artefact):
    """`coarse_final.json`: how far the network's label, as sent to the raters, agrees with the mask that counts."""

    agreement: Agreement


class MeasuredLesions(Artefact):
    """`lesions.json`: every lesion of one volume's mask that counts, largest first."""

    format_version = 2

    case_id: str
    phase: Phase
    lesions: tuple[Lesion, ...]


class MeasuredEnhancement(Artefact):
    """`enhancement.json`: every lesion of a case on every phase."""

    format_version = 2

    rows: tuple[Enhancement, ...]


class PreparedVolume(Artefact):
    """`preparation.json`: the released copy of one volume, as slices of the scan (from 0) and an HU window."""

    first_slice: int
    slices: int
    scan_slices: int
    window: WindowConfig | None
