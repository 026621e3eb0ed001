"""Files that one stage leaves for another: typed, frozen, each with the version of its format.

A file of another version, or one that is damaged, is refused in one line; it is never read by half.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeAlias, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from pipeline.core.errors import StorageError
from pipeline.core.files import finite, read_json, write_json

FORMAT = "format"
"""Key of the version in every file."""

AGAIN = "run the command that wrote it again"


def _nan_for_null(value: object) -> object:
    return math.nan if value is None else value


FloatOrNaN: TypeAlias = Annotated[float, BeforeValidator(_nan_for_null)]
"""A number that may be undefined: NaN in a record, null in its file."""


_Content = TypeVar("_Content")

OmittedIfEmpty: TypeAlias = Annotated[_Content, Field(exclude_if=lambda value: not value)]
"""A field that most files do not need: left out where there is nothing to say."""


def read_versioned(path: Path, format_version: int) -> dict[str, Any]:
    """The content of a JSON file of ours without its format number.

    Raises:
        StorageError: when the file is missing, not JSON, or of another format.
    """
    content = read_json(path)
    found = content.pop(FORMAT, None) if isinstance(content, dict) else None
    if found != format_version:
        wrote = "no format number" if found is None else f"format {found}"
        raise StorageError(f"{path.name} has {wrote}, this version of liverset reads format {format_version}; {AGAIN}")
    return dict(content)


class Artefact(BaseModel):
    """The content of one file; unknown, missing and misspelt fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: ClassVar[int] = 1

    def save(self, path: Path, *, mode: int = 0o644) -> None:
        """Write it, the same bytes for the same content; NaN becomes null.

        Raises:
            StorageError: when the disk is full, or the folder cannot be written.
        """
        write_json(path, finite({FORMAT: self.format_version, **self.model_dump(mode="json")}), mode=mode)

    @classmethod
    def load(cls, path: Path) -> Self:
        """What a file holds, equal to what was saved.

        Raises:
            StorageError: when the file is missing, damaged, or of another format.
        """
        try:
            return cls.model_validate(read_versioned(path, cls.format_version))
        except ValidationError as error:
            place = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise StorageError(f"{path.name} is damaged at {place}; {AGAIN}") from None
