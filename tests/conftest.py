"""One way of running properties everywhere: the same examples on every machine, and no clock that judges them."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")
