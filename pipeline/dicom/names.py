"""Names of source files that may stand in a table: relative paths in which nothing tells of a patient.

Folders and files are often named after patients. A part of a path stays only when it holds no identifier of any header
found, no long number (a patient number, a date) and no UID; else a digest takes its place, by which whoever has the
source can find the file again (`printf %s NAME | sha256sum`).
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pipeline.core.records import Instance, SourceFile

MIN_LETTERS = 3
"""Parts of a name shorter than this stand in too many words to tell anything."""

_IDENTIFYING = (
    *("PatientName", "PatientID", "PatientBirthDate", "AccessionNumber", "StudyID", "StudyDate", "SeriesDate"),
    *("AcquisitionDate", "ContentDate", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
    *("InstitutionName", "StationName", "FrameOfReferenceUID"),
)
_HARMLESS = re.compile(r"(?:i|im|img|image|ct|mr|se|st|slice|series|file|instance|z)[-_]?\d{1,6}", re.IGNORECASE)
"""What scanners and archives call files; six digits and no more, for a date has eight."""

_SUSPICIOUS = re.compile(r"\d{6,}|\d+\.\d+\.\d+|\d{4}-\d\d-\d\d|[^\x00-\x7f]")
"""Long numbers, UIDs, dates, and writing other than ASCII."""


class SafeNames:
    """Names without patient data for the files below some roots."""

    def __init__(self, roots: Sequence[Path], instances: Iterable[Instance]) -> None:
        self._roots = tuple(roots)
        self._whole, self._words = _identifiers(instances)

    def of(self, source: SourceFile) -> str:
        """A file's path below its root, its member after "!", suspicious parts as digests."""
        parts = [self._safe(part) for part in self._relative(source.path).parts]
        name = "/".join(parts) or self._safe(source.path.name)
        if source.member is None:
            return name
        return f"{name}!{'/'.join(self._safe(part) for part in source.member.split('/') if part)}"

    def _relative(self, path: Path) -> Path:
        for root in self._roots:
            if path.is_relative_to(root) and path != root:
                return path.relative_to(root)
        return Path(path.name)

    def _safe(self, part: str) -> str:
        stem, suffix = _split(part)
        folded = _folded(stem)
        tells = _SUSPICIOUS.search(stem) and not _HARMLESS.fullmatch(stem)
        if (
            tells
            or any(word in self._words for word in _words(folded))
            or any(whole in folded for whole in self._whole)
        ):
            return f"~{hashlib.sha256(part.encode('utf-8', 'surrogateescape')).hexdigest()[:10]}{suffix}"
        return part


def _split(part: str) -> tuple[str, str]:
    match = re.fullmatch(r"(.+?)(\.(?:dcm|dicom|ima|zip|tar|tgz|gz)(?:\.gz)?)", part, re.IGNORECASE)
    return (match.group(1), match.group(2)) if match else (part, "")


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\W_]+", text) if len(word) >= MIN_LETTERS]


def _identifiers(instances: Iterable[Instance]) -> tuple[frozenset[str], frozenset[str]]:
    """Whole values to look for anywhere in a name, and single words of patients' names."""
    values = {folded for instance in instances for folded in _values(instance)}
    whole = frozenset(value for value in values if len(value) > MIN_LETTERS)
    return whole, frozenset(word for value in values for word in _words(value) if not word.isdecimal())


def _values(instance: Instance) -> Iterator[str]:
    for keyword in _IDENTIFYING:
        value = _folded(instance.text(keyword)).strip()
        if value:
            yield value
