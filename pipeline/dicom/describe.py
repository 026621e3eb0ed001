"""What tells one volume from its siblings, in columns and in a file name: clean values and pseudonyms, nothing else.

A description is cut down to the words of the vocabulary, so a person can choose from it and nobody is named by it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword

from pipeline.core.pseudonyms import Pseudonyms
from pipeline.core.records import Instance, Phase, PhaseGuess, Series
from pipeline.dicom.convert import safe_modality
from pipeline.dicom.deid.deidentify import NAME_DIGITS, clean_text, clean_values, patient_id_of
from pipeline.dicom.group.split import COUNTED_VRS
from pipeline.dicom.group.times import begun_s
from pipeline.dicom.read.kinds import image_type_words

_KEYWORD_OF = MappingProxyType(
    {
        "series_number": "SeriesNumber",
        "description": "SeriesDescription",
        "image_type": "ImageType",
        "b_value": "DiffusionBValue",
        "echo_number": "EchoNumbers",
        "echo_time_ms": "EchoTime",
        "inversion_time_ms": "InversionTime",
        "temporal_position": "TemporalPositionIdentifier",
        "slice_thickness_mm": "SliceThickness",
    }
)
PLACE_COLUMNS = ("patient", "study", "series_number")
FACT_COLUMNS = (
    *(column for column in _KEYWORD_OF if column not in PLACE_COLUMNS),
    *("energy_kev", "distinguished_by", "seconds_into_study"),
)
"""Where a series belongs, and what tells it from others."""

ENERGIES_KEV = (30.0, 200.0)
"""What virtual monoenergetic images of any scanner are made for."""

NUMBER_DIGITS = 3
"""SeriesNumber in a file name, so that names sort like numbers."""

_ENERGY = re.compile(r"(?<![\d.])(\d{2,3}(?:\.\d)?)[ _]?kev(?![a-z])", re.IGNORECASE)
_IMAGE_PARTS = MappingProxyType(
    {
        **dict.fromkeys(("W", "WATER"), "water"),
        **dict.fromkeys(("F", "FAT"), "fat"),
        **dict.fromkeys(("IP", "IN_PHASE"), "in"),
        **dict.fromkeys(("OP", "OUT_PHASE", "OPP_PHASE"), "opp"),
        "ADC": "adc",
        "SUB": "sub",
        "MPR": "mpr",
        "MIP": "mip",
    }
)
"""Values of ImageType that name a part or a product of a scan, and how file names call it."""

_IN_NAMES = MappingProxyType(
    {
        "b_value": "b{}",
        "energy_kev": "{}keV",
        "echo_number": "e{}",
        "echo_time_ms": "te{}",
        "inversion_time_ms": "ti{}",
        "temporal_position": "t{}",
        "slice_thickness_mm": "{}mm",
    }
)
"""Column to how its value stands in a file name, where it separates volumes of one series."""

_USUAL = MappingProxyType({"b_value": "0", "energy_kev": "", "temporal_position": "1"})
"""Column that stands in a file name in any case, but for a value that many a series has which is no such thing."""


def description_of(series: Series, pseudonyms: Pseudonyms) -> dict[str, str]:
    """The columns of a volume; "" for what its header does not tell, or may not."""
    row = description_of_instance(series.first, pseudonyms)
    apart = _distinguished_by(series, pseudonyms)
    row["temporal_position"] = row["temporal_position"] or _counted_time(series)
    row["distinguished_by"] = "; ".join(f"{keyword} {value}".strip() for keyword, value in apart.items())
    return row


def description_of_instance(instance: Instance, pseudonyms: Pseudonyms) -> dict[str, str]:
    """The columns of a single object that is no volume."""
    values = clean_values(instance, (*_KEYWORD_OF.values(), "ProtocolName"), pseudonyms)
    row = dict.fromkeys((*PLACE_COLUMNS, *FACT_COLUMNS), "")
    row.update({column: clean_text(values.get(keyword)) for column, keyword in _KEYWORD_OF.items()})
    row["description"] = row["description"] or clean_text(values.get("ProtocolName"))
    row["patient"] = pseudonyms.patient(patient_id_of(instance.header.get))
    row["study"] = f"study-{pseudonyms.uid(instance.text('StudyInstanceUID'))[-NAME_DIGITS:] or 'none'}"
    energy = energy_kev(instance)
    row["energy_kev"] = "" if energy is None else f"{energy:g}"
    return row


def starts_s(series: Iterable[Series]) -> dict[str, str]:
    """Seconds from the start of a study's first series to that of each, by key; none where the time is unknown."""
    studies: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for one in series:
        begun = begun_s(one.instances)
        if begun is not None:
            studies[one.first.text("PatientID"), one.first.text("StudyInstanceUID")][one.key] = begun
    return {key: f"{start - min(starts.values()):.0f}" for starts in studies.values() for key, start in starts.items()}


def place_in_table(row: Mapping[str, Any]) -> tuple[str, str, int, str, str]:
    """Sorts rows of series: those of a patient together, in order of number."""
    number = int(row["series_number"]) if row["series_number"].isdigit() else -1
    return row["patient"], row["study"], number, str(row["phase"] or ""), row["series"]


def energy_kev(instance: Instance) -> float | None:
    """The energy of a virtual monoenergetic image, by its attribute or as its description spells it; else None."""
    texts = (instance.text(keyword) for keyword in ("SeriesDescription", "ProtocolName", "ImageComments"))
    spelled = [float(found[1]) for text in texts if (found := _ENERGY.search(text))]
    energy = instance.number("MonoenergeticEnergyEquivalent") or next(iter(spelled), None)
    low, high = ENERGIES_KEV
    return energy if energy is not None and low <= energy <= high else None


def volume_stem(row: Mapping[str, str], series: Series, guess: PhaseGuess) -> str:
    """Where a volume goes: its patient, its study, its number, what it is, and what tells it apart.

    Always the same for the same series, whatever others there are; siblings may share one (see `unique_stems`).

    Args:
        row: from `description_of`.
        series: the volume.
        guess: its phase.
    """
    number = row["series_number"] if row["series_number"].isdigit() else "0"
    what = str(guess.phase) if guess.phase else safe_modality(series.first.text("Modality"))
    words = "_".join((number.zfill(NUMBER_DIGITS), what, *_suffixes(row, series, guess)))
    return f"{row['patient']}/{row['study']}/{words}"


def unique_stems(stems: Mapping[str, str], pseudonyms: Pseudonyms) -> dict[str, str]:
    """A name of its own for each series key: those of one name all get a keyed token, so that order tells nothing."""
    shared = Counter(stem.casefold() for stem in stems.values())
    return {
        key: stem if shared[stem.casefold()] == 1 else f"{stem}_{pseudonyms.token('series', key)}"
        for key, stem in stems.items()
    }


def _suffixes(row: Mapping[str, str], series: Series, guess: PhaseGuess) -> Iterator[str]:
    """What a file name says besides number and phase."""
    yield from [part for word in image_type_words(series.first) if (part := _IMAGE_PARTS.get(word))][:1]
    separating = {column for column, keyword in _KEYWORD_OF.items() if keyword in series.distinguished_by}
    if _counted_time(series):
        separating.add("temporal_position")
    if guess.phase is Phase.DWI:
        separating.add("b_value")
    for column, text in _IN_NAMES.items():
        is_remarkable = column in _USUAL and row[column] != _USUAL[column]
        if row[column] and (is_remarkable or column in separating):
            yield text.format(row[column])


def _distinguished_by(series: Series, pseudonyms: Pseudonyms) -> dict[str, str]:
    """What separates volumes of one SeriesInstanceUID; a value that may not be told leaves its keyword."""
    clean = clean_values(series.first, series.distinguished_by, pseudonyms)
    return {
        keyword: value if _is_counted(keyword) else clean_text(clean.get(keyword))
        for keyword, value in sorted(series.distinguished_by.items())
    }


def _is_counted(keyword: str) -> bool:
    return keyword == "InstanceNumber" or _vr(keyword) in COUNTED_VRS


def _counted_time(series: Series) -> str:
    """Which of several times a volume was scanned at, where only times of day tell."""
    return next((count for word, count in sorted(series.distinguished_by.items()) if _vr(word) in ("DT", "TM")), "")


def _vr(keyword: str) -> str:
    return dictionary_VR(keyword) if tag_for_keyword(keyword) else ""
