"""NIfTI files against nibabel and SimpleITK, which share no code with ours."""

from __future__ import annotations

import gzip
import subprocess
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import GeometryError, LabelError, StorageError
from pipeline.core.geometry import Geometry
from pipeline.core.volume import LabelMap, Volume
from pipeline.image.nifti import content_sha256, nifti_bytes, read_labels, read_volume, write_nifti


def oblique_geometry(seed: int) -> Geometry:
    rng = np.random.default_rng(seed)
    directions, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return Geometry.from_axes(
        (4, 5, 6),
        spacing_mm=rng.uniform(0.5, 5, 3),
        origin_lps_mm=rng.uniform(-200, 200, 3),
        directions=directions,
    )


def volume_on(geometry: Geometry) -> Volume:
    count = int(np.prod(geometry.shape))
    return Volume((np.arange(count, dtype=np.int16) - 50).reshape(geometry.shape), geometry)


@given(seed=st.integers(0, 10_000), release=st.booleans())
@settings(max_examples=40, deadline=None)
def test_nibabel_and_simpleitk_see_each_voxel_at_the_same_place(tmp_path_factory, seed, release):
    path = tmp_path_factory.mktemp("nii") / "image.nii.gz"
    volume = volume_on(oblique_geometry(seed))
    write_nifti(path, volume, for_release=release)

    image = nibabel.load(path)
    peer = sitk.ReadImage(str(path))
    for index in [(0, 0, 0), (3, 4, 5), (2, 1, 3)]:
        lps = volume.geometry.to_lps_mm(index)
        ras = image.affine @ [index[2], index[1], index[0], 1]
        np.testing.assert_allclose(ras[:3] * [-1, -1, 1], lps, atol=1e-4)
        np.testing.assert_allclose(peer.TransformIndexToPhysicalPoint(index[::-1]), lps, atol=1e-3)
        assert image.dataobj[index[2], index[1], index[0]] == volume.voxels[index] == peer[index[::-1]]
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-3)
    read = read_volume(path)
    assert read.geometry.same_space(volume.geometry)
    np.testing.assert_array_equal(read.voxels, volume.voxels)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_files_of_nibabel_are_read_with_qform_alone(tmp_path_factory, seed):
    path = tmp_path_factory.mktemp("nii") / "peer.nii.gz"
    volume = volume_on(oblique_geometry(seed))
    ras = np.diag([-1, -1, 1, 1]) @ volume.geometry.affine[:, [2, 1, 0, 3]]
    image = nibabel.Nifti1Image(volume.voxels.T, None)
    image.set_qform(ras, 1)
    image.set_sform(None, 0)
    nibabel.save(image, path)
    assert read_volume(path).geometry.same_space(volume.geometry)


def test_file_has_no_name_no_time_no_text_and_one_member(tmp_path: Path):
    for release in (False, True):
        path = tmp_path / "Mustermann.nii.gz"
        write_nifti(path, volume_on(oblique_geometry(1)), for_release=release)
        raw = path.read_bytes()
        assert raw[3] == 0, "no gzip name, comment or extra field"
        assert raw[4:8] == bytes(4), "no time"
        inflated = gzip.decompress(raw)
        assert inflated[4:38] == bytes(34), "data_type and db_name are blank"
        assert inflated[148:252] == bytes(104), "descrip and aux_file are blank"
        assert inflated[328:344] == bytes(16), "intent_name is blank"
        assert inflated[348:352] == bytes(4), "no extensions"


def test_truncated_file_is_refused_not_read_in_part(tmp_path: Path):
    path = tmp_path / "image.nii.gz"
    write_nifti(path, volume_on(oblique_geometry(2)))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(StorageError, match=r"image\.nii\.gz.*truncated"):
        read_volume(path)


def test_image_without_a_place_in_space_is_refused(tmp_path: Path):
    path = tmp_path / "image.nii"
    image = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.int16), None)
    image.set_qform(None, 0)
    image.set_sform(None, 0)
    nibabel.save(image, path)
    with pytest.raises(GeometryError, match="no place in space"):
        read_volume(path)


def test_mask_with_fractions_is_refused(tmp_path: Path):
    path = tmp_path / "mask.nii"
    nibabel.save(nibabel.Nifti1Image(np.full((2, 2, 2), 0.37, np.float32), np.eye(4)), path)
    with pytest.raises(LabelError, match="whole numbers"):
        read_labels(path)


def test_content_hash_names_voxels_and_grid():
    geometry = oblique_geometry(3)
    mask = LabelMap(np.ones(geometry.shape, np.uint8), geometry)
    moved = LabelMap(mask.voxels, geometry.cropped((0, 0, 0), geometry.shape))
    assert content_sha256(mask) == content_sha256(moved)
    shifted = Geometry(geometry.shape, geometry.affine + np.eye(4)[:, [3, 3, 3, 0]] * 0.5)
    assert content_sha256(mask) != content_sha256(LabelMap(mask.voxels, shifted))


def big_volume() -> Volume:
    """Several blocks of voxels, not a whole number of them."""
    rng = np.random.default_rng(8)
    shape = (9, 300, 301)
    geometry = Geometry.from_axes(shape, spacing_mm=(2, 1, 1))
    return Volume(np.cumsum(rng.integers(-3, 4, shape), axis=2).astype(np.int16), geometry)


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_bytes_are_the_same_for_any_number_of_threads(tmp_path: Path, monkeypatch, threads):
    volume = big_volume()
    write_nifti(tmp_path / "reference.nii.gz", volume)
    monkeypatch.setattr("pipeline.image.nifti._THREADS", threads)
    write_nifti(tmp_path / "image.nii.gz", volume)
    assert (tmp_path / "image.nii.gz").read_bytes() == (tmp_path / "reference.nii.gz").read_bytes()


def body_in_air() -> Volume:
    """Noise of 12 HU in a body and of 4 HU in the air around it, as in CT."""
    rng = np.random.default_rng(3)
    shape = (8, 256, 256)
    y, x = np.mgrid[-1:1:256j, -1:1:256j]
    body = np.broadcast_to(x**2 + (y / 0.7) ** 2 < 0.7, shape)
    voxels = np.where(body, rng.normal(50, 12, shape), rng.normal(-1000, 4, shape))
    return Volume(voxels.astype(np.int16), Geometry.from_axes(shape, spacing_mm=(1, 0.7, 0.7)))


def test_fast_compression_costs_little_size(tmp_path: Path):
    path, volume = tmp_path / "image.nii.gz", body_in_air()
    write_nifti(path, volume)
    by_zlib = len(gzip.compress(nifti_bytes(volume), 6))
    assert path.stat().st_size < 1.025 * by_zlib


def test_blocks_are_one_gzip_member_that_everyone_reads(tmp_path: Path):
    path, volume = tmp_path / "image.nii.gz", big_volume()
    write_nifti(path, volume)
    stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
    content = stream.decompress(path.read_bytes())
    assert stream.eof
    assert stream.unused_data == b"", "one member, nothing after it"
    assert content == nifti_bytes(volume)
    assert subprocess.run(["gzip", "-t", path], check=False).returncode == 0
    np.testing.assert_array_equal(np.asarray(nibabel.load(path).dataobj).T, volume.voxels)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), volume.voxels)
    np.testing.assert_array_equal(read_volume(path).voxels, volume.voxels)


def test_flipped_bit_inside_the_stream_is_found(tmp_path: Path):
    path = tmp_path / "image.nii.gz"
    write_nifti(path, big_volume())
    raw = bytearray(path.read_bytes())
    for place in (1000, len(raw) // 2, len(raw) - 5):
        damaged = raw.copy()
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises((StorageError, GeometryError)):
            read_volume(path)


def test_header_that_claims_gigabytes_is_refused_at_once(tmp_path: Path):
    content = bytearray(nifti_bytes(big_volume()))
    content[40:56] = np.array([3, 32767, 32767, 32767, 1, 1, 1, 1], "<i2").tobytes()
    for name, raw in (("a.nii", bytes(content)), ("a.nii.gz", gzip.compress(bytes(content)))):
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(StorageError, match="cut short"):
            read_volume(tmp_path / name)
