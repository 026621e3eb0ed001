"""Real series: what other tools, and the scanners themselves, say about them."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from pipeline.core.errors import PipelineError
from pipeline.core.records import Series
from pipeline.core.volume import Volume
from pipeline.dicom.colour import read_colour
from pipeline.dicom.convert import read_series
from pipeline.dicom.group.series import group_series
from pipeline.dicom.read.pixels import read_slice
from pipeline.dicom.read.scan import scan
from pipeline.image.nifti import write_nifti
from tests.places import SHARED

DATA = SHARED
REFERENCES = DATA / "series_with_reference_nifti"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="needs the real files of ../shared/data")


def series_in(*parts: str) -> list[Series]:
    return list(group_series(scan([DATA.joinpath(*parts)]).instances).series)


def only_volume(*parts: str) -> Volume:
    (series,) = series_in(*parts)
    return read_series(series).volume


def values_at_places_of(image: nibabel.Nifti1Image, volume: Volume, where: np.ndarray) -> np.ndarray:
    """Our value at voxels of the reference; the grids must coincide."""
    index = np.argwhere(where)
    lps = (index @ image.affine[:3, :3].T + image.affine[:3, 3]) * [-1, -1, 1]
    ours = volume.geometry.to_index(lps)
    np.testing.assert_allclose(ours, np.rint(ours), atol=2e-3)
    return volume.voxels[tuple(np.rint(ours).astype(int).T)]


SANE = [
    *("ge/anatomical/001", "ge/anatomical/001_implicit", "ge/anatomical/001_single_slice"),
    *("generic/anatomical/001", "generic/anatomical/001_implicit", "generic/anatomical/002_non_isotropic"),
    *("generic/compressed/001", "generic/compressed_j2k/001", "generic/compressed_jpeg/001"),
    *("generic/compressed_jpegls/001", "generic/compressed_rle/001"),
    *("philips/anatomical/001", "philips/anatomical/001_implicit"),
]


@pytest.mark.parametrize("name", SANE)
def test_series_equals_its_reference_by_position(name):
    volume = only_volume("series_with_reference_nifti", name)
    image = nibabel.load(f"{REFERENCES / name}_ground_truth.nii.gz")
    assert np.prod(volume.geometry.shape) == np.prod(image.shape)
    everywhere = np.ones(image.shape, bool)
    np.testing.assert_allclose(values_at_places_of(image, volume, everywhere), image.get_fdata().ravel(), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("failing/gantrytilting/001", "gantry tilt of 14.0 degrees"),
        ("failing/notavolume/001", "4 slices lie at one position"),
        ("failing/slicecount/001", "two slices cannot show"),
        ("failing/sliceincrement/002", "1 slice is missing at a spacing of 0.75 mm"),
    ],
)
def test_unsound_series_is_refused_with_its_reason(name, reason):
    (series,) = series_in("series_with_reference_nifti", name)
    with pytest.raises(PipelineError, match=reason):
        read_series(series)


def test_colour_series_equals_its_reference_and_no_dataset_takes_it(tmp_path):
    folder = REFERENCES / "generic" / "rgb"
    (series,) = group_series(scan([folder / "001"]).instances).series
    assert not series.is_usable
    write_nifti(tmp_path / "colour.nii.gz", read_colour(series))
    ours, reference = nibabel.load(tmp_path / "colour.nii.gz"), nibabel.load(folder / "001_ground_truth.nii.gz")
    from_ours = np.linalg.inv(reference.affine) @ ours.affine
    colours, expected = np.asarray(ours.dataobj), np.asarray(reference.dataobj)
    assert colours.size == expected.size
    for index in np.ndindex(colours.shape):
        there = tuple(np.rint(from_ours @ [*index, 1])[:3].astype(int))
        assert [colours[index][name] for name in "RGB"] == [expected[there][name] for name in "RGB"]


def test_liver_of_a_jpeg_2000_series_has_its_published_density():
    volume = only_volume("body_ct", "example_ct_dicom")
    mask = nibabel.load(DATA / "body_ct" / "example_seg_dicom.nii.gz")
    liver = values_at_places_of(mask, volume, np.asarray(mask.dataobj) == 5)
    assert volume.geometry.spacing_mm[0] == pytest.approx(2.0)
    assert liver.mean() == pytest.approx(89.3, abs=0.05)
    assert liver.std() == pytest.approx(21.7, abs=0.05)


def test_ge_series_with_descending_file_names_lies_upright_and_its_padding_is_air():
    volume = only_volume("liver_ct_dicomseg", "ct-3slice")
    assert volume.geometry.orientation == "SPL"
    assert volume.geometry.spacing_mm == pytest.approx((1.0, 0.810547, 0.810547))
    assert volume.voxels.min() == -1024


def test_ge_tilt_with_three_spacings_is_refused_for_both():
    (series,) = series_in("gantry_tilt", "GE_tilt_variable_spacing")
    assert {problem.code for problem in series.problems} == {"uneven-spacing", "tilted", "two-acquisitions"}


@pytest.mark.parametrize("position", ["HFS", "HFDL"])
def test_head_lies_where_simpleitk_puts_it(position):
    volume = only_volume("patient_position", position)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(DATA / "patient_position" / position)))
    image = reader.Execute()
    for index in [(0, 0, 0), (3, 2, 5), (200, 100, 4)]:
        ours = volume.geometry.to_index(image.TransformIndexToPhysicalPoint(index))
        np.testing.assert_allclose(ours, np.rint(ours), atol=1e-3)
        assert volume.voxels[tuple(np.rint(ours).astype(int))] == image[index]


def test_one_slice_in_every_lossless_encoding_has_the_same_values():
    instances = scan([DATA / "transfer_syntaxes" / "cornerstone"]).instances
    lossless = {
        f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".1.99", ".2", ".5", ".4.57", ".4.70", ".4.80", ".4.90")
    }
    values = {}
    for instance in instances:
        if instance.text("TransferSyntaxUID") in lossless and instance.source.path.name.startswith("CTImage"):
            values[instance.source.path.name] = read_slice(instance).astype(np.int64)
    first = next(iter(values.values()))
    different = [name for name, image in values.items() if not np.array_equal(image, first)]
    assert len(values) >= 8
    assert not different


def test_signed_jpeg_2000_of_14_bits_equals_its_uncompressed_twin():
    slices = {one.source.path.name: one for one in scan([DATA / "odd_files"]).instances}
    np.testing.assert_array_equal(read_slice(slices["693_J2KR.dcm"]), read_slice(slices["693_UNCR.dcm"]))
    np.testing.assert_array_equal(read_slice(slices["693_J2KI.dcm"]), read_slice(slices["693_UNCI.dcm"]))
