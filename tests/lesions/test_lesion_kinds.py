"""Lesion kinds of measured lesions, on one phase and from phase to phase."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.core.geometry import Geometry
from pipeline.core.labels import LabelScheme
from pipeline.core.records import Phase
from pipeline.core.volume import LabelMap, Volume
from pipeline.lesions.enhancement import PhaseReading, enhancement, kinds_in_conflict
from pipeline.lesions.measure import measure_lesions
from tests.agreement import brute

GRID = Geometry.from_axes((6, 16, 16), spacing_mm=(5, 2, 2))
KINDS = LabelScheme(("HCC", "cyst"))
FIRST, SECOND = np.s_[1:3, 2:6, 2:6], np.s_[3:5, 10:13, 10:13]


def reading(first: int, second: int) -> PhaseReading:
    voxels = np.ones(GRID.shape, np.uint8)
    voxels[FIRST], voxels[SECOND] = first, second
    return PhaseReading(LabelMap(voxels, GRID), Volume(np.zeros(GRID.shape, np.int16), GRID))


@settings(max_examples=40, deadline=None)
@given(arrays(np.uint8, (3, 5, 6), elements=st.integers(0, 8)))
def test_a_lesion_is_of_the_kind_of_most_of_its_voxels(voxels):
    grid = Geometry.from_axes(voxels.shape, spacing_mm=(5, 1, 1))
    scheme = LabelScheme(("A a", "B", "C", "D", "E", "F"))
    lesions, plain = (measure_lesions(LabelMap(mask, grid), scheme=scheme) for mask in (voxels, np.minimum(voxels, 2)))
    assert [lesion.voxels for lesion in lesions] == [lesion.voxels for lesion in plain]
    found = sorted((lesion.voxels, lesion.kinds) for lesion in lesions)
    expected = []
    for lesion in brute.components(voxels > 1):
        counts = {}
        for place in lesion:
            if voxels[place] > 2:
                counts[int(voxels[place])] = counts.get(int(voxels[place]), 0) + 1
        ordered = sorted(counts, key=lambda value: (-counts[value], value))
        expected.append((len(lesion), tuple(scheme.names[value] for value in ordered)))
    assert found == sorted(expected)
    assert all("kinds" not in lesion.to_json() for lesion in plain)
    assert all(lesion.kind == (lesion.kinds or (None,))[0] for lesion in lesions)


def conflicts(*readings: PhaseReading) -> list[tuple[str, str, str, str]]:
    phases = (Phase.PLAIN, Phase.ARTERIAL, Phase.PORTAL_VENOUS)
    rows = enhancement(dict(zip(phases, readings, strict=False)), scheme=KINDS)
    return [(row.phase, row.kind, other.phase, other.kind) for row, other in kinds_in_conflict(rows)]


def test_a_lesion_of_two_kinds_on_two_phases_is_told_on_both():
    assert conflicts(reading(3, 4), reading(4, 4)) == [("P", "HCC", "C1", "cyst"), ("C1", "cyst", "P", "HCC")]


@pytest.mark.parametrize(
    "phases",
    [
        (reading(3, 4), reading(3, 4)),
        (reading(3, 4), reading(2, 2)),
        (reading(3, 4), reading(1, 4)),
        (reading(2, 2), reading(2, 2)),
    ],
    ids=["one mind", "one phase without kinds", "one phase without the lesion", "no kinds"],
)
def test_one_kind_or_none_is_no_conflict(phases):
    assert conflicts(*phases) == []


def test_every_row_tells_the_kind_of_its_outline():
    rows = enhancement({Phase.PLAIN: reading(3, 2), Phase.ARTERIAL: reading(1, 4)}, scheme=KINDS)
    found = {(row.lesion, row.phase): (row.kind, row.outline_from) for row in rows}
    assert found == {
        (1, "P"): ("HCC", "P"),
        (1, "C1"): ("HCC", "P"),
        (2, "P"): ("", "P"),
        (2, "C1"): ("cyst", "C1"),
    }
    without = enhancement({Phase.PLAIN: reading(2, 2)}, scheme=KINDS)
    assert all("kind" not in row.to_json() for row in without)
