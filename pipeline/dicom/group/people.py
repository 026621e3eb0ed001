"""Whether one patient number stands for one person: hospitals number their patients alike, and numbers get mistyped."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import combinations

from pipeline.core.pseudonyms import normalised_patient_id
from pipeline.core.records import Instance
from pipeline.dicom.read.header import WRITTEN_PATIENT

_UNKNOWN_DATES = frozenset({"19000101", "00010101", "19700101"})
_NAME_PARTS = re.compile(r"[\W\d_]+")


def contradicted_numbers(instances: Iterable[Instance]) -> dict[str, str]:
    """Normalised patient ids that stand beside facts no one person can have, and which facts these are, in words.

    Two dates of birth, two sexes, two issuers of the number, two numbers in one folder, or two names with no part in
    common (a married woman keeps her given name; names in different scripts are not compared). What is empty says
    nothing.
    """
    by_number: dict[str, list[Instance]] = defaultdict(list)
    for instance in instances:
        by_number[normalised_patient_id(instance.text("PatientID"))].append(instance)
    found = {number: ", ".join(_contradictions(own)) for number, own in by_number.items()}
    return {number: facts for number, facts in found.items() if facts}


def _contradictions(instances: list[Instance]) -> Iterator[str]:
    births = {instance.text("PatientBirthDate") for instance in instances} - {"", *_UNKNOWN_DATES}
    sexes = {instance.text("PatientSex").upper() for instance in instances} & {"M", "F"}
    issuers = {instance.text("IssuerOfPatientID").casefold() for instance in instances} - {""}
    numbers = {normalised_patient_id(instance.text(WRITTEN_PATIENT)) for instance in instances} - {""}
    for what, values in (
        ("dates of birth", births),
        ("sexes", sexes),
        ("issuers of the number", issuers),
        ("numbers in the headers", numbers),
    ):
        if len(values) > 1:
            yield f"{len(values)} {what}"
    names = {parts for instance in instances for parts in _names(instance.text("PatientName"))}
    if any(one.isdisjoint(other) and _script(one) == _script(other) for one, other in combinations(names, 2)):
        yield "names with nothing in common"


def _names(text: str) -> Iterator[frozenset[str]]:
    """The parts of a name, of each of its spellings."""
    for spelling in unicodedata.normalize("NFKC", text).casefold().split("="):
        parts = frozenset(part for part in _NAME_PARTS.split(spelling) if part)
        if parts:
            yield parts


def _script(parts: frozenset[str]) -> str:
    """The script a name is written in, by the Unicode name of one of its letters."""
    return unicodedata.name(min(parts)[0], "").partition(" ")[0]
