"""Every series that tests make, and every real one, beside dcm2niix and SimpleITK: each difference has its reason."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from dcm2niix import bin as dcm2niix
from numpy.typing import NDArray

from pipeline.core.errors import PipelineError
from pipeline.dicom.convert import read_series
from pipeline.dicom.group.series import group_series
from pipeline.dicom.read.scan import scan
from tests.dicom.test_situations import SITUATIONS
from tests.places import SHARED

Found = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Values, and the affine from their index to LPS millimetres."""


MADE: dict[str, dict[str, str]] = {
    "it gives a volume where slices cannot be read, or values are damaged, and says nothing in the volume": {
        "bytes_that_came_in_among_the_pixels": "dcm2niix SimpleITK",
        "intercept_that_is_no_number": "dcm2niix SimpleITK",
        "one_slice_with_a_high_bit_beyond_its_word": "dcm2niix SimpleITK",
        "position_that_is_no_number": "dcm2niix SimpleITK",
        "signed_pixels_whose_sign_cannot_be_told": "dcm2niix SimpleITK",
        "slope_beyond_all_numbers": "dcm2niix SimpleITK",
        "slope_of_zero": "dcm2niix SimpleITK",
    },
    "it leaves the damaged slice out, or takes it in without its place": {
        "deflated_with_a_damaged_end": "SimpleITK",
        "truncated_last_slice": "SimpleITK",
        "slice_cut_after_its_series_uid": "dcm2niix SimpleITK",
        "slice_without_position": "SimpleITK",
        "slice_without_position_and_orientation": "dcm2niix SimpleITK",
    },
    "it fills gaps, or makes an even volume of slices that are not evenly spaced": {
        "missing_slice": "dcm2niix SimpleITK",
        "uneven_spacing": "dcm2niix SimpleITK",
        "enhanced_with_a_frame_missing": "dcm2niix",
        "two_slices": "dcm2niix SimpleITK",
    },
    "it stacks images of one place": {
        "bolus_tracking": "dcm2niix SimpleITK",
        "other_image_at_one_position": "dcm2niix SimpleITK",
        "repeated_positions_without_numbers_are_never_mixed": "dcm2niix SimpleITK",
        "two_images_under_one_uid": "dcm2niix SimpleITK",
    },
    "it takes copies for slices": {
        "identical_file_twice": "SimpleITK",
        "same_image_in_another_encoding": "SimpleITK",
        "same_image_under_another_uid": "dcm2niix SimpleITK",
        "whole_series_sent_again_under_new_uids": "dcm2niix SimpleITK",
    },
    "it takes captures, reports and localizers for slices": {
        "captures_without_a_modality_of_slices": "dcm2niix SimpleITK",
        "two_captures_with_a_place": "dcm2niix SimpleITK",
        "last_slice_of_another_class": "dcm2niix SimpleITK",
        "localizer_report_and_capture_in_the_series": "dcm2niix SimpleITK",
        "mosaic": "SimpleITK",
        "mosaic_without_private_header": "dcm2niix SimpleITK",
    },
    "it does not read this encoding, container or beginning": {
        "deflated": "dcm2niix",
        "each_slice_in_a_gzip_of_its_own": "dcm2niix SimpleITK",
        "tar_with_absolute_paths": "dcm2niix SimpleITK",
        "zip_with_paths_that_lead_outside": "dcm2niix SimpleITK",
        "ge_private_little_endian_header_with_big_endian_pixels": "dcm2niix",
        "meta_header_without_preamble": "dcm2niix SimpleITK",
        "no_preamble_big_endian": "dcm2niix SimpleITK",
        "enhanced_in_jpeg_2000": "dcm2niix SimpleITK",
        "cut_copy_beside_the_whole_file": "dcm2niix",
    },
    "it reads multi-frame objects in the order of their frames, or not at all": {
        "enhanced_that_describes_no_frame": "dcm2niix",
        "enhanced_with_a_rescale_in_every_frame": "dcm2niix SimpleITK",
        "enhanced_with_shuffled_frames": "dcm2niix SimpleITK",
        "enhanced_with_two_temporal_positions": "dcm2niix SimpleITK",
    },
    "it reads values otherwise than the standard says: swapped words, high bits, inverted display": {
        "bytes_in_big_endian_OW_5_columns": "dcm2niix",
        "bytes_in_big_endian_OW_6_columns": "dcm2niix",
        "twelve_bits_in_the_upper_part_of_the_word": "dcm2niix SimpleITK",
        "monochrome_1": "SimpleITK",
    },
    "it leaves padding as it is; ours is air": {
        "padding_63536_unsigned": "dcm2niix SimpleITK",
        "padding_range": "dcm2niix SimpleITK",
        "padding_range_reversed": "dcm2niix SimpleITK",
        "padding_signed": "dcm2niix SimpleITK",
        "padding_value_with_the_wrong_sign": "dcm2niix SimpleITK",
    },
    "it takes the gap between the first two positions for the spacing, or loses the tilt": {
        "positions_rounded_to_a_tenth": "dcm2niix",
        "gantry_tilt": "dcm2niix SimpleITK",
    },
    "it mixes two volumes of one series": {
        "phases_coincide_up_to_rounding_noise": "dcm2niix",
        "phases_interleave_acquisition": "dcm2niix",
        "phases_interleave_instance_only": "dcm2niix",
        "phases_interleave_times": "dcm2niix",
        "private_b_values": "dcm2niix",
        "one_series_uid_in_two_patients": "dcm2niix",
    },
    "it takes one volume apart by an attribute; ours is whole, and flagged": {
        "blocks_of_two_kinds_of_image": "dcm2niix",
        "phases_that_abut_are_one_volume_and_flagged": "SimpleITK",
        "a_series_for_each_slice": "dcm2niix SimpleITK",
        "a_series_for_each_slice_of_two_scans": "dcm2niix SimpleITK",
    },
    "it takes what is nested in a sequence for the image's own": {
        "long_header_with_icon_and_nested_geometry": "dcm2niix",
    },
}
"""Why other tools give other volumes of what tests make, whose truth they know: reason to situation to tools."""

REAL: dict[str, dict[str, str]] = {
    "localizers, captures and pictures without a place, which are no slices": {
        "burned_in_phi": "dcm2niix SimpleITK",
        "deid_small/deid-data_ultrasounds": "dcm2niix SimpleITK",
        "deid_small/dicognito/test_burned_in_annotation_warn": "dcm2niix SimpleITK",
    },
    "two slices show no spacing": {
        "deid_small/ms_anonymizer_samples": "SimpleITK",
        "rtstruct/rt-utils/mock_data": "dcm2niix SimpleITK",
        "series_with_reference_nifti/failing/slicecount/001": "dcm2niix SimpleITK",
    },
    "slices of several studies or patients, or of one place, stacked": {
        "deid_small/dicognito/test_summary_mixed_files_reports_on_each_study": "dcm2niix SimpleITK",
        "rtstruct/rt-utils/oriented_data": "dcm2niix SimpleITK",
        "series_with_reference_nifti/failing/notavolume/001": "dcm2niix SimpleITK",
        "pseudo_phi/localizer_mr/dicom_1_anat": "SimpleITK",
        "transfer_syntaxes/cornerstone": "dcm2niix SimpleITK",
    },
    "deflated objects are not read": {
        "deid_small/dicognito/test_writes_deflated_file_correctly": "dcm2niix",
    },
    "tilted, unevenly spaced or with a slice missing": {
        "gantry_tilt/GE_tilt_variable_spacing": "dcm2niix SimpleITK",
        "series_with_reference_nifti/failing/gantrytilting/001": "dcm2niix SimpleITK",
        "series_with_reference_nifti/failing/sliceincrement/002": "dcm2niix SimpleITK",
    },
    "padding of -3024, which is air in ours": {
        "liver_ct_dicomseg/ct-3slice": "dcm2niix SimpleITK",
    },
    "segmentations taken for images": {
        "liver_ct_dicomseg": "dcm2niix SimpleITK",
    },
}
"""The same of real folders: why theirs differ from ours."""


def ours(folder: Path) -> Iterator[Found]:
    found = scan([folder])
    for series in group_series(found.instances, found.set_aside).series:
        try:
            volume = read_series(series, allow_tilt=True).volume
        except PipelineError:
            continue
        yield volume.voxels.astype(float), volume.geometry.affine


def of_dcm2niix(folder: Path, out: Path) -> Iterator[Found]:
    out.mkdir()
    command = [dcm2niix, "-z", "n", "-b", "n", "-f", "%s_%p", "-o", str(out), str(folder)]
    subprocess.run(command, capture_output=True, check=False, timeout=60)
    for path in sorted(out.glob("*.nii")):
        image = nibabel.load(path)
        values = np.asarray(image.dataobj)
        if values.dtype.names or values.ndim not in (3, 4):
            continue
        values = values.astype(float).reshape(*values.shape[:3], -1)
        for number in range(values.shape[3]):
            yield values[..., number], np.diag([-1, -1, 1, 1]) @ image.affine


def of_simpleitk(folder: Path) -> Iterator[Found]:
    for place in sorted({path.parent for path in folder.rglob("*") if path.is_file()}):
        for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(place)):
            names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(place), uid)
            try:
                image = sitk.ReadImage(names)
            except RuntimeError:
                continue
            if image.GetDimension() == 3 and image.GetNumberOfComponentsPerPixel() == 1:
                affine = np.eye(4)
                directions = np.array(image.GetDirection()).reshape(3, 3)
                with np.errstate(invalid="ignore"):
                    affine[:3, :3], affine[:3, 3] = directions * image.GetSpacing(), image.GetOrigin()
                yield sitk.GetArrayFromImage(image).astype(float).transpose(2, 1, 0), affine


def is_same(one: Found, other: Found) -> bool:
    """The same number at the same place, whatever the order of axes."""
    (values, affine), (theirs, their_affine) = one, other
    if sorted(values.shape) != sorted(theirs.shape):
        return False
    index = np.indices(values.shape).reshape(3, -1)
    points = affine[:3, :3] @ index + affine[:3, 3:]
    there = np.linalg.inv(their_affine) @ np.vstack([points, np.ones(points.shape[1])])
    nearest = np.rint(there[:3]).astype(int)
    if (
        np.abs(there[:3] - nearest).max() > 0.1
        or (nearest < 0).any()
        or (nearest >= np.array(theirs.shape)[:, None]).any()
    ):
        return False
    return bool(np.allclose(theirs[tuple(nearest)], values.ravel(), rtol=1e-4, atol=0.01))


def agree(mine: list[Found], theirs: list[Found]) -> bool:
    left = list(theirs)
    for one in mine:
        twin = next((number for number, other in enumerate(left) if is_same(one, other)), None)
        if twin is None:
            return False
        left.pop(twin)
    return not left


def differing(folder: Path, out: Path) -> set[str]:
    """The tools that give other volumes than ours."""
    mine = list(ours(folder))
    found = set() if agree(mine, list(of_dcm2niix(folder, out))) else {"dcm2niix"}
    try:
        is_alike = agree(mine, list(of_simpleitk(folder)))
    except RuntimeError:
        is_alike = not mine
    return found if is_alike else {*found, "SimpleITK"}


def explained(table: dict[str, dict[str, str]], name: str) -> set[str]:
    return {tool for cases in table.values() for tool in cases.get(name, "").split()}


@pytest.fixture(autouse=True)
def quiet_itk() -> Iterator[None]:
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    yield
    sitk.ProcessObject.SetGlobalWarningDisplay(before)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SITUATIONS))
def test_of_made_series_every_difference_from_other_tools_has_its_reason(name, tmp_path):
    (tmp_path / "in").mkdir()
    SITUATIONS[name](tmp_path / "in")
    assert differing(tmp_path / "in", tmp_path / "out") == explained(MADE, name)


NOT_SERIES = {
    "deid_small/deid-data_humans": "colour pictures",
    "odd_files": "single files of many kinds, some without a place",
}
"""Folders of which there is nothing to compare."""


def real_folders() -> list[str]:
    if not SHARED.is_dir():
        return []
    kinds = {".gz", ".nrrd", ".md", ".csv", ".json", ".nii"}
    found = {path.parent for path in SHARED.rglob("*") if path.is_file() and path.suffix not in kinds}
    return sorted({str(folder.relative_to(SHARED)) for folder in found} - NOT_SERIES.keys())


@pytest.mark.slow
@pytest.mark.parametrize("name", real_folders())
def test_of_real_series_every_difference_from_other_tools_has_its_reason(name, tmp_path):
    assert differing(SHARED / name, tmp_path / "out") == explained(REAL, name)


def test_every_explanation_is_of_a_situation_or_folder_that_there_is():
    assert {name for cases in MADE.values() for name in cases} <= SITUATIONS.keys()
    if SHARED.is_dir():
        assert {name for cases in REAL.values() for name in cases} <= set(real_folders())
