"""Lesions are followed through phases in which the liver lies elsewhere; what is not found is called unmatched."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.geometry import Geometry
from pipeline.core.records import Phase
from pipeline.core.volume import LabelMap, Volume
from pipeline.lesions.enhancement import PhaseReading, enhancement
from pipeline.lesions.regions import lesion_regions
from pipeline.lesions.tracks import CENTRE_LIMIT_MM, follow, liver_shift_mm

SPACING = (3.0, 1.5, 1.5)
GRID = Geometry.from_axes((60, 90, 100), spacing_mm=SPACING)
LIVER_AT = (90.0, 66.0, 72.0)


def ball(centre_mm, radius_mm, grid=GRID):
    index = np.indices(grid.shape)
    return sum(((index[k] * grid.spacing_mm[k] - centre_mm[k]) ** 2) for k in range(3)) <= radius_mm**2


def labelled(lesions, *, shift_mm=(0, 0, 0), liver_mm=40):
    """A ball of a liver with balls of lesions (place from the liver's centre, radius), all moved by a shift."""
    centre = np.add(LIVER_AT, shift_mm)
    voxels = ball(centre, liver_mm).astype(np.uint8)
    for place, radius_mm in lesions:
        voxels[ball(centre + place, radius_mm)] = 2
    return LabelMap(voxels, GRID)


SMALL = ((0, 20, 0), 7)
OTHER = ((0, -20, 5), 6)


def test_a_small_lesion_that_moved_by_more_than_its_size_is_one_and_takes_up_what_it_takes_up():
    """A lesion of 14 mm in a liver that lies 21 mm lower: 40 HU before, 110 after, in a liver of 60 and 90."""
    readings = {}
    for phase, shift_mm, liver_hu, lesion_hu in ((Phase.PLAIN, 0, 60, 40), (Phase.ARTERIAL, -21, 90, 110)):
        labels = labelled([SMALL], shift_mm=(shift_mm, 0, 0))
        hu = np.select([labels.voxels == 2, labels.voxels == 1], [lesion_hu, liver_hu], -50).astype(np.int16)
        readings[phase] = PhaseReading(labels, Volume(hu, GRID))
    plain, arterial = enhancement(readings)
    assert (plain.lesion, arterial.lesion) == (1, 1)
    assert (plain.matched_by, arterial.matched_by) == ("first", "overlap")
    assert (arterial.enhancement, arterial.liver_enhancement) == (70, 30)
    assert arterial.shift_mm == pytest.approx(21, abs=0.1)


def test_a_lesion_outlined_on_one_phase_is_measured_where_the_liver_has_moved_to():
    """Nobody outlined it on the second phase, where it lies 21 mm lower."""
    seen, unseen = labelled([SMALL, OTHER]), labelled([OTHER], shift_mm=(-21, 0, 0))
    there = labelled([SMALL, OTHER], shift_mm=(-21, 0, 0))
    hu = [np.where(labels.voxels == 2, 100, 60).astype(np.int16) for labels in (seen, there)]
    readings = {
        Phase.ARTERIAL: PhaseReading(seen, Volume(hu[0], GRID)),
        Phase.DELAYED: PhaseReading(unseen, Volume(hu[1], GRID)),
    }
    rows = [row for row in enhancement(readings) if row.number_on_phase is None]
    (row,) = rows
    assert (row.phase, row.matched_by, row.outline_from) == (Phase.DELAYED, "unmatched", Phase.ARTERIAL)
    assert row.appearance.whole.mean == 100


places = st.tuples(*[st.integers(-3, 3)] * 3).map(lambda cell: tuple(8.0 * n for n in cell))


@settings(max_examples=25, deadline=None)
@given(
    st.sets(places, min_size=1, max_size=6),
    st.tuples(st.integers(-12, 12), st.integers(-8, 8), st.integers(-8, 8)),
    st.sampled_from([2.5, 3.5]),
)
def test_lesions_that_moved_with_the_liver_are_all_found_again(cells, voxels, radius_mm):
    shift_mm = np.multiply(voxels, SPACING)
    lesions = [(place, radius_mm) for place in cells]
    masks = {Phase.PLAIN: labelled(lesions), Phase.ARTERIAL: labelled(lesions, shift_mm=shift_mm)}
    tracks = follow(masks).tracks
    assert len(tracks) == len(lesion_regions(masks[Phase.PLAIN]))
    for track in tracks:
        there, here = track.centroids_lps_mm[Phase.PLAIN], track.centroids_lps_mm[Phase.ARTERIAL]
        assert here - there == pytest.approx(shift_mm[::-1], abs=1e-6)


def in_a_still_liver(*lesions):
    """Lesions in a liver that fills the image, so that its place shows no shift."""
    voxels = np.ones(GRID.shape, np.uint8)
    for centre_mm, radius_mm in lesions:
        voxels[ball(centre_mm, radius_mm)] = 2
    return LabelMap(voxels, GRID)


def test_the_other_lesions_tell_how_far_a_small_one_moved():
    large, small = (90, 40, 40), (90, 90, 110)
    first = in_a_still_liver((large, 24), (small, 5))
    second = in_a_still_liver(((111, 40, 40), 24), ((111, 90, 110), 5))
    tracks = follow({Phase.PLAIN: first, Phase.ARTERIAL: second}).tracks
    assert [track.matches[Phase.ARTERIAL] for track in tracks] == ["overlap", "centre"]


@pytest.mark.parametrize(("apart_mm", "count"), [(CENTRE_LIMIT_MM - 1, 1), (CENTRE_LIMIT_MM + 2, 2)])
def test_a_lesion_beyond_the_limit_is_another_one(apart_mm, count):
    first, second = (in_a_still_liver(((90, 60, 60 + away), 3)) for away in (0, apart_mm))
    tracks = follow({Phase.PLAIN: first, Phase.ARTERIAL: second}).tracks
    assert len(tracks) == count
    assert {track.matches.get(Phase.PLAIN) for track in tracks} == {"first", None} if count == 2 else {"first"}


def test_a_liver_that_one_scan_cuts_has_not_moved():
    whole, cut = labelled([SMALL]), labelled([SMALL])
    half = LabelMap(cut.voxels[30:].copy(), GRID.cropped((30, 0, 0), (30, *GRID.shape[1:])))
    for first, second in ((whole, half), (half, whole)):
        assert liver_shift_mm(first, second).tolist() == [0, 0, 0]
        assert len(follow({Phase.PLAIN: first, Phase.ARTERIAL: second}).tracks) == 1


def test_a_liver_in_another_frame_or_none_at_all_tells_no_shift():
    near = labelled([SMALL])
    far = LabelMap(near.voxels, GRID.moved((0, 0, 300)))
    empty = LabelMap(np.zeros_like(near.voxels), GRID)
    assert liver_shift_mm(near, far).tolist() == liver_shift_mm(near, empty).tolist() == [0, 0, 0]
    assert liver_shift_mm(near, labelled([], shift_mm=(-21, 3, 0))) == pytest.approx([0, 3, -21], abs=0.2)
