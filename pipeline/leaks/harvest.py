"""Every identifier that the sources themselves hold, read without the de-identifier's help.

A file once read is never forgotten: `Harvest` grows, file by file, so that a patient once seen is sought for ever,
also when the export is no longer there.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from pydicom import dcmread
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset

from pipeline.core.files import GZIP_MAGIC
from pipeline.core.pseudonyms import normalised_patient_id
from pipeline.leaks.identifiers import Basket, Identifiers, Kind
from pipeline.leaks.tables import harvest_table

PIXELS_FROM_BYTES = 1 << 16
"""Values from here on are skipped in what begins with the pixels."""

MAX_DEPTH = 4
"""Archives inside archives are opened this deep; a deeper one counts as unreadable."""

HARVEST_FORMAT = 1
"""Of a harvest in bytes; raise it when more is taken from a file than before, so that all are read again."""

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
_ABOUT_THE_WRITER = frozenset({0x00020010, 0x00020012, 0x00020002, 0x00080016})
_UNREADABLE = (
    *(InvalidDicomError, BytesLengthException, struct.error, ValueError, TypeError, LookupError, AttributeError),
    *(OSError, EOFError, RuntimeError, ArithmeticError, AssertionError, MemoryError),
)
_BAD_FILE = (
    *(zipfile.BadZipFile, tarfile.TarError, OSError, EOFError, RuntimeError, NotImplementedError, zlib.error),
    csv.Error,
)
_TAR_ENDINGS = (".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.bz2")
_TABLE_ENDINGS = (".csv", ".tsv")
_TEXT_VRS = frozenset({"LT", "ST", "UT", "UC"})
_GUESSED_CHARSETS = ("utf-8", "gb18030")


@dataclass(frozen=True, slots=True, repr=False)
class Harvest:
    """What was ever harvested. Private: it is printed as counts only.

    Attributes:
        identifiers: of all files together.
        seen: stamp of each file that was read.
        unreadable: stamp of each file of which something could not be read, to its path; "" where that was not kept.
        patients: normalised number of every patient met.
    """

    identifiers: Identifiers = field(default_factory=Identifiers)
    seen: frozenset[bytes] = frozenset()
    unreadable: Mapping[bytes, str] = field(default_factory=dict)
    patients: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"Harvest({self.identifiers!r}, {len(self.patients)} patients)"

    def with_patients(self, patients: Iterable[str]) -> Harvest:
        """The same with patients whose numbers stand in no file, only in its path."""
        basket = Basket(set(self.identifiers.texts))
        numbers = set(patients)
        for number in numbers:
            basket.add_number(Kind.NUMBER, number)
        known = self.patients | {normalised_patient_id(number) for number in numbers}
        return replace(self, identifiers=replace(self.identifiers, texts=frozenset(basket.texts)), patients=known)

    def to_bytes(self) -> bytes:
        """To be sealed and kept; the same harvest gives the same bytes."""
        content = {
            "texts": sorted(self.identifiers.texts),
            "raw": sorted((kind, raw.hex()) for kind, raw in self.identifiers.raw),
            "files": self.identifiers.files,
            "seen": sorted(stamp.hex() for stamp in self.seen),
            "unreadable": sorted(stamp.hex() for stamp in self.unreadable),
            "places": {stamp.hex(): place for stamp, place in sorted(self.unreadable.items())},
            "patients": sorted(self.patients),
        }
        return zlib.compress(json.dumps({"format": HARVEST_FORMAT, **content}).encode())

    @classmethod
    def from_bytes(cls, content: bytes) -> Harvest | None:
        """What `to_bytes` kept; None when it is of another format."""
        kept = json.loads(zlib.decompress(content))
        if kept["format"] != HARVEST_FORMAT:
            return None
        places = kept.get("places", {})
        unreadable = {bytes.fromhex(stamp): places.get(stamp, "") for stamp in kept["unreadable"]}
        identifiers = Identifiers(
            frozenset((Kind(kind), text) for kind, text in kept["texts"]),
            frozenset((Kind(kind), bytes.fromhex(raw)) for kind, raw in kept["raw"]),
            kept["files"],
            len(unreadable),
        )
        return cls(identifiers, frozenset(map(bytes.fromhex, kept["seen"])), unreadable, frozenset(kept["patients"]))


def stamp_of(device: int, inode: int, size: int, mtime_ns: int) -> bytes:
    """A file's identity: the same four numbers are the same file."""
    return hashlib.blake2b(struct.pack("<QQQq", device, inode, size, mtime_ns), digest_size=12).digest()


def harvest(paths: Sequence[Path]) -> Identifiers:
    """Every identifier in the DICOM files and tables below the paths, archives included.

    Names and their parts, numbers, dates, UIDs, phones, places, devices and free text are taken from every depth of
    every header, in the declared and in guessed character sets, and from every cell of every table.
    """
    return gather(paths).identifiers


def gather(paths: Sequence[Path], before: Harvest = Harvest(), *, unsettled: Collection[Path] = ()) -> Harvest:
    """What was harvested before, and what the files below the paths hold that were not read yet.

    A path that is a file itself is read as a table when it is neither DICOM nor an archive. A file that could not be
    read no longer counts once a readable one lies in its place; one that is only gone still does.

    Args:
        paths: files and folders.
        before: what was harvested already.
        unsettled: folders that are still being copied: what cannot be read there is read again the next time.
    """
    known = before.identifiers
    gathered = _Gathered(set(known.texts), set(known.raw), patients=set(before.patients), files=known.files)
    seen, unreadable = set(before.seen), dict(before.unreadable)
    for file, is_named in _files_below(paths):
        stamp = _stamp(file)
        if stamp is None:
            continue
        path, is_known = str(file.absolute()), stamp in seen
        unreadable = {other: place for other, place in unreadable.items() if place != path}
        if stamp in before.unreadable or not (is_known or _is_harvested(file, gathered, is_named=is_named)):
            if file.parent in unsettled:
                continue
            unreadable[stamp] = path
        seen.add(stamp)
    identifiers = Identifiers(frozenset(gathered.texts), frozenset(gathered.raw), gathered.files, len(unreadable))
    return Harvest(identifiers, frozenset(seen), unreadable, frozenset(gathered.patients))


@dataclass(slots=True, repr=False)
class _Gathered(Basket):
    """Identifiers with whom they were met in, and what was read."""

    patients: set[str] = field(default_factory=set)
    values: set[tuple[int, bytes]] = field(default_factory=set)
    files: int = 0


def _files_below(paths: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    """Every file, links followed, each folder once, and whether it was named itself."""
    entered: set[tuple[int, int]] = set()
    for path in paths:
        path = path.parent if path.name.upper() == "DICOMDIR" else path
        if not path.is_dir():
            yield path, True
            continue
        for folder, folders, names in os.walk(path, followlinks=True):
            status = Path(folder).stat()
            if (status.st_dev, status.st_ino) in entered:
                folders.clear()
                continue
            entered.add((status.st_dev, status.st_ino))
            folders.sort()
            yield from ((Path(folder) / name, False) for name in sorted(names))


def _stamp(file: Path) -> bytes | None:
    """None for what is no file, or leads nowhere: no image can come of it."""
    try:
        status = file.stat()
    except OSError:
        return None
    is_file = file.is_file()
    return stamp_of(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns) if is_file else None


def _is_harvested(path: Path, gathered: _Gathered, *, is_named: bool) -> bool:
    """True when all of a file could be read; one that was named itself is a table where it is nothing else."""
    try:
        with path.open("rb") as file:
            return _is_stream_harvested(path.name, file, gathered, depth=0, is_table=is_named)
    except _BAD_FILE:
        return False


def _is_stream_harvested(name: str, file: BinaryIO, gathered: _Gathered, *, depth: int, is_table: bool = False) -> bool:
    """The same of an open file or member: an archive, a table, a DICOM object, or what is none of these."""
    head = file.read(264)
    file.seek(0)
    is_tar = head[257:262] == b"ustar" or name.lower().endswith(_TAR_ENDINGS)
    if head.startswith(b"PK\x03\x04") or is_tar:
        inner = _zip_members(file) if head.startswith(b"PK") else _tar_members(file)
        return depth < MAX_DEPTH and _are_harvested(inner, gathered, depth=depth + 1)
    if head.startswith(GZIP_MAGIC):
        with gzip.open(file) as inside:
            content = io.BytesIO(inside.read())
        return _is_stream_harvested(name.removesuffix(".gz"), content, gathered, depth=depth + 1)
    if _looks_like_dicom(head):
        return _is_dicom_harvested(file, gathered)
    if is_table or name.lower().endswith(_TABLE_ENDINGS):
        harvest_table(file.read(), gathered, is_of_patients=is_table)
    return True


def _are_harvested(members: Iterator[tuple[str, bytes]], gathered: _Gathered, *, depth: int) -> bool:
    """True when all of every member could be read; what can be is."""
    return False not in [
        _is_stream_harvested(name, io.BytesIO(content), gathered, depth=depth) for name, content in members
    ]


def _zip_members(file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(file) as archive:
        for member in archive.namelist():
            yield member, archive.read(member)


def _tar_members(file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=file) as archive:
        for member in archive:
            content = archive.extractfile(member)
            if content is not None:
                yield member.name, content.read()


def _looks_like_dicom(head: bytes) -> bool:
    has_bare_header = head[:2] in (b"\x08\x00", b"\x02\x00") and head[3:4] == b"\x00"
    return head[128:132] == b"DICM" or has_bare_header


def _is_dicom_harvested(file: BinaryIO, gathered: _Gathered) -> bool:
    try:
        dataset = dcmread(file, stop_before_pixels=True, force=True)
    except _UNREADABLE:
        return False
    gathered.files += 1
    _harvest_dataset(dataset.file_meta, gathered)
    _harvest_dataset(dataset, gathered)
    with suppress(*_UNREADABLE):
        implicit, little = dataset.original_encoding
        if implicit is not None and little is not None:
            _harvest_dataset(read_dataset(file, implicit, little, defer_size=PIXELS_FROM_BYTES), gathered)
    return True


def _harvest_dataset(dataset: Dataset, gathered: _Gathered) -> None:
    for tag, element in list(dataset.items()):
        raw = element.value if isinstance(element.value, bytes) else b""
        if raw and (int(tag), raw) in gathered.values:
            continue
        gathered.values.add((int(tag), raw))
        with suppress(*_UNREADABLE):
            converted = dataset[tag]
            if converted.VR == "SQ":
                for item in converted.value:
                    _harvest_dataset(item, gathered)
            else:
                _harvest_element(int(tag), converted.VR, _texts_of(converted.value, raw), raw, gathered)


def _texts_of(value: object, raw: bytes) -> list[str]:
    values = value if isinstance(value, list) or type(value).__name__ == "MultiValue" else [value]
    texts = [str(part).strip("\0 ") for part in values if part is not None and not isinstance(part, bytes)]  # type: ignore[attr-defined]
    if not raw.isascii() and len(raw) <= 1024:
        for charset in _GUESSED_CHARSETS:
            with suppress(UnicodeDecodeError):
                texts += raw.decode(charset).strip("\0 ").split("\\")
    return [text for text in texts if text]


def _harvest_element(tag: int, vr: str, texts: list[str], raw: bytes, gathered: _Gathered) -> None:
    keyword = keyword_for_tag(tag)
    vr = dictionary_VR(tag) if vr == "UN" and keyword else vr
    if keyword == "PatientID":
        gathered.patients.update(normalised_patient_id(text) for text in (*texts, "\\".join(texts)))
    for text in texts:
        if vr == "PN":
            gathered.add_name(text)
        elif vr == "UI" and text[0].isdigit() and "." in text:
            if tag not in _ABOUT_THE_WRITER:
                gathered.add_uid(text)
        elif vr in ("DA", "DT"):
            gathered.add_date(text)
        elif keyword in _NUMBERS or vr == "UI":
            gathered.add_number(Kind.NUMBER, text)
        elif keyword in _DEVICES or vr == "AE":
            gathered.add_number(Kind.DEVICE, text)
        elif keyword in _PLACES:
            gathered.add_place(text)
        elif "Telephone" in keyword or "Telecom" in keyword:
            gathered.add_phone(text)
        elif vr in _TEXT_VRS or "Comment" in keyword:
            gathered.add_free_text(text)
    if vr in ("PN", "LO", "SH", *_TEXT_VRS) and not raw.isascii():
        gathered.add_raw(Kind.NAME if vr == "PN" else Kind.TEXT, raw)
