"""The conformance statement, written from the same tables that do the work, so that it cannot promise anything else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Set
from itertools import chain

from pipeline.core.config import DeidentificationConfig
from pipeline.core.config import DeidentificationOption as Option
from pipeline.core.problems import meaning_of
from pipeline.dicom.deid.admission import REFUSED_KINDS
from pipeline.dicom.deid.allowlist import (
    ALLOWED,
    CODES,
    EMPTIED,
    EMPTIED_BY_CLASS,
    EMPTIED_WITHOUT_BODY_PART,
    UNITS,
    Attribute,
)
from pipeline.dicom.deid.annex_e import Disposition, disposition, table
from pipeline.dicom.deid.deidentify import METHOD, OPTION_CODES, PROFILE_CODE
from pipeline.dicom.deid.liver import liver_table, makers
from pipeline.dicom.read.kinds import STORAGE_CLASSES


def conformance_statement() -> str:
    """The statement as Markdown: profile and options, dispositions of Table E.1-1, every attribute that may stay."""
    return "\n\n".join([_profile(), _dispositions(), _attributes(), _liver(), _classes(), _codes()]) + "\n"


def _profile() -> str:
    default = DeidentificationConfig().options
    rows = [(PROFILE_CODE[1], PROFILE_CODE[0], "always")]
    rows += [(OPTION_CODES[option][1], OPTION_CODES[option][0], _when(option, default)) for option in Option]
    return (
        f"### Profile and options\n\nDeidentificationMethod is `{METHOD}`. Codes (PS3.16 CID 7050) are written to "
        "DeidentificationMethodCodeSequence only when their profile or option was applied.\n\n"
        + _table(("profile or option", "code", "applied"), rows)
    )


def _when(option: Option, default: Set[Option]) -> str:
    when = "by default" if option in default else "on request only"
    return f"{when}, once the series was searched for text" if option is Option.CLEAN_PIXELS else when


def _dispositions() -> str:
    options = DeidentificationConfig().options
    counts = Counter(disposition(row.keyword, options) for row in table())
    handled = [(str(one), str(counts[one])) for one in Disposition]
    editions = ", ".join(f"{count} of {name}" for name, count in sorted(Counter(r.edition for r in table()).items()))
    stays = [row for row in table() if disposition(row.keyword, options) is not Disposition.REMOVED]
    rows = [(row.name, _tag(row.tag), row.basic, str(disposition(row.keyword, options))) for row in stays]
    return (
        f"### Table E.1-1\n\n{len(table())} rows ({editions}), with the default options, at every depth:\n\n"
        + _table(("action", "rows"), handled)
        + "\n\nRows that are not simply removed:\n\n"
        + _table(("attribute", "tag", "basic action", "action here"), rows)
    )


def _attributes() -> str:
    rows = [
        (attribute.keyword, _how(attribute), attribute.needs or "", attribute.why)
        for attribute in sorted(ALLOWED.values(), key=lambda one: one.keyword)
    ]
    owed = sorted({*EMPTIED, *chain(*EMPTIED_BY_CLASS.values()), EMPTIED_WITHOUT_BODY_PART})
    return (
        f"### Attributes that may stay\n\nThese {len(ALLOWED)} and no others. A value that breaks its rule is "
        "removed. Attributes that an image type requires are written empty where no value may stay: "
        f"{', '.join(owed)}.\n\n" + _table(("attribute", "action", "needs option", "purpose"), rows)
    )


def _how(attribute: Attribute) -> str:
    handling = disposition(attribute.keyword, frozenset(Option))
    return "value checked" if handling is Disposition.KEPT else str(handling)


def _liver() -> str:
    heads = ("attribute", "modality", "basic action", "options (K keep, C clean)", "TCIA", *makers())
    return (
        "### What a liver dataset needs\n\nWhat becomes of a value as each maker writes it, with the default options "
        "and `device_identity`. An empty cell means that the maker does not write it; "
        "*rewritten*, that it is private there and goes into the standard attribute. TCIA is what The Cancer Imaging "
        "Archive does by the options that it applies; it keeps such private attributes as they are.\n\n"
        + _table(heads, liver_table())
    )


def _classes() -> str:
    admitted = [(name, uid) for uid, name in STORAGE_CLASSES.items()]
    refused = [(code, meaning_of(code)) for code in dict.fromkeys(REFUSED_KINDS.values())]
    return (
        "### What is accepted\n\n"
        + _table(("storage class", "UID"), admitted)
        + "\n\nRefused by type:\n\n"
        + _table(("rule", "reason"), refused)
    )


def _codes() -> str:
    rows = [(scheme, value, meaning) for (scheme, value), meaning in (*CODES.items(), *UNITS.items())]
    return "### Codes that may stay\n\n" + _table(("scheme", "value", "meaning written"), rows)


def _tag(tag: str) -> str:
    return f"({tag[:4]},{tag[4:]})"


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = tuple(heads)
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
