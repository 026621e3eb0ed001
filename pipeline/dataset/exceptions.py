"""`leak_exceptions.csv`: matches that a person looked at and found to be no leak.

A row holds for one place, one kind and one identifier, of which it has only a keyed name; it is signed with the
project's secret (HMAC-SHA256), so that nobody adds or widens one unnoticed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path

from pipeline.core.errors import PrivacyError
from pipeline.core.files import csv_text, read_csv, write_text
from pipeline.core.pseudonyms import Pseudonyms

SIGNATURE_DIGITS = 64


@dataclass(frozen=True, slots=True, order=True)
class LeakException:
    """One accepted match.

    Attributes:
        place: the file and the place in it, as the refusal named it.
        kind: of identifier, such as "name".
        identifier: its keyed name, never itself.
        by: who looked.
        why: what it is instead.
        when: the day, as 2026-01-31.
    """

    place: str
    kind: str
    identifier: str
    by: str
    why: str
    when: str

    @property
    def match(self) -> tuple[str, str, str]:
        """What it holds for: place, kind and identifier."""
        return self.place, self.kind, self.identifier

    def signed_with(self, pseudonyms: Pseudonyms) -> str:
        """Which only the holder of the secret can give."""
        return pseudonyms.token("leak-exception", "\0".join(astuple(self)), digits=SIGNATURE_DIGITS)


EXCEPTION_COLUMNS = (*(field.name for field in fields(LeakException)), "signature")


def read_exceptions(path: Path, pseudonyms: Pseudonyms) -> tuple[LeakException, ...]:
    """Every row, in order; none before the first.

    Raises:
        PrivacyError: when a row was changed by hand, or signed with another secret.
    """
    exceptions = []
    for line, row in enumerate(read_csv(path), start=2):
        exception = LeakException(**{name: row.get(name) or "" for name in EXCEPTION_COLUMNS[:-1]})
        if row.get("signature") != exception.signed_with(pseudonyms):
            raise PrivacyError(
                f"{path.name}, line {line}: its signature does not fit: changed by hand, or signed with another "
                "secret; delete the line, and accept the place again with `liverset leaks accept`"
            )
        exceptions.append(exception)
    return tuple(exceptions)


def write_exceptions(path: Path, exceptions: Iterable[LeakException], pseudonyms: Pseudonyms) -> None:
    """Write all rows, signed and in order."""
    rows = [{**asdict(one), "signature": one.signed_with(pseudonyms)} for one in sorted(set(exceptions))]
    write_text(path, csv_text(EXCEPTION_COLUMNS, rows))


def kinds_accepted(exceptions: Sequence[LeakException]) -> dict[str, int]:
    """How many matches of each kind were accepted."""
    return dict(sorted(Counter(one.kind for one in exceptions).items()))
