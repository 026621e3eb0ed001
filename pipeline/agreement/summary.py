"""Agreement over a whole dataset: what papers print, with confidence intervals over patients."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from pipeline.agreement.records import Agreement, FinalScores
from pipeline.core.files import finite
from pipeline.core.labels import Structure

BOOTSTRAP_SAMPLES = 2000
"""Enough for two digits of a 95 % interval, and done in milliseconds."""

PAIR_MEASURES = (
    "dice",
    "jaccard",
    "hd_mm",
    "hd95_max_mm",
    "hd95_pooled_mm",
    "hd95_mean_mm",
    "assd_mm",
    "masd_mm",
    "nsd",
)
VOTE_MEASURES = ("dice_with_vote", "dice_with_vote_of_others")
FINAL_MEASURE = "dice_with_final"
DETECTION_MEASURES = ("f1", "f1_iou50", "matched_dice")

SUMMARY_DEFINITIONS = {
    "value of a volume": "mean over its pairs (or raters) for which the measure is defined; volume differences without "
    "their sign",
    "statistics": "over volumes; sd is the sample standard deviation, quartiles interpolate linearly",
    "ci_low, ci_high": "95 % percentile interval of the mean from a bootstrap over patients, all volumes of a patient "
    "together",
    "both_empty": "pairs without the structure in either mask: nothing to compare, in no mean",
    "one_empty": "pairs with the structure in one mask only: in the mean of Dice, Jaccard and NSD as 0, in no mean of "
    "distances",
}


@dataclass(frozen=True, slots=True)
class RatedVolume:
    """One volume that several raters marked.

    Attributes:
        case_id: the patient, "P0001"...; the bootstrap draws patients.
        phase: of the volume.
        agreement: of its raters.
        groups: what else to report by, such as vendor or slice thickness; each a name and this volume's value.
        against_final: each rater against the mask that counts; empty while there is none.
    """

    case_id: str
    phase: str
    agreement: Agreement
    groups: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    against_final: tuple[FinalScores, ...] = ()


def grouped_by(vendor: str | None, slice_thickness_mm: str | None) -> dict[str, str]:
    """The groups of a volume, each a name and this volume's value."""
    return {"vendor": vendor or "unknown", "slice thickness": f"{slice_thickness_mm or 'unknown'} mm"}


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One measure of one structure over a group of volumes; NaN where undefined.

    Attributes:
        group: "all", "phase", or the name of another grouping.
        value: the group's value.
        structure: what was compared.
        measure: a name of `PAIR_MEASURES`, `VOTE_MEASURES` or `DETECTION_MEASURES`, `FINAL_MEASURE`, or a volume
            difference.
        patients: patients with a defined value.
        volumes: volumes with a defined value.
        both_empty: pairs in which neither rater marked the structure.
        one_empty: pairs in which one rater missed it.
        mean: over volumes, like all that follow.
        median: half are above.
        sd: sample standard deviation.
        q1: first quartile.
        q3: third quartile.
        ci_low: lower end of the mean's 95 % confidence interval over patients.
        ci_high: upper end.
    """

    group: str
    value: str
    structure: str
    measure: str
    patients: int
    volumes: int
    both_empty: int
    one_empty: int
    mean: float
    median: float
    sd: float
    q1: float
    q3: float
    ci_low: float
    ci_high: float

    def to_json(self) -> dict[str, Any]:
        """The row as a flat mapping; undefined is null."""
        return dict(finite(asdict(self)))


def summarise(volumes: Sequence[RatedVolume], *, seed: int = 7) -> tuple[SummaryRow, ...]:
    """Every measure of every structure: over all volumes, by phase, and by each grouping the volumes carry.

    Hidden repeats are summarised alike: give one `RatedVolume` a repeat, whose two "raters" are both readings.

    Args:
        volumes: of the dataset; none gives no row.
        seed: of the bootstrap.
    """
    rows = []
    for (group, value), members in _grouped(volumes).items():
        for (structure, measure), by_patient in _values(members).items():
            both, one = _empties(members, structure)
            numbers = _statistics(by_patient, np.random.default_rng(seed))
            rows.append(SummaryRow(group, value, structure, measure, **numbers, both_empty=both, one_empty=one))
    return tuple(rows)


def bootstrap_interval(
    by_patient: Sequence[Sequence[float]], rng: np.random.Generator, samples: int = BOOTSTRAP_SAMPLES
) -> tuple[float, float]:
    """95 % percentile interval of the mean over all values, drawing patients with all their values.

    NaN, NaN below two patients.

    Source: Efron & Tibshirani 1993; drawn by patient, since volumes of one patient are alike.
    """
    if len(by_patient) < 2:
        return math.nan, math.nan
    sums = np.array([sum(values) for values in by_patient])
    counts = np.array([len(values) for values in by_patient])
    drawn = rng.integers(0, len(sums), (samples, len(sums)))
    low, high = np.percentile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), [2.5, 97.5]).tolist()
    return low, high


def _grouped(volumes: Sequence[RatedVolume]) -> dict[tuple[str, str], list[RatedVolume]]:
    """Volumes by group, all of them first."""
    groups: dict[tuple[str, str], list[RatedVolume]] = {("all", "all"): list(volumes)} if volumes else {}
    keys = [{"phase": volume.phase} | dict(volume.groups) for volume in volumes]
    for group in dict.fromkeys(name for key in keys for name in key):
        for value in sorted({key[group] for key in keys if group in key}):
            groups[group, value] = [
                volume for volume, key in zip(volumes, keys, strict=True) if key.get(group) == value
            ]
    return groups


def _values(volumes: Sequence[RatedVolume]) -> dict[tuple[str, str], dict[str, list[float]]]:
    """(structure, measure) to patient to one value a volume; undefined ones are left out."""
    found: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for volume in volumes:
        for name, values in _of_volume(volume).items():
            defined = [value for value in values if value is not None]
            found[name][volume.case_id] += [sum(defined) / len(defined)] if defined else []
    return found


def _of_volume(volume: RatedVolume) -> dict[tuple[str, str], list[float | None]]:
    """(structure, measure) to one value a pair or rater."""
    found: dict[tuple[str, str], list[float | None]] = defaultdict(list)
    agreement = volume.agreement
    for pair in agreement.pairs:
        scores = pair.to_json()
        for measure in PAIR_MEASURES:
            found[pair.structure, measure].append(scores[measure])
        for measure in ("volume_difference_ml", "volume_difference_percent"):
            found[pair.structure, measure].append(abs(scores[measure]) if pair.empty != "both" else None)
    for score in agreement.against_vote:
        for measure in VOTE_MEASURES:
            found[score.structure, measure].append(_defined(getattr(score, measure)))
    for final in volume.against_final:
        found[final.structure, FINAL_MEASURE].append(_defined(final.dice_with_final))
    for match in agreement.detections:
        for measure in DETECTION_MEASURES:
            found[str(Structure.LESION), measure].append(_defined(getattr(match, measure)))
    return found


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value


def _empties(volumes: Sequence[RatedVolume], structure: str) -> tuple[int, int]:
    found = [pair.empty for volume in volumes for pair in volume.agreement.pairs if pair.structure == structure]
    return found.count("both"), found.count("one")


def _statistics(by_patient: Mapping[str, Sequence[float]], rng: np.random.Generator) -> dict[str, Any]:
    patients = [by_patient[patient] for patient in sorted(by_patient) if by_patient[patient]]
    values = np.array([value for of_patient in patients for value in of_patient])
    q1, median, q3 = np.percentile(values, [25, 50, 75]).tolist() if len(values) else [math.nan] * 3
    low, high = bootstrap_interval(patients, rng)
    return {
        "patients": len(patients),
        "volumes": len(values),
        "mean": float(values.mean()) if len(values) else math.nan,
        "median": median,
        "sd": float(values.std(ddof=1)) if len(values) > 1 else math.nan,
        "q1": q1,
        "q3": q3,
        "ci_low": low,
        "ci_high": high,
    }
