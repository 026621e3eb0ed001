"""The tables beside the manifest: any rows as CSV, the cohort in figures, names of the labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from pipeline.core.files import csv_text
from pipeline.core.labels import Label, LabelScheme
from pipeline.core.records import Phase
from pipeline.dataset.manifest import ManifestRow
from pipeline.dataset.release_inputs import Row

TABLE_DIGITS = 4
"""Decimals of every number in a table: finer than any scanner, coarser than the last bit of two CPUs."""

LESION_COLUMNS = (
    "patient_id",
    "phase",
    "number",
    "kind",
    "volume_ml",
    "max_diameter_mm",
    "axial_diameter_mm",
    "short_axis_mm",
)
AGREEMENT_COLUMNS = ("patient_id", "phase", "structure", "raters", "dice")
COARSE_GROUPS = ("slice_thickness_mm", "manufacturer", "kernel", "largest_lesion_mm")
"""Columns of the manifest that agreement with the coarse label is grouped by; taken from there, never from a header."""

COARSE_COLUMNS = (
    "patient_id",
    "phase",
    *COARSE_GROUPS,
    "structure",
    "empty",
    "dice",
    "jaccard",
    "assd_mm",
    "hd95_max_mm",
)
TABLE1_COLUMNS = ("characteristic", "with_lesions", "without_lesions", "all")
STATISTICS_COLUMNS = ("figure", "unit", "category", "group", "count")
ENHANCEMENT_COLUMNS = ("patient_id", "lesion", "phase")


def rows_text(first_columns: Sequence[str], rows: Iterable[Row]) -> str:
    """A table as CSV: the named columns first, then all others in order of their first appearance.

    Nested mappings become columns with joined names, lists become words, numbers are rounded to `TABLE_DIGITS`.
    """
    flat = [flattened(row) for row in rows]
    others = dict.fromkeys(column for row in flat for column in row if column not in first_columns)
    return csv_text([*first_columns, *others], flat)


def flattened(row: Row, prefix: str = "") -> dict[str, object]:
    """One row without nesting: {"liver": {"mean": 1.0}} becomes {"liver_mean": 1.0}."""
    flat: dict[str, object] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{key}_")
        else:
            flat[prefix + key] = _plain(value)
    return flat


def by_patient(rows: Iterable[ManifestRow]) -> dict[str, ManifestRow]:
    """One row a patient, the first of each."""
    patients: dict[str, ManifestRow] = {}
    for row in rows:
        patients.setdefault(row.patient_id, row)
    return patients


def coarse_rows(measured: Iterable[Row], rows: Iterable[ManifestRow]) -> list[Row]:
    """The coarse label of each volume against its final mask, in the order of the manifest, with what it tells of it.

    Args:
        measured: one row a volume and structure, with the columns of `COARSE_COLUMNS` that are no group.
        rows: of the manifest.
    """
    own: dict[tuple[str, str], list[Row]] = {}
    for row in measured:
        own.setdefault((row["patient_id"], row["phase"]), []).append(row)
    return [
        {column: getattr(row, column) if column in COARSE_GROUPS else found.get(column) for column in COARSE_COLUMNS}
        for row in rows
        for found in own.get((row.patient_id, str(row.phase)), ())
    ]


def table1_rows(rows: Sequence[ManifestRow]) -> list[Row]:
    """The cohort as PLC-CECT prints it: counts (share) and median [first quartile, third quartile], two groups and all.

    A patient belongs to the group with lesions when any phase shows one. Slices, volumes and counts are per volume.
    """
    marked = {row.patient_id for row in rows if row.lesion_count}
    groups = {
        "with_lesions": [row for row in rows if row.patient_id in marked],
        "without_lesions": [row for row in rows if row.patient_id not in marked],
        "all": list(rows),
    }
    figures = {name: dict(_table1_lines(group)) for name, group in groups.items()}
    return [
        {"characteristic": line, **{name: group.get(line, "") for name, group in figures.items()}}
        for line in figures["all"]
    ]


def markdown_table(rows: Sequence[Row]) -> str:
    """Rows as a table in Markdown, columns of the first one; "" without rows."""
    if not rows:
        return ""
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns), *([_words(row[column]) for column in columns] for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("_", " ") for cell in line) + " |" for line in lines)


def label_names_text(scheme: LabelScheme) -> str:
    """Names and colours of the labels as ITK-SNAP's label description file."""
    head = ["# ITK-SnAP Label Description File", "# index, red, green, blue, opacity, visible, mesh, name"]
    lines = []
    for value, name in scheme.titles.items():
        red, green, blue = scheme.colors[value]
        shown = int(value != Label.BACKGROUND)
        lines.append(f'{value:5d} {red:5d} {green:4d} {blue:4d} {shown:8d} {shown:2d} {shown:2d}    "{name}"')
    return "\n".join([*head, *lines]) + "\n"


def lesion_kinds_text(scheme: LabelScheme) -> str:
    """What each value of a lesion kind means, as CSV."""
    rows = [
        {
            "value": kind.value,
            "name": kind.name,
            "name_zh": kind.chinese,
            "colour": f"#{bytes(kind.color).hex()}",
            "snomed_ct": kind.snomed,
        }
        for kind in scheme.kinds
    ]
    return csv_text(("value", "name", "name_zh", "colour", "snomed_ct"), rows)


def largest_diameter_mm(diameters_mm: Sequence[float]) -> float | None:
    """As the manifest has it, from the digits that the table of lesions has: rounded twice, both come out alike."""
    return round(round(max(diameters_mm), TABLE_DIGITS), 2) if diameters_mm else None


def _words(value: object) -> str:
    return "" if value is None else str(_plain(value))


def _plain(value: object) -> object:
    if isinstance(value, float):
        return round(value, TABLE_DIGITS)
    if isinstance(value, list | tuple):
        return " ".join(str(_plain(part)) for part in value)
    return value


def _table1_lines(rows: Sequence[ManifestRow]) -> Iterable[tuple[str, str]]:
    patients = list(by_patient(rows).values())
    yield "patients", str(len(patients))
    yield "age, median [IQR]", _quartiles([_years(row.age) for row in patients if row.age])
    yield from _shares("gender", patients, lambda row: row.gender)
    yield from _shares("cancer type", patients, lambda row: row.cancer_type)
    yield "volumes", str(len(rows))
    yield from _shares("phase", rows, lambda row: row.phase)
    yield "slices", str(sum(row.slices for row in rows))
    yield "slices with lesions", str(sum(row.lesion_slices for row in rows))
    marked = [row for row in rows if row.lesion_count]
    yield "slices per volume, median [IQR]", _quartiles([row.slices for row in rows])
    yield "slices with lesions per volume, median [IQR]", _quartiles([row.lesion_slices for row in marked])
    yield "lesion volume (cm3), median [IQR]", _quartiles([row.lesion_volume_ml for row in marked])
    yield "largest diameter (cm), median [IQR]", _quartiles([(row.largest_lesion_mm or 0) / 10 for row in marked])
    counts = [row.lesion_count for row in marked]
    spread = f" ({min(counts)}, {max(counts)})" if counts else ""
    yield "lesion count, median [IQR] (min, max)", _quartiles(counts) + spread


def _shares(
    what: str, rows: Sequence[ManifestRow], value: Callable[[ManifestRow], str | None]
) -> Iterable[tuple[str, str]]:
    """Number and share of each value, phases in their own order, others by name."""
    counts = Counter(value(row) or "unknown" for row in rows)
    phases = list(Phase)
    for name, count in sorted(counts.items(), key=lambda item: (_index(item[0], phases), item[0])):
        yield f"{what} {name}, n (%)", f"{count} ({100 * count / len(rows):.2f})"


def _index(name: str, order: Sequence[str]) -> int:
    return order.index(name) if name in order else len(order)


def _quartiles(values: Sequence[float]) -> str:
    if not values:
        return ""
    low, middle, high = np.percentile(np.asarray(values, dtype=np.float64), [25, 50, 75])
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def _years(age: str) -> float:
    """A number for an age as released: the middle of a band, 90 for "90+"."""
    parts = [float(part) for part in age.rstrip("+").split("-")]
    return sum(parts) / len(parts)
