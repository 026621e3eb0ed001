"""What a hospital's clinical table tells of each patient, in the words of the release.

The table is read as text and each cell is checked; a cell that cannot be understood stops the build with its line,
because a wrong age or diagnosis would silently let a patient in or keep one out.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from pipeline.core.config import Config
from pipeline.core.errors import ConfigError
from pipeline.core.files import separator_of
from pipeline.core.pseudonyms import normalised_patient_id
from pipeline.core.records import HEALTHY, UNLISTED, Patient

OLDEST_PLAUSIBLE_YEARS = 120

COLUMN_SPELLINGS = MappingProxyType(
    {
        "patient": ("patient_id", "patientid", "id", "mrn", "病人编号", "患者编号", "病历号"),
        "age": ("age", "age_years", "patient_age", "年龄"),
        "sex": ("sex", "gender", "patient_sex", "性别"),
        "diagnosis": ("diagnosis", "cancer_type", "class", "诊断"),
        "pathology": ("pathology_code", "icd_o", "icd_o_3", "morphology", "病理编码"),
        "site": ("site", "centre", "center", "中心"),
    }
)
"""Headers that hospitals use, by what they mean; case, blanks and hyphens do not matter."""

SEX_SPELLINGS = MappingProxyType({"M": ("m", "male", "1", "男"), "F": ("f", "female", "2", "女"), "O": ("o", "other")})
"""Codes of DICOM PatientSex; 1 and 2 are ISO/IEC 5218."""

PATHOLOGY = MappingProxyType({"8170/3": "HCC", "8160/3": "ICC", "8180/3": "cHCC-CCA"})
"""ICD-O-3 morphology of the primary liver cancers, as PLC-CECT included them (M81700/3, M81600/3, M81800/3)."""

_UNKNOWN_CELLS = frozenset({"", "-", "na", "n/a", "nan", "none", "null", "unknown", "不详", "未知"})
_ENCODINGS = ("utf-8-sig", "gb18030")


def known_diagnoses(config: Config) -> frozenset[str]:
    """The words that a diagnosis may be: those that the configuration lists, those of pathology codes, and normal."""
    listed = (*config.labels.kind_names, *(config.inclusion.diagnosis or ()))
    return frozenset((*listed, *PATHOLOGY.values(), *HEALTHY))


def read_clinical(path: Path, diagnoses: Iterable[str]) -> dict[str, Patient]:
    """Age, sex, diagnosis and site of each patient, by normalised source patient id. Private: keys identify patients.

    Text is UTF-8 or GB18030, cells are separated by commas, semicolons or tabs. Columns are recognised by
    `COLUMN_SPELLINGS`; only the patient's id must be there. An empty cell is unknown. A diagnosis that is missing is
    taken from its ICD-O-3 code where `PATHOLOGY` knows it; one that is not among `diagnoses` is `UNLISTED`, since a
    free text may name a person.

    Raises:
        ConfigError: when the table is missing or unreadable, or cells cannot be understood or contradict one another;
            all of them are named at once by their line, never by their patient.
    """
    table = _table(path)
    listed = {diagnosis.casefold(): diagnosis for diagnosis in sorted(diagnoses)}
    columns = _columns(table.columns, path.name)
    faults: list[str] = []
    patients: dict[str, Patient] = {}
    first_line: dict[str, int] = {}
    for line, row in enumerate(table.to_dict("records"), start=2):
        cells = {name: str(row[header]).strip() for name, header in columns.items()}
        key = normalised_patient_id(cells["patient"])
        patient = _patient(cells, listed, where=f"{path.name}, line {line}", faults=faults)
        if not key:
            faults.append(f"{path.name}, line {line}: no patient id; fill it in or delete the line")
        elif patients.setdefault(key, patient) != patient:
            faults.append(f"{path.name}, lines {first_line[key]} and {line} contradict each other about one patient")
        first_line.setdefault(key, line)
    if faults:
        raise ConfigError("\n".join(faults))
    return patients


def _table(path: Path) -> pd.DataFrame:
    try:
        content = path.read_bytes()
    except OSError:
        raise ConfigError(f"{path.name} cannot be read; [source] clinical must name a table in the folder") from None
    text = _decoded(content, path.name)
    try:
        return pd.read_csv(io.StringIO(text), sep=separator_of(text), dtype=str, keep_default_na=False)
    except ValueError:  # of pandas: ParserError, EmptyDataError
        raise ConfigError(f"{path.name} is not a table with one header line; export it as CSV") from None


def _decoded(content: bytes, name: str) -> str:
    for encoding in _ENCODINGS:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise ConfigError(f"{name} is neither UTF-8 nor GB18030 text; save it as UTF-8 CSV")


def _columns(headers: Iterable[str], name: str) -> dict[str, str]:
    """The header that stands for each meaning."""
    found: dict[str, str] = {}
    for header in headers:
        plain = re.sub(r"[\s\-]+", "_", header.strip().casefold())
        meaning = next((meaning for meaning, known in COLUMN_SPELLINGS.items() if plain in known), None)
        if meaning in found:
            raise ConfigError(f"{name} has two columns for {meaning}: {found[meaning]} and {header}; keep one")
        if meaning:
            found[meaning] = header
    if "patient" not in found:
        raise ConfigError(f"{name} has no column for the patient's id; name one patient_id")
    return found


def _patient(cells: Mapping[str, str], listed: Mapping[str, str], *, where: str, faults: list[str]) -> Patient:
    def read(column: str, reader: Callable[[str], str | int | None], expected: str) -> str | int | None:
        text = cells.get(column, "")
        if text.casefold() in _UNKNOWN_CELLS:
            return None
        value = reader(text)
        if value is None:
            faults.append(f"{where}: {column} is not understood, expected {expected}")
        return value

    age = read("age", _age, f"whole years from 0 to {OLDEST_PLAUSIBLE_YEARS}")
    sex = read("sex", _sex, "M, F or O")
    written = read("diagnosis", lambda text: listed.get(text.casefold(), UNLISTED), "text")
    coded = PATHOLOGY.get(_morphology(cells.get("pathology", "")))
    if written and coded and str(written).casefold() != coded.casefold():
        faults.append(
            f"{where}: diagnosis is {_shown(written)}, but the pathology code means {coded}; correct one of them"
        )
    site = read("site", str, "text")
    return Patient(
        age_years=None if age is None else int(age),
        sex=None if sex is None else str(sex),
        diagnosis=None if not (written or coded) else str(written or coded),
        site=None if site is None else str(site),
    )


def _shown(diagnosis: str | int) -> str:
    return "none of those that the configuration lists" if diagnosis == UNLISTED else str(diagnosis)


def _age(text: str) -> int | None:
    """Whole years of "59", "59.0", DICOM's "059Y" or "59岁"; None when it is none of these."""
    match = re.fullmatch(r"(\d{1,3})(?:\.0*)?\s*(?:y|岁)?", text.casefold())
    years = int(match.group(1)) if match else OLDEST_PLAUSIBLE_YEARS + 1
    return years if years <= OLDEST_PLAUSIBLE_YEARS else None


def _sex(text: str) -> str | None:
    return next((code for code, known in SEX_SPELLINGS.items() if text.casefold() in known), None)


def _morphology(code: str) -> str:
    """An ICD-O-3 code in its plain form: "M81700/3" and "M8170/3" become "8170/3"."""
    match = re.fullmatch(r"M?-?(\d{4})0?/(\d)", code.strip().upper())
    return f"{match.group(1)}/{match.group(2)}" if match else ""
