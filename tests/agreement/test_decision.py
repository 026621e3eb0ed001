from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from pipeline.agreement.decision import UNDECIDED, entropy_bits, nested_majority, plurality
from tests.agreement.brute import nested_vote

ALL_PATTERNS = [list(itertools.product(range(3), repeat=raters)) for raters in range(1, 6)]


@pytest.mark.parametrize("patterns", ALL_PATTERNS, ids=lambda patterns: f"{len(patterns[0])}-raters")
def test_nested_majority_of_every_pattern_is_the_rule_in_words(patterns):
    found = nested_majority(np.array(patterns, np.uint8))
    assert found.labels.tolist() == [nested_vote(pattern) for pattern in patterns]


@pytest.mark.parametrize("patterns", ALL_PATTERNS[::2], ids=lambda patterns: f"{len(patterns[0])}-raters")
def test_an_odd_number_of_raters_never_ties_and_gives_the_median(patterns):
    found = nested_majority(np.array(patterns, np.uint8))
    assert not found.ties.any()
    assert found.labels.tolist() == [sorted(pattern)[len(pattern) // 2] for pattern in patterns]


@pytest.mark.parametrize("patterns", ALL_PATTERNS[1::2], ids=lambda patterns: f"{len(patterns[0])}-raters")
def test_an_even_number_ties_exactly_where_a_level_has_half_the_votes(patterns):
    found = nested_majority(np.array(patterns, np.uint8))
    half = len(patterns[0]) / 2
    expected = [sum(n >= 1 for n in pattern) == half or pattern.count(2) == half for pattern in patterns]
    assert found.ties.tolist() == expected


def test_tie_policies_decide_a_tie_down_up_or_not_at_all():
    pattern = np.array([[1, 1, 2, 2]], np.uint8)
    assert nested_majority(pattern, "down").labels.tolist() == [1]
    assert nested_majority(pattern, "up").labels.tolist() == [2]
    assert nested_majority(pattern, "undecided").labels.tolist() == [UNDECIDED]


@pytest.mark.parametrize("pattern", [[0, 0, 1, 2, 2], [1, 1, 2, 2, 0]])
def test_nested_vote_says_liver_where_plurality_ties(pattern):
    patterns = np.array([pattern], np.uint8)
    assert nested_majority(patterns).labels.tolist() == [1]
    assert plurality(patterns).ties.tolist() == [True]


@pytest.mark.parametrize("patterns", ALL_PATTERNS, ids=lambda patterns: f"{len(patterns[0])}-raters")
def test_plurality_is_the_most_frequent_label_and_a_tie_when_there_are_two(patterns):
    array = np.array(patterns, np.uint8)
    down, up = plurality(array, "down"), plurality(array, "up")
    for row, pattern in enumerate(patterns):
        counts = Counter(pattern)
        most = sorted(label for label, count in counts.items() if count == max(counts.values()))
        assert (down.labels[row], up.labels[row], down.ties[row]) == (most[0], most[-1], len(most) > 1)


def test_entropy_is_0_of_one_voice_and_1_bit_of_two_halves():
    assert entropy_bits(np.array([[2, 2, 2, 2], [0, 0, 2, 2]], np.uint8)).tolist() == [0.0, 1.0]
    assert entropy_bits(np.array([[0, 1, 2]], np.uint8))[0] == pytest.approx(np.log2(3))
