from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from pipeline.agreement.consensus import vote
from pipeline.agreement.joint import join
from pipeline.agreement.staple import staple
from pipeline.core.config import ConsensusConfig
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
    weight = marked.mean(axis=1)
    for _ in range(rounds):
        p = (weight[:, None] * marked).sum(axis=0) / weight.sum()
        q = ((1 - weight)[:, None] * ~marked).sum(axis=0) / (1 - weight).sum()
        inside = prior * np.prod(np.where(marked, p, 1 - p), axis=1)
        outside = (1 - prior) * np.prod(np.where(marked, 1 - q, q), axis=1)
        weight = inside / (inside + outside)
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


def nested_balls(*radii):
    z, y, x = np.ogrid[:8, :30, :30]
    return [((z - 4) ** 2 * 4 + (y - 15) ** 2 + (x - 15) ** 2 <= radius**2).astype(np.uint8) for radius in radii]


def shares(*probabilities, seed=5):
    """Raters who mark voxels at random, without anything in common."""
    rng = np.random.default_rng(seed)
    return [(rng.random(GRID.shape) < probability).astype(np.uint8) for probability in probabilities]


RANDOM = shares(0.02, 0.1, 0.3, 0.6)
"""Nothing to find: the estimate still creeps after thousands of iterations, SimpleITK's too."""


@pytest.mark.parametrize(
    "masks",
    [
        noisy_disks(5, seed=4),
        nested_balls(2, 3, 4.2, 6, 8.4, 12),
        nested_balls(3, 3, 3, 12),
        nested_balls(2, 12),
        nested_balls(9, 9.5, 10),
        RANDOM,
        [*noisy_disks(2), *nested_balls(3)],
    ],
    ids=["alike", "nested", "one generous", "two", "nearly equal", "random", "one other"],
)
def test_staple_is_that_of_simpleitk(masks):
    joint = join({f"R{n}": LabelMap(mask, GRID) for n, mask in enumerate(masks)})
    found = staple(joint.members((1,)), joint.counts)
    peer = sitk.STAPLEImageFilter()
    expected = sitk.GetArrayFromImage(peer.Execute([sitk.GetImageFromArray(mask) for mask in masks]))
    assert np.array_equal(joint.painted(found.probability) > 0.5, expected > 0.5)
    assert found.sensitivity == pytest.approx(peer.GetSensitivity(), abs=1e-4)
    assert found.specificity == pytest.approx(peer.GetSpecificity(), abs=1e-4)
    assert found.converged == (masks is not RANDOM)


def test_two_raters_who_share_no_voxel_do_not_converge_and_say_so():
    first, second = np.zeros((2, *GRID.shape), np.uint8)
    first[3, 5, 5] = second[3, 9, 9] = 2
    ratings = {"R1": LabelMap(first, GRID), "R2": LabelMap(second, GRID)}
    joint = join(ratings)
    assert not staple(joint.members((2,)), joint.counts).converged
    found = {method: vote(ratings, ConsensusConfig(method=method)) for method in ("staple", "nested-majority")}
    assert not found["nested-majority"].explanation().staple_check["lesion"].converged
    rules = {method: {reason.rule for reason in result.needs_adjudication} for method, result in found.items()}
    assert rules["staple"] - rules["nested-majority"] == {"staple-unsettled"}


def test_a_structure_nobody_marked_stays_nobodys():
    assert staple(np.zeros((1, 3), bool), np.array([100])).probability.tolist() == [0.0]
