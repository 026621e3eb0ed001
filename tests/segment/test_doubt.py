"""Signs of doubt from probabilities that can be worked out on paper."""

from __future__ import annotations

import math

import pytest


def volume(*voxels: tuple[float, float, float]) -> object:
    """Probabilities of background, liver and lesion, one voxel after the other."""
    import torch

    return torch.tensor(voxels).T.reshape(3, 1, 1, len(voxels))


def signals(*voxels: tuple[float, float, float]) -> dict[str, float]:
    from pipeline.segment.doubt import doubt_signals, doubtful_band

    return doubt_signals(doubtful_band(volume(*voxels), lambda probabilities: probabilities), [2], voxel_ml=2.0)


def test_a_volume_of_nothing_but_background_is_the_most_doubtful():
    assert signals((1.0, 0.0, 0.0), (0.96, 0.02, 0.02)) == {
        "entropy": 1.0,
        "lesion_entropy": 0.0,
        "lesion_doubt_ml": 0.0,
    }


def test_sure_background_is_left_out_of_the_mean():
    third = 1 / 3
    assert signals((third, third, third), (1.0, 0.0, 0.0))["entropy"] == pytest.approx(1.0)


def test_a_sure_liver_leaves_no_doubt():
    assert signals((0.0, 1.0, 0.0))["entropy"] == pytest.approx(0.0, abs=1e-5)


def test_half_liver_half_background_is_one_bit_of_three_classes():
    assert signals((0.5, 0.5, 0.0))["entropy"] == pytest.approx(math.log(2) / math.log(3), abs=1e-5)


def test_lesion_doubt_counts_millilitres_that_may_go_either_way():
    found = signals((0.0, 0.5, 0.5), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    assert found["lesion_doubt_ml"] == pytest.approx(2.0, abs=1e-3)
    assert found["lesion_entropy"] == pytest.approx(0.5, abs=1e-3)
