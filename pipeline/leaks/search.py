"""The independent verifier: source identifiers sought in the bytes of everything that leaves the house.

It shares no code with the de-identifier: what that one overlooked, this one must not. Names of files and of archive
members are searched like contents; every stretch is searched as it lies and inflated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline.core.errors import StorageError
from pipeline.leaks.chance import beyond_chance
from pipeline.leaks.harvest import harvest
from pipeline.leaks.identifiers import Identifiers, Kind
from pipeline.leaks.needles import Haystack
from pipeline.leaks.own import OwnText
from pipeline.leaks.unpack import Stretch, Texture, stretches

__all__ = ["Identifiers", "Kind", "Leak", "harvest", "search", "search_text"]

NameIdentifier = Callable[[str], str]
"""Gives an identifier a name that says nothing of it without a secret."""

Found = frozenset[tuple[Kind, str]]
"""What a stretch holds: kinds, and the names of the identifiers."""


@dataclass(frozen=True, slots=True, order=True)
class Leak:
    """A place where a source identifier was found; never the identifier itself.

    Attributes:
        where: the file, relative to the path searched, and the place in it; a file whose own name holds an identifier
            is told by its number in sorted order.
        kind: what was found.
        name: keyed name of the identifier; "" where nobody keeps names.
    """

    where: str
    kind: Kind
    name: str = ""


def search(
    identifiers: Identifiers,
    paths: Sequence[Path],
    *,
    own: Callable[[], OwnText] = OwnText,
    name_of: NameIdentifier = lambda identifier: "",
) -> tuple[Leak, ...]:
    """Every place below the paths that holds one of the identifiers, in order; empty when all is clean.

    Args:
        identifiers: of the sources.
        paths: files and folders.
        own: makes what the program writes for nobody; asked at the first match.
        name_of: names an identifier, so that a match that a person accepted is known again.

    Raises:
        StorageError: when a file cannot be read, since what was not searched is not clean.
    """
    haystack = _Remembering(Haystack(identifiers), own, name_of)
    found: set[Leak] = set()
    for number, (name, file) in enumerate(_files(paths), start=1):
        in_name = haystack.found_in(Stretch("file name", name.encode(errors="surrogateescape"), Texture.TEXT))
        shown = f"file {number}" if in_name else name
        found.update(Leak(f"{shown}: file name", *one) for one in in_name)
        places = _Places()
        for stretch in stretches(_content(file, shown)):
            inside = haystack.found_in(stretch)
            found.update(Leak(f"{shown}: {places.shown(stretch, is_clean=not inside)}", *one) for one in inside)
    return tuple(sorted(found))


class _Places:
    """Places in one file: a member of an archive by its name, once that is known to be clean; else by its number."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def shown(self, stretch: Stretch, *, is_clean: bool) -> str:
        if stretch.member is not None and is_clean:
            self._names[stretch.place.replace("name of member", "member")] = stretch.member
        place = stretch.place
        for numbered, name in self._names.items():
            if place.startswith(f"{numbered}, "):
                place = f"{numbered.rpartition('member ')[0]}{name}{place[len(numbered) :]}"
        return place


def search_text(
    identifiers: Identifiers, text: str, where: str, *, name_of: NameIdentifier = lambda identifier: ""
) -> tuple[Leak, ...]:
    """The same in a text that a person typed: nothing of it is the program's own."""
    haystack = _Remembering(Haystack(identifiers), OwnText, name_of)
    return tuple(sorted(Leak(where, *one) for one in haystack.found_in(Stretch(where, text.encode(), Texture.TEXT))))


class _Remembering:
    """A haystack that searches equal bytes once: the same image lies in the package of every rater."""

    def __init__(self, haystack: Haystack, own: Callable[[], OwnText], name_of: NameIdentifier) -> None:
        self._haystack = haystack
        self._own = cache(own)
        self._name_of = name_of
        self._known: dict[tuple[bytes, Texture], Found] = {}

    def found_in(self, stretch: Stretch) -> Found:
        key = hashlib.blake2b(stretch.content, digest_size=16).digest(), stretch.texture
        if key not in self._known:
            self._known[key] = self._searched(stretch)
        return self._known[key]

    def _searched(self, stretch: Stretch) -> Found:
        hits = self._haystack.hits(stretch.content, stretch.texture)
        others = [hit for hit in hits if not self._own().holds(hit, stretch)]
        telling = beyond_chance(others, stretch, self._haystack)
        return frozenset((hit.needle.kind, self._name_of(hit.needle.identifier)) for hit in telling)


def _files(paths: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    for path in paths:
        if path.is_dir():
            yield from ((str(file.relative_to(path)), file) for file in sorted(path.rglob("*")) if file.is_file())
        else:
            yield path.name, path


def _content(file: Path, shown: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise StorageError(f"{shown} cannot be read, so it cannot be searched ({type(error).__name__})") from None
