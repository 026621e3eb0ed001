"""Nothing that a rater saw disappears without a reason, and a border that is merely wider gives none."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.agreement.consensus import vote
from pipeline.agreement.reasons import Span
from pipeline.core.config import AdjudicateConfig, ConsensusConfig
from pipeline.core.geometry import Geometry
from pipeline.core.volume import LabelMap
from pipeline.image.surface import widened_in_slices
from tests.agreement import brute

LENIENT = AdjudicateConfig(min_dice=0, max_tie_fraction=1, max_volume_difference_ml=1e6)
SPACINGS = [(1.0, 1.0, 1.0), (5.0, 0.8, 0.8), (3.0, 1.0, 1.0), (0.7, 1.5, 0.9), (5.0, 3.8, 3.8)]
SHAPE = (24, 60, 60)
LOSSES = ("minority-lesion", "lost-lesion", "dropped-piece")


def reasons_of(masks, spacing_mm, *, ties="down", limit_mm3=14.0):
    """What keeps the vote open on an axial grid, by labels of each rater."""
    grid = Geometry.from_axes(np.shape(masks[0]), spacing_mm=spacing_mm)
    limits = LENIENT.model_copy(update={"min_piece_mm3": limit_mm3})
    ratings = {f"R{n}": LabelMap(np.asarray(mask, np.uint8), grid) for n, mask in enumerate(masks, start=1)}
    return vote(ratings, ConsensusConfig(ties=ties, adjudicate=limits)).needs_adjudication


def rules(reasons):
    return [reason.rule for reason in reasons if reason.rule != "two-raters"]


def ball(centre, radius_mm, spacing_mm, shape=SHAPE):
    steps = zip(np.indices(shape), centre, spacing_mm, strict=True)
    return sum(((index - middle) * mm) ** 2 for index, middle, mm in steps) <= radius_mm**2


def labelled(lesion, liver=True):
    return np.where(lesion, 2, 1 if liver is True else liver.astype(np.uint8))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 5).flatmap(lambda n: arrays(np.bool_, (n, 3, 6, 7), elements=st.booleans(), fill=st.just(False))),
    st.sampled_from(SPACINGS),
    st.sampled_from(["down", "up"]),
    st.sampled_from([0.0, 3.2, 6.4, 14.0]),
)
def test_what_is_lost_is_what_a_search_voxel_by_voxel_finds(masks, spacing_mm, ties, limit_mm3):
    found = reasons_of([labelled(mask) for mask in masks], spacing_mm, ties=ties, limit_mm3=limit_mm3)
    votes = 2 * masks.sum(axis=0)
    kept = votes >= len(masks) if ties == "up" else votes > len(masks)
    voxel_ml = math.prod(spacing_mm) / 1000
    lost = sorted((reason.rule, round(reason.seen.volume_ml / voxel_ml)) for reason in found if reason.rule in LOSSES)
    assert lost == brute.losses(list(masks), kept, spacing_mm, limit_mm3)


@settings(max_examples=30, deadline=None)
@given(
    arrays(np.bool_, (2, 2, 3)),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 10), st.integers(0, 11)), max_size=3),
    st.sampled_from([(1.0, 1.0, 1.0), (2.0, 0.8, 0.8), (0.7, 1.5, 0.9)]),
)
def test_a_wide_border_with_dents_is_what_a_search_voxel_by_voxel_finds(core, dents, spacing_mm):
    agreed, wide = np.zeros((6, 11, 12), bool), np.ones((6, 11, 12), bool)
    agreed[2:4, 5:7, 4:7] = core
    for dent in dents:
        wide[dent] = agreed[dent]
    masks = [agreed, agreed, wide]
    found = reasons_of([labelled(mask) for mask in masks], spacing_mm)
    voxel_ml = math.prod(spacing_mm) / 1000
    lost = sorted((reason.rule, round(reason.seen.volume_ml / voxel_ml)) for reason in found if reason.rule in LOSSES)
    assert lost == brute.losses(masks, agreed, spacing_mm, 14.0)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 5).flatmap(lambda n: arrays(np.uint8, (n, 3, 6, 7), elements=st.integers(0, 2))))
def test_no_lesion_of_any_rater_disappears_without_a_reason(masks):
    reasons = [reason for reason in reasons_of(list(masks), (5, 0.8, 0.8)) if reason.rule in LOSSES]
    kept = 2 * (masks == 2).sum(axis=0) > len(masks)
    for mask in masks == 2:
        for lesion in brute.components(mask):
            slices = [voxel[0] for voxel in lesion]
            if not any(kept[voxel] for voxel in lesion):
                spans = [reason.seen.slices for reason in reasons]
                assert any(span.first <= min(slices) and max(slices) <= span.last for span in spans)


@pytest.mark.parametrize("spacing_mm", SPACINGS)
@pytest.mark.parametrize("wider_mm", [0.4, 0.8, 1.5])
def test_a_wider_border_is_no_lost_lesion(spacing_mm, wider_mm):
    centre = [n // 2 for n in SHAPE]
    narrow, wide = (labelled(ball(centre, radius, spacing_mm)) for radius in (7, 7 + wider_mm))
    assert rules(reasons_of([narrow, narrow, wide], spacing_mm)) == []


@pytest.mark.parametrize("spacing_mm", SPACINGS[:4])
@pytest.mark.parametrize(
    ("radius_mm", "wider_mm"), [(5, 1), (5, 2), (5, 3), (5, 4), *itertools.product([8, 12, 20], [1, 2, 3, 4, 5])]
)
def test_a_border_that_is_wider_all_around_is_no_piece(spacing_mm, radius_mm, wider_mm):
    shape = [2 * int((radius_mm + wider_mm) / mm) + 5 for mm in spacing_mm]
    narrow, wide = (
        labelled(ball([n // 2 for n in shape], radius, spacing_mm, shape))
        for radius in (radius_mm, radius_mm + wider_mm)
    )
    assert rules(reasons_of([narrow, narrow, wide], spacing_mm)) == []


@pytest.mark.parametrize("spacing_mm", SPACINGS[:3])
@pytest.mark.parametrize("wider_mm", [0, 3, 5])
def test_a_bulge_is_a_piece_however_wide_the_border(spacing_mm, wider_mm):
    """The middle of a ball of 3 mm radius lies 3 mm beyond the widest border that is none, on one side."""
    shape = [2 * int(30 / mm) + 5 for mm in spacing_mm]
    centre = [n // 2 for n in shape]
    narrow = ball(centre, 12, spacing_mm, shape)
    away = centre[2] + round((12 + wider_mm + 2 + 3) / spacing_mm[2])
    bulge = ball((*centre[:2], away), 3, spacing_mm, shape)
    bulge[centre[0], centre[1], centre[2] : away] = True
    wide = ball(centre, 12 + wider_mm, spacing_mm, shape) | bulge
    (found,) = reasons_of([labelled(narrow), labelled(narrow), labelled(wide)], spacing_mm)
    assert (found.rule, found.seen.seen_by) == ("dropped-piece", ("R3",))
    assert 14 <= found.seen.volume_ml * 1000 <= 4 / 3 * math.pi * 27 * 1.5


def test_a_mass_around_a_nodule_is_more_than_a_border():
    """A third of 6 mm and the 2 mm of every border: up to 4 mm around the nodule are a border."""
    centre = [n // 2 for n in SHAPE]
    nodule, rim, mass = (labelled(ball(centre, radius, (1, 1, 1))) for radius in (3, 6.5, 8.5))
    assert rules(reasons_of([nodule, nodule, rim], (1, 1, 1))) == []
    assert set(rules(reasons_of([nodule, nodule, mass], (1, 1, 1)))) == {"dropped-piece"}


def test_a_border_that_is_wider_on_one_side_alone_is_a_piece():
    centre = [n // 2 for n in SHAPE]
    agreed = ball(centre, 8, (1, 1, 1))
    lopsided = agreed | ball((*centre[:2], centre[2] + 5), 8, (1, 1, 1))
    assert rules(reasons_of([labelled(agreed), labelled(agreed), labelled(lopsided)], (1, 1, 1))) == ["dropped-piece"]


def test_one_raters_wide_border_hides_no_bulge_of_another():
    """Two of five raters marked the bulge: one as part of a wide border, the other by itself."""
    shape = (40, 40, 40)
    agreed, wide = (ball((20, 20, 20), radius, (1, 1, 1), shape) for radius in (10, 15))
    bulging = agreed | (wide & (np.indices(shape)[2] > 30) & ball((20, 20, 32), 4, (1, 1, 1), shape))
    masks = [labelled(agreed)] * 3 + [labelled(wide), labelled(bulging)]
    (found,) = reasons_of(masks, (1, 1, 1))
    assert (found.rule, found.seen.seen_by) == ("dropped-piece", ("R4", "R5"))
    assert rules(reasons_of(masks[:4], (1, 1, 1))) == []


def test_one_more_slice_of_a_lesion_is_its_border():
    lesion = np.zeros((8, 40, 40), bool)
    lesion[3:5, 10:30, 10:30] = True
    higher = lesion.copy()
    higher[5, 9:31, 9:31] = True
    assert rules(reasons_of([labelled(lesion), labelled(lesion), labelled(higher)], (5, 0.8, 0.8))) == []
    higher[6, 10:30, 10:30] = True
    (reason,) = reasons_of([labelled(lesion), labelled(lesion), labelled(higher)], (5, 0.8, 0.8))
    assert (reason.rule, reason.seen.slices) == ("dropped-piece", Span(6, 6))


@pytest.mark.parametrize("spacing_mm", SPACINGS[:3])
@pytest.mark.parametrize("raters", [3, 4, 5])
def test_a_satellite_is_named_whether_it_touches_or_not(spacing_mm, raters):
    centre = [n // 2 for n in SHAPE]
    agreed = ball(centre, 8, spacing_mm)
    for gap_mm in (0, 6):
        away = centre[2] + round((8 + 3 + gap_mm) / spacing_mm[2])
        with_satellite = agreed | ball((*centre[:2], away), 3, spacing_mm)
        found = reasons_of([labelled(agreed)] * (raters - 1) + [labelled(with_satellite)], spacing_mm)
        assert rules(found) == ["minority-lesion" if gap_mm else "dropped-piece"]
        assert len(found[0].seen.seen_by) == 1


@pytest.mark.parametrize("ties", ["down", "adjudicator"])
def test_halves_that_all_saw_and_nobody_shares_are_a_lost_lesion(ties):
    first, second = np.zeros((2, 6, 20, 20), bool)
    first[2:4, 5:8, 5:10], second[2:4, 8:11, 5:10] = True, True
    above = np.zeros_like(first)
    above[4, 5:11, 5:10] = True
    found = reasons_of([labelled(first), labelled(second), labelled(above)], (3, 1, 1), ties=ties)
    assert rules(found) == ["lost-lesion"]
    assert found[0].sentence() == "lesion 1: 3 of 3 raters marked 0.27 ml on slices 3-5; the vote keeps nothing of it"
    assert found[0].seen.seen_by == ("R1", "R2", "R3")


@pytest.mark.parametrize(("voxels", "reported"), [(13, False), (14, True), (15, True)])
def test_a_piece_of_the_limit_itself_is_reported(voxels, reported):
    """A bar of 3 x 3 voxels of 1 mm3, of which a tail of one voxel's width sticks out by 2 mm more than the piece."""
    agreed, tailed = np.zeros((2, 5, 30, 30), bool)
    agreed[1:4, 5:8, 5:8] = tailed[1:4, 5:8, 5:8] = True
    tailed[2, 6, 8 : 8 + 2 + voxels] = True
    found = reasons_of([labelled(agreed), labelled(agreed), labelled(tailed)], (1, 1, 1), limit_mm3=14.0)
    assert rules(found) == ["dropped-piece"] * reported


def test_a_speck_outlined_apart_is_named_though_another_raters_border_reaches_it():
    agreed, speck, wide = np.zeros((3, 3, 12, 12), bool)
    agreed[1, 3:6, 3:6] = speck[1, 3:6, 3:6] = True
    wide[1, 3:6, 3:7] = True
    speck[1, 4, 7] = True
    (found,) = reasons_of([labelled(agreed), labelled(wide), labelled(speck)], (5, 0.8, 0.8))
    assert (found.rule, found.seen.seen_by) == ("dropped-piece", ("R3",))


def test_what_a_tie_grants_or_leaves_open_is_not_lost():
    agreed, tailed = np.zeros((2, 5, 30, 30), bool)
    agreed[1:4, 5:8, 5:8] = tailed[1:4, 5:8, 5:8] = True
    tailed[1:4, 5:8, 8:20] = True
    masks = [labelled(agreed), labelled(agreed), labelled(tailed), labelled(tailed)]
    found = {ties: reasons_of(masks, (1, 1, 1), ties=ties) for ties in ("down", "up", "undecided", "adjudicator")}
    lost = {ties: [rule for rule in rules(reasons) if rule != "ties"] for ties, reasons in found.items()}
    assert lost == {"down": ["dropped-piece"], "up": [], "undecided": [], "adjudicator": ["dropped-piece"]}


def cube(hollow=(), outer=range(2, 9)):
    liver = np.zeros((11, 11, 11), np.uint8)
    liver[np.ix_(outer, outer, outer)] = 1
    for place in hollow:
        liver[place] = 0
    return liver


ROOM = np.s_[4:7, 4:7, 4:6]
"""18 voxels of 1 mm3 inside the liver."""


def test_a_hole_that_the_vote_leaves_in_the_liver_is_reported_with_its_slices():
    (found,) = reasons_of([cube(), cube([ROOM]), cube([ROOM])], (1, 1, 1))
    assert found.sentence() == "the vote leaves a hole of 0.018 ml in the liver on slices 5-7"
    assert rules(reasons_of([cube(), cube([ROOM]), cube([ROOM])], (1, 1, 1), limit_mm3=18.1)) == []


def test_a_hole_that_all_raters_left_and_a_bay_are_none():
    assert reasons_of([cube([ROOM])] * 3, (1, 1, 1)) == ()
    bay = np.s_[4:7, 4:7, 4:]
    assert reasons_of([cube(), cube([bay]), cube([bay])], (1, 1, 1)) == ()


def test_a_voted_lesion_that_touches_no_voted_liver_is_reported():
    small, large = cube(outer=range(2, 5)), cube()
    for voxels in (small, large):
        voxels[8, 8, 8] = 2
    assert rules(reasons_of([small, small, large], (1, 1, 1))) == ["outside-liver"]
    assert rules(reasons_of([large, large, small], (1, 1, 1))) == []


def test_lesions_alone_are_in_no_liver_and_no_fault():
    lesion = np.zeros((3, 6, 6), np.uint8)
    lesion[1, 2:4, 2:4] = 2
    assert reasons_of([lesion] * 3, (1, 1, 1)) == ()


@settings(max_examples=40, deadline=None)
@given(
    arrays(np.bool_, (4, 6, 7), elements=st.booleans(), fill=st.just(False)),
    st.sampled_from(SPACINGS),
    st.sampled_from([0.5, 1.6, 2.0, 5.0]),
)
def test_widening_is_by_mm_and_at_least_to_the_next_voxel_and_slice(mask, spacing_mm, border_mm):
    grid = Geometry.from_axes(mask.shape, spacing_mm=spacing_mm)
    kept = [tuple(voxel) for voxel in np.argwhere(mask).tolist()]
    expected = [brute.near(voxel, kept, spacing_mm, border_mm) for voxel in np.ndindex(mask.shape)]
    assert widened_in_slices(mask, grid, border_mm).ravel().tolist() == expected
