"""Labels plane by plane against resampling the whole volume with nnU-Net's own function."""

from __future__ import annotations

import numpy as np
import pytest

SMOOTH_SHARE = 0.9999
"""Ties between random logits may fall either way in the last bit; a network's logits are smooth and do not tie."""

GRIDS = [
    ((20, 30, 28), (55, 77, 64)),
    ((37, 41, 29), (20, 30, 28)),
    ((30, 30, 30), (30, 60, 61)),
    ((13, 17, 19), (100, 101, 103)),
    ((1, 12, 12), (5, 40, 40)),
    ((6, 12, 12), (1, 40, 40)),
]


def whole(logits: object, shape: tuple[int, int, int], **settings: object) -> np.ndarray:
    from nnunetv2.preprocessing.resampling.resample_torch import resample_torch_fornnunet

    spacing = (5.0, 1.0, 1.0)
    done = resample_torch_fornnunet(logits, shape, spacing, spacing, num_threads=1, **settings)
    return done.numpy().argmax(0)


@pytest.mark.parametrize(("small", "large"), GRIDS)
def test_mixed_planes_are_trilinear_interpolation(small: tuple[int, int, int], large: tuple[int, int, int]):
    import torch

    from pipeline.segment.resample import labels_at, largest_class

    logits = torch.randn((3, *small), generator=torch.Generator().manual_seed(0)).half()
    found = labels_at(logits, large, largest_class)
    assert found.dtype == np.uint8
    assert np.mean(found == whole(logits, large, force_separate_z=False)) >= SMOOTH_SHARE


@pytest.mark.parametrize(("small", "large"), GRIDS)
def test_repeated_planes_are_nnunets_separate_axis(small: tuple[int, int, int], large: tuple[int, int, int]):
    import torch

    from pipeline.segment.resample import labels_at, largest_class

    logits = torch.randn((3, *small), generator=torch.Generator().manual_seed(1)).half()
    found = labels_at(logits, large, largest_class, nearest_axis=0)
    assert np.mean(found == whole(logits, large, force_separate_z=True)) >= SMOOTH_SHARE


def test_planes_along_any_axis_may_be_repeated():
    import torch

    from pipeline.segment.resample import labels_at, largest_class

    logits = torch.randn((2, 4, 5, 6), generator=torch.Generator().manual_seed(2))
    last = labels_at(logits, (8, 10, 9), largest_class, nearest_axis=2)
    first = labels_at(logits.movedim(3, 1), (9, 8, 10), largest_class, nearest_axis=0)
    assert np.array_equal(last, np.moveaxis(first, 0, 2))


def test_same_grid_is_the_largest_class_and_the_first_of_equals():
    import torch

    from pipeline.segment.resample import labels_at, largest_class

    logits = torch.tensor([[1.0, 0.0, 0.0], [1.0, 2.0, 0.0], [0.0, 2.0, 5.0]]).reshape(3, 1, 1, 3)
    assert labels_at(logits, (1, 1, 3), largest_class).ravel().tolist() == [0, 1, 2]


def test_later_regions_are_painted_over_earlier_ones():
    import torch

    from pipeline.segment.resample import labels_at, last_region

    liver_then_tumour = torch.tensor([[-1.0, 1.0, 1.0], [-1.0, -1.0, 1.0]]).reshape(2, 1, 1, 3)
    assert labels_at(liver_then_tumour, (1, 1, 3), last_region([1, 2])).ravel().tolist() == [0, 1, 2]
