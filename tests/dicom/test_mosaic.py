"""Siemens mosaics: a known volume written side by side comes back exactly, or is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import RLELossless

from pipeline.core.errors import DicomError
from pipeline.core.records import Series
from pipeline.dicom.convert import read_series
from pipeline.dicom.group.series import group_series
from pipeline.dicom.read.scan import scan
from tests.dicom.scanner import Scan, body, csa_header, mosaic_of, save, set_stored

OBLIQUE = ((0.8, 0.6, 0.0), (-0.36, 0.48, 0.8))


def series_in(folder: Path) -> tuple[Series, ...]:
    found = scan([folder])
    return group_series(found.instances, found.set_aside).series


def assert_equal(series: Series, truth: Scan) -> None:
    """The same voxel everywhere, whichever way the slices of either run."""
    volume = read_series(series).volume
    where = np.rint(np.linalg.inv(truth.affine) @ volume.geometry.affine)
    np.testing.assert_allclose(truth.affine @ where, volume.geometry.affine, atol=1e-4)
    corner = where @ [0, 0, 0, 1]
    expected = truth.hu if where[0, 0] > 0 else truth.hu[::-1]
    assert corner[0] in (0, len(truth.hu) - 1)
    np.testing.assert_array_equal(volume.voxels, expected)


@given(
    slices=st.integers(3, 17),
    turned=st.booleans(),
    is_reversed=st.booleans(),
    rows=st.integers(2, 6),
    columns=st.integers(2, 6),
)
def test_a_mosaic_is_the_volume_it_was_made_of(
    tmp_path_factory: pytest.TempPathFactory,
    slices: int,
    turned: bool,
    is_reversed: bool,
    rows: int,
    columns: int,
) -> None:
    side = int(np.ceil(np.sqrt(slices)))
    directions = OBLIQUE if turned else ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    normal = np.cross(*directions)
    step = tuple((-3.3 if is_reversed else 3.3) * normal)
    truth = Scan(body(slices, rows, columns), modality="MR", directions=directions, step=step)
    folder = tmp_path_factory.mktemp("mosaic")
    save(mosaic_of(truth, side), folder / "one")
    (series,) = series_in(folder)
    assert not series.problems
    assert_equal(series, truth)


def test_each_mosaic_of_a_series_is_a_volume(tmp_path: Path) -> None:
    truths = [Scan(body(10, seed=seed), modality="MR", series_uid="1.2.3", study_uid="1.2") for seed in range(4)]
    for number, truth in enumerate(truths):
        save(mosaic_of(truth, 4, number), tmp_path / f"{9 - number}")
    found = series_in(tmp_path)
    assert sorted(series.distinguished_by["AcquisitionNumber"] for series in found) == ["1", "2", "3", "4"]
    for series in found:
        assert_equal(series, truths[int(series.distinguished_by["AcquisitionNumber"]) - 1])


def test_a_compressed_mosaic(tmp_path: Path) -> None:
    truth = Scan(body(7), modality="MR")
    dataset = mosaic_of(truth, 3)
    dataset.compress(RLELossless)
    save(dataset, tmp_path / "one")
    (series,) = series_in(tmp_path)
    assert_equal(series, truth)


def changed_header(**elements: list[str]) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        dataset[0x0029, 0x1010].value = csa_header(**elements)

    return change


def without(keyword: str) -> Callable[[Dataset], None]:
    return lambda dataset: delattr(dataset, keyword)


def cut(dataset: Dataset) -> None:
    dataset[0x0029, 0x1010].value = dataset[0x0029, 0x1010].value[:200]


def of_another_owner(dataset: Dataset) -> None:
    dataset[0x0029, 0x0010].value = "SOMEBODY ELSE"


def uneven(dataset: Dataset) -> None:
    dataset.Rows += 1
    set_stored(dataset, np.zeros((dataset.Rows, dataset.Columns)))


NORMAL, COUNT = ["0", "0", "1"], ["7"]


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        of_another_owner,
        uneven,
        without("SpacingBetweenSlices"),
        changed_header(SliceNormalVector=NORMAL),
        changed_header(NumberOfImagesInMosaic=COUNT),
        changed_header(SliceNormalVector=NORMAL[:2], NumberOfImagesInMosaic=COUNT),
        changed_header(SliceNormalVector=NORMAL, NumberOfImagesInMosaic=["0"]),
        changed_header(SliceNormalVector=NORMAL, NumberOfImagesInMosaic=["seven"]),
        changed_header(SliceNormalVector=["0", "0", "nan"], NumberOfImagesInMosaic=COUNT),
    ],
)
def test_a_mosaic_whose_slices_have_no_known_place_is_refused(
    tmp_path: Path, damage: Callable[[Dataset], None]
) -> None:
    dataset = mosaic_of(Scan(body(7), modality="MR"), 3)
    damage(dataset)
    save(dataset, tmp_path / "one")
    (series,) = series_in(tmp_path)
    assert "mosaic" in {problem.code for problem in series.problems}


def test_a_mosaic_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = save(mosaic_of(Scan(body(7), modality="MR"), 3), tmp_path / "one")
    path.write_bytes(path.read_bytes()[:-50])
    (series,) = series_in(tmp_path)
    with pytest.raises(DicomError, match="cut short"):
        read_series(series)
