"""Slices that were never sent are noticed by what headers say of the whole, and nothing is said without a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import generate_uid

from pipeline.dicom.group.series import group_series
from pipeline.dicom.read.scan import scan
from tests.dicom.scanner import Scan, body, expose
from tests.dicom.test_situations import stamped

LOST = "slices-lost"


def codes(folder: Path) -> list[str]:
    """Codes of all problems of all series, which all give a volume."""
    series = group_series(scan([folder]).instances).series
    assert all(one.is_usable for one in series)
    return [problem.code for one in series for problem in one.problems]


def sent(folder: Path, kept: range, scan_: Scan | None = None, **attributes: Any) -> Path:
    """A scan of 12 slices of which only some are sent."""
    paths = expose(folder, scan_ or Scan(body(12)), stamped(**attributes))
    for index, path in enumerate(paths):
        if index not in kept:
            path.unlink()
    return folder


@pytest.mark.parametrize("kept", [range(11), range(1, 12), range(4, 9)])
def test_fewer_images_than_the_acquisition_gave_are_flagged(tmp_path, kept):
    assert codes(sent(tmp_path, kept, ImagesInAcquisition=12)) == [LOST]


@pytest.mark.parametrize("stated", [1, 11, 12])
def test_as_many_images_as_the_acquisition_gave_are_enough(tmp_path, stated):
    assert codes(sent(tmp_path, range(12), ImagesInAcquisition=stated)) == []


def test_images_of_several_reconstructions_are_counted_together(tmp_path):
    for number in range(3):
        scan_ = Scan(body(12, seed=number), study_uid="1.2.3", series_uid=generate_uid())
        sent(tmp_path / str(number), range(12), scan_, ImagesInAcquisition=36)
    assert codes(tmp_path) == []
    (tmp_path / "0" / "IM000000").unlink()
    assert codes(tmp_path) == [LOST] * 3


def test_a_whole_series_does_not_make_up_for_an_incomplete_one(tmp_path):
    for number, count in enumerate((12, 9)):
        scan_ = Scan(body(12, seed=number), study_uid="1.2.3", series_uid=generate_uid())
        sent(tmp_path / str(number), range(count), scan_, ImagesInAcquisition=12)
    assert codes(tmp_path) == [LOST]


def test_phases_in_one_series_whose_numbers_do_not_begin_at_one_lack_nothing(tmp_path):
    for number in range(2):
        scan_ = Scan(body(12, seed=number), study_uid="1.2.3", series_uid="1.2.4")
        numbers = lambda index, number=number: 100 * number + 7 + index  # noqa: E731
        later = {"ImagesInAcquisition": 12, "AcquisitionNumber": number + 1, "InstanceNumber": numbers}
        sent(tmp_path / str(number), range(12), scan_, **later)
    assert codes(tmp_path) == []


@pytest.mark.parametrize(("spacing", "is_lost"), [(2.5, False), (1.25, True), (0.5, True), (5.0, False), (1.7, False)])
def test_slices_a_whole_multiple_of_the_stated_spacing_apart_are_flagged(tmp_path, spacing, is_lost):
    sent(tmp_path, range(12), SpacingBetweenSlices=spacing, SliceThickness=5.0)
    assert codes(tmp_path) == ([LOST] if is_lost else [])


def test_overlapping_slices_lack_nothing(tmp_path):
    sent(tmp_path, range(12), Scan(body(12), spacing=(1.0, 0.7, 0.7)), SpacingBetweenSlices=5.0, SliceThickness=5.0)
    assert codes(tmp_path) == []


def test_a_stated_gap_between_edges_is_no_spacing_unless_numbers_skip_too(tmp_path):
    scan_ = Scan(body(12), spacing=(5.0, 0.7, 0.7))
    sent(tmp_path / "gap", range(12), scan_, SpacingBetweenSlices=2.5, SliceThickness=2.5)
    assert codes(tmp_path) == []
    skipping = {"SpacingBetweenSlices": 2.5, "SliceThickness": 2.5, "InstanceNumber": lambda index: 1 + 2 * index}
    sent(tmp_path / "gap", range(12), scan_, **skipping)
    assert codes(tmp_path) == [LOST]
