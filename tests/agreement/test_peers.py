"""Other people's implementations of the same definitions, on volumes too large for brute force."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.ndimage import binary_erosion, distance_transform_edt, gaussian_filter

from pipeline.agreement.agree import agree
from pipeline.core.geometry import Geometry
from pipeline.core.volume import LabelMap

GRID = Geometry.from_axes((40, 96, 90), spacing_mm=(5, 0.8, 0.7))
TOLERANCE_MM = 2.0


def wavy_ellipsoid(seed):
    """An ellipsoid that leaves the image on one side, outlined by a wavy hand."""
    rng = np.random.default_rng(seed)
    z, y, x = np.ogrid[:40, :96, :90]
    radius = ((z - 12) / 15) ** 2 + ((y - 50) / 34) ** 2 + ((x - 30) / 36) ** 2
    noise = gaussian_filter(rng.standard_normal(GRID.shape), 4)
    return radius + 0.15 * noise / noise.std() < 1


@pytest.fixture(scope="module")
def pair():
    return wavy_ellipsoid(1), wavy_ellipsoid(2)


@pytest.fixture(scope="module")
def found(pair):
    ratings = {name: LabelMap(mask.astype(np.uint8), GRID) for name, mask in zip("AB", pair, strict=True)}
    return agree(ratings, tolerance_mm=TOLERANCE_MM, structures={"liver": (1,)}).pairs[0]


def test_distances_equal_what_people_write_by_hand_with_scipy(pair, found):
    a, b = pair
    edge_a, edge_b = a & ~binary_erosion(a), b & ~binary_erosion(b)
    there = distance_transform_edt(~edge_b, sampling=GRID.spacing_mm)[edge_a]
    back = distance_transform_edt(~edge_a, sampling=GRID.spacing_mm)[edge_b]
    scores, everything = found.distances, np.concatenate([there, back])
    assert scores.hd_mm == pytest.approx(everything.max(), abs=1e-5)
    assert scores.hd95_max_mm == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)), abs=1e-5)
    assert scores.hd95_pooled_mm == pytest.approx(np.percentile(everything, 95), abs=1e-5)
    assert scores.assd_mm == pytest.approx(everything.mean(), abs=1e-6)
    assert scores.masd_mm == pytest.approx((there.mean() + back.mean()) / 2, abs=1e-6)
    assert scores.nsd == pytest.approx((everything <= TOLERANCE_MM).mean(), abs=1e-9)


def test_every_measure_equals_monai(pair, found):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metrics = pytest.importorskip("monai.metrics", reason="MONAI is not installed")
        import torch

        masks = [torch.from_numpy(mask[np.newaxis, np.newaxis].astype(np.float32)) for mask in pair]
        same = {"include_background": True, "spacing": GRID.spacing_mm}
        hd95 = metrics.compute_hausdorff_distance(*masks, percentile=95, **same)
        hd = metrics.compute_hausdorff_distance(*masks, **same)
        assd = metrics.compute_average_surface_distance(*masks, symmetric=True, **same)
        nsd = metrics.compute_surface_dice(*masks, [TOLERANCE_MM], **same)
        dice = metrics.compute_dice(*masks, include_background=True)
    scores = found.distances
    assert scores.hd95_max_mm == pytest.approx(float(hd95), abs=1e-5)
    assert scores.hd_mm == pytest.approx(float(hd), abs=1e-5)
    assert scores.assd_mm == pytest.approx(float(assd), abs=1e-5)
    assert scores.nsd == pytest.approx(float(nsd), abs=1e-6)
    assert found.overlap.dice == pytest.approx(float(dice), abs=1e-6)


def test_surface_elements_give_other_numbers_on_thick_slices(pair, found):
    """The reason why every output names its definition: the same pair, another definition, another HD95."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        surface_distance = pytest.importorskip("surface_distance", reason="surface-distance is not installed")
        peer = surface_distance.compute_surface_distances(*pair, GRID.spacing_mm)
        assert surface_distance.compute_dice_coefficient(*pair) == pytest.approx(found.overlap.dice)
        assert surface_distance.compute_robust_hausdorff(peer, 95) < found.distances.hd95_max_mm
