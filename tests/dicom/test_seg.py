from __future__ import annotations

import numpy as np
import pydicom
import pytest

from pipeline.core.errors import DicomError, GeometryError
from pipeline.dicom.seg import is_dicom, read_seg
from pipeline.image.masks import read_mask
from tests.places import SHARED

DATA = SHARED / "liver_ct_dicomseg"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the folder of real DICOM SEG files is not here")


def test_a_liver_equals_the_nrrd_it_was_made_of():
    found = read_seg(DATA / "liver.dcm")
    twin = read_mask(DATA / "liver_seg.nrrd")
    assert found.names == ("Liver",)
    assert found.geometry.same_space(twin.geometry)
    assert np.array_equal(found.layers[0] > 0, twin.layers[0] > 0)


def test_overlapping_segments_are_layers_of_their_own():
    found = read_seg(DATA / "partial_overlaps.dcm")
    assert len(found.names) == len(found.layers) == 5
    assert (found.layers.sum(axis=0) > 1).any()
    drawn = sum(int((read_mask(DATA / f"partial_overlaps-{n}.nrrd").layers > 0).sum()) for n in (1, 2, 3))
    assert int(found.layers.sum()) == drawn


def changed(tmp_path, change):
    dataset = pydicom.dcmread(DATA / "partial_overlaps.dcm")
    change(dataset)
    dataset.save_as(tmp_path / "seg.dcm")
    return tmp_path / "seg.dcm"


def test_frames_in_any_order_are_the_same_segments(tmp_path):
    def backwards(dataset):
        frames = dataset.pixel_array[::-1]
        dataset.PerFrameFunctionalGroupsSequence = list(dataset.PerFrameFunctionalGroupsSequence)[::-1]
        bits = np.packbits(frames.ravel(), bitorder="little").tobytes()
        dataset.PixelData = bits + b"\0" * (len(bits) % 2)

    found, straight = read_seg(changed(tmp_path, backwards)), read_seg(DATA / "partial_overlaps.dcm")
    assert np.array_equal(found.layers, straight.layers)


def test_frames_off_any_regular_grid_are_refused(tmp_path):
    def moved(dataset):
        place = dataset.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0]
        place.ImagePositionPatient = [x + 0.3 for x in map(float, place.ImagePositionPatient)]

    with pytest.raises(GeometryError, match="no regular grid"):
        read_seg(changed(tmp_path, moved))


def test_what_is_no_seg_is_refused(tmp_path):
    def fractional(dataset):
        dataset.SegmentationType = "FRACTIONAL"

    with pytest.raises(DicomError, match="no binary DICOM SEG"):
        read_seg(changed(tmp_path, fractional))
    with pytest.raises(DicomError, match="liver_seg"):
        read_seg(DATA / "liver_seg.nrrd")
    (tmp_path / "cut.dcm").write_bytes((DATA / "liver.dcm").read_bytes()[:3000])
    with pytest.raises(DicomError, match="cut"):
        read_seg(tmp_path / "cut.dcm")


def test_dicom_is_known_by_its_content():
    assert is_dicom(DATA / "liver.dcm")
    assert not is_dicom(DATA / "liver_seg.nrrd")
    assert not is_dicom(DATA / "none.dcm")
