"""Above which age nobody's exact age is published: 45 CFR 164.514(b)(2)(i)(C)."""

from __future__ import annotations

from typing import Final

OLDEST_EXACT_YEARS: Final = 89
OPEN_CLASS: Final = f"{OLDEST_EXACT_YEARS + 1}+"
"""What all higher ages are published as."""
