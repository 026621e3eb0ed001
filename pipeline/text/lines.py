"""Where something that may be text lies in a slice."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TextLine:
    """A box around a line of letters or some marks, in rows and columns; `bottom` and `right` lie one beyond."""

    top: int
    bottom: int
    left: int
    right: int
