"""Whether a release's tables follow from its manifest and masks: what can be computed again must come out the same."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd

from pipeline.core.errors import StorageError
from pipeline.core.files import read_json
from pipeline.core.labels import LabelScheme
from pipeline.core.records import Problem, Severity
from pipeline.dataset.layout import ReleaseLayout
from pipeline.dataset.manifest import COLUMNS, ManifestRow, parquet_bytes, row_name, row_order, schema
from pipeline.dataset.release_inputs import released_scheme
from pipeline.dataset.splits import Splits, nnunet_folds
from pipeline.dataset.statistics import statistics_rows
from pipeline.dataset.tables import (
    COARSE_COLUMNS,
    STATISTICS_COLUMNS,
    TABLE1_COLUMNS,
    by_patient,
    coarse_rows,
    largest_diameter_mm,
    lesion_kinds_text,
    rows_text,
    table1_rows,
)
from pipeline.dataset.tasks import classification_text, coco, kinds_in_masks, missing_from_masks
from pipeline.dataset.verify.anonymity import check_anonymity
from pipeline.dataset.verify.volumes import VolumeCheck, refused

ROUNDING = 1.5e-4
"""Tables carry four decimals; a mean of rounded values differs by no more than this from a rounded mean."""


def check_tables(layout: ReleaseLayout, checks: Sequence[VolumeCheck]) -> Iterator[Problem]:
    """Every table beside the manifest, computed again from the manifest's rows and from the masks."""
    rows = [check.row for check in checks]
    boxes = [(check.row, check.boxes) for check in sorted(checks, key=lambda check: row_order(check.row))]
    scheme = labels_of(layout)
    in_masks = kinds_in_masks(boxes, scheme)
    yield from _check_splits(layout, rows)
    yield from _check_kinds(layout, rows, in_masks, scheme)
    scheme = scheme if in_masks else LabelScheme()
    if _text(layout.table1) != rows_text(TABLE1_COLUMNS, table1_rows(rows)):
        yield _differs(layout.table1, "the manifest")
    if _text(layout.statistics) != rows_text(STATISTICS_COLUMNS, statistics_rows(rows)):
        yield _differs(layout.statistics, "the manifest")
    if _json(layout.schema) != schema(scheme.kind_names):
        yield _differs(layout.schema, "the columns that this program documents")
    if not _same_table(layout.manifest_parquet, rows):
        yield _differs(layout.manifest_parquet, layout.manifest.name)
    if _json(layout.detection) != coco(boxes, scheme):
        yield _differs(layout.detection, "the masks")
    yield from _check_anonymity(layout, rows)
    yield from _check_lesions(layout, rows)
    yield from _check_agreement(layout, rows)
    yield from _check_coarse(layout, rows)


def labels_of(layout: ReleaseLayout) -> LabelScheme:
    """The labels that a release's masks may hold; without lesion kinds where its provenance is missing or damaged."""
    try:
        return released_scheme(_json(layout.provenance))
    except (KeyError, TypeError, ValueError):
        return LabelScheme()


def _check_kinds(
    layout: ReleaseLayout, rows: Sequence[ManifestRow], in_masks: Mapping[str, Sequence[str]], scheme: LabelScheme
) -> Iterator[Problem]:
    """What tables tell of lesion kinds follows from the masks; a diagnosis that no mask shows needs a person's look."""
    if _text(layout.lesion_kinds) != (lesion_kinds_text(scheme) if in_masks else ""):
        yield _differs(layout.lesion_kinds, "the masks")
    names = [kind.name for kind in scheme.kinds]
    if _text(layout.classification) != classification_text(rows, names, in_masks):
        yield _differs(layout.classification, "the manifest and the masks")
    for patient, row in by_patient(rows).items():
        if missing := missing_from_masks(row, in_masks.get(patient, ()), names):
            shown = " and ".join(in_masks[patient])
            message = f"{patient}: the diagnosis is {' and '.join(missing)}, but the masks show only {shown}"
            yield Problem("class-differs", Severity.FLAG, message)


def _check_splits(layout: ReleaseLayout, rows: Sequence[ManifestRow]) -> Iterator[Problem]:
    """One place a patient, the same in the manifest, `splits.json` and nnU-Net's folds."""
    try:
        splits = Splits.from_json(_json(layout.splits))
    except (KeyError, TypeError, AttributeError):
        yield refused("splits", f"{layout.splits.name} is missing or damaged")
        return
    if {row.patient_id: (row.split, row.fold) for row in rows} != dict(splits.places):
        yield refused("splits", f"{layout.splits.name} and the manifest place patients differently")
    elif _json(layout.nnunet_splits) != nnunet_folds(splits, [(row.patient_id, str(row.phase)) for row in rows]):
        yield refused("splits", f"{layout.nnunet_splits.name} does not follow from {layout.splits.name}")


def _check_anonymity(layout: ReleaseLayout, rows: Sequence[ManifestRow]) -> Iterator[Problem]:
    """As many patients look alike as the release promises, where it does."""
    provenance = _json(layout.provenance) or {}
    promised = provenance.get("config", {}).get("deidentification", {}).get("min_k")
    if promised:
        yield from check_anonymity(layout, rows, promised)


def _check_lesions(layout: ReleaseLayout, rows: Sequence[ManifestRow]) -> Iterator[Problem]:
    """As many lesions a volume as the manifest counts, as large as it says."""
    diameters = _by_volume(_records(layout.lesions), "max_diameter_mm")
    for row in rows:
        own = diameters[row_name(row)]
        if len(own) != row.lesion_count or largest_diameter_mm(own) != row.largest_lesion_mm:
            yield _differs(layout.lesions, f"the manifest of {row_name(row)}")


def _check_agreement(layout: ReleaseLayout, rows: Sequence[ManifestRow]) -> Iterator[Problem]:
    """Mean and lowest Dice of the manifest are those of the pairs, where pairs are listed."""
    records = _records(layout.agreement)
    for structure, mean, lowest in (
        ("whole_liver", "liver_dice_mean", "liver_dice_min"),
        ("lesion", "lesion_dice_mean", "lesion_dice_min"),
    ):
        pairs = _by_volume([record for record in records if record["structure"] == structure], "dice")
        for row in rows:
            own = pairs[row_name(row)]
            told = (getattr(row, mean), getattr(row, lowest))
            if records and not _same_figures(told, (fmean(own), min(own)) if own else (None, None)):
                yield _differs(layout.agreement, f"the {structure} of {row_name(row)} in the manifest")


def _check_coarse(layout: ReleaseLayout, rows: Sequence[ManifestRow]) -> Iterator[Problem]:
    """The table of coarse labels tells of each volume what the manifest tells, and nothing more exactly."""
    records = _records(layout.coarse_agreement)
    if records and _text(layout.coarse_agreement) != rows_text(COARSE_COLUMNS, coarse_rows(records, rows)):
        yield _differs(layout.coarse_agreement, layout.manifest.name)


def _same_figures(told: Sequence[float | None], found: Sequence[float | None]) -> bool:
    return all(
        one is other if one is None or other is None else abs(one - other) <= ROUNDING
        for one, other in zip(told, found, strict=True)
    )


def _by_volume(records: Sequence[Mapping[str, str]], column: str) -> Mapping[str, list[float]]:
    """The column's numbers of each volume; empty cells are left out."""
    found: dict[str, list[float]] = defaultdict(list)
    for record in records:
        if record[column]:
            found[f"{record['patient_id']} {record['phase']}"].append(float(record[column]))
    return found


def _same_table(path: Path, rows: Sequence[ManifestRow]) -> bool:
    try:
        found = pd.read_parquet(path)
    except (OSError, ValueError):
        return False
    expected = pd.read_parquet(io.BytesIO(parquet_bytes(rows)))
    return tuple(found.columns) == COLUMNS and found.equals(expected)


def _records(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(_text(path), newline="")))


def _text(path: Path) -> str:
    """A table's text; "" where it is missing, which the checksums tell."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _json(path: Path) -> Any:
    try:
        return read_json(path)
    except StorageError:
        return None


def _differs(path: Path, source: str) -> Problem:
    return refused("table-differs", f"{path.name} does not follow from {source}")
