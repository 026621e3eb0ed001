from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.agreement.volumes import bland_altman, icc_2_1

SHROUT_FLEISS = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=float
)
"""Table 2 of Shrout & Fleiss 1979: six targets, four judges; the paper gives ICC(2,1) = .29."""


def test_icc_of_the_papers_own_table():
    assert icc_2_1(SHROUT_FLEISS) == pytest.approx(0.2898, abs=5e-5)


def test_icc_is_one_when_raters_agree_and_undefined_when_nothing_varies():
    assert icc_2_1(np.array([[1.0, 1.0], [5.0, 5.0], [9.0, 9.0]])) == pytest.approx(1.0)
    assert math.isnan(icc_2_1(np.full((4, 3), 2.0)))
    assert math.isnan(icc_2_1(np.ones((1, 3))))
    assert math.isnan(icc_2_1(np.ones((3, 1))))


def test_a_constant_bias_lowers_absolute_agreement():
    truth = np.array([10.0, 20.0, 30.0, 40.0])
    assert icc_2_1(np.stack([truth, truth + 15], axis=1)) < 0.75


@settings(max_examples=40, deadline=None)
@given(arrays(np.float64, (5, 3), elements=st.integers(0, 100).map(float)), st.floats(-50, 50))
def test_icc_knows_no_order_of_raters_and_no_zero_point(scores, shift):
    expected = icc_2_1(scores)
    assert icc_2_1(scores[:, ::-1]) == pytest.approx(expected, nan_ok=True)
    assert icc_2_1(scores + shift) == pytest.approx(expected, nan_ok=True, abs=1e-6)


def test_bland_altman_on_paper():
    found = bland_altman(np.array([10.0, 12.0, 14.0]), np.array([9.0, 10.0, 11.0]))
    assert (found.count, found.bias, found.sd) == (3, 2.0, 1.0)
    assert (found.low, found.high) == pytest.approx((0.04, 3.96))


def test_bland_altman_of_one_or_no_pair_has_no_limits():
    one = bland_altman(np.array([3.0]), np.array([1.0]))
    assert (one.bias, math.isnan(one.low)) == (2.0, True)
    assert math.isnan(bland_altman(np.empty(0), np.empty(0)).bias)
