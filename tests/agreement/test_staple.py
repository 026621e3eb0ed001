from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from pipeline.agreement.joint import join
from pipeline.agreement.staple import staple
from pipeline.core.geometry import Geometry
from pipeline.core.volume import LabelMap

GRID = Geometry.from_axes((8, 30, 30), spacing_mm=(1, 1, 1))


def noisy_disks(raters, seed=1):
    rng = np.random.default_rng(seed)
    z, y, x = np.ogrid[:8, :30, :30]
    masks = []
    for _ in range(raters):
        dz, dy, dx = rng.normal(0, 1.0, 3)
        ball = (z - 4 - dz) ** 2 * 4 + (y - 15 - dy) ** 2 + (x - 15 - dx) ** 2 < rng.uniform(50, 70)
        masks.append((ball ^ (rng.random(GRID.shape) < 0.01)).astype(np.uint8))
    return masks


def voxelwise_em(masks, rounds=200):
    """STAPLE spelled out voxel by voxel."""
    marked = np.stack([mask.ravel().astype(bool) for mask in masks], axis=1)
    prior = marked.mean()
    p = q = np.full(len(masks), 0.99999)
    for _ in range(rounds):
        inside = prior * np.prod(np.where(marked, p, 1 - p), axis=1)
        outside = (1 - prior) * np.prod(np.where(marked, 1 - q, q), axis=1)
        weight = inside / (inside + outside)
        p = (weight[:, None] * marked).sum(axis=0) / weight.sum()
        q = ((1 - weight)[:, None] * ~marked).sum(axis=0) / (1 - weight).sum()
    return weight.reshape(masks[0].shape), p, q


@pytest.mark.parametrize("raters", [2, 3, 5])
def test_staple_on_the_histogram_is_staple_on_voxels(raters):
    masks = noisy_disks(raters)
    joint = join({f"R{n}": LabelMap(mask, GRID) for n, mask in enumerate(masks)})
    found = staple(joint.members((1,)), joint.counts)
    weight, p, q = voxelwise_em(masks)
    assert joint.painted(found.probability) == pytest.approx(weight, abs=1e-5)
    assert found.sensitivity == pytest.approx(p, abs=1e-5)
    assert found.specificity == pytest.approx(q, abs=1e-5)


def test_staple_gives_the_same_mask_as_simpleitk():
    masks = noisy_disks(5, seed=4)
    joint = join({f"R{n}": LabelMap(mask, GRID) for n, mask in enumerate(masks)})
    found = joint.painted(staple(joint.members((1,)), joint.counts).probability) > 0.5
    peer = sitk.STAPLEImageFilter()
    expected = sitk.GetArrayFromImage(peer.Execute([sitk.GetImageFromArray(mask) for mask in masks])) > 0.5
    assert np.array_equal(found, expected)
    assert staple(joint.members((1,)), joint.counts).sensitivity == pytest.approx(peer.GetSensitivity(), abs=1e-4)


def test_a_structure_nobody_marked_stays_nobodys():
    assert staple(np.zeros((1, 3), bool), np.array([100])).probability.tolist() == [0.0]
