"""Whose files these are, where the headers do not say it: the patient's number as a part of each file's path.

Public and anonymised exports often come without PatientID, in a folder for each patient. What the path says then stands
in the header, so that every later step reads one attribute. What the header itself says is kept beside it: files of one
folder under two numbers are two people until a person decides.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from pipeline.core.config import FOLDER, PATIENT_ID, PATIENT_MARK
from pipeline.core.errors import ConfigError
from pipeline.core.pseudonyms import normalised_patient_id
from pipeline.core.records import Instance, SourceFile
from pipeline.core.words import counted
from pipeline.dicom.read import header as words
from pipeline.dicom.read.scan import ScanResult
from pipeline.dicom.read.sources import root_of

Answer: TypeAlias = tuple[Path, str]
"""A root and the patient that a path below it names."""

_FOLDER_PATTERN = f"{PATIENT_MARK}/**"
_ARCHIVE_ENDING = re.compile(r"\.(?:zip|tar|tgz|tar\.\w+)$", re.IGNORECASE)
_SIGNS = {"**/": "(?:[^/]+/)*", "/**": "(?:/[^/]+)+", "*": "[^/]*"}
_TOKENS = re.compile(r"(\*\*/|/\*\*$|\*)")
"""Any levels before another one, any levels to the end, any text in one level."""


def identified(found: ScanResult, roots: Sequence[Path], rule: str) -> ScanResult:
    """What was found, with the PatientID that a rule gives to each object.

    Args:
        found: from `scan`.
        roots: what was scanned; paths are looked at below them.
        rule: "PatientID" leaves all as it is; "folder" takes the first folder below the root; else a pattern of the
            whole path in which `{patient}` is the patient, `*` any text in one level and `**` any levels.

    Raises:
        ConfigError: when a file has no patient, or two, or when two places give patients of one name.
    """
    if rule == PATIENT_ID:
        return found
    finder = _Finder(roots, rule)
    answers = {instance.source: finder.answers(instance.source) for instance in found.instances}
    _require_clear(list(answers.values()), rule)
    named = (_named(instance, answers[instance.source][0][1]) for instance in found.instances)
    return ScanResult([*named, *found.set_aside])


class _Finder:
    """Patients by path: every answer that a pattern gives."""

    def __init__(self, roots: Sequence[Path], rule: str) -> None:
        before, after = (_FOLDER_PATTERN if rule == FOLDER else rule.strip("/")).split(PATIENT_MARK)
        self._roots = tuple(dict.fromkeys(map(root_of, roots)))
        self._before, self._after = _expression(before), _expression(after)

    def answers(self, source: SourceFile) -> tuple[Answer, ...]:
        """Root and patient; several where the pattern can be read in several ways."""
        return tuple(
            (root, patient)
            for root in self._roots
            if source.path.is_relative_to(root)
            for patient in self._patients("/".join(_levels(source, root)))
            if normalised_patient_id(patient)
        )

    def _patients(self, path: str) -> Iterator[str]:
        """Every part of a level before and after which the rest of the pattern fits."""
        stops = [stop for stop in range(1, len(path) + 1) if self._after.fullmatch(path, stop)]
        for start in range(len(path)):
            if self._before.fullmatch(path, 0, start):
                parts = (path[start:stop] for stop in stops if stop > start)
                yield from (part for part in parts if "/" not in part)


def _levels(source: SourceFile, root: Path) -> Iterator[str]:
    """The levels of a path below a root; an archive is a folder of its name without the ending."""
    own = list(source.path.relative_to(root).parts)
    if source.member is not None:
        own = [*own[:-1], *(_ARCHIVE_ENDING.sub("", name) for name in own[-1:])]
        own += [part for part in source.member.split("/") if part not in ("", ".", "..")]
    yield from own or [source.path.name]


def _expression(pattern: str) -> re.Pattern[str]:
    """One side of a pattern as a regular expression."""
    return re.compile("".join(_SIGNS.get(token, re.escape(token)) for token in _TOKENS.split(pattern)))


def _require_clear(answers: Sequence[tuple[Answer, ...]], rule: str) -> None:
    said, of_all = f'[source] patient = "{rule}"', f"of {counted(len(answers), 'DICOM file')}"
    nowhere, twice = sum(not one for one in answers), sum(len(one) > 1 for one in answers)
    if nowhere:
        raise ConfigError(
            f"{said} names no patient for {nowhere} {of_all}; move them into the folder of their patient, or write a "
            "pattern that fits every path"
        )
    if twice:
        raise ConfigError(
            f"{said} names more than one patient for {twice} {of_all}; write a pattern that fits in one way only, "
            "and give each source folder once"
        )
    homes: dict[str, set[Answer]] = defaultdict(set)
    for (answer,) in answers:
        homes[normalised_patient_id(answer[1])].add(answer)
    shared = sum(len(places) > 1 for places in homes.values())
    if shared:
        raise ConfigError(
            f"{said} gives {counted(shared, 'patient')} two folders: of one name in two sources, or of one name in two "
            "spellings. Rename one of them if they are two people, else put their files into one folder"
        )


def _named(instance: Instance, patient: str) -> Instance:
    written = instance.text("PatientID")
    kept = {words.WRITTEN_PATIENT: written} if written else {}
    return Instance(instance.source, {**instance.header, "PatientID": patient, **kept})
