"""Masks in every usual format, written by SimpleITK and by hand, laid back on their image voxel for voxel."""

from __future__ import annotations

import bz2
import gzip
from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import GeometryError, LabelError, StorageError
from pipeline.core.geometry import Geometry
from pipeline.core.labels import LabelScheme
from pipeline.core.volume import LabelMap
from pipeline.image.masks import decode_mask, place, read_labels_of, read_mask
from pipeline.image.nifti import nifti_bytes, write_nifti
from tests.places import SHARED

SCHEME = LabelScheme(("HCC",))


def oblique_labels(seed: int) -> LabelMap:
    rng = np.random.default_rng(seed)
    directions, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    shape = tuple(int(n) for n in rng.integers(3, 8, 3))
    geometry = Geometry.from_axes(
        shape, spacing_mm=rng.uniform(0.5, 5, 3), origin_lps_mm=rng.uniform(-300, 300, 3), directions=directions
    )
    return LabelMap(rng.integers(0, 3, shape).astype(np.uint8), geometry)


def as_sitk(labels: LabelMap, dtype=np.uint8) -> sitk.Image:
    image = sitk.GetImageFromArray(labels.voxels.astype(dtype))
    image.SetSpacing(labels.geometry.spacing_mm[::-1])
    image.SetOrigin(labels.geometry.origin_lps_mm)
    image.SetDirection(labels.geometry.directions[::-1].T.ravel().tolist())
    return image


def labels_in(path) -> LabelMap:
    return read_labels_of(read_mask(path), SCHEME, what="mask").labels


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_what_simpleitk_writes_is_read_at_its_place(tmp_path, suffix, dtype, compressed):
    labels = oblique_labels(seed=len(suffix))
    path = tmp_path / f"mask{suffix}"
    sitk.WriteImage(as_sitk(labels, dtype), str(path), useCompression=compressed)
    read = labels_in(path)
    np.testing.assert_array_equal(read.voxels, labels.voxels)
    assert labels.geometry.distance_mm(read.geometry) < 2e-3


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.97])
def test_a_truncated_file_is_damaged_and_never_read(tmp_path, suffix, kept):
    path = tmp_path / f"mask{suffix}"
    rng = np.random.default_rng(1)
    noise = LabelMap(
        rng.integers(0, 3, (20, 30, 30)).astype(np.uint8), Geometry.from_axes((20, 30, 30), spacing_mm=(5, 1, 1))
    )
    sitk.WriteImage(as_sitk(noise), str(path), useCompression=suffix != ".nii")
    whole = path.read_bytes()
    with pytest.raises(StorageError, match="again"):
        decode_mask(whole[: int(len(whole) * kept)], path.name)


def test_one_wrong_bit_in_a_gzip_stream_is_noticed(tmp_path):
    path = tmp_path / "mask.nii.gz"
    write_nifti(path, oblique_labels(3))
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    with pytest.raises(StorageError, match="damaged"):
        decode_mask(bytes(content), path.name)


def seg_nrrd(layers, segments, *, encoding="gzip", space="left-posterior-superior", origin="(10,20,30)") -> bytes:
    """A segmentation as Slicer 5 writes it: the layer axis first and fastest."""
    layered = np.moveaxis(np.asarray(layers, dtype=np.uint8), 0, 3)
    body = layered.tobytes()
    body = {"gzip": gzip.compress, "bzip2": bz2.compress, "raw": bytes}[encoding](body)
    head = ["NRRD0004", "# Complete NRRD file format specification", "type: unsigned char", "dimension: 4"]
    head += [f"space: {space}", "sizes: " + " ".join(map(str, layered.shape[::-1]))]
    head += ["space directions: none (0.8,0,0) (0,0.8,0) (0,0,5)", "kinds: list domain domain domain"]
    head += [f"encoding: {encoding}", f"space origin: {origin}"]
    for number, (name, value, layer) in enumerate(segments):
        head += [f"Segment{number}_ID:=Segment_{number}", f"Segment{number}_Name:={name}"]
        head += [f"Segment{number}_LabelValue:={value}", f"Segment{number}_Layer:={layer}"]
    return "\n".join([*head, "", ""]).encode() + body


@pytest.mark.parametrize("encoding", ["gzip", "bzip2", "raw"])
def test_overlapping_slicer_segments_become_nested_labels(encoding):
    layers = np.zeros((2, 2, 3, 4), dtype=np.uint8)
    layers[0, :, :, 1:] = 1
    layers[1, 1, 1, 2] = 1
    content = seg_nrrd(layers, [("Liver", 1, 0), ("lesion", 1, 1)], encoding=encoding)
    reading = read_labels_of(decode_mask(content, "m.seg.nrrd"), SCHEME, what="mask")
    expected = layers[0].copy()
    expected[1, 1, 2] = 2
    np.testing.assert_array_equal(reading.labels.voxels, expected)
    np.testing.assert_allclose(reading.labels.geometry.to_lps_mm((1, 2, 3)), [10 + 2.4, 20 + 1.6, 30 + 5])
    assert reading.repairs == (
        "labels taken from the segments' names",
        "overlapping segments joined, lesion over liver",
    )


def test_ras_files_lie_where_their_lps_twins_lie():
    layers = np.zeros((1, 2, 3, 4), dtype=np.uint8)
    mask = decode_mask(seg_nrrd(layers, [("liver", 1, 0)], space="right-anterior-superior"), "m.seg.nrrd")
    np.testing.assert_allclose(mask.geometry.to_lps_mm((1, 2, 3)), [-12.4, -21.6, 35])


def test_segment_order_does_not_matter_because_names_do():
    layers = np.zeros((1, 2, 3, 4), dtype=np.uint8)
    layers[0, 0, 0] = [1, 2, 0, 0]
    swapped = seg_nrrd(layers, [("HCC", 1, 0), ("LIVER", 2, 0)])
    reading = read_labels_of(decode_mask(swapped, "m.seg.nrrd"), SCHEME, what="mask")
    assert reading.labels.voxels[0, 0].tolist() == [3, 1, 0, 0]
    numbered = seg_nrrd(layers, [("Segment_1", 1, 0), ("2", 2, 0)])
    reading = read_labels_of(decode_mask(numbered, "m.seg.nrrd"), SCHEME, what="mask")
    assert reading.labels.voxels[0, 0].tolist() == [1, 2, 0, 0]
    assert reading.repairs == ()


def test_a_segment_of_unknown_name_is_refused_without_repeating_it():
    content = seg_nrrd(np.ones((1, 2, 3, 4)), [("Zhang San tumour", 1, 0)])
    with pytest.raises(LabelError, match="segment 1 has no label's name; name each segment liver or lesion") as refusal:
        read_labels_of(decode_mask(content, "m.seg.nrrd"), SCHEME, what="mask")
    assert "Zhang" not in str(refusal.value)


@pytest.mark.parametrize(
    ("values", "word"), [([0, 0.37], "fractions"), ([0, 7], "7"), ([0, 255], "255"), ([0, np.nan], "fractions")]
)
def test_values_that_are_no_labels_are_refused(tmp_path, values, word):
    image = sitk.GetImageFromArray(np.array(values, dtype=np.float32).reshape(1, 1, 2))
    sitk.WriteImage(image, str(tmp_path / "m.nii.gz"))
    with pytest.raises(LabelError, match=word):
        labels_in(tmp_path / "m.nii.gz")


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"", "m.nii.gz"),
        (b"hello", "m.nrrd"),
        (b"NRRD0004\ntype: float\n\nxx", "m.nrrd"),
        (b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: a b c\n\nxx", "m.nrrd"),
        (b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 1 1 1\ndata file: m.raw\n\nx", "m.nrrd"),
        (b"ObjectType = Image\nDimSize = 1 1 1\nElementDataFile = m.raw\n", "m.mha"),
        (b"PK", "m.mrb"),
    ],
)
def test_what_is_no_mask_is_refused_in_one_sentence(content, name):
    with pytest.raises(StorageError, match=r"^m\.[^\n]*$"):
        decode_mask(content, name)


@pytest.mark.parametrize("name", ["m.nrrd", "m.mha"])
def test_a_file_without_a_place_in_space_is_refused(name):
    nrrd = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 1 1 1\nencoding: raw\nspacings: 1 1 1\n\nx"
    mha = b"ObjectType = Image\nDimSize = 1 1 1\nElementType = MET_UCHAR\nElementDataFile = LOCAL\nx"
    with pytest.raises(GeometryError, match="place"):
        decode_mask(nrrd if name == "m.nrrd" else mha, name)


SEEDS = {
    ".nii": nifti_bytes(oblique_labels(1)),
    ".nrrd": seg_nrrd(np.ones((1, 2, 3, 4)), [("liver", 1, 0)], encoding="raw"),
    ".mha": b"ObjectType = Image\nNDims = 3\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\n"
    b"ElementSpacing = 1 1 2\nDimSize = 1 2 1\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n\0\1",
}


@given(
    suffix=st.sampled_from(sorted(SEEDS)),
    harm=st.lists(st.tuples(st.integers(0, 500), st.binary(max_size=4), st.integers(0, 4)), min_size=1, max_size=4),
)
@settings(max_examples=400, deadline=None)
def test_any_damage_to_a_file_is_told_in_one_line_or_does_no_harm(suffix, harm):
    content = bytearray(SEEDS[suffix])
    for place_, new, removed in harm:
        content[place_ : place_ + removed] = new
    assert "\n" not in what_is_told(bytes(content), f"m{suffix}")


def what_is_told(content: bytes, name: str) -> str:
    """The message of a refusal; nothing where the file is taken. Any other error fails the test."""
    grid = Geometry.from_axes((2, 3, 4), spacing_mm=(5, 0.8, 0.8), origin_lps_mm=(10, 20, 30))
    try:
        reading = read_labels_of(decode_mask(content, name), SCHEME, what="m")
        place(reading.labels, grid, what="m")
    except (StorageError, GeometryError, LabelError) as refusal:
        return str(refusal)
    return ""


@pytest.mark.parametrize("path", sorted(SHARED.glob("liver_ct_dicomseg/*.nrrd")), ids=lambda path: path.name)
def test_real_nrrd_files_are_read_as_simpleitk_reads_them(path):
    mask, peer = read_mask(path), sitk.ReadImage(str(path))
    np.testing.assert_array_equal(mask.layers[0], sitk.GetArrayFromImage(peer))
    np.testing.assert_allclose(mask.geometry.origin_lps_mm, peer.GetOrigin(), atol=1e-6)
    np.testing.assert_allclose(mask.geometry.spacing_mm, peer.GetSpacing()[::-1], atol=1e-6)


TURNS = [(axes, flips) for axes in permutations(range(3)) for flips in product([False, True], repeat=3)]


@pytest.mark.parametrize(("axes", "flips"), TURNS)
def test_every_axis_order_and_direction_comes_back_exactly(axes, flips):
    labels = oblique_labels(seed=11)
    turned = labels.voxels.transpose(axes)
    affine = labels.geometry.affine.copy()
    affine[:3, :3] = affine[:3, list(axes)]
    for axis, flip in enumerate(flips):
        if flip:
            turned = np.flip(turned, axis)
            affine[:3, 3] += affine[:3, axis] * (turned.shape[axis] - 1)
            affine[:3, axis] *= -1
    placement = place(LabelMap(turned, Geometry(turned.shape, affine)), labels.geometry, what="mask")
    np.testing.assert_array_equal(placement.labels.voxels, labels.voxels)
    assert (placement.shift_voxels, placement.lost_voxels) == (0.0, 0)
    assert bool(placement.repairs) == (axes != (0, 1, 2) or any(flips))


@given(
    seed=st.integers(0, 1000), before=st.tuples(*[st.integers(-2, 3)] * 3), after=st.tuples(*[st.integers(-2, 3)] * 3)
)
@settings(max_examples=60, deadline=None)
def test_cropped_and_padded_masks_keep_each_voxel_at_its_place(seed, before, after):
    labels = oblique_labels(seed)
    shape = tuple(max(1, a + n + b) for a, n, b in zip(before, labels.geometry.shape, after, strict=True))
    affine = labels.geometry.affine.copy()
    affine[:3, 3] = labels.geometry.to_lps_mm([-n for n in before])
    changed = Geometry(shape, affine)
    source = {tuple(np.array(index) - before): value for index, value in np.ndenumerate(np.ones(shape))}
    if not any(all(0 <= i < n for i, n in zip(index, labels.geometry.shape, strict=True)) for index in source):
        return
    voxels = np.ones(shape, dtype=np.uint8)
    placement = place(LabelMap(voxels, changed), labels.geometry, what="mask")
    for index, value in np.ndenumerate(placement.labels.voxels):
        assert value == source.get(index, 0)
    assert placement.lost_voxels == voxels.size - placement.labels.voxels.sum()


def moved(labels: LabelMap, by_voxels: float, scale: float = 1.0) -> LabelMap:
    affine = labels.geometry.affine.copy()
    affine[:3, 3] += affine[:3, 2] * by_voxels
    affine[:3, 2] *= scale
    return LabelMap(labels.voxels, Geometry(labels.geometry.shape, affine))


def test_a_fraction_of_a_micrometre_is_nothing_and_half_a_voxel_is_told():
    labels = oblique_labels(seed=5)
    tiny = place(moved(labels, 4e-4), labels.geometry, what="mask")
    assert (tiny.shift_voxels, tiny.repairs) == (0.0, ())
    half = place(moved(labels, 0.5), labels.geometry, what="mask")
    assert half.shift_voxels == pytest.approx(0.5)


@pytest.mark.parametrize(("by_voxels", "scale"), [(0, 1.1), (0, 2.0), (500, 1.0)])
def test_another_spacing_or_another_place_is_refused(by_voxels, scale):
    labels = oblique_labels(seed=5)
    with pytest.raises(GeometryError, match="mask of X"):
        place(moved(labels, by_voxels, scale), labels.geometry, what="mask of X")
