"""What is raised where pixels are not whole."""

from __future__ import annotations


class DamagedError(ValueError):
    """Pixels are not whole; the text says what is wrong, without names."""
