"""The independent verifier: source identifiers sought in the bytes of everything that leaves the house.

It shares no code with the de-identifier: what that one overlooked, this one must not. Names of files and of archive
members are searched like contents; every stretch is searched as it lies and inflated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import StorageError
from pipeline.leaks.harvest import Identifiers, Kind, harvest
from pipeline.leaks.needles import Haystack
from pipeline.leaks.unpack import Stretch, Texture, stretches

__all__ = ["Identifiers", "Kind", "Leak", "harvest", "search"]


@dataclass(frozen=True, slots=True, order=True)
class Leak:
    """A place where a source identifier was found; never the identifier itself.

    Attributes:
        where: the file, relative to the path searched, and the place in it; a file whose own name holds an identifier
            is told by its number in sorted order.
        kind: what was found.
    """

    where: str
    kind: Kind


def search(identifiers: Identifiers, paths: Sequence[Path]) -> tuple[Leak, ...]:
    """Every place below the paths that holds one of the identifiers, in order; empty when all is clean.

    Raises:
        StorageError: when a file cannot be read, since what was not searched is not clean.
    """
    haystack = _Remembering(Haystack(identifiers))
    found: set[Leak] = set()
    for number, (name, file) in enumerate(_files(paths), start=1):
        in_name = haystack.kinds_in(Stretch("file name", name.encode(errors="surrogateescape"), Texture.TEXT))
        shown = f"file {number}" if in_name else name
        found.update(Leak(f"{shown}: file name", kind) for kind in in_name)
        for stretch in stretches(_content(file, shown)):
            found.update(Leak(f"{shown}: {stretch.place}", kind) for kind in haystack.kinds_in(stretch))
    return tuple(sorted(found))


class _Remembering:
    """A haystack that searches equal bytes once: the same image lies in the package of every rater."""

    def __init__(self, haystack: Haystack) -> None:
        self._haystack = haystack
        self._known: dict[tuple[bytes, Texture], set[Kind]] = {}

    def kinds_in(self, stretch: Stretch) -> set[Kind]:
        key = hashlib.blake2b(stretch.content, digest_size=16).digest(), stretch.texture
        if key not in self._known:
            self._known[key] = self._haystack.kinds_in(stretch.content, stretch.texture)
        return self._known[key]


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
