"""Keyed pseudonyms: the same source always gives the same replacement, and nobody without the secret can go back.

HMAC-SHA256 (RFC 2104) under one secret a project, with a domain word in front of every message so that a value can
never be matched across domains. An unkeyed hash would fail: hospital numbers can be listed in seconds.
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from dataclasses import dataclass, field

from pipeline.core.errors import PrivacyError

MIN_SECRET_BYTES = 32
DATE_SHIFT_WEEKS = (6261, 6783)
"""Dates move back by 120 to 130 years, in whole weeks so that weekdays stay.

So far back that nobody takes a shifted date for a true one, and that it never meets a true date of another patient by
chance, which would blind the search for leaks. Archives move dates to an obviously false time for the same reason.
"""


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Replacements for identifiers under one project secret.

    Raises:
        PrivacyError: when the secret is shorter than 32 bytes.
    """

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) < MIN_SECRET_BYTES:
            raise PrivacyError(f"the project secret has {len(self.secret)} bytes, expected at least {MIN_SECRET_BYTES}")

    def token(self, domain: str, text: str, *, digits: int = 12) -> str:
        """A short hexadecimal name for a source value, different in every domain."""
        return self._mac(domain, text).hex()[:digits]

    def uid(self, source_uid: str) -> str:
        """A UID in place of a source UID: 2.25. and 128 bits (PS3.5 B.2); "" stays ""."""
        if not source_uid:
            return ""
        return f"2.25.{int.from_bytes(self._mac('uid', source_uid.strip())[:16], 'big')}"

    def patient(self, patient_id: str) -> str:
        """A patient's name outside a dataset: "S" and twelve hexadecimal digits, one for all spellings of the id."""
        return "S" + self.token("patient", normalised_patient_id(patient_id))

    def date_shift_days(self, patient_id: str) -> int:
        """How many days all dates of a patient move, always back and the same for all of them."""
        low, high = DATE_SHIFT_WEEKS
        mac = self._mac("date", normalised_patient_id(patient_id))
        return -7 * (low + int.from_bytes(mac[:8], "big") % (high - low + 1))

    def _mac(self, domain: str, text: str) -> bytes:
        message = f"{domain}\0{text}".encode()
        return hmac.new(self.secret, message, hashlib.sha256).digest()


def normalised_patient_id(patient_id: str) -> str:
    """One spelling for one patient: full-width letters folded, outer blanks gone, upper case."""
    return unicodedata.normalize("NFKC", patient_id).strip().upper()
