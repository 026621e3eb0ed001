"""Results as pandas DataFrames; pandas is imported when the first one is asked for."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pipeline.core.errors import StorageError

if TYPE_CHECKING:
    from pandas import DataFrame as DataFrame


class Tabular(ABC):
    """A result that is also a table.

    Attributes:
        columns: that stand first in the table, and in an empty one; any others follow as the rows bring them.
    """

    __slots__ = ()
    columns: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """The table's rows by column; None is undefined or unknown."""

    def to_frame(self) -> DataFrame:
        """The table as a pandas DataFrame; what is undefined or unknown is NaN."""
        return frame(self.rows(), self.columns)

    def __repr__(self) -> str:
        rows = len(self.rows())
        return f"{type(self).__name__}({rows} row{'s' * (rows != 1)}; see .to_frame())"


def frame(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = ()) -> DataFrame:
    """Rows as a DataFrame, the named columns first; nested mappings become columns with joined names, None is NaN."""
    import pandas as pd

    flat = [_flat(row) for row in rows]
    return pd.DataFrame(flat, columns=list(dict.fromkeys([*columns, *(name for row in flat for name in row)])))


def read_frame(path: Path, *, text: Sequence[str] = ()) -> DataFrame:
    """A table of ours as a DataFrame; only an empty cell is NaN, words such as "None" stay words.

    Args:
        path: a CSV file.
        text: columns whose digits are no number.

    Raises:
        StorageError: when the file is missing or unreadable.
    """
    import pandas as pd

    try:
        return pd.read_csv(path, dtype=dict.fromkeys(text, "str"), keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:
        raise StorageError(f"{path.name} cannot be read ({type(error).__name__})") from None


def _flat(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}_")
        else:
            flat[prefix + key] = math.nan if value is None else str(value) if isinstance(value, str) else value
    return flat
