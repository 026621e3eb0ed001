"""The log of a round: grows only by what is new and survives its file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import ReviewError
from pipeline.core.records import Phase
from pipeline.review.returns import ReturnCheck, SentItem, Verdict
from pipeline.review.state import Entry, from_lines, to_lines, with_checks


def check(item_id: str, verdict: Verdict, sha256: str = "a", rater: str = "R1") -> ReturnCheck:
    item = SentItem(item_id, rater, item_id[:5], Phase.ARTERIAL, image=None, coarse=None)
    return ReturnCheck(
        verdict, f"{item_id} {verdict}", "" if verdict is Verdict.ACCEPT else "look", item, sha256=sha256
    )


def test_the_same_return_twice_changes_nothing():
    checks = [check("P0001_C1", Verdict.ACCEPT), check("P0002_C1", Verdict.FLAG), ReturnCheck(Verdict.REJECT, "lost")]
    once = with_checks((), checks)
    assert [entry.item_id for entry in once] == ["P0001_C1", "P0002_C1"]
    assert with_checks(once, checks) == once
    assert with_checks(once, [check("P0002_C1", Verdict.ACCEPT, "b")])[:2] == once


ENTRIES = st.lists(
    st.builds(Entry, st.text(), st.text(), st.text(), st.sampled_from(Verdict), st.text(), st.text()), max_size=5
)


@given(log=ENTRIES, more=ENTRIES)
def test_a_log_survives_its_file_and_only_grows_at_its_end(log, more):
    text = to_lines(log)
    assert from_lines(text) == tuple(log)
    assert to_lines([*log, *more]).startswith(text)
    assert text.count("\n") == len(log)


def test_a_last_line_cut_by_a_power_failure_is_left_out_and_other_damage_is_told():
    text = to_lines(with_checks((), [check("P0001_C1", Verdict.ACCEPT), check("P0002_C1", Verdict.FLAG)]))
    assert len(from_lines(text[:-10])) == 1
    assert from_lines("") == ()
    with pytest.raises(ReviewError, match="check the returns again"):
        from_lines("{}\n" + text)
