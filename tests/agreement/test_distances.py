from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.agreement.distances import surface_distances
from pipeline.agreement.joint import join
from pipeline.core.geometry import Geometry
from pipeline.core.volume import LabelMap
from tests.agreement.brute import scores as brute_scores

SPACING = (5.0, 0.8, 0.7)
SHAPE = (4, 7, 6)
blobs = arrays(np.uint8, SHAPE, elements=st.integers(0, 1))


def distances_of(a, b, geometry=None):
    geometry = geometry or Geometry.from_axes(a.shape, spacing_mm=SPACING)
    joint = join({"A": LabelMap(a, geometry), "B": LabelMap(b, geometry)})
    return surface_distances(joint, (1,))[0, 1]


@settings(max_examples=60, deadline=None)
@given(blobs, blobs, st.sampled_from([0.0, 0.75, 2.0, 5.0]))
def test_every_measure_equals_brute_force(a, b, tolerance_mm):
    assume(a.any() and b.any())
    found = distances_of(a, b).scores(tolerance_mm)
    for name, expected in brute_scores(a, b, SPACING, tolerance_mm).items():
        assert getattr(found, name) == pytest.approx(expected, abs=1e-6), name


def test_shifted_cubes_are_as_far_apart_as_they_were_shifted():
    a, b = np.zeros((2, 12, 12, 12), np.uint8)
    a[2:6, 2:6, 2:6] = 1
    b[2:6, 2:6, 5:9] = 1
    found = distances_of(a, b, Geometry.from_axes(a.shape, spacing_mm=(2, 2, 2))).scores(2.0)
    assert found.hd_mm == 6.0


def test_a_flat_pair_three_slices_apart_has_every_distance_equal():
    a, b = np.zeros((2, 8, 5, 5), np.uint8)
    a[1], b[4] = 1, 1
    found = distances_of(a, b).scores(14.9)
    assert {found.hd_mm, found.hd95_max_mm, found.hd95_pooled_mm, found.hd95_mean_mm, found.assd_mm, found.masd_mm} == {
        15.0
    }
    assert found.nsd == 0.0
    assert distances_of(a, b).scores(15.0).nsd == 1.0


def test_the_three_percentiles_differ_when_only_one_mask_has_an_outlier():
    a, b = np.zeros((2, 3, 40, 40), np.uint8)
    a[1, :20, :20] = b[1, :20, :20] = 1
    b[1, 30:32, 30:35] = 1
    found = distances_of(a, b, Geometry.from_axes(a.shape, spacing_mm=(1, 1, 1))).scores(1.0)
    expected = brute_scores(a, b, (1, 1, 1), 1.0)
    assert found.hd95_max_mm == pytest.approx(expected["hd95_max_mm"])
    assert found.hd95_mean_mm == pytest.approx(expected["hd95_mean_mm"])
    assert found.hd95_pooled_mm == pytest.approx(expected["hd95_pooled_mm"])


@pytest.mark.parametrize("empty", ["A", "B"])
def test_an_empty_mask_has_no_distances(empty):
    full = np.ones((3, 3, 3), np.uint8)
    masks = {"A": full, "B": full} | {empty: np.zeros_like(full)}
    found = distances_of(masks["A"], masks["B"]).scores(2.0)
    assert math.isnan(found.hd_mm)
    assert math.isnan(found.nsd)


@settings(max_examples=30, deadline=None)
@given(blobs, blobs)
def test_swapping_the_raters_swaps_nothing(a, b):
    assume(a.any() and b.any())
    there, back = distances_of(a, b).scores(2.0), distances_of(b, a).scores(2.0)
    assert there.hd95_max_mm == back.hd95_max_mm
    assert there.assd_mm == pytest.approx(back.assd_mm, rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(blobs, blobs, st.sampled_from([0, 1, 2]))
def test_flipping_both_masks_changes_no_distance(a, b, axis):
    assume(a.any() and b.any())
    flipped = distances_of(np.flip(a, axis).copy(), np.flip(b, axis).copy()).scores(2.0)
    straight = distances_of(a, b).scores(2.0)
    assert flipped.hd_mm == straight.hd_mm
    assert flipped.assd_mm == pytest.approx(straight.assd_mm, rel=1e-12)
    assert flipped.nsd == straight.nsd


@settings(max_examples=30, deadline=None)
@given(blobs, blobs)
def test_more_tolerance_never_lowers_the_surface_dice(a, b):
    assume(a.any() and b.any())
    distances = distances_of(a, b)
    shares = [distances.scores(tolerance).nsd for tolerance in (0, 0.5, 1, 2, 4, 8, 100)]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_an_oblique_grid_measures_along_its_own_axes():
    turned = np.linalg.qr(np.array([[1, 0.3, 0.1], [-0.3, 1, 0.2], [0.1, -0.2, 1]]))[0]
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 2, (2, *SHAPE), np.uint8)
    oblique = distances_of(a, b, Geometry.from_axes(SHAPE, spacing_mm=SPACING, directions=turned)).scores(2.0)
    assert oblique.hd95_max_mm == pytest.approx(distances_of(a, b).scores(2.0).hd95_max_mm, abs=1e-6)


def test_a_sheared_grid_measures_in_true_millimetres():
    affine = np.diag([5.0, 1.0, 1.0, 1.0])[[2, 1, 0, 3]]
    affine[1, 0] = 2.0
    a, b = np.zeros((2, 4, 9, 3), np.uint8)
    a[0, 4, 1] = b[3, 4, 1] = 1
    found = distances_of(a, b, Geometry((4, 9, 3), affine)).scores(1.0)
    assert found.hd_mm == pytest.approx(3 * math.hypot(5.0, 2.0))
