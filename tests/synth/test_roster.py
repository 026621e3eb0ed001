"""The page about the demo cohort lists what is really in it."""

from __future__ import annotations

from pipeline.synth.roster import Enrolled, roster
from tests.places import ROOT

PAGE = ROOT / "docs" / "demo_cohort.md"


def row_of(number: int, enrolled: Enrolled) -> str:
    """A patient's line of the table."""
    kinds = {str(kind): enrolled.kinds.count(kind) for kind in enrolled.kinds}
    lesions = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "none"
    series = ", ".join(f"{one.phase} excluded: {', '.join(one.rules)}" for one in enrolled.series if one.rules)
    prior = ", ".join(f"{one.phase} of an earlier study excluded: {', '.join(one.rules)}" for one in enrolled.prior)
    beside = ", ".join(str(bystander) for bystander in enrolled.bystanders)
    planted = "; ".join(part for part in (series, prior, beside) if part)
    outcome = f"excluded: {', '.join(enrolled.rules)}" if enrolled.rules else "included"
    cells = (number, enrolled.scanner.site, enrolled.diagnosis, enrolled.age_years, lesions, planted, outcome)
    return "| " + " | ".join(map(str, cells)) + " |"


def test_the_page_lists_every_patient_as_enrolled():
    text = PAGE.read_text(encoding="utf-8")
    missing = [row for number, one in enumerate(roster(), 1) if (row := row_of(number, one)) not in text]
    assert not missing, "\n".join(missing)


def test_the_page_tells_how_many_files_there_are(cohort):
    _, truth = cohort
    text = PAGE.read_text(encoding="utf-8")
    assert f"{truth.file_count:,} files" in text
    assert f"{len(truth.series)} series" in text
    assert f"{len(truth.set_aside)} files are not used" in text
