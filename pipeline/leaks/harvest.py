"""What must not get out: every identifier that the source itself holds, read without the de-identifier's help.

How specific an identifier must be to be searched for (else every page would raise an alarm):
names of at least four Latin letters or two others, and always the full name; numbers of at least six digits, numbers
with letters of at least five characters; words alone ("PHANTOM") of at least eight; free text of at least twelve;
dates as whole dates. What is shorter is searched only as part of something longer.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, cast

from pydicom import dcmread
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset


class Kind(StrEnum):
    """What sort of identifier something is."""

    NAME = "name"
    NUMBER = "number"
    DATE = "date"
    UID = "UID"
    PHONE = "phone"
    PLACE = "place"
    DEVICE = "device"
    TEXT = "free text"


@dataclass(frozen=True, slots=True, repr=False)
class Identifiers:
    """Everything a source must not be recognised by. Private: it is printed as counts only.

    Attributes:
        texts: identifiers as text, by kind.
        raw: the same as the source spelled them in bytes, where that is not plain ASCII.
        files: DICOM files read.
        unreadable: DICOM files and archives that could not be read; what only they hold is not searched for.
    """

    texts: frozenset[tuple[Kind, str]] = frozenset()
    raw: frozenset[tuple[Kind, bytes]] = frozenset()
    files: int = 0
    unreadable: int = 0

    def __repr__(self) -> str:
        return f"Identifiers({len(self.texts)} texts, {self.files} files, {self.unreadable} unreadable)"


MIN_NAME_LETTERS = 4
MIN_DIGITS = 6
MIN_MIXED = 5
MIN_WORD = 8
MIN_FREE_TEXT = 12
MIN_UID = 12
MIN_PHONE_DIGITS = 7
PIXELS_FROM_BYTES = 1 << 16
"""Values from here on are skipped in what begins with the pixels."""

_EVERYDAY_WORDS = """
    anon anonymous anonymized anonymised deidentified unknown patient phantom test name none null noname subject case
    long young white black brown green gray grey king rich mark page read reed field fields wood woods hill short
    small little large best good west north east south main park lane street cases may june april august summer winter
    rose grace hope joy faith will bill jack drew grant chase dean dale glen miles rice bush stone waters rivers lake
    days week weeks ring price sharp strong wise love lord bishop pope head hand foot back body liver chart charts scan
    scans image images file files data table root path date time
"""
EVERYDAY_NAMES = frozenset(_EVERYDAY_WORDS.split())
"""Family and given names that are also words our own pages use; they are searched only beside another name."""

_PLACE_IDENTIFIERS = """
    InstitutionName InstitutionAddress InstitutionalDepartmentName PatientAddress PhysicalDeviceLocation
    RequestingService CurrentPatientLocation PatientInstitutionResidence RegionOfResidence IssuerOfPatientID
    PersonAddress ReferringPhysicianAddress CountryOfResidence
"""
_NUMBER_KEYWORDS = """
    PatientID OtherPatientIDs AccessionNumber StudyID AdmissionID RequestedProcedureID ScheduledProcedureStepID
    PerformedProcedureStepID FillerOrderNumberImagingServiceRequest PlacerOrderNumberImagingServiceRequest
    MedicalRecordLocator MilitaryRank ServiceEpisodeID InsurancePlanIdentification
"""
_DEVICE_IDENTIFIERS = "DeviceSerialNumber StationName DetectorID GantryID CassetteID PlateID PerformedStationName"
_PLACES = frozenset(_PLACE_IDENTIFIERS.split())
_NUMBERS = frozenset(_NUMBER_KEYWORDS.split())
_DEVICES = frozenset(_DEVICE_IDENTIFIERS.split())
_PHONES = re.compile(r"(?<!\d)\+?\d[\d ()./-]{5,18}\d(?!\d)", re.ASCII)
_EMAILS = re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+")
_BETWEEN = ("^", " ", "", "_", ", ", ",", "-", ".")
_INNER_SIGNS = re.compile(r"[\s'’`.-]+")
_BETWEEN_NAMES = re.compile(r"[\s^=,.;_/\\-]+")
_STANDARD_UIDS = "1.2.840.10008."
_ABOUT_THE_WRITER = frozenset({0x00020010, 0x00020012, 0x00020002, 0x00080016})
_UNREADABLE = (
    *(InvalidDicomError, BytesLengthException, struct.error, ValueError, TypeError, LookupError, AttributeError),
    *(OSError, EOFError, RuntimeError, ArithmeticError, AssertionError, MemoryError),
)
_NO_ARCHIVE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    OSError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    zlib.error,
)
_TAR_ENDINGS = (".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.bz2")
_TEXT_VRS = frozenset({"LT", "ST", "UT", "UC"})
_GUESSED_CHARSETS = ("utf-8", "gb18030")
_MONTH_NAMES = "January February March April May June July August September October November December"
_MONTHS = _MONTH_NAMES.split()
_NAME_HEAD_WORDS = "name surname patient full first last family given firstname lastname 姓名 患者姓名"
_NUMBER_HEAD_WORDS = "id mrn number accession patientid 住院号 病历号"
_NAME_HEADS = frozenset(_NAME_HEAD_WORDS.split())
_NUMBER_HEADS = frozenset(_NUMBER_HEAD_WORDS.split())
_DATE_HEADS = frozenset(("date", "birth", "dob", "birthdate"))
_PLACEHOLDER_DATES = frozenset({date(1900, 1, 1), date(1970, 1, 1)})


@dataclass(slots=True)
class _Basket:
    texts: set[tuple[Kind, str]] = field(default_factory=set)
    raw: set[tuple[Kind, bytes]] = field(default_factory=set)
    seen: set[tuple[int, bytes]] = field(default_factory=set)
    files: int = 0
    unreadable: int = 0

    def add(self, kind: Kind, text: str) -> None:
        self.texts.add((kind, text))


def harvest(paths: Sequence[Path]) -> Identifiers:
    """Every identifier in the DICOM files and tables below the paths, archives included.

    Names and their parts, numbers, dates, UIDs, phones, places, devices and free text are taken from every depth of
    every header, in the declared and in guessed character sets.
    """
    basket = _Basket()
    for path in paths:
        path = path.parent if path.name.upper() == "DICOMDIR" else path
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                _harvest_file(file, basket)
    return Identifiers(frozenset(basket.texts), frozenset(basket.raw), basket.files, basket.unreadable)


def _harvest_file(path: Path, basket: _Basket) -> None:
    try:
        with path.open("rb") as file:
            head, is_tar = file.read(4), path.name.lower().endswith(_TAR_ENDINGS)
            is_zip = head == b"PK\x03\x04"
            if head.startswith(b"\x1f\x8b") and not is_tar:
                file.seek(0)
                with gzip.open(file) as inside:
                    _harvest_stream(path.stem, cast("BinaryIO", inside), basket)
                return
            if not is_zip and not is_tar:
                _harvest_stream(path.name, file, basket)
                return
        for name, content in _zip_members(path) if is_zip else _tar_members(path):
            _harvest_stream(name, io.BytesIO(content), basket)
    except _NO_ARCHIVE:
        basket.unreadable += 1


def _zip_members(path: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            yield member, archive.read(member)


def _tar_members(path: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path) as archive:
        for member in archive:
            content = archive.extractfile(member)
            if content is not None:
                yield member.name, content.read()


def _harvest_stream(name: str, file: BinaryIO, basket: _Basket) -> None:
    """Identifiers of one table or DICOM object; its pixels are not read."""
    file.seek(0)
    if name.lower().endswith((".csv", ".tsv")):
        _harvest_table(file.read(), basket)
        return
    is_dicom = _looks_like_dicom(file.read(132))
    file.seek(0)
    if is_dicom:
        _harvest_dicom(file, basket)


def _looks_like_dicom(head: bytes) -> bool:
    has_bare_header = head[:2] in (b"\x08\x00", b"\x02\x00") and head[3:4] == b"\x00"
    return head[128:132] == b"DICM" or has_bare_header


def _harvest_dicom(file: BinaryIO, basket: _Basket) -> None:
    try:
        dataset = dcmread(file, stop_before_pixels=True, force=True)
    except _UNREADABLE:
        basket.unreadable += 1
        return
    basket.files += 1
    _harvest_dataset(dataset.file_meta, basket)
    _harvest_dataset(dataset, basket)
    with suppress(*_UNREADABLE):
        implicit, little = dataset.original_encoding
        if implicit is not None and little is not None:
            _harvest_dataset(read_dataset(file, implicit, little, defer_size=PIXELS_FROM_BYTES), basket)


def _harvest_dataset(dataset: Dataset, basket: _Basket) -> None:
    for tag, element in list(dataset.items()):
        raw = element.value if isinstance(element.value, bytes) else b""
        if raw and (int(tag), raw) in basket.seen:
            continue
        basket.seen.add((int(tag), raw))
        with suppress(*_UNREADABLE):
            converted = dataset[tag]
            if converted.VR == "SQ":
                for item in converted.value:
                    _harvest_dataset(item, basket)
            else:
                _harvest_element(int(tag), converted.VR, _texts_of(converted.value, raw), raw, basket)


def _texts_of(value: object, raw: bytes) -> list[str]:
    values = value if isinstance(value, list) or type(value).__name__ == "MultiValue" else [value]
    texts = [str(part).strip("\0 ") for part in values if part is not None and not isinstance(part, bytes)]  # type: ignore[attr-defined]
    if not raw.isascii() and len(raw) <= 1024:
        for charset in _GUESSED_CHARSETS:
            with suppress(UnicodeDecodeError):
                texts += raw.decode(charset).strip("\0 ").split("\\")
    return [text for text in texts if text]


def _harvest_element(tag: int, vr: str, texts: list[str], raw: bytes, basket: _Basket) -> None:
    keyword = keyword_for_tag(tag)
    vr = dictionary_VR(tag) if vr == "UN" and keyword else vr
    for text in texts:
        if vr == "PN":
            _add_name(text, basket)
        elif vr == "UI" and text[0].isdigit() and "." in text:
            _add_uid(tag, text, basket)
        elif vr in ("DA", "DT"):
            _add_date(text, basket)
        elif keyword in _NUMBERS or vr == "UI":
            _add_number(Kind.NUMBER, text, basket)
        elif keyword in _DEVICES or vr == "AE":
            _add_number(Kind.DEVICE, text, basket)
        elif keyword in _PLACES:
            _add_place(text, basket)
        elif "Telephone" in keyword or "Telecom" in keyword:
            _add_phone(text, basket)
        elif vr in _TEXT_VRS or "Comment" in keyword:
            _add_free_text(text, basket)
    if vr in ("PN", "LO", "SH", *_TEXT_VRS) and not raw.isascii():
        _add_raw(Kind.NAME if vr == "PN" else Kind.TEXT, raw, basket)


def _add_name(text: str, basket: _Basket) -> None:
    """A person's name: every part, every component, and family and given name together as people write them."""
    for group in text.split("="):
        components = [component.strip() for component in group.split("^") if component.strip()]
        parts = [part for component in components for part in _BETWEEN_NAMES.split(component) if part]
        for name in {*parts, *components}:
            basket.texts.update((Kind.NAME, spelling) for spelling in _name_spellings(name))
        for first, second in {*pairwise(components[:2]), *pairwise(parts[:2])}:
            joined = [f"{one}{between}{two}" for one, two in ((first, second), (second, first)) for between in _BETWEEN]
            basket.texts.update(
                (Kind.NAME, name) for name in joined if len(name) > MIN_NAME_LETTERS or not name.isascii()
            )


def _name_spellings(name: str) -> Iterator[str]:
    """A name that is specific enough, with and without the signs inside it: O'Brien, OBrien."""
    bare = _INNER_SIGNS.sub("", name)
    if name.isascii() and (len(bare) < MIN_NAME_LETTERS or not bare.isalpha() or bare.casefold() in EVERYDAY_NAMES):
        return
    if len(name) > 1:
        yield from {name, bare, name.replace("'", "’")}


def _add_number(kind: Kind, text: str, basket: _Basket) -> None:
    for spelling in {text, text.lstrip("0")}:
        if is_specific_number(spelling):
            basket.add(kind, spelling)


def is_specific_number(text: str) -> bool:
    """True when a number is long enough that it is hardly met by chance."""
    if text.isdigit():
        return len(text) >= MIN_DIGITS
    has_digit = any(character.isdigit() for character in text)
    return len(text) >= (MIN_MIXED if has_digit else MIN_WORD) and text.casefold() not in EVERYDAY_NAMES


def _add_place(text: str, basket: _Basket) -> None:
    for line in {text, *text.splitlines()}:
        if len(line.strip()) >= MIN_WORD or (len(line.strip()) >= MIN_NAME_LETTERS and not line.isascii()):
            basket.add(Kind.PLACE, line.strip())


def _add_phone(text: str, basket: _Basket) -> None:
    digits = re.sub(r"\D", "", text)
    if len(digits) >= MIN_PHONE_DIGITS:
        basket.texts.update({(Kind.PHONE, text.strip()), (Kind.PHONE, digits)})


def _add_free_text(text: str, basket: _Basket) -> None:
    for found in _PHONES.findall(text):
        _add_phone(found, basket)
    for found in _EMAILS.findall(text):
        basket.add(Kind.TEXT, found)
    for line in text.splitlines():
        if len(line.strip()) >= MIN_FREE_TEXT:
            basket.add(Kind.TEXT, line.strip())


def _add_uid(tag: int, text: str, basket: _Basket) -> None:
    if tag not in _ABOUT_THE_WRITER and len(text) >= MIN_UID and not text.startswith(_STANDARD_UIDS):
        basket.add(Kind.UID, text)


def _add_date(text: str, basket: _Basket) -> None:
    found = re.match(r"(\d{4})[.-]?(\d{2})[.-]?(\d{2})", text)
    with suppress(ValueError):
        day = date(*(int(part) for part in found.groups())) if found else None
        if day is not None and day not in _PLACEHOLDER_DATES:
            basket.texts.update((Kind.DATE, spelling) for spelling in date_spellings(day))


def date_spellings(day: date) -> Iterator[str]:
    """A date as people and machines write it."""
    year, month, number = f"{day.year:04d}", f"{day.month:02d}", f"{day.day:02d}"
    yield year + month + number
    for between in "-/._ ":
        yield between.join((year, month, number))
    for between in "-/.":
        yield between.join((number, month, year))
        yield between.join((month, number, year))
    short, long = _MONTHS[day.month - 1][:3], _MONTHS[day.month - 1]
    for name in (short, long):
        yield from (f"{number}-{name}-{year}", f"{day.day} {name} {year}", f"{number} {name} {year}")
        yield from (f"{name} {day.day}, {year}", f"{number}{name}{year}")
    yield from (f"{year}年{day.month}月{day.day}日", f"{year}年{month}月{number}日")


def _add_raw(kind: Kind, raw: bytes, basket: _Basket) -> None:
    for part in re.split(rb"[\^=\\\r\n]", raw):
        if len(part.strip(b"\0 ")) >= MIN_NAME_LETTERS and not part.isascii():
            basket.raw.add((kind, part.strip(b"\0 ")))


def _harvest_table(content: bytes, basket: _Basket) -> None:
    """Identifiers of a table's columns whose heads speak of a name, a number or a date."""
    text = content.decode("utf-8-sig", errors="replace")
    for row in csv.DictReader(io.StringIO(text)):
        for head, cell in row.items():
            words = set(re.split(r"[\W_]+", str(head).casefold()))
            if not isinstance(cell, str) or not cell.strip():
                continue
            if words <= _NAME_HEADS:
                _add_name(cell.strip(), basket)
            elif words & _NUMBER_HEADS:
                _add_number(Kind.NUMBER, cell.strip(), basket)
            elif words & _DATE_HEADS:
                _add_date(cell.strip(), basket)
