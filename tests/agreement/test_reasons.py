"""Reasons are fields; their words count slices from 1, name raters as asked, and never say who saw a lesion."""

from __future__ import annotations

from pydantic import TypeAdapter

from pipeline.agreement.reasons import (
    Doubt,
    DroppedPiece,
    JointReview,
    LesionOutsideLiver,
    LiverHole,
    LostLesion,
    LowDice,
    MinorityLesion,
    Seen,
    Span,
    StapleUnsettled,
    TooManyTies,
    VolumeDifference,
    slices_of,
)

SEEN = Seen(2, 0.18, Span(11, 13), ("R3",), 3)
EVERY = (
    JointReview(1),
    TooManyTies(30, 1000, 0.01),
    StapleUnsettled("lesion", 500),
    VolumeDifference(("R1", "R2", "R3"), (1.0, 8.25, 3.0), 5.0),
    LowDice("lesion", ("R1", "R3"), 0.4321, 0.8),
    MinorityLesion(SEEN, 0.0),
    LostLesion(SEEN),
    DroppedPiece(SEEN, 14.0),
    LiverHole(0.05, Span(0, 0), 14.0),
    LesionOutsideLiver(0.3, Span(4, 6)),
)


def test_each_reason_reads_as_a_sentence():
    assert [reason.sentence() for reason in EVERY] == [
        "the two raters differ in 1 voxel; review them together",
        "30 of 1000 marked voxels are tied (limit 1.00%)",
        "lesion: STAPLE did not converge in 500 iterations",
        "lesion volumes differ by 7.2 ml (limit 5.0 ml)",
        "lesion: Dice 0.432 between R1 and R3 (limit 0.800)",
        "lesion 2: 1 of 3 raters marked 0.18 ml on slices 12-14; the vote keeps nothing of it",
        "lesion 2: 1 of 3 raters marked 0.18 ml on slices 12-14; the vote keeps nothing of it",
        "beyond the border of lesion 2: 1 of 3 raters marked 0.18 ml on slices 12-14; the vote drops it",
        "the vote leaves a hole of 0.05 ml in the liver on slice 1",
        "a voted lesion of 0.3 ml on slices 5-7 touches no voted liver",
    ]


def test_letters_stand_for_raters_in_their_own_order_not_in_that_of_the_codes():
    letters = {"R1": "reader C", "R2": "reader B", "R3": "reader A"}
    sentences = [reason.sentence(letters) for reason in EVERY]
    assert "lesion: Dice 0.432 between reader A and reader C (limit 0.800)" in sentences
    assert not any(rater in sentence for rater in letters for sentence in sentences)
    about_lesions = [reason.sentence(letters) for reason in EVERY if hasattr(reason, "seen")]
    assert not any("reader" in sentence for sentence in about_lesions)


def test_every_reason_is_stored_and_read_again_by_its_rule():
    adapter = TypeAdapter(tuple[Doubt, ...])
    assert adapter.validate_json(adapter.dump_json(EVERY)) == EVERY
    assert len({reason.rule for reason in EVERY}) == len(EVERY)


def test_what_a_reason_is_about_is_looked_at():
    assert [list(slices_of(reason)) for reason in EVERY[4:]] == [
        [],
        [11, 12, 13],
        [11, 12, 13],
        [11, 12, 13],
        [0],
        [4, 5, 6],
    ]
