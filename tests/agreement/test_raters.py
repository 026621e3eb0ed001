from __future__ import annotations

import math
import warnings

import krippendorff
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from statsmodels.stats.inter_rater import fleiss_kappa as statsmodels_kappa

from pipeline.agreement.raters import fleiss_kappa, krippendorff_alpha

ratings_of_items = st.integers(2, 5).flatmap(
    lambda raters: arrays(np.int64, (12, raters), elements=st.integers(0, 2), fill=st.nothing())
)


def votes_of(ratings):
    return np.stack([(ratings == label).sum(axis=1) for label in range(3)], axis=1)


@settings(max_examples=50, deadline=None)
@given(ratings_of_items)
def test_kappa_equals_statsmodels(ratings):
    assume(len(np.unique(ratings)) > 1)
    votes = votes_of(ratings)
    assert fleiss_kappa(votes, np.ones(12, int)) == pytest.approx(statsmodels_kappa(votes), abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(ratings_of_items, st.sampled_from(["nominal", "ordinal"]), st.integers(0, 9))
def test_alpha_equals_krippendorffs_package_also_with_missing_judgements(ratings, level, missing):
    judged = ratings.astype(float)
    judged.flat[np.random.default_rng(missing).permutation(ratings.size)[:missing]] = np.nan
    pairable = judged[(~np.isnan(judged)).sum(axis=1) > 1]
    assume(len(np.unique(pairable[~np.isnan(pairable)])) > 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = krippendorff.alpha(judged.T, level_of_measurement=level, value_domain=[0, 1, 2])
    found = krippendorff_alpha(votes_of(judged), np.ones(12, int), level)
    assert found == pytest.approx(expected, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(ratings_of_items, arrays(np.int64, 12, elements=st.integers(1, 4)))
def test_weights_mean_the_same_as_repeated_items(ratings, times):
    votes = votes_of(ratings)
    repeated = np.repeat(votes, times, axis=0)
    ones = np.ones(len(repeated), int)
    for measure in (fleiss_kappa, krippendorff_alpha):
        assert measure(votes, times) == pytest.approx(measure(repeated, ones), nan_ok=True, abs=1e-12)


def test_fleiss_own_example_is_reproduced():
    """Fleiss 1971 as retold in textbooks: 10 subjects, 14 raters, 5 categories, kappa 0.210."""
    votes = [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ]
    assert fleiss_kappa(np.array(votes), np.ones(10, int)) == pytest.approx(0.210, abs=5e-4)


@pytest.mark.parametrize("measure", [fleiss_kappa, krippendorff_alpha])
def test_nothing_left_to_chance_is_undefined(measure):
    assert math.isnan(measure(np.array([[3, 0], [3, 0]]), np.ones(2, int)))
    assert math.isnan(measure(np.array([[1, 0], [0, 1]]), np.ones(2, int)))
    assert math.isnan(measure(np.zeros((0, 2), int), np.ones(0, int)))
