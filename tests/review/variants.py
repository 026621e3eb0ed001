"""Masks as other programs leave them, right ones and wrong ones, with the verdict each must get.

Written by nibabel, SimpleITK and by hand, which share no code with our readers. The variants are those on which a plain
shape check, SimpleITK's overlap filter and silent resampling each accept several wrong masks.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk

from pipeline.core.geometry import Geometry
from pipeline.core.volume import LabelMap
from pipeline.image.nifti import read_labels
from pipeline.review.returns import Verdict
from tests.review.rounds import Round

Variant = Callable[[np.ndarray, np.ndarray, Path], None]


def drawn(review_round: Round) -> LabelMap:
    """The right answer: the mask sent, and one more lesion that touches no border."""
    sent = read_labels(review_round.items[0].coarse)
    voxels = sent.voxels.copy()
    voxels[6, 18:22, 18:22] = 2
    return LabelMap(voxels, sent.geometry)


def ras(geometry: Geometry) -> np.ndarray:
    """nibabel's affine: column, row, slice to RAS."""
    return np.diag([-1, -1, 1, 1]) @ geometry.affine[:, [2, 1, 0, 3]]


def save(path: Path, voxels: np.ndarray, affine: np.ndarray, dtype=np.uint8) -> None:
    nibabel.Nifti1Image(voxels.astype(dtype), affine, dtype=dtype).to_filename(path)


def plain(dtype, name="m.nii.gz") -> tuple[str, Variant]:
    return name, lambda voxels, affine, path: save(path, voxels, affine, dtype)


def oriented(codes: str) -> tuple[str, Variant]:
    def write(voxels, affine, path):
        image = nibabel.Nifti1Image(voxels, affine)
        turn = nibabel.orientations.ornt_transform(
            nibabel.io_orientation(affine), nibabel.orientations.axcodes2ornt(codes)
        )
        image.as_reoriented(turn).to_filename(path)

    return "m.nii.gz", write


def by_sitk(name: str) -> tuple[str, Variant]:
    def write(voxels, affine, path):
        scratch = path.with_name("scratch.nii.gz")
        save(scratch, voxels, affine)
        sitk.WriteImage(sitk.ReadImage(str(scratch)), str(path), useCompression=True)
        scratch.unlink()

    return name, write


def moved(by_mm: float, scale: float = 1.0) -> tuple[str, Variant]:
    def write(voxels, affine, path):
        changed = affine.copy()
        changed[0, 3] += by_mm
        changed[:3, 0] *= scale
        save(path, voxels, changed)

    return "m.nii.gz", write


def with_values(change: Callable[[np.ndarray], np.ndarray], dtype=np.float32) -> tuple[str, Variant]:
    return "m.nii.gz", lambda voxels, affine, path: save(path, change(voxels), affine, dtype)


def four_dimensional(voxels, affine, path):
    save(path, voxels[..., np.newaxis], affine)


def cropped(voxels, affine, path):
    start = np.array([2, 4, 1])
    changed = affine.copy()
    changed[:3, 3] += affine[:3, :3] @ start
    save(path, voxels[2:40, 4:30, 1:11], changed)


def padded(voxels, affine, path):
    changed = affine.copy()
    changed[:3, 3] -= affine[:3, :3] @ np.array([3, 2, 1])
    save(path, np.pad(voxels, ((3, 1), (2, 2), (1, 4))), changed)


def scaled(voxels, affine, path):
    image = nibabel.Nifti1Image((voxels * 50).astype(np.int16), affine)
    image.header.set_slope_inter(0.02, 0)
    raw = image.to_bytes()
    path.write_bytes(gzip.compress(raw))


def slicer(layers, segments, affine, start=(0, 0, 0)) -> bytes:
    """A `.seg.nrrd` with a layer axis, as Slicer writes overlapping segments; LPS, axes column, row, slice."""
    lps = np.diag([-1, -1, 1, 1]) @ affine
    origin = lps[:3, 3] + lps[:3, :3] @ np.array(start)
    vectors = " ".join("(" + ",".join(repr(float(n)) for n in lps[:3, axis]) + ")" for axis in range(3))
    stack = np.stack([np.asarray(layer, dtype=np.uint8) for layer in layers])
    lines = ["NRRD0004", "type: unsigned char", "dimension: 4", "space: left-posterior-superior"]
    lines += [f"sizes: {' '.join(map(str, stack.shape))}", f"space directions: none {vectors}", "encoding: gzip"]
    lines += ["kinds: list domain domain domain", f"space origin: ({','.join(repr(float(n)) for n in origin)})"]
    for number, (name, value, layer) in enumerate(segments):
        prefix = f"Segment{number}_"
        lines += [f"{prefix}ID:=S{number}", f"{prefix}Name:={name}", f"{prefix}LabelValue:={value}"]
        lines += [f"{prefix}Layer:={layer}", f"{prefix}Extent:=-1 0 0 -1 0 0"]
    return "\n".join([*lines, "", ""]).encode() + gzip.compress(stack.tobytes(order="F"))


def slicer_layers(voxels, affine, path):
    path.write_bytes(slicer([voxels > 0, voxels == 2], [("liver", 1, 0), ("lesion", 1, 1)], affine))


def slicer_cropped(voxels, affine, path):
    part = voxels[2:40, 4:30, 1:11]
    path.write_bytes(slicer([part > 0, part == 2], [("liver", 1, 0), ("lesion", 1, 1)], affine, (2, 4, 1)))


def slicer_swapped(voxels, affine, path):
    swapped = np.array([0, 2, 1])[voxels]
    path.write_bytes(slicer([swapped], [("Lesion", 1, 0), ("Liver", 2, 0)], affine))


def slicer_kind(voxels, affine, path):
    path.write_bytes(slicer([voxels], [("liver", 1, 0), ("hcc", 2, 0)], affine))


def slicer_strange(voxels, affine, path):
    path.write_bytes(slicer([voxels], [("liver", 1, 0), ("left kidney", 2, 0)], affine))


def slicer_empty(voxels, affine, path):
    path.write_bytes(slicer([np.zeros((1, 1, 1))], [("liver", 1, 0), ("lesion", 2, 0)], affine))


def flipped(axis: int) -> tuple[str, Variant]:
    return "m.nii.gz", lambda voxels, affine, path: save(path, np.flip(voxels, axis), affine)


def not_a_number(voxels, affine, path):
    save(path.with_suffix(""), voxels, affine)
    content = bytearray(path.with_suffix("").read_bytes())
    content[280:284] = np.float32(np.nan).tobytes()
    path.write_bytes(gzip.compress(bytes(content)))
    path.with_suffix("").unlink()


def placeless(voxels, affine, path):
    save(path.with_suffix(""), voxels, affine)
    content = bytearray(path.with_suffix("").read_bytes())
    content[252:256] = bytes(4)
    path.write_bytes(gzip.compress(bytes(content)))
    path.with_suffix("").unlink()


def truncated(voxels, affine, path):
    save(path, voxels, affine)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])


def one_bit(voxels, affine, path):
    save(path, voxels, affine)
    content = bytearray(path.read_bytes())
    content[-6] ^= 16
    path.write_bytes(bytes(content))


def as_sent(voxels, affine, path):
    changed = voxels.copy()
    changed[18:22, 18:22, 6] = 1
    save(path, changed, affine)


def without_slice(voxels, affine, path):
    changed = voxels.copy()
    changed[:, :, 4] = 0
    save(path, changed, affine)


def with_stray_lesion(voxels, affine, path):
    changed = voxels.copy()
    changed[40:42, 30:32, 5] = 2
    save(path, changed, affine)


def in_air(voxels, affine, path):
    changed = voxels.copy()
    changed[:, :3] = 1
    save(path, changed, affine)


ACCEPTED: dict[str, tuple[str, Variant]] = {
    "as our own program writes it": plain(np.uint8),
    "ITK-SNAP: 16 bits": plain(np.int16),
    "32-bit float, whole numbers": plain(np.float32),
    "64-bit integers": plain(np.int64),
    "uncompressed": plain(np.uint8, "m.nii"),
    "MetaImage": by_sitk("m.mha"),
    "NRRD": by_sitk("m.nrrd"),
    "orientation RAS": oriented("RAS"),
    "orientation LPI": oriented("LPI"),
    "orientation PIR, axes permuted": oriented("PIR"),
    "orientation SAL, axes permuted": oriented("SAL"),
    "0.3 micrometres off": moved(0.0003),
    "four dimensions of one volume": ("m.nii.gz", four_dimensional),
    "cropped": ("m.nii.gz", cropped),
    "padded": ("m.nii.gz", padded),
    "stored with a slope": ("m.nii.gz", scaled),
    "Slicer: layers, lesion drawn inside the liver": ("m.seg.nrrd", slicer_layers),
    "Slicer: cropped extents": ("m.seg.nrrd", slicer_cropped),
    "Slicer: values in another order": ("m.seg.nrrd", slicer_swapped),
    "Slicer: segment named by lesion kind": ("m.seg.nrrd", slicer_kind),
}

REFUSED: dict[str, tuple[str, Variant, Verdict, str]] = {
    "flipped left to right": (*flipped(0), Verdict.REJECT, "mirrored"),
    "flipped front to back": (*flipped(1), Verdict.REJECT, "mirrored"),
    "flipped head to foot": (*flipped(2), Verdict.REJECT, "mirrored"),
    "far away": (*moved(5000), Verdict.REJECT, "wrong-grid"),
    "ten voxels and a third off": (*moved(8.27), Verdict.REJECT, "between-voxels"),
    "half a voxel off": (*moved(0.4), Verdict.FLAG, "between-voxels"),
    "another spacing": (*moved(0, 1.25), Verdict.REJECT, "wrong-grid"),
    "label 7": (*with_values(lambda v: v + 5 * (v == 2)), Verdict.REJECT, "wrong-labels"),
    "0 and 255": (*with_values(lambda v: 255 * (v > 0)), Verdict.REJECT, "wrong-labels"),
    "negative": (*with_values(lambda v: v.astype(int) * -1), Verdict.REJECT, "wrong-labels"),
    "fractions": (*with_values(lambda v: v * 0.37), Verdict.REJECT, "wrong-labels"),
    "not a number among the voxels": (
        *with_values(lambda v: np.where(v == 2, np.nan, v)),
        Verdict.REJECT,
        "wrong-labels",
    ),
    "not a number in the affine": ("m.nii.gz", not_a_number, Verdict.REJECT, "wrong-grid"),
    "no place in space": ("m.nii.gz", placeless, Verdict.REJECT, "wrong-grid"),
    "truncated": ("m.nii.gz", truncated, Verdict.REJECT, "damaged"),
    "one wrong bit": ("m.nii.gz", one_bit, Verdict.REJECT, "damaged"),
    "empty": (*with_values(lambda v: v * 0), Verdict.REJECT, "empty"),
    "Slicer: nothing drawn, 1 x 1 x 1": ("m.seg.nrrd", slicer_empty, Verdict.REJECT, "empty"),
    "Slicer: a segment we do not know": ("m.seg.nrrd", slicer_strange, Verdict.REJECT, "wrong-labels"),
    "exactly as sent": ("m.nii.gz", as_sent, Verdict.FLAG, "unchanged"),
    "one slice without liver": ("m.nii.gz", without_slice, Verdict.FLAG, "missing-slices"),
    "a lesion far from the liver": ("m.nii.gz", with_stray_lesion, Verdict.FLAG, "lesion-outside-liver"),
    "only the lesions exported": (*with_values(lambda v: 2 * (v == 2)), Verdict.FLAG, "unfamiliar"),
    "drawn into the air": ("m.nii.gz", in_air, Verdict.FLAG, "outside-body"),
}


def write_variant(review_round: Round, name: str, write: Variant) -> Path:
    """A variant of the right answer, as R1 sends it for P0001_C1, in a folder of its own."""
    labels = drawn(review_round)
    path = review_round.folder / "in" / name.replace("m.", "P0001_C1_mask.", 1)
    path.parent.mkdir()
    write(labels.voxels.transpose(2, 1, 0), ras(labels.geometry), path)
    return path
