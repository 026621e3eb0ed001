from __future__ import annotations

import numpy as np

from pipeline.agreement.disagreement import disagreement_slices, slices_to_look_at
from pipeline.agreement.joint import join
from pipeline.core.geometry import Geometry
from pipeline.core.volume import LabelMap

GRID = Geometry.from_axes((6, 8, 8), spacing_mm=(5, 1, 1))


def ratings(*lesion_widths):
    """Two raters of one liver; in each slice one of them draws a lesion as wide as told."""
    plain = np.ones(GRID.shape, np.uint8)
    drawn = plain.copy()
    for slice_, width in enumerate(lesion_widths):
        drawn[slice_, 0, :width] = 2
    return join({"R1": LabelMap(plain, GRID), "R2": LabelMap(drawn, GRID)})


def test_the_slices_to_look_at_are_the_worst_in_their_order():
    assert slices_to_look_at(ratings(1, 5, 0, 3, 2, 4), most=3) == [1, 3, 5]


def test_equally_bad_slices_come_lowest_first():
    assert slices_to_look_at(ratings(2, 2, 2, 2), most=2) == [0, 1]


def test_the_livers_outline_is_looked_at_only_where_no_lesion_is_in_dispute():
    whole, short = np.ones((2, *GRID.shape), np.uint8)
    short[5] = 0
    assert slices_to_look_at(join({"R1": LabelMap(whole, GRID), "R2": LabelMap(short, GRID)})) == [5]
    short[2, 3, 3] = 2
    assert slices_to_look_at(join({"R1": LabelMap(whole, GRID), "R2": LabelMap(short, GRID)})) == [2]


def test_raters_who_agree_leave_nothing_to_look_at():
    assert slices_to_look_at(ratings()) == []
    assert disagreement_slices(ratings(), "lesion", (2,)) == ()
