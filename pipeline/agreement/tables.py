"""The tables that papers print of a dataset's agreement, each one call."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.agreement.raters import cohen_kappa, fleiss_kappa
from pipeline.agreement.records import KindPair, PairScores, VoteScores
from pipeline.agreement.summary import (
    FINAL_MEASURE,
    SUMMARY_DEFINITIONS,
    VOTE_MEASURES,
    RatedVolume,
    SummaryRow,
    grouped_by,
    summarise,
)
from pipeline.agreement.volumes import bland_altman, icc_2_1
from pipeline.core.files import finite
from pipeline.core.labels import Structure

TABLE_DEFINITIONS = {
    "before": "mean Dice of all pairs of raters, in percent",
    "after": "mean Dice of raters with the strict majority they took part in, in percent: biased upwards",
    "after_fair": "mean Dice of raters with the strict majority of the others, in percent",
    "after_final": "mean Dice of raters with the mask that counts, in percent: the vote by the configured rule and tie "
    "policy, or the lead radiologist's where adjudicated; what LiMT calls after consensus",
    "bias_ml": "mean volume difference: rater minus vote, or first rater minus second",
    "bias_low_ml, bias_high_ml": "limits of agreement, bias -+ 1.96 standard deviations (Bland & Altman 1986)",
    "bias_percent": "mean volume difference in percent of the mean of both, where either marked the structure",
    "icc_2_1": "two-way random effects, absolute agreement, single rater (Shrout & Fleiss 1979), of volumes",
    "marked_*": "the same over volumes in which at least one of the two (or of the group) marked the structure; those "
    "without a lesion raise the ICC and narrow the limits of agreement",
}


def dataset_tables(volumes: Sequence[RatedVolume], *, seed: int = 7) -> dict[str, Any]:
    """Everything a report prints of a dataset's agreement, JSON-able, with the definitions.

    Args:
        volumes: all that several raters marked.
        seed: of the bootstrap.
    """
    rows = summarise(volumes, seed=seed)
    has_kinds = any(volume.agreement.kind_pairs for volume in volumes)
    kinds = {name: table(volumes) for name, table in KIND_TABLES.items()} if has_kinds else {}
    return {
        "summary": [row.to_json() for row in rows],
        "overall": overall_table(rows),
        "plc_cect": plc_table(rows),
        "limt": limt_table(rows),
        "raters": rater_table(volumes),
        "rater_pairs": pair_table(volumes),
        "rater_groups": group_table(volumes),
        **kinds,
        "seed": seed,
        "definitions": SUMMARY_DEFINITIONS | TABLE_DEFINITIONS | (KIND_TABLE_DEFINITIONS if has_kinds else {}),
    }


UNKNOWN_KIND = "unknown"
"""How tables call the kind of a lesion that a rater gave none."""

KIND_TABLE_DEFINITIONS = {
    "same_kind": "share of the lesions of two raters that match one to one, and to which both give a kind, of one kind",
    "cohen_kappa": "agreement of the two beyond chance on these lesions (Cohen 1960)",
    "fleiss_kappa of kinds": "agreement of all raters beyond chance on the lesions to which all give a kind",
}

COARSE_MEASURES = ("dice", "jaccard", "assd_mm", "hd95_max_mm")
"""What LiMT's Tables VIII and IX report."""

LESION_SIZES_MM = (10.0, 20.0, 50.0)
"""Largest diameters that part volumes: measurable (RECIST 1.1), very early HCC ends, Milan's single tumour ends."""


def volume_groups(
    vendor: str | None, kernel: str | None, slice_thickness_mm: float | None, largest_lesion_mm: float | None
) -> dict[str, str]:
    """What labels of networks are grouped by besides the phase, each a name and this volume's value.

    Args:
        vendor: of the scanner.
        kernel: of the reconstruction.
        slice_thickness_mm: SliceThickness.
        largest_lesion_mm: largest diameter of the largest lesion; None without lesions.
    """
    thickness = None if slice_thickness_mm is None else f"{slice_thickness_mm:g}"
    own = {"kernel": kernel or "unknown", "largest lesion": lesion_size(largest_lesion_mm)}
    return {**grouped_by(vendor, thickness), **own}


def lesion_size(diameter_mm: float | None) -> str:
    """The class of a largest diameter in words; a lesion of exactly a bound belongs above it."""
    if diameter_mm is None:
        return "no lesion"
    bounds = (0.0, *LESION_SIZES_MM, math.inf)
    low, high = next((low, high) for low, high in pairwise(bounds) if diameter_mm < high)
    return f"{low:g} mm or more" if high == math.inf else f"{low:g} to {high:g} mm"


def coarse_table(volumes: Sequence[RatedVolume], *, seed: int = 7) -> list[dict[str, Any]]:
    """The coarse labels against the final masks as LiMT's Table VIII prints them, one row a group and structure.

    Args:
        volumes: each the pair of coarse label and final mask; none gives no row.
        seed: of the bootstrap.
    """
    table: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in summarise(volumes, seed=seed):
        if row.measure in COARSE_MEASURES:
            line = table.setdefault((row.group, row.value, row.structure), _coarse_line(row))
            line |= {row.measure: row.mean, f"{row.measure}_sd": row.sd}
            if row.measure == "dice":
                line |= {"volumes": row.volumes, "dice_ci_low": row.ci_low, "dice_ci_high": row.ci_high}
    return [dict(finite(line)) for line in table.values()]


def _coarse_line(row: SummaryRow) -> dict[str, Any]:
    named = {"group": row.group, "value": row.value, "structure": row.structure}
    return {**named, "volumes": 0, "both_empty": row.both_empty, "one_empty": row.one_empty}


OVERALL_MEASURES = ("dice", "jaccard", "hd95_max_mm", "assd_mm", "nsd", "f1")

PAGE_HEADINGS = {
    "overall": "Pairs of raters over all volumes, with 95 % intervals of the mean over patients",
    "plc_cect": "Lesions between raters: Dice, and volume difference in ml (as PLC-CECT reports them)",
    "limt": "Dice in percent before and after the vote, against the vote of the others, and with the final mask (LiMT)",
    "raters": "Each rater against the vote; marked: over volumes in which either marked the structure",
    "rater_pairs": "Volumes of each pair of raters: bias, limits of agreement, ICC; marked: where either marked any",
    "rater_groups": "Volumes of all raters who read the same cases: ICC; marked: where any of them marked any",
    "kinds": "Kinds that two raters give one lesion, over all pairs of raters",
    "kind_pairs": "Each pair of raters: how far they agree on the kind of lesions that both marked",
    "kind_groups": "All raters who read the same cases: how far they agree on the kind of lesions that all marked",
    "coarse": "Coarse labels, as sent to the raters, against the final masks (LiMT, Table VIII)",
    "repeats": "Each rater against their own first mask, on hidden repeats",
}


def page_tables(tables: Mapping[str, Any]) -> dict[str, list[dict[str, str]]]:
    """The tables of `dataset_tables` for a page: by heading, numbers to four digits, "-" where undefined."""
    return {
        heading: [{column: _shown(value) for column, value in row.items()} for row in tables[name]]
        for name, heading in PAGE_HEADINGS.items()
        if name in tables
    }


def overall_table(rows: Iterable[SummaryRow]) -> list[dict[str, Any]]:
    """Every structure over all volumes by the measures that papers ask for, with intervals over patients."""
    return [
        {"structure": row.structure, "measure": row.measure, "patients": row.patients, **_statistics(row)}
        for row in rows
        if row.group == "all" and row.measure in OVERALL_MEASURES
    ]


def plc_table(rows: Iterable[SummaryRow]) -> list[dict[str, Any]]:
    """Inter-observer agreement on lesions as PLC-CECT prints it, Dice and volume difference, and what it left out."""
    shown = ("dice", "volume_difference_ml")
    return [
        {"group": row.group, "value": row.value, "measure": row.measure, **_statistics(row)}
        for row in rows
        if row.structure == Structure.LESION and row.measure in shown
    ]


def limt_table(rows: Iterable[SummaryRow]) -> list[dict[str, Any]]:
    """Dice before and after as LiMT prints it, in percent: with the vote, that of the others, and the final mask."""
    columns = {
        "dice": "before",
        "dice_with_vote": "after",
        "dice_with_vote_of_others": "after_fair",
        FINAL_MEASURE: "after_final",
    }
    table: dict[tuple[str, str, str], dict[str, Any]] = defaultdict(lambda: dict.fromkeys(columns.values(), math.nan))
    for row in rows:
        if row.measure in columns:
            table[row.group, row.value, row.structure][columns[row.measure]] = 100 * row.mean
    return [
        {"group": group, "value": value, "structure": structure} | finite(figures)
        for (group, value, structure), figures in table.items()
    ]


def rater_table(volumes: Sequence[RatedVolume]) -> list[dict[str, Any]]:
    """Each rater against the vote: Dice with and without his own part in it, and the bias of his volumes."""
    found: dict[tuple[str, str], list[VoteScores]] = defaultdict(list)
    for volume in volumes:
        for score in volume.agreement.against_vote:
            found[score.rater, score.structure].append(score)
    return [_rater_row(rater, structure, scores) for (rater, structure), scores in sorted(found.items())]


def pair_table(volumes: Sequence[RatedVolume]) -> list[dict[str, Any]]:
    """Each pair of raters: Bland-Altman and ICC(2,1) of the volumes both measured, and their mean Dice."""
    found: dict[tuple[str, str, str], list[PairScores]] = defaultdict(list)
    for volume in volumes:
        for pair in volume.agreement.pairs:
            found[(*pair.raters, pair.structure)].append(pair)
    return [_pair_row(*names, pairs) for names, pairs in sorted(found.items())]


def group_table(volumes: Sequence[RatedVolume]) -> list[dict[str, Any]]:
    """ICC(2,1) of the volumes that each group of raters measured; one group unless cases were shared out."""
    found: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    for volume in volumes:
        scores = volume.agreement.against_vote
        for structure in dict.fromkeys(score.structure for score in scores):
            by_rater = {score.rater: score.volume_ml for score in scores if score.structure == structure}
            found[" ".join(sorted(by_rater)), structure].append([by_rater[rater] for rater in sorted(by_rater)])
    return [
        {"raters": raters, "structure": structure, **finite(_over_all_and_marked(np.array(rows), _icc))}
        for (raters, structure), rows in sorted(found.items())
    ]


def kind_table(volumes: Sequence[RatedVolume]) -> list[dict[str, Any]]:
    """How many matching lesions two raters call by two kinds, over all pairs of raters: the confusion matrix."""
    found: Counter[tuple[str, str]] = Counter()
    for pair in _kind_pairs(volumes):
        first, second = sorted((pair.kind_a or UNKNOWN_KIND, pair.kind_b or UNKNOWN_KIND))
        found[first, second] += pair.lesions
    return [{"kind_a": first, "kind_b": second, "lesions": count} for (first, second), count in sorted(found.items())]


def kind_pair_table(volumes: Sequence[RatedVolume]) -> list[dict[str, Any]]:
    """Each pair of raters: the share of lesions they call by one kind, and Cohen's kappa, where both name a kind."""
    found: dict[tuple[str, str], Counter[tuple[str, str]]] = defaultdict(Counter)
    for pair in _kind_pairs(volumes):
        named = pair.kind_a and pair.kind_b
        found[pair.raters][pair.kind_a, pair.kind_b] += pair.lesions if named else 0
    return [_kind_pair_row(*raters, counts) for raters, counts in sorted(found.items())]


def kind_group_table(volumes: Sequence[RatedVolume]) -> list[dict[str, Any]]:
    """Fleiss' kappa of each group of raters, over lesions to which all of them gave a kind."""
    found: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for volume in volumes:
        raters = " ".join(volume.agreement.raters)
        found[raters] += [lesion.kinds for lesion in volume.agreement.lesions if lesion.kinds and all(lesion.kinds)]
    return [_kind_group_row(raters, lesions) for raters, lesions in sorted(found.items())]


def repeat_table(repeats: Sequence[RatedVolume]) -> list[dict[str, Any]]:
    """Each rater against himself on hidden repeats: Dice and volume difference of the two readings.

    Args:
        repeats: one a repeat, whose two "raters" are the two readings and whose groups name the "rater".
    """
    shown = ("dice", "volume_difference_ml")
    return [
        {"rater": row.value, "structure": row.structure, "measure": row.measure, **_statistics(row)}
        for row in summarise(repeats)
        if row.group == "rater" and row.measure in shown
    ]


KIND_TABLES: Mapping[str, Callable[[Sequence[RatedVolume]], list[dict[str, Any]]]] = MappingProxyType(
    {"kinds": kind_table, "kind_pairs": kind_pair_table, "kind_groups": kind_group_table}
)
"""Tables of what kind raters say lesions are, where any rater says so."""


def _statistics(row: SummaryRow) -> dict[str, Any]:
    names = ("volumes", "both_empty", "one_empty", "mean", "median", "sd", "q1", "q3", "ci_low", "ci_high")
    return dict(finite({name: getattr(row, name) for name in names}))


def _rater_row(rater: str, structure: str, scores: Sequence[VoteScores]) -> dict[str, Any]:
    volumes_ml = np.array([[score.volume_ml, score.vote_ml] for score in scores], dtype=np.float64)
    dice = {measure: _mean(getattr(score, measure) for score in scores) for measure in VOTE_MEASURES}
    row = {"rater": rater, "structure": structure} | dice | _over_all_and_marked(volumes_ml, _bias)
    return dict(finite(row))


def _pair_row(a: str, b: str, structure: str, pairs: Sequence[PairScores]) -> dict[str, Any]:
    volumes_ml = np.array([pair.volumes_ml for pair in pairs], dtype=np.float64)
    row = {"rater_a": a, "rater_b": b, "structure": structure, "dice": _mean(pair.overlap.dice for pair in pairs)}
    row |= _over_all_and_marked(volumes_ml, lambda rows: _bias(rows) | _icc(rows))
    return dict(finite(row))


def _kind_pairs(volumes: Sequence[RatedVolume]) -> Iterator[KindPair]:
    return (pair for volume in volumes for pair in volume.agreement.kind_pairs)


def _kind_pair_row(a: str, b: str, counts: Counter[tuple[str, str]]) -> dict[str, Any]:
    kinds = sorted({kind for pair in counts for kind in pair if kind})
    table = np.array([[counts[first, second] for second in kinds] for first in kinds], dtype=np.int64)
    lesions = int(table.sum())
    same = float(np.trace(table)) / lesions if lesions else math.nan
    kappa = cohen_kappa(table) if lesions else math.nan
    return {"rater_a": a, "rater_b": b, "lesions": lesions, **finite({"same_kind": same, "cohen_kappa": kappa})}


def _kind_group_row(raters: str, lesions: Sequence[tuple[str, ...]]) -> dict[str, Any]:
    kinds = sorted({kind for said in lesions for kind in said})
    votes = np.array([[said.count(kind) for kind in kinds] for said in lesions], dtype=np.int64).reshape(-1, len(kinds))
    kappa = fleiss_kappa(votes, np.ones(len(votes), dtype=np.int64))
    return {"raters": raters, "lesions": len(lesions), **finite({"fleiss_kappa": kappa})}


def _over_all_and_marked(
    volumes_ml: NDArray[np.float64], measure: Callable[[NDArray[np.float64]], dict[str, float]]
) -> dict[str, float]:
    """Measures of volumes (things, raters), and again of those that at least one rater marked."""
    marked = volumes_ml[volumes_ml.any(axis=1)]
    again = {"volumes": len(marked)} | measure(marked)
    return {"volumes": len(volumes_ml)} | measure(volumes_ml) | {f"marked_{name}": again[name] for name in again}


def _icc(volumes_ml: NDArray[np.float64]) -> dict[str, float]:
    return {"icc_2_1": icc_2_1(volumes_ml)}


def _bias(volumes_ml: NDArray[np.float64]) -> dict[str, float]:
    """Bland-Altman of two columns of volumes, in ml and in percent of their mean."""
    apart = bland_altman(volumes_ml[:, 0], volumes_ml[:, 1])
    marked = volumes_ml[volumes_ml.any(axis=1)]
    percent = 100 * marked / marked.mean(axis=1, keepdims=True)
    return {
        "bias_ml": apart.bias,
        "bias_low_ml": apart.low,
        "bias_high_ml": apart.high,
        "bias_percent": bland_altman(percent[:, 0], percent[:, 1]).bias,
    }


def _mean(values: Iterable[float]) -> float:
    """Of those that are defined; NaN without any."""
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
