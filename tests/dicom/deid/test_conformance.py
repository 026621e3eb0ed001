"""The statement that a data protection officer reads is the one the program works by."""

from __future__ import annotations

from pipeline.core.config import DeidentificationOption as Option
from pipeline.dicom.deid.allowlist import ALLOWED
from pipeline.dicom.deid.conformance import conformance_statement
from tests.places import ROOT

PAGE = ROOT / "docs" / "deidentification.md"
MARK = "<!-- generated: conformance_statement() -->\n\n"


def test_page_holds_the_statement_as_the_program_writes_it():
    assert PAGE.read_text(encoding="utf-8").partition(MARK)[2] == conformance_statement()


def test_statement_names_every_attribute_that_may_stay_and_every_option():
    statement = conformance_statement()
    assert all(f"| {keyword} |" in statement for keyword in ALLOWED)
    assert all(code in statement for code in ("113100", "113101", "113105", "113107", "113108", "113109", "113112"))
    assert all(option.value in statement for option in Option if any(a.needs is option for a in ALLOWED.values()))


def test_no_attribute_may_stay_without_a_reason():
    assert all(attribute.why for attribute in ALLOWED.values())
