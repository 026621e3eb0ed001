"""Who is in the demo cohort: twelve patients to keep and five to refuse, each with what is special about them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from pydicom.uid import UID, JPEG2000Lossless, RLELossless

from pipeline.core.records import Phase
from pipeline.synth.anatomy import LesionKind
from pipeline.synth.phantom import CT_PHASES
from pipeline.synth.scanners import GENERAL, UNIVERSITY, Kernel, Scanner


@dataclass(frozen=True, slots=True)
class Protocol:
    """Grid of a reconstruction; slices touch."""

    shape: tuple[int, int, int]
    spacing_um: tuple[int, int, int]


COARSE = Protocol((36, 96, 96), (5000, 3800, 3800))
MEDIUM = Protocol((44, 112, 112), (4000, 3200, 3200))
FINE = Protocol((60, 128, 128), (3000, 2800, 2800))
THICK = Protocol((26, 96, 96), (7000, 3800, 3800))


class Bystander(StrEnum):
    """Files in a study that must become no slice of a volume; the value is the code of their fate."""

    LOCALIZER = "localizer"
    DOSE_REPORT = "dose-report"
    DOSE_SCREEN = "secondary-capture"
    COPIES = "duplicate"
    CUT_COPY = "truncated"


@dataclass(frozen=True, slots=True)
class PlannedSeries:
    """One reconstruction.

    Attributes:
        is_coronal: True for a coronal reformat of the volume.
        left_out: slices that never reached the export, counted from the lowest.
        rules: why it must be refused, whoever the patient is.
    """

    phase: Phase
    protocol: Protocol
    kernel: Kernel = Kernel.SOFT
    is_coronal: bool = False
    syntax: UID | None = None
    left_out: tuple[int, ...] = ()
    rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Enrolled:
    """One patient.

    Attributes:
        kinds: lesions of the liver.
        prior: series of an earlier study.
        rules: why the patient must be refused.
        in_clinical: False when `clinical.csv` does not know the patient.
    """

    scanner: Scanner
    diagnosis: str
    age_years: int
    kinds: tuple[LesionKind, ...]
    series: tuple[PlannedSeries, ...]
    bystanders: tuple[Bystander, ...] = ()
    prior: tuple[PlannedSeries, ...] = ()
    rules: tuple[str, ...] = ()
    in_clinical: bool = True


DIAGNOSES = ("HCC", "ICC", "cHCC-CCA", "metastasis", "hemangioma", "cyst", "normal")
"""What the demo's inclusion rule admits."""

PATHOLOGY_CODES = {"HCC": "M81700/3", "ICC": "M81600/3", "cHCC-CCA": "M81800/3"}
"""ICD-O morphology as PLC-CECT cites it; other diagnoses were not proven by histology."""

ADULT_AGE_YEARS = 18


def roster() -> tuple[Enrolled, ...]:
    """Every patient of the cohort; sites take turns."""
    return tuple(_kept() + _refused())


def _four(protocol: Protocol, *, syntax: UID | None = None) -> tuple[PlannedSeries, ...]:
    return tuple(PlannedSeries(phase, protocol, syntax=syntax) for phase in CT_PHASES)


def _kept() -> list[Enrolled]:
    hcc, icc, combined, metastasis, cyst, hemangioma = LesionKind
    coarse, medium = _four(COARSE), _four(MEDIUM)
    gap = PlannedSeries(Phase.PORTAL_VENOUS, MEDIUM, left_out=(20, 21), rules=("missing-slices",))
    thick = PlannedSeries(Phase.PLAIN, THICK, rules=("slice-thickness", "slice-spacing"))
    sharp = PlannedSeries(Phase.ARTERIAL, MEDIUM, Kernel.SHARP, rules=("not-preferred",))
    thicker = PlannedSeries(Phase.PORTAL_VENOUS, COARSE, rules=("not-preferred",))
    earlier = tuple(
        PlannedSeries(phase, COARSE, rules=("not-preferred",)) for phase in (Phase.PLAIN, Phase.PORTAL_VENOUS)
    )
    reformat = PlannedSeries(
        Phase.PORTAL_VENOUS, MEDIUM, is_coronal=True, rules=("not-original", "image-type", "not-axial")
    )
    return [
        Enrolled(GENERAL, "HCC", 63, (hcc, cyst), coarse, (Bystander.LOCALIZER,)),
        Enrolled(UNIVERSITY, "ICC", 58, (icc,), (*medium, gap)),
        Enrolled(GENERAL, "cHCC-CCA", 47, (combined, cyst), (thick, *coarse)),
        Enrolled(UNIVERSITY, "HCC", 71, (hcc, hcc, hemangioma), (*medium, sharp)),
        Enrolled(GENERAL, "normal", 35, (), coarse, (Bystander.COPIES, Bystander.CUT_COPY)),
        Enrolled(UNIVERSITY, "metastasis", 66, (metastasis,) * 5, (*medium, thicker)),
        Enrolled(GENERAL, "hemangioma", 52, (hemangioma, cyst), _four(COARSE, syntax=RLELossless)),
        Enrolled(UNIVERSITY, "cHCC-CCA", 60, (combined,), _four(FINE)),
        Enrolled(GENERAL, "ICC", 74, (icc, icc), coarse, (Bystander.DOSE_REPORT, Bystander.DOSE_SCREEN)),
        Enrolled(UNIVERSITY, "normal", 41, (), _four(MEDIUM, syntax=JPEG2000Lossless)),
        Enrolled(GENERAL, "HCC", 91, (hcc, cyst, cyst), coarse, prior=earlier),
        Enrolled(UNIVERSITY, "cyst", 29, (cyst, cyst, cyst), (*medium, reformat), (Bystander.LOCALIZER,)),
    ]


def _refused() -> list[Enrolled]:
    hcc, icc = LesionKind.HCC, LesionKind.ICC
    whole = _four(COARSE)
    broken = tuple(
        replace(series, left_out=(17,), rules=("missing-slices",)) if series.phase is Phase.ARTERIAL else series
        for series in whole
    )
    return [
        Enrolled(GENERAL, "HCC", 55, (hcc,), broken, rules=("phases-complete",)),
        Enrolled(UNIVERSITY, "ICC", 49, (icc,), whole[:3], rules=("phases-complete",)),
        Enrolled(GENERAL, "HCC", 16, (hcc,), whole, rules=("age",)),
        Enrolled(UNIVERSITY, "abscess", 44, (LesionKind.METASTASIS,), whole, rules=("diagnosis",)),
        Enrolled(GENERAL, "HCC", 68, (hcc,), whole, rules=("clinical-missing",), in_clinical=False),
    ]
