"""Names of source files that may stand in a table: relative paths in which nothing tells of a patient.

Folders and files are often named after patients. A part of a path stays only when it holds no identifier of any header
found, no long number (a patient number, a date) and no UID; else "~" and a running number take its place. No digest:
patient numbers are few enough to try them all. Numbers are given in the order in which names are asked for, which must
tell nothing either.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.core.records import Instance, SourceFile
from pipeline.dicom.read.header import WRITTEN_PATIENT
from pipeline.dicom.read.sources import root_of

MIN_LETTERS = 3
"""Parts of a name shorter than this stand in too many words to tell anything."""

_IDENTIFYING = (
    "PatientName",
    "PatientID",
    WRITTEN_PATIENT,
    "AccessionNumber",
    "StudyID",
    "InstitutionName",
    "StationName",
)
"""What is looked for in names; dates and UIDs are known by their looks."""

_PATIENT_NUMBERS = ("PatientID", WRITTEN_PATIENT)
"""What no part of a path may be, however short."""

_HARMLESS = re.compile(r"(?:i|im|img|image|ct|mr|se|st|slice|series|file|instance|z)[-_]?\d{1,6}", re.IGNORECASE)
"""What scanners and archives call files; six digits and no more, for a date has eight."""

_SUSPICIOUS = re.compile(r"\d{6,}|\d+\.\d+\.\d+|\d{4}-\d\d-\d\d|[^\x00-\x7f]")
"""Long numbers, UIDs, dates, and writing other than ASCII."""


class SafeNames:
    """Names without patient data for the files below some roots."""

    def __init__(self, roots: Sequence[Path], instances: Iterable[Instance]) -> None:
        self._roots = tuple(map(root_of, roots))
        found = tuple(instances)
        self._whole, self._words = _identifiers(found, _IDENTIFYING)
        self._patients = {_folded(instance.text(word)).strip() for instance in found for word in _PATIENT_NUMBERS}
        self._known: dict[str, str] = {}
        self._hidden = 0

    def true_name(self, source: SourceFile) -> str:
        """A file's own path below its root, its member after "!". Private."""
        name = self._relative(source.path).as_posix()
        return name if source.member is None else f"{name}!{source.member}"

    def of(self, source: SourceFile) -> str:
        """A file's path below its root, its member after "!", suspicious parts as numbers."""
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
        if part not in self._known:
            self._known[part] = self._judged(part)
        return self._known[part]

    def _judged(self, part: str) -> str:
        stem, suffix = _split(part)
        if not self._tells(stem):
            return part
        self._hidden += 1
        return f"~{self._hidden}{suffix}"

    def _tells(self, stem: str) -> bool:
        if _SUSPICIOUS.search(stem) and not _HARMLESS.fullmatch(stem):
            return True
        folded = _folded(stem)
        if folded.strip() in self._patients:
            return True
        return not self._words.isdisjoint(_words(folded)) or any(whole in folded for whole in self._whole)


def _split(part: str) -> tuple[str, str]:
    match = re.fullmatch(r"(.+?)(\.(?:dcm|dicom|ima|zip|tar|tgz|gz)(?:\.gz)?)", part, re.IGNORECASE)
    return (match.group(1), match.group(2)) if match else (part, "")


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\W_]+", text) if len(word) >= MIN_LETTERS]


def _identifiers(instances: Iterable[Instance], keywords: Sequence[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Whole values to look for anywhere in a name, and single words of patients' names."""
    texts = {instance.text(keyword) for instance in instances for keyword in keywords}
    values = {_folded(text).strip() for text in texts}
    whole = frozenset(value for value in values if len(value) > MIN_LETTERS)
    return whole, frozenset(word for value in values for word in _words(value) if not word.isdecimal())
