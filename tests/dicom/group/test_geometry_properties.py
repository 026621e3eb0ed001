"""Any orientation, order, spacing and slope: each voxel keeps its value at its place."""

from __future__ import annotations

import re
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.records import Instance, SourceFile
from pipeline.dicom.convert import read_series
from pipeline.dicom.group.grid import stack
from pipeline.dicom.group.series import group_series
from pipeline.dicom.read.pixels import SliceError
from pipeline.dicom.read.scan import scan
from tests.dicom.scanner import Scan, body, expose

ANGLES = st.tuples(*[st.floats(-np.pi, np.pi)] * 3)
SPACINGS = st.tuples(*[st.floats(0.3, 8.0)] * 3)
ORIGINS = st.tuples(*[st.floats(-500, 500)] * 3)


def turned(angles: tuple[float, float, float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Row and column directions of a scan turned about all three axes."""
    (a, b, c) = angles
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(c), -np.sin(c)], [0, np.sin(c), np.cos(c)]])
    rotation = about_z @ about_y @ about_x
    return tuple(rotation[:, 0]), tuple(rotation[:, 1])


@given(angles=ANGLES, spacing=SPACINGS, origin=ORIGINS, slope=st.sampled_from([1.0, 2.0, 0.5]), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_every_voxel_keeps_its_value_at_its_place(tmp_path_factory, angles, spacing, origin, slope, seed):
    truth = Scan(body(4, 3, 5, seed=seed) * 2, spacing=spacing, origin=origin, directions=turned(angles))
    folder = tmp_path_factory.mktemp("scan")
    order = np.random.default_rng(seed).permutation(4)
    expose(folder, truth, lambda ds, i: setattr(ds, "InstanceNumber", int(order[i])), slope=slope)
    (series,) = group_series(scan([folder]).instances).series
    volume = read_series(series).volume
    np.testing.assert_array_equal(volume.voxels, truth.hu)
    corners = np.array([[0, 0, 0], [3, 2, 4], [0, 2, 0], [3, 0, 0]])
    expected = corners @ truth.affine[:3, :3].T + truth.affine[:3, 3]
    np.testing.assert_allclose(volume.geometry.to_lps_mm(corners), expected, atol=0.01)


def slices_at(heights: np.ndarray, angles: tuple[float, float, float]) -> list[Instance]:
    row, column = turned(angles)
    normal = np.cross(row, column)
    return [
        Instance(
            SourceFile(Path(f"{number}")),
            MappingProxyType(
                {
                    "ImagePositionPatient": tuple(normal * height),
                    "ImageOrientationPatient": (*row, *column),
                    "PixelSpacing": (1.0, 1.0),
                    "Rows": 4,
                    "Columns": 4,
                }
            ),
        )
        for number, height in enumerate(heights)
    ]


@given(
    angles=ANGLES,
    spacing=st.floats(0.5, 6.0),
    count=st.integers(5, 40),
    missing=st.integers(1, 38),
    noise=st.floats(0, 0.04),
)
@settings(max_examples=60, deadline=None)
def test_one_missing_slice_is_always_named_and_never_bridged(angles, spacing, count, missing, noise):
    heights = np.arange(count) * spacing
    heights += np.random.default_rng(count).uniform(-noise, noise, count) * min(1.0, spacing)
    assert not stack(slices_at(heights, angles)).problems
    lost = min(missing, count - 2)
    found = stack(slices_at(np.delete(heights, lost), angles))
    assert found.geometry is None
    assert [problem.code for problem in found.problems] == ["missing-slices"]
    named_mm = re.search(r"between (\S+) and (\S+) mm", found.problems[0].message)
    assert named_mm is not None
    np.testing.assert_allclose([float(one) for one in named_mm.groups()], heights[[lost - 1, lost + 1]], atol=0.0051)


@given(spacing=st.floats(0.5, 6.0), count=st.integers(3, 400))
@settings(max_examples=60, deadline=None)
def test_positions_rounded_to_a_tenth_never_drift(spacing, count):
    heights = np.arange(count) * spacing
    found = stack(slices_at(np.round(heights, 1), (0.0, 0.0, 0.0)))
    assert found.geometry is not None
    assert not found.problems
    last = found.geometry.to_lps_mm([count - 1, 0, 0])[2]
    assert abs(last - heights[-1]) <= 0.051, "however long the stack, the far end is where it is"


@pytest.mark.parametrize("threads", [1, 2, 3, 16])
def test_any_number_of_threads_gives_the_same_volume_and_tells_the_same_fault(tmp_path, monkeypatch, threads):
    monkeypatch.setattr("pipeline.dicom.convert._THREADS", threads)
    scan_ = Scan(body(7))
    paths = expose(tmp_path, scan_)
    (series,) = group_series(scan([tmp_path]).instances).series
    assert np.array_equal(read_series(series).volume.voxels, scan_.hu)
    for number in (5, 2, 4):
        paths[number].write_bytes(paths[number].read_bytes()[:-9])
    with pytest.raises(SliceError) as caught:
        read_series(series)
    assert caught.value.source.path == paths[2]
