from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import GeometryError
from pipeline.core.geometry import Geometry
from pipeline.core.records import Phase
from pipeline.core.volume import LabelMap, Volume
from pipeline.lesions.enhancement import PhaseReading, enhancement
from pipeline.lesions.regions import Region, lesion_regions
from pipeline.lesions.tracks import carried

GRID = Geometry.from_axes((6, 20, 20), spacing_mm=(5, 1, 1))
BIG, SMALL = np.s_[2:4, 3:9, 3:9], np.s_[2, 14:17, 14:17]


def reading(liver_hu, lesions, grid=GRID, shift=0):
    """A liver that fills the image, with lesions of given HU at given places."""
    labels, hu = np.ones(grid.shape, np.uint8), np.full(grid.shape, liver_hu, np.int16)
    for place, lesion_hu in lesions:
        place = (*place[:2], slice(place[2].start + shift, place[2].stop + shift))
        labels[place], hu[place] = 2, lesion_hu
    return PhaseReading(LabelMap(labels, grid), Volume(hu, grid))


def test_a_lesion_is_followed_through_the_phases():
    found = enhancement(
        {
            Phase.PLAIN: reading(55, [(BIG, 40), (SMALL, 30)]),
            Phase.ARTERIAL: reading(70, [(BIG, 110), (SMALL, 30)]),
            Phase.DELAYED: reading(90, [(BIG, 75), (SMALL, 32)]),
        }
    )
    assert [(row.lesion, row.phase, row.enhancement, row.appearance.contrast) for row in found] == [
        (1, "P", 0, -15),
        (1, "C1", 70, 40),
        (1, "C3", 35, -15),
        (2, "P", 0, -25),
        (2, "C1", 0, -40),
        (2, "C3", 2, -58),
    ]
    assert {row.liver_enhancement for row in found if row.phase == "C1"} == {15}


def test_an_outline_missing_on_one_phase_is_carried_over_and_says_so():
    plain = reading(55, [])
    plain = PhaseReading(plain.labels, reading(55, [(BIG, 40)]).image)
    found = enhancement({Phase.PLAIN: plain, Phase.ARTERIAL: reading(70, [(BIG, 110)])})
    assert [(row.outline_from, row.appearance.level, row.enhancement) for row in found] == [
        ("C1", 40, 0),
        ("C1", 110, 70),
    ]
    assert math.isnan(found[0].shift_mm)
    assert found[0].volume_ml == found[1].volume_ml == pytest.approx(2 * 36 * 0.005)


def test_a_patient_who_moved_shows_in_the_shift():
    found = enhancement({Phase.PLAIN: reading(55, [(BIG, 40)]), Phase.ARTERIAL: reading(70, [(BIG, 110)], shift=3)})
    assert {row.lesion for row in found} == {1}
    assert sorted(row.shift_mm for row in found) == pytest.approx([0, 3])


def test_lesions_that_overlap_nowhere_are_two():
    found = enhancement({Phase.PLAIN: reading(55, [(BIG, 40)]), Phase.ARTERIAL: reading(70, [(SMALL, 110)])})
    assert [(row.lesion, row.phase, row.outline_from, row.number_on_phase) for row in found] == [
        (1, "P", "P", 1),
        (1, "C1", "P", None),
        (2, "P", "C1", None),
        (2, "C1", "C1", 1),
    ]


def test_without_a_plain_phase_enhancement_is_undefined_and_json_finite():
    (row,) = enhancement({Phase.ARTERIAL: reading(70, [(BIG, 110)])})
    content = json.loads(json.dumps(row.to_json(), allow_nan=False))
    assert content["enhancement"] is None
    assert content["appearance"]["contrast"] == 40


def test_phases_on_different_grids_meet_in_the_patients_frame():
    fine = Geometry.from_axes((30, 20, 20), spacing_mm=(1, 1, 1))
    found = enhancement(
        {
            Phase.PLAIN: reading(55, [(BIG, 40)]),
            Phase.ARTERIAL: reading(70, [(np.s_[8:18, 3:9, 3:9], 110)], grid=fine),
        }
    )
    assert {row.lesion for row in found} == {1}
    assert found[1].enhancement == 70


def test_a_phase_that_does_not_reach_the_lesion_has_no_numbers():
    far = Geometry.from_axes((6, 20, 20), spacing_mm=(5, 1, 1), origin_lps_mm=(0, 0, 500))
    found = enhancement({Phase.PLAIN: reading(55, [(BIG, 40)]), Phase.ARTERIAL: reading(70, [], grid=far)})
    assert found[1].appearance.whole.voxels == 0
    assert math.isnan(found[1].enhancement)


def test_no_lesion_and_no_phase_give_no_row():
    assert enhancement({}) == ()
    assert enhancement({Phase.PLAIN: reading(55, [])}) == ()


def test_mask_and_image_of_a_phase_share_a_grid():
    other = Geometry.from_axes(GRID.shape, spacing_mm=(4, 1, 1))
    with pytest.raises(GeometryError, match="the mask is up to"):
        PhaseReading(reading(55, []).labels, reading(55, [], grid=other).image)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.permutations([0, 1, 2]), st.lists(st.booleans(), min_size=3, max_size=3))
def test_a_region_carried_to_a_turned_grid_covers_the_same_places(seed, order, flips):
    voxels = 1 + (np.random.default_rng(seed).random((5, 6, 7)) < 0.3).astype(np.uint8)
    source = Geometry.from_axes(voxels.shape, spacing_mm=(5, 0.8, 0.7), origin_lps_mm=(3, -4, 5))
    affine = source.affine.copy()
    affine[:3, :3] = affine[:3, order]
    shape = tuple(voxels.shape[axis] for axis in order)
    for axis in np.flatnonzero(flips):
        affine[:3, 3] += affine[:3, axis] * (shape[axis] - 1)
        affine[:3, axis] *= -1
    target = Geometry(shape, affine)
    for region in lesion_regions(LabelMap(voxels, source)):
        moved = carried(region, source, target)
        there = {tuple(place) for place in np.round(target.to_lps_mm(moved.indices), 6).tolist()}
        assert there == {tuple(place) for place in np.round(source.to_lps_mm(region.indices), 6).tolist()}


def test_a_region_outside_the_other_grid_has_no_voxels():
    region = Region(np.s_[0:1, 0:1, 0:1], np.ones((1, 1, 1), bool))
    far = Geometry.from_axes((3, 3, 3), spacing_mm=(1, 1, 1), origin_lps_mm=(1000, 0, 0))
    assert carried(region, GRID, far).indices.shape == (0, 3)
