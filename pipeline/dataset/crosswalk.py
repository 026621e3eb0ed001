"""Which patient is which case: the project's secret, and the encrypted list that only its holder can read.

The secret lies in `private/` (mode 0600) or comes from the environment; the list is sealed with it (`sealed.py`), so
that a wrong secret or a changed byte is refused and never half read.
"""

from __future__ import annotations

import json
import logging
import os
import re
import stat
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from pipeline.core.errors import PrivacyError
from pipeline.core.files import PRIVATE_FILE_MODE, append_line, json_text, make_private_folder, write_atomically
from pipeline.core.pseudonyms import MIN_SECRET_BYTES, Pseudonyms, normalised_patient_id
from pipeline.dataset.layout import Layout
from pipeline.dataset.sealed import Seal

SECRET_VARIABLE = "LIVERSET_SECRET"
"""Environment variable that holds the secret as hexadecimal digits, for machines that keep keys elsewhere."""

TOMBSTONE_DIGITS = 64
"""Of the name under which a patient who withdrew is recognised."""

_WITHDRAWN = "withdrawn "
_KIND = "crosswalk 1"
_CASE_ID = re.compile(r"P(\d{4,})")
_log = logging.getLogger(__name__)


class Crosswalk:
    """Patients and their case ids under one secret; a case id, once given, never changes and is never given again.

    Attributes:
        pseudonyms: replacements for everything else, under the same secret.
    """

    def __init__(self, layout: Layout, pseudonyms: Pseudonyms, cases: Mapping[str, str] = MappingProxyType({})) -> None:
        self.pseudonyms = pseudonyms
        self._layout = layout
        self._cases = dict(cases)
        self._saved = dict(cases)

    @classmethod
    def open(cls, layout: Layout) -> Crosswalk:
        """The crosswalk of a dataset; a new one, with a new secret, where there is none yet.

        Raises:
            PrivacyError: when the secret is lost, unreadable, open to others, or not the one that sealed the list.
        """
        sealed = layout.crosswalk
        is_needed = any(path.exists() for path in layout.sealed)
        pseudonyms = Pseudonyms(secret_of(layout.secret, is_needed=is_needed))
        cases = json.loads(Seal(_KIND, pseudonyms).read(sealed)) if sealed.exists() else {}
        return cls(layout, pseudonyms, cases)

    def case_ids(self, patient_ids: Iterable[str]) -> dict[str, str]:
        """Each source patient id with its case id; spellings of one id share a case.

        New patients take the next free numbers in the order of a keyed token, so that the numbers do not tell in which
        order patients came or how their ids sort.

        Raises:
            PrivacyError: when an id is blank, since two patients without an id must not become one case.
        """
        normal = {patient_id: normalised_patient_id(patient_id) for patient_id in patient_ids}
        if any(map(self.is_withdrawn, normal)):
            raise PrivacyError("a patient has withdrawn consent and gets no case; leave the patient's files out")
        if not all(normal.values()):
            raise PrivacyError(
                "a patient has no patient number, so cases cannot be separated; export again with patient numbers"
            )
        new = set(normal.values()) - set(self._cases)
        taken = max((_number(case_id) for case_id in self._cases.values()), default=0)
        ordered = sorted(new, key=lambda patient: self.pseudonyms.token("case-order", patient, digits=64))
        self._cases.update({patient: f"P{taken + n:04d}" for n, patient in enumerate(ordered, start=1)})
        return {patient_id: self._cases[patient] for patient_id, patient in normal.items()}

    def given(self, patient_id: str) -> str | None:
        """The case id that a source patient id has already."""
        return self._cases.get(normalised_patient_id(patient_id))

    def patient_of(self, case_id: str) -> str:
        """The source id (normalised) of a case, for who may know it; the look-up is logged first, its answer is not.

        Raises:
            PrivacyError: when no such case was ever given.
            StorageError: when the look-up cannot be logged.
        """
        when = datetime.now(UTC).isoformat(timespec="seconds")
        append_line(self._layout.look_ups, f"{when} {_logged(case_id)}")
        for patient, given in self._cases.items():
            if given == case_id and patient != self._tombstone(patient):
                return patient
        raise PrivacyError("the crosswalk has no such case; case ids look like P0001")

    def withdraw(self, case_id: str) -> None:
        """Forget whose case this is, keeping only what recognises the patient's number when it comes again.

        Raises:
            PrivacyError: when no such case was ever given.
        """
        if case_id not in self._cases.values():
            raise PrivacyError("the crosswalk has no such case; case ids look like P0001")
        self._cases = {
            self._tombstone(patient) if given == case_id else patient: given for patient, given in self._cases.items()
        }

    def is_withdrawn(self, patient_id: str) -> bool:
        """True when the patient with this number has withdrawn consent."""
        return self._tombstone(normalised_patient_id(patient_id)) in self._cases

    def _tombstone(self, patient: str) -> str:
        """A one-way name in place of a patient's number; one for itself. No number has lower-case letters."""
        if patient.startswith(_WITHDRAWN):
            return patient
        return _WITHDRAWN + self.pseudonyms.token("withdrawn", patient, digits=TOMBSTONE_DIGITS)

    def cases_without(self, patients: Collection[str], case_ids: Iterable[str]) -> tuple[str, ...]:
        """Those of some cases whose patient is not among the normalised source ids; nobody is looked up."""
        there = {self._cases[patient] for patient in self._cases.keys() & set(patients)}
        return tuple(case_id for case_id in case_ids if case_id not in there)

    def save(self) -> None:
        """Seal and write the list; nothing is written when nothing changed."""
        if self._cases == self._saved:
            return
        Seal(_KIND, self.pseudonyms).write(self._layout.crosswalk, json_text(self._cases).encode())
        self._saved = dict(self._cases)


def read_secret(path: Path) -> bytes:
    """The secret a key file holds, as 64 or more hexadecimal digits.

    Raises:
        PrivacyError: when others may read the file, or it holds no secret.
    """
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise PrivacyError(f"{path.name} can be read by other users; run `chmod 600` on it and try again")
        return _parsed(path.read_text(encoding="ascii"), what=path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise PrivacyError(f"{path.name} cannot be read as a key file ({type(error).__name__})") from None


def secret_of(path: Path, *, is_needed: bool = False) -> bytes:
    """The project's secret: from the environment, else from its file, which is made when there is none.

    Args:
        path: the key file.
        is_needed: True when something is sealed with it already, so that a new secret would be of no use.

    Raises:
        PrivacyError: when the secret is lost, unreadable, or open to others.
    """
    from_environment = os.environ.get(SECRET_VARIABLE)
    if from_environment:
        return _parsed(from_environment, what=SECRET_VARIABLE)
    if path.exists():
        return read_secret(path)
    if is_needed:
        raise PrivacyError(
            f"{path.name} is missing, and what it seals cannot be opened without it: restore the key file from its "
            f"backup, or set {SECRET_VARIABLE}. If it is lost for good, nobody knows which patient is which case; "
            "releases stay valid, but new exports need a new dataset with new case ids"
        )
    secret = os.urandom(MIN_SECRET_BYTES)
    make_private_folder(path.parent)
    write_atomically(path, secret.hex().encode() + b"\n", mode=PRIVATE_FILE_MODE)
    _log.warning("a new project secret was made in %s; keep a copy in a safe place", path.name)
    return secret


def _parsed(text: str, *, what: str) -> bytes:
    try:
        return bytes.fromhex(text.strip())
    except ValueError:
        expected = f"expected at least {2 * MIN_SECRET_BYTES} hexadecimal digits"
        raise PrivacyError(f"{what} is not a secret; {expected}") from None


def _number(case_id: str) -> int:
    return int(case_id.removeprefix("P"))


def _logged(case_id: str) -> str:
    """The case id if it looks like one: whatever else was typed might be a patient's own number."""
    return case_id if _CASE_ID.fullmatch(case_id) else "not a case id"
