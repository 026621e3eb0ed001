from __future__ import annotations

from dataclasses import replace

import numpy as np
import pydicom
import pytest

from pipeline.core.errors import DicomError, GeometryError, LabelError
from pipeline.core.labels import LabelScheme
from pipeline.dicom.seg import is_dicom, read_seg
from pipeline.image.masks import read_labels_of, read_mask
from pipeline.standalone import read_any_mask
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


def test_a_segment_without_a_labels_name_is_known_by_the_code_of_its_kind(tmp_path):
    """The codes are those of SNOMED CT, as [labels] has them; a name that is a label's comes first."""

    def coded(dataset):
        for segment, (name, code) in zip(
            dataset.SegmentSequence,
            [("tumour A", "109841003"), ("cyst", "109841003"), ("2", ""), ("liver", "10200004"), ("liver", "10200004")],
            strict=True,
        ):
            segment.SegmentLabel = name
            item = segment.SegmentedPropertyTypeCodeSequence[0]
            item.CodeValue, item.CodingSchemeDesignator = code, "SCT"

    path = changed(tmp_path, coded)
    scheme = LabelScheme(("HCC", "cyst"))
    mask = read_any_mask(path)
    for layer, expected in enumerate((3, 4, 2, 1, 1)):
        alone = replace(mask, layers=mask.layers[layer : layer + 1], segments=(replace(mask.segments[layer], layer=0),))
        labels = read_labels_of(alone, scheme, what="mask").labels
        assert set(np.unique(labels.voxels).tolist()) == {0, expected}
    with pytest.raises(LabelError, match="segment 1 has no label's name"):
        read_labels_of(read_any_mask(path), LabelScheme(("cyst",)), what="mask")
