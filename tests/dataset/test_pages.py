"""The page on inclusion names every preference there is."""

from __future__ import annotations

from pipeline.cohort.selection import PREFERENCES
from tests.places import ROOT


def test_every_preference_is_told():
    text = (ROOT / "docs" / "inclusion.md").read_text(encoding="utf-8")
    for preference in PREFERENCES:
        assert preference.split(" ", 1)[-1] in text, preference
