"""Words of descriptions of series, from `vocabulary.toml`: one list to recognise series and to clean their texts."""

from __future__ import annotations

import tomllib
import unicodedata
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

_WITHOUT_ACCENT = {"ı": "i", "ł": "l", "Ł": "L"}
"""Letters that Unicode does not take apart."""


@cache
def vocabulary() -> Mapping[str, Any]:
    """The lists by section, such as `vocabulary()["phase"]["arterial"]["fr"]`."""
    return tomllib.loads(files("pipeline").joinpath("vocabulary.toml").read_text(encoding="utf-8"))


def words_of(*sections: str) -> frozenset[str]:
    """Every single word of some sections, folded; a form of several words counts as each of them."""
    return frozenset(word for section in sections for form in _forms(vocabulary()[section]) for word in _parts(form))


def forms_of(*path: str) -> tuple[str, ...]:
    """The forms below a section as they are written, such as `forms_of("phase", "arterial")`."""
    section: Any = vocabulary()
    for part in path:
        section = section[part]
    return tuple(_forms(section))


def forms_by_section(top: str) -> Iterator[tuple[str, str]]:
    """Every form below a section with the name of its part, such as ("phase.arterial", "动脉期")."""
    for part in vocabulary()[top]:
        for form in forms_of(top, part):
            yield f"{top}.{part}", form


def folded(text: str) -> str:
    """A text as words are compared: small letters without accents; full-width letters narrowed, others as they are."""
    return "".join(map(_bare, unicodedata.normalize("NFKC", text))).casefold()


def _bare(letter: str) -> str:
    """A letter of a European script without its accents."""
    if letter >= "\u3000":
        return letter
    base = "".join(part for part in unicodedata.normalize("NFD", letter) if not unicodedata.combining(part))
    return _WITHOUT_ACCENT.get(base, base)


def _parts(form: str) -> Iterator[str]:
    yield folded(form)
    yield from folded(form).replace("'", " ").split()


def _forms(section: Any) -> Iterator[str]:
    """The forms of a section, whatever lies between."""
    if isinstance(section, str):
        yield section
    else:
        for part in section.values() if isinstance(section, Mapping) else section:
            yield from _forms(part)
