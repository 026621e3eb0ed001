"""Files that one stage leaves for another: typed, frozen, each with the version of its format.

A file of another version, or one that is damaged, is refused in one line; it is never read by half.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeAlias, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from pipeline.core.errors import StorageError
from pipeline.core.files import finite, json_text, read_json, write_text

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


def versioned(content: Any, format_version: int, name: str) -> dict[str, Any]:
    """The content of a JSON file of ours without its format number.

    Args:
        content: as JSON gave it.
        format_version: the one that is read here.
        name: of the file, for a message.

    Raises:
        StorageError: when it is of another format.
    """
    found = content.pop(FORMAT, None) if isinstance(content, dict) else None
    if found != format_version:
        wrote = "no format number" if found is None else f"format {found}"
        raise StorageError(f"{name} has {wrote}, this version of liverset reads format {format_version}; {AGAIN}")
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
        write_text(path, self.to_text(), mode=mode)

    def to_text(self) -> str:
        """What its file holds."""
        return json_text(finite({FORMAT: self.format_version, **self.model_dump(mode="json")}))

    @classmethod
    def load(cls, path: Path) -> Self:
        """What a file holds, equal to what was saved.

        Raises:
            StorageError: when the file is missing, damaged, or of another format.
        """
        return cls.of(read_json(path), path.name)

    @classmethod
    def of(cls, content: Any, name: str) -> Self:
        """The artefact that the JSON of a file with this name means.

        Raises:
            StorageError: when it is damaged or of another format.
        """
        try:
            return cls.model_validate(versioned(content, cls.format_version, name))
        except ValidationError as error:
            place = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise StorageError(f"{name} is damaged at {place}; {AGAIN}") from None
