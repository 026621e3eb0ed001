"""`patient_data.csv`: one row a patient and phase, the eight columns of PLC-CECT first, every column documented.

A row holds no clock and nothing of the machine it was made on, so that the same inputs give the same bytes; numbers are
rounded where they are made, which also hides the last bit in which two CPUs may differ.
Columns: PLC-CECT, Scientific Data 2025, doi of the data 10.57760/sciencedb.12207.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.core.ages import OLDEST_EXACT_YEARS, OPEN_CLASS
from pipeline.core.errors import ReleaseError
from pipeline.core.files import csv_text
from pipeline.core.records import Phase, Problem, Severity
from pipeline.dataset.splits import SplitName

PATIENT_COLUMNS = ("age", "gender", "cancer_type", "site", "split", "fold")
"""What must be the same in every row of one patient."""

AGE_PATTERN = rf"^([0-8]?\d(-[0-8]?\d)?|{re.escape(OPEN_CLASS)})$"
"""Whole years up to 89, a band of them, or the open class."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Dice = Annotated[float | None, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Length = Annotated[float | None, Field(ge=0)]


class ManifestRow(BaseModel):
    """One volume of a release; an empty cell is unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    patient_id: str = Field(pattern=r"^P\d{4,}$", description="Pseudonym of the patient, the same in every version.")
    age: str | None = Field(pattern=AGE_PATTERN, description=f'Whole years, or "{OPEN_CLASS}".')
    gender: Literal["M", "F", "O"] | None = Field(description="Male, female, other.")
    phase: Phase = Field(description="P plain, C1 arterial, C2 portal venous, C3 delayed.")
    cancer_type: str | None = Field(description="Diagnosis of the patient.")
    ct_path: str = Field(description="Image inside the release.")
    mask_path: str = Field(description="Binary mask of all lesions.")
    liver_mask_path: str = Field(description="Binary mask of the whole liver, lesions included.")
    label_path: str = Field(description="Mask of both: 0 background, 1 liver, 2 lesion.")
    release: str = Field(description="Version this row belongs to.")
    split: SplitName = Field(description="Split of the patient, the same in every version.")
    fold: Count | None = Field(description="Fold in which the patient is used for validation; empty for test patients.")
    site: str | None = Field(description="Pseudonym of the hospital.")
    days_from_first_study: int | None = Field(description="Days since the patient's first study, in place of a date.")
    series: str = Field(description="Pseudonym of the SeriesInstanceUID.")
    phase_confidence: float | None = Field(ge=0, le=1, description="Confidence of the phase recognition, 0 to 1.")
    manufacturer: str | None = Field(description="Manufacturer of the scanner.")
    model: str | None = Field(description="Model of the scanner.")
    kernel: str | None = Field(description="Reconstruction kernel.")
    kvp: float | None = Field(description="Tube voltage in kV.")
    slice_thickness_mm: Length = Field(description="SliceThickness; not the distance between slices.")
    slices: Count = Field(description="Slices of the released image.")
    rows: Count = Field(description="Rows of a slice.")
    columns: Count = Field(description="Columns of a slice.")
    slice_spacing_mm: Length = Field(description="Distance between neighbouring slices, measured from positions.")
    row_spacing_mm: Length = Field(description="Distance between neighbouring rows.")
    column_spacing_mm: Length = Field(description="Distance between neighbouring columns.")
    orientation: str = Field(
        pattern=r"^[LRPASI]{3}$", description="Direction in which slices, rows and columns increase (LPS)."
    )
    scan_slices: Count = Field(description="Slices of the whole scan, before slices without liver were removed.")
    first_slice: Count = Field(description="Index in the scan of the first released slice, from 0.")
    window_level_hu: float | None = Field(description="Level of the HU window; empty if the HU range is complete.")
    window_width_hu: float | None = Field(description="Width of the HU window; empty if the HU range is complete.")
    liver_slices: Count = Field(description="Slices with liver.")
    lesion_slices: Count = Field(description="Slices with lesion.")
    liver_volume_ml: float = Field(ge=0, description="Whole liver, lesions included.")
    lesion_volume_ml: float = Field(ge=0, description="All lesions together.")
    lesion_count: Count = Field(description="Lesions, separate in three dimensions (26 neighbours).")
    largest_lesion_mm: Length = Field(description="Largest diameter of the largest lesion; empty without lesions.")
    raters: str = Field(min_length=1, description="Codes of the radiologists who rated this volume.")
    liver_dice_mean: Dice = Field(description="Dice of the whole liver, mean over pairs of raters.")
    liver_dice_min: Dice = Field(description="Dice of the whole liver, lowest of all pairs.")
    lesion_dice_mean: Dice = Field(description="Dice of lesions, mean over pairs in which either rater marked one.")
    lesion_dice_min: Dice = Field(description="Dice of lesions, lowest of all pairs.")
    consensus_method: str = Field(description="Method by which the masks of the raters were combined.")
    review_status: Literal["voted", "adjudicated"] = Field(
        description="Whether the mask is the vote, or the lead radiologist's decision."
    )
    adjudicator: str | None = Field(description="Code of the radiologist who decided what the vote left open.")
    text_mask: str | None = Field(
        default=None,
        description="Boxes set to the background value because text stood there, counted from 1 in the whole scan.",
    )
    coarse_model: str | None = Field(description="Network that made the initial mask.")
    coarse_sha256: Sha256 | None = Field(description="SHA-256 of this network's weights.")
    ct_content_sha256: Sha256 = Field(description="SHA-256 of the image file before compression.")
    mask_content_sha256: Sha256 = Field(description="The same for the lesion mask.")
    liver_mask_content_sha256: Sha256 = Field(description="The same for the liver mask.")
    label_content_sha256: Sha256 = Field(description="The same for the multi-label mask.")
    license: str = Field(description="Licence of the row's files, as an SPDX identifier.")

    @property
    def paths(self) -> tuple[str, str, str, str]:
        """Its files inside the release: image, lesion mask, liver mask, multi-label mask."""
        return self.ct_path, self.mask_path, self.liver_mask_path, self.label_path


COLUMNS = tuple(ManifestRow.model_fields)
ADDED = frozenset({"text_mask"})
"""Columns that versions of an earlier program lack."""


def released_age(years: int | None) -> str | None:
    """An age as it may be published: whole years up to 89, then "90+"; None stays None."""
    if years is None:
        return None
    return str(years) if years <= OLDEST_EXACT_YEARS else OPEN_CLASS


def manifest_text(rows: Iterable[ManifestRow]) -> str:
    """The table as CSV, sorted by patient and phase, with LF line ends."""
    ordered = sorted(rows, key=row_order)
    return csv_text(COLUMNS, [row.model_dump(mode="json") for row in ordered])


def read_manifest(path: Path) -> tuple[ManifestRow, ...]:
    """The rows of a `patient_data.csv`.

    Raises:
        ReleaseError: when the table is missing, or columns or cells are not as documented; all of them are named.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise ReleaseError(f"{path.name} cannot be read; copy the release again from where it was published") from None
    reader = csv.DictReader(io.StringIO(text, newline=""))
    found = tuple(reader.fieldnames or ())
    if found != tuple(column for column in COLUMNS if column in found or column not in ADDED):
        wrong = set(found) ^ set(COLUMNS)
        raise ReleaseError(
            f"{path.name} does not have the documented columns: {', '.join(sorted(wrong)) or 'their order'}"
        )
    rows, faults = [], []
    for line, cells in enumerate(reader, start=2):
        try:
            rows.append(ManifestRow.model_validate({name: cell or None for name, cell in cells.items()}))
        except ValidationError as error:
            faults += [f"{path.name}, line {line}: {fault['loc'][0]}: {fault['msg']}" for fault in error.errors()]
    if faults:
        raise ReleaseError("\n".join(faults))
    return tuple(rows)


def check_table(rows: Sequence[ManifestRow]) -> tuple[Problem, ...]:
    """What is wrong between rows: a volume listed twice, or a patient who is not the same in all of them."""
    problems = []
    seen: set[tuple[str, Phase]] = set()
    first: dict[str, ManifestRow] = {}
    for row in rows:
        if (row.patient_id, row.phase) in seen:
            problems.append(_problem("duplicate-row", f"{row_name(row)} is in two rows"))
        seen.add((row.patient_id, row.phase))
        other = first.setdefault(row.patient_id, row)
        problems += [
            _problem("patient-differs", f"{row.patient_id} has two values of {column} in different rows")
            for column in PATIENT_COLUMNS
            if getattr(row, column) != getattr(other, column)
        ]
    if list(rows) != sorted(rows, key=row_order):
        problems.append(_problem("unsorted", "rows are not sorted by patient and phase"))
    return tuple(problems)


def schema(kinds: Mapping[int, str] = MappingProxyType({})) -> dict[str, Any]:
    """JSON Schema (2020-12) of a row, with what each column means.

    Args:
        kinds: value to name of the lesion kinds that masks tell; empty where they tell none.
    """
    found = {"$schema": "https://json-schema.org/draft/2020-12/schema", **ManifestRow.model_json_schema()}
    found["properties"]["label_path"]["description"] = described("label_path", kinds)
    return found


def described(column: str, kinds: Mapping[int, str]) -> str:
    """What a column means, in a release with these lesion kinds."""
    description = ManifestRow.model_fields[column].description or column
    if column != "label_path" or not kinds:
        return description
    return (
        f"{description.removesuffix('.')} of unknown kind, "
        + ", ".join(f"{v} {name}" for v, name in kinds.items())
        + "."
    )


def manifest_frame(rows: Iterable[ManifestRow]) -> pd.DataFrame:
    """The table as a DataFrame, sorted by patient and phase, with the types that a row declares."""
    ordered = sorted(rows, key=row_order)
    return pd.DataFrame([row.model_dump(mode="json") for row in ordered], columns=list(COLUMNS)).convert_dtypes()


def parquet_bytes(rows: Iterable[ManifestRow]) -> bytes:
    """The same table as Parquet."""
    buffer = io.BytesIO()
    manifest_frame(rows).to_parquet(buffer, index=False, engine="pyarrow")
    return buffer.getvalue()


def row_order(row: ManifestRow) -> tuple[int, str, int]:
    """Sorts rows by the patient's number, then by phase in the order of `Phase`."""
    return len(row.patient_id), row.patient_id, list(Phase).index(row.phase)


def row_name(row: ManifestRow) -> str:
    """How messages call a volume."""
    return f"{row.patient_id} {row.phase}"


def _problem(code: str, message: str) -> Problem:
    return Problem(code, Severity.REFUSE, message)
