"""Every nasty situation known from real exports, each with a volume known beforehand: exact, flagged or refused."""

from __future__ import annotations

import gzip
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from pipeline.core.errors import PipelineError
from pipeline.core.records import Severity
from pipeline.core.volume import Volume
from pipeline.dicom.convert import read_series
from pipeline.dicom.group.series import group_series
from pipeline.dicom.read.scan import scan
from tests.dicom.scanner import Scan, body, dataset_of, expose, mosaic_of, save, set_stored


@dataclass
class Outcome:
    """What must come out: these volumes and no other, these codes and no other."""

    truths: list[tuple[np.ndarray, np.ndarray]]
    flags: set[str]
    refusals: set[str]
    aside: set[str]


def outcome(*truths: Scan, flags: str = "", refusals: str = "", aside: str = "") -> Outcome:
    volumes = [(scan_.hu, scan_.affine) for scan_ in truths]
    return Outcome(volumes, set(flags.split()), set(refusals.split()), set(aside.split()))


Situation = Callable[[Path], Outcome]
SITUATIONS: dict[str, Situation] = {}


def situation(build: Situation) -> Situation:
    SITUATIONS[build.__name__] = build
    return build


def assert_same_volumes(volumes: list[Volume], truths: list[tuple[np.ndarray, np.ndarray]]) -> None:
    assert len(volumes) == len(truths)
    left = list(volumes)
    for hu, affine in truths:
        matching = [volume for volume in left if is_same(volume, hu, affine)]
        assert matching, f"no volume equals this truth; found {[volume.geometry.spacing_mm for volume in left]}"
        left.remove(matching[0])


def is_same(volume: Volume, hu: np.ndarray, affine: np.ndarray) -> bool:
    """The same number at the same place, whatever the order of slices."""
    if sorted(volume.geometry.shape) != sorted(hu.shape):
        return False
    index = np.indices(hu.shape).reshape(3, -1).T
    ours = volume.geometry.to_index(index @ affine[:3, :3].T + affine[:3, 3])
    nearest = np.rint(ours).astype(int)
    if np.abs(ours - nearest).max() > 0.1 or nearest.min() < 0 or (nearest >= volume.geometry.shape).any():
        return False
    return bool(np.allclose(volume.voxels[tuple(nearest.T)], hu.reshape(-1), rtol=1e-6, atol=1e-4))


def stamped(**values: Any) -> Callable[[Dataset, int], None]:
    """An edit that sets attributes, the same in every slice or computed from its number."""

    def edit(ds: Dataset, index: int) -> None:
        for keyword, value in values.items():
            setattr(ds, keyword, value(index) if callable(value) else value)

    return edit


def raised(scan_: Scan, mm: float, seed: int = 1) -> Scan:
    """Another scan of the same series, moved along z."""
    x, y, z = scan_.origin
    return replace(scan_, origin=(x, y, z + mm), hu=body(*scan_.hu.shape, seed=seed))


# --- orientations and positions


@situation
def axial_head_first(folder: Path) -> Outcome:
    scan_ = Scan(body())
    expose(folder, scan_)
    return outcome(scan_)


@situation
def descending_file_and_instance_numbers(folder: Path) -> Outcome:
    scan_ = Scan(body())
    expose(folder, scan_, stamped(InstanceNumber=lambda index: 99 - index))
    return outcome(scan_)


@situation
def no_instance_numbers(folder: Path) -> Outcome:
    scan_ = Scan(body())
    expose(folder, scan_, stamped(InstanceNumber=None))
    return outcome(scan_)


def oriented(row: tuple[float, float, float], column: tuple[float, float, float]) -> Situation:
    def build(folder: Path) -> Outcome:
        scan_ = Scan(body(), directions=(row, column))
        expose(folder, scan_)
        return outcome(scan_)

    return build


SITUATIONS |= {
    "coronal": oriented((1, 0, 0), (0, 0, -1)),
    "sagittal": oriented((0, 1, 0), (0, 0, -1)),
    "feet_first_prone": oriented((-1, 0, 0), (0, 1, 0)),
    "mirrored_rows": oriented((-1, 0, 0), (0, -1, 0)),
    "oblique": oriented((0.8, 0.6, 0.0), (-0.36, 0.48, 0.8)),
    "slightly_oblique": oriented((0.999390827, 0.0, -0.034899497), (0.0, 1.0, 0.0)),
}


@situation
def positions_rounded_to_a_tenth(folder: Path) -> Outcome:
    scan_ = Scan(body(24), spacing=(1.25, 0.7, 0.7))
    expose(folder, scan_, lambda ds, i: setattr(ds, "ImagePositionPatient", [round(x, 1) for x in scan_.position(i)]))
    return outcome(scan_)


@situation
def overlapping_slices(folder: Path) -> Outcome:
    scan_ = Scan(body(), spacing=(1.0, 0.7, 0.7))
    expose(folder, scan_, stamped(SliceThickness=5.0, SpacingBetweenSlices=5.0))
    return outcome(scan_)


@situation
def single_slice(folder: Path) -> Outcome:
    scan_ = Scan(body(1), spacing=(3.0, 0.7, 0.7))
    expose(folder, scan_)
    return outcome(scan_, flags="single-slice")


@situation
def gantry_tilt(folder: Path) -> Outcome:
    tilt = np.radians(15)
    column = (0.0, float(np.cos(tilt)), float(-np.sin(tilt)))
    expose(folder, Scan(body(), directions=((1.0, 0.0, 0.0), column), step=(0.0, 0.0, 5.0)))
    return outcome(refusals="GeometryError")


@situation
def missing_slice(folder: Path) -> Outcome:
    expose(folder, Scan(body(8)))[3].unlink()
    return outcome(refusals="missing-slices")


@situation
def uneven_spacing(folder: Path) -> Outcome:
    scan_ = Scan(body(8))
    heights = [0, 2.5, 5, 7.5, 11, 14.5, 18, 21.5]
    expose(folder, scan_, stamped(ImagePositionPatient=lambda i: [*scan_.origin[:2], scan_.origin[2] + heights[i]]))
    return outcome(refusals="uneven-spacing")


@situation
def two_slices(folder: Path) -> Outcome:
    expose(folder, Scan(body(2)))
    return outcome(refusals="too-few-slices")


@situation
def bolus_tracking(folder: Path) -> Outcome:
    scan_ = Scan(body(8))
    times = stamped(ImagePositionPatient=list(scan_.origin), AcquisitionNumber=lambda i: i + 1)
    expose(folder, scan_, times)
    return outcome(refusals="not-a-volume")


@situation
def slice_without_position(folder: Path) -> Outcome:
    def edit(ds: Dataset, index: int) -> None:
        if index == 5:
            del ds.ImagePositionPatient

    expose(folder, Scan(body()), edit)
    return outcome(refusals="no-position")


@situation
def slice_without_position_and_orientation(folder: Path) -> Outcome:
    def edit(ds: Dataset, index: int) -> None:
        if index == 5:
            del ds.ImagePositionPatient, ds.ImageOrientationPatient

    expose(folder, Scan(body()), edit)
    return outcome(refusals="no-position")


@situation
def one_position_a_little_off_the_line(folder: Path) -> Outcome:
    scan_ = Scan(body(8))

    def edit(ds: Dataset, index: int) -> None:
        if index == 5:
            ds.ImagePositionPatient[1] += 0.08

    expose(folder, scan_, edit)
    return outcome(scan_, flags="odd-position")


def last_slice_apart(keyword: str, value: str) -> Situation:
    """The last slice differs in what makes a series, and lies just where the series goes on."""

    def build(folder: Path) -> Outcome:
        scan_ = Scan(body(), spacing=(3.0, 0.7, 0.7))
        expose(folder, scan_, lambda ds, index: setattr(ds, keyword, value) if index == 5 else None)
        rest, last = replace(scan_, hu=scan_.hu[:5]), replace(scan_, hu=scan_.hu[5:], origin=tuple(scan_.position(5)))
        if keyword == "SOPClassUID":
            return outcome(rest, flags="broken-neighbour", aside="secondary-capture")
        if keyword == "FrameOfReferenceUID":
            return outcome(scan_, flags="mixed-slices")
        return outcome(rest, last, flags="broken-neighbour single-slice")

    return build


SITUATIONS |= {
    "last_slice_in_another_frame_of_reference": last_slice_apart("FrameOfReferenceUID", "1.2.3.4.6"),
    "last_slice_in_another_series": last_slice_apart("SeriesInstanceUID", "1.2.3"),
    "last_slice_of_another_class": last_slice_apart("SOPClassUID", SecondaryCaptureImageStorage),
}


@situation
def position_that_is_no_number(folder: Path) -> Outcome:
    expose(folder, Scan(body()), stamped(ImagePositionPatient=lambda i: ["0", "0", "1e999" if i == 2 else f"{i * 2}"]))
    return outcome(refusals="no-position")


# --- values


@situation
def unsigned_with_intercept(folder: Path) -> Outcome:
    scan_ = Scan(body())
    expose(folder, scan_, lambda ds, i: unsigned(ds, scan_.hu[i] + 1024))
    return outcome(scan_)


def unsigned(ds: Dataset, stored: np.ndarray, bits: int = 16) -> None:
    ds.PixelRepresentation, ds.BitsStored, ds.HighBit = 0, bits, bits - 1
    set_stored(ds, stored)


@situation
def twelve_bits_below_overlay_bits(folder: Path) -> Outcome:
    scan_ = Scan(body())
    expose(folder, scan_, lambda ds, i: unsigned(ds, (scan_.hu[i] + 1024) | (i % 16 << 12), bits=12))
    return outcome(scan_)


@situation
def twelve_signed_bits_without_sign_extension(folder: Path) -> Outcome:
    scan_ = Scan(body())

    def edit(ds: Dataset, index: int) -> None:
        ds.RescaleIntercept, ds.BitsStored, ds.HighBit = 0, 12, 11
        ds.PixelData = (scan_.hu[index] & 0x0FFF).astype("<u2").tobytes()

    expose(folder, scan_, edit)
    return outcome(scan_)


@situation
def twelve_bits_in_the_upper_part_of_the_word(folder: Path) -> Outcome:
    scan_ = Scan(body())

    def edit(ds: Dataset, index: int) -> None:
        unsigned(ds, (scan_.hu[index] + 1024) << 4, bits=12)
        ds.HighBit = 15

    expose(folder, scan_, edit)
    return outcome(scan_)


@situation
def rescale_that_changes_from_slice_to_slice(folder: Path) -> Outcome:
    scan_ = Scan(body())

    def edit(ds: Dataset, index: int) -> None:
        ds.RescaleIntercept = -1000 - 10 * index
        set_stored(ds, scan_.hu[index] + 1000 + 10 * index)

    expose(folder, scan_, edit)
    return outcome(scan_)


@situation
def fractional_slopes(folder: Path) -> Outcome:
    stored = body()
    slopes = 0.25 + 0.125 * np.arange(len(stored))
    scan_ = Scan(stored * slopes[:, None, None] - 0.5)

    def edit(ds: Dataset, index: int) -> None:
        ds.RescaleSlope, ds.RescaleIntercept = slopes[index], -0.5
        set_stored(ds, stored[index])

    expose(folder, scan_, edit)
    return outcome(scan_)


@situation
def values_beyond_int16(folder: Path) -> Outcome:
    scan_ = Scan(body() * 20 + 25000)
    expose(folder, scan_, lambda ds, i: unsigned(ds, scan_.hu[i]), intercept=0.0)
    return outcome(scan_)


def padded(value: int, *, signed: bool, limit: int | None = None) -> Situation:
    def build(folder: Path) -> Outcome:
        hu = body()
        hu[:, :3] = -1024
        scan_ = Scan(hu)

        def edit(ds: Dataset, index: int) -> None:
            stored = hu[index] + 1024
            stored[:3] = value if limit is None else np.linspace(value, limit, stored[:3].size).reshape(3, -1)
            ds.PixelRepresentation = int(signed)
            ds.add_new("PixelPaddingValue", "SS" if signed else "US", value)
            if limit is not None:
                ds.add_new("PixelPaddingRangeLimit", "SS" if signed else "US", limit)
            set_stored(ds, stored)

        expose(folder, scan_, edit)
        return outcome(scan_)

    return build


SITUATIONS |= {
    "padding_signed": padded(-2000, signed=True),
    "padding_63536_unsigned": padded(63536, signed=False),
    "padding_range": padded(-2000, signed=True, limit=-1100),
    "padding_range_reversed": padded(-1100, signed=True, limit=-2000),
}


@situation
def padding_value_with_the_wrong_sign(folder: Path) -> Outcome:
    hu = body()
    hu[:, 0] = -1024
    scan_ = Scan(hu)

    def edit(ds: Dataset, index: int) -> None:
        stored = hu[index] + 1024
        stored[0] = 63536
        ds.PixelRepresentation = 0
        ds.add_new("PixelPaddingValue", "SS", -2000)
        set_stored(ds, stored)

    expose(folder, scan_, edit)
    return outcome(scan_)


@situation
def monochrome_1(folder: Path) -> Outcome:
    scan_ = Scan(body())
    expose(folder, scan_, stamped(PhotometricInterpretation="MONOCHROME1"))
    return outcome(scan_)


@situation
def no_rescale(folder: Path) -> Outcome:
    scan_ = Scan(body())

    def edit(ds: Dataset, index: int) -> None:
        del ds.RescaleSlope, ds.RescaleIntercept
        set_stored(ds, scan_.hu[index])

    expose(folder, scan_, edit)
    return outcome(scan_, flags="no-rescale")


@situation
def intercept_that_is_no_number(folder: Path) -> Outcome:
    path = expose(folder, Scan(body()))[2]
    path.write_bytes(path.read_bytes().replace(b"-1024.0 ", b"-10A4.0 "))
    return outcome(refusals="SliceError")


@situation
def rows_that_are_no_number(folder: Path) -> Outcome:
    for path in expose(folder, Scan(body())):
        path.write_bytes(path.read_bytes().replace(b"\x28\0\x10\0US\2\0\x0c\0", b"\x28\0\x10\0DS\4\0nan "))
    return outcome(refusals="no-pixel-spacing")


@situation
def one_slice_with_another_intercept(folder: Path) -> Outcome:
    scan_ = Scan(body())

    def edit(ds: Dataset, index: int) -> None:
        if index == 3:
            ds.RescaleIntercept = -1000
            set_stored(ds, scan_.hu[index] + 1000)

    expose(folder, scan_, edit)
    return outcome(scan_, flags="odd-slice")


@situation
def one_slice_in_another_encoding(folder: Path) -> Outcome:
    scan_ = Scan(body())
    syntax = lambda i: ImplicitVRLittleEndian if i == 4 else "1.2.840.10008.1.2.1"  # noqa: E731
    expose(folder, scan_, lambda ds, i: setattr(ds.file_meta, "TransferSyntaxUID", syntax(i)))
    return outcome(scan_, flags="odd-slice")


@situation
def deflated_with_a_damaged_end(folder: Path) -> Outcome:
    encoded(DeflatedExplicitVRLittleEndian)(folder)
    path = sorted(folder.iterdir())[2]
    path.write_bytes(path.read_bytes()[:-4])
    return outcome(refusals="missing-slices", aside="unreadable")


@situation
def one_slice_with_a_high_bit_beyond_its_word(folder: Path) -> Outcome:
    expose(folder, Scan(body()), stamped(HighBit=lambda i: 143 if i == 2 else 15))
    return outcome(refusals="SliceError")


@situation
def slope_of_zero(folder: Path) -> Outcome:
    expose(folder, Scan(body()), stamped(RescaleSlope=0))
    return outcome(refusals="SliceError")


@situation
def series_without_modality(folder: Path) -> Outcome:
    scan_ = Scan(body())
    expose(folder, scan_, stamped(Modality=""))
    return outcome(scan_, flags="no-modality")


@situation
def values_through_a_table(folder: Path) -> Outcome:
    scan_ = Scan(body(), modality="MR")
    expose(folder, scan_, lambda ds, i: setattr(ds, "ModalityLUTSequence", [Dataset()]))
    return outcome(scan_, flags="modality-lut")


@situation
def slope_beyond_all_numbers(folder: Path) -> Outcome:
    expose(folder, Scan(body()), stamped(RescaleSlope="1e300"))
    return outcome(refusals="SliceError")


@situation
def slope_that_turns_air_into_bone(folder: Path) -> Outcome:
    scan_ = Scan(body())
    expose(folder, replace(scan_, hu=scan_.hu + 1024), intercept=0, edit=stamped(RescaleSlope=-1))
    return outcome(replace(scan_, hu=-1 * (scan_.hu + 1024)), flags="odd-rescale")


@situation
def perfusion_map(folder: Path) -> Outcome:
    scan_ = Scan(body())
    expose(folder, scan_, stamped(RescaleType="US"))
    return outcome(scan_, flags="not-hounsfield")


# --- encodings


def encoded(syntax: str) -> Situation:
    def build(folder: Path) -> Outcome:
        scan_ = Scan(body())
        folder.mkdir(exist_ok=True)
        for index in range(len(scan_.hu)):
            ds = dataset_of(scan_, index)
            ds.file_meta.TransferSyntaxUID = syntax
            if syntax == ExplicitVRBigEndian:
                save_big_endian(ds, folder / f"{index}")
            else:
                save(ds, folder / f"{index}")
        return outcome(scan_)

    return build


def save_big_endian(ds: Dataset, path: Path) -> None:
    write_big_endian(ds, path, "OW", np.frombuffer(ds.PixelData, "<i2").astype(">i2").tobytes())


def write_big_endian(ds: Dataset, path: Path, vr: str, pixels: bytes) -> None:
    swapped = Dataset()
    swapped.update({tag: element for tag, element in ds.items() if tag != 0x7FE00010})
    swapped.file_meta = ds.file_meta
    swapped.add_new("PixelData", vr, pixels)
    swapped.save_as(path, implicit_vr=False, little_endian=False, enforce_file_format=True)


@situation
def ge_private_little_endian_header_with_big_endian_pixels(folder: Path) -> Outcome:
    """By its definition: a file in implicit VR little endian, its name changed and its pixels swapped."""
    scan_ = Scan(body())
    edit = lambda ds, i: setattr(ds.file_meta, "TransferSyntaxUID", ImplicitVRLittleEndian)  # noqa: E731
    for path in expose(folder, scan_, edit):
        raw = path.read_bytes().replace(b"1.2.840.10008.1.2\0", b"1.2.840.113619.5.2", 1)
        size = scan_.hu[0].size * 2
        path.write_bytes(raw[:-size] + np.frombuffer(raw[-size:], "<u2").byteswap().tobytes())
    return outcome(scan_)


def bytes_in_big_endian(vr: str, columns: int) -> Situation:
    """8-bit pixels in explicit VR big endian: in words (OW) the second pixel of each pair comes first in the file."""

    def build(folder: Path) -> Outcome:
        scan_ = Scan(np.random.default_rng(3).integers(0, 256, (5, 7, columns)))
        folder.mkdir(exist_ok=True)
        for index, image in enumerate(scan_.hu):
            ds = dataset_of(scan_, index, intercept=0)
            ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
            raw = image.astype(np.uint8).tobytes() + b"\0" * (image.size % 2)
            ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
            swapped = np.frombuffer(raw, "<u2").byteswap().tobytes()
            write_big_endian(ds, folder / f"{index}", vr, raw if vr == "OB" else swapped)
            np.testing.assert_array_equal(dcmread(folder / f"{index}").pixel_array, image)
        return outcome(scan_)

    return build


SITUATIONS |= {
    f"bytes_in_big_endian_{vr}_{columns}_columns": bytes_in_big_endian(vr, columns)
    for vr in ("OB", "OW")
    for columns in (6, 5)
}


def compressed(syntax: str, encode: Callable[[np.ndarray], bytes], *, fragments: int = 1, bits: int = 12) -> Situation:
    def build(folder: Path) -> Outcome:
        scan_ = Scan(body())

        def edit(ds: Dataset, index: int) -> None:
            unsigned(ds, scan_.hu[index] + 1024, bits)
            ds.file_meta.TransferSyntaxUID = syntax
            frame = encode((scan_.hu[index] + 1024).astype(np.uint16))
            ds.PixelData = encapsulate([frame], fragments_per_frame=fragments, has_bot=fragments == 1)
            ds["PixelData"].VR = "OB"

        expose(folder, scan_, edit)
        return outcome(scan_)

    return build


def lossless(predictor: int) -> Callable[[np.ndarray], bytes]:
    return lambda image: imagecodecs.jpeg8_encode(image, lossless=True, predictor=predictor, bitspersample=12)


def rle(image: np.ndarray) -> bytes:
    """Literal runs only, most significant byte first (PS3.5 G)."""
    segments = []
    for plane in (image >> 8, image & 0xFF):
        raw = plane.astype(np.uint8).tobytes()
        runs = [raw[start : start + 128] for start in range(0, len(raw), 128)]
        packed = b"".join(bytes([len(run) - 1]) + run for run in runs)
        segments.append(packed + b"\x80" * (len(packed) % 2))
    offsets = [64, 64 + len(segments[0])]
    return struct.pack("<16I", 2, *offsets, *[0] * 13) + b"".join(segments)


SITUATIONS |= {
    "implicit_little_endian": encoded(ImplicitVRLittleEndian),
    "explicit_big_endian": encoded(ExplicitVRBigEndian),
    "deflated": encoded(DeflatedExplicitVRLittleEndian),
    "rle": compressed(RLELossless, rle),
    "jpeg_lossless_first_order": compressed(JPEGLosslessSV1, lossless(1)),
    "jpeg_lossless_fragmented": compressed(JPEGLosslessSV1, lossless(1), fragments=3),
    "jpeg_ls": compressed(JPEGLSLossless, imagecodecs.jpegls_encode, bits=16),
    "jpeg_2000": compressed(JPEG2000Lossless, lambda image: imagecodecs.jpeg2k_encode(image, level=0)),
    **{f"jpeg_lossless_predictor_{n}": compressed(JPEGLossless, lossless(n)) for n in range(1, 8)},
}


@situation
def signed_jpeg_2000(folder: Path) -> Outcome:
    scan_ = Scan(body())

    def edit(ds: Dataset, index: int) -> None:
        ds.RescaleIntercept = 0
        ds.file_meta.TransferSyntaxUID = JPEG2000Lossless
        ds.PixelData = encapsulate([imagecodecs.jpeg2k_encode(scan_.hu[index].astype(np.int16), level=0)])
        ds["PixelData"].VR = "OB"

    expose(folder, scan_, edit)
    return outcome(scan_)


def short_codestream(top: int, refusals: str) -> Situation:
    """Signed pixels of 16 bits, positive up to `top`, in codestreams of 12."""

    def build(folder: Path) -> Outcome:
        scan_ = Scan(np.abs(body()) * top // 1500)

        def edit(ds: Dataset, index: int) -> None:
            ds.RescaleIntercept, ds.file_meta.TransferSyntaxUID = 0, JPEGLosslessSV1
            ds.PixelData = encapsulate([lossless(1)(scan_.hu[index].astype(np.uint16))])
            ds["PixelData"].VR = "OB"

        expose(folder, scan_, edit)
        return outcome(refusals=refusals) if refusals else outcome(scan_)

    return build


SITUATIONS |= {
    "signed_pixels_in_a_shorter_codestream": short_codestream(1400, ""),
    "signed_pixels_whose_sign_cannot_be_told": short_codestream(4000, "SliceError"),
}


def headless(syntax: str) -> Situation:
    def build(folder: Path) -> Outcome:
        truth = encoded(syntax)(folder)
        for path in folder.iterdir():
            raw = path.read_bytes()
            path.write_bytes(raw[144 + struct.unpack_from("<I", raw, 140)[0] :])
        return truth

    return build


SITUATIONS |= {
    "no_preamble_implicit": headless(ImplicitVRLittleEndian),
    "no_preamble_explicit": headless("1.2.840.10008.1.2.1"),
    "no_preamble_big_endian": headless(ExplicitVRBigEndian),
}


@situation
def meta_header_without_preamble(folder: Path) -> Outcome:
    scan_ = Scan(body())
    for path in expose(folder, scan_):
        path.write_bytes(path.read_bytes()[132:])
    return outcome(scan_)


@situation
def odd_trailing_bytes_after_pixels(folder: Path) -> Outcome:
    scan_ = Scan(body(6, 11, 15))
    expose(folder, scan_, lambda ds, i: setattr(ds, "PixelData", ds.PixelData + b"\0\0\0\0"))
    return outcome(scan_)


@situation
def padding_element_after_the_pixels(folder: Path) -> Outcome:
    scan_ = Scan(body())
    expose(folder, scan_, lambda ds, i: ds.add_new(0xFFFCFFFC, "OB", bytes(100)))
    return outcome(scan_)


@situation
def bytes_that_came_in_among_the_pixels(folder: Path) -> Outcome:
    path = expose(folder, Scan(body()))[3]
    raw = path.read_bytes()
    path.write_bytes(raw[:-100] + b"\x12\x34" + raw[-100:])
    return outcome(refusals="SliceError")


@situation
def long_header_with_icon_and_nested_geometry(folder: Path) -> Outcome:
    scan_ = Scan(body())

    def edit(ds: Dataset, index: int) -> None:
        nested = Dataset()
        nested.ImagePositionPatient, nested.ImageOrientationPatient = [9, 9, 9], [0, 1, 0, 0, 0, 1]
        nested.PixelSpacing, nested.Rows, nested.Columns = [9, 9], 3, 3
        nested.SeriesInstanceUID, nested.PixelData = "9.9.9", b"\x10\x00\xe0\x7f" * 6
        nested["PixelData"].VR = "OW"
        ds.SourceImageSequence, ds.IconImageSequence = Sequence([nested]), Sequence([nested])
        ds.ReferencedImageSequence = Sequence([nested, nested])
        ds["SourceImageSequence"].is_undefined_length = True
        ds.private_block(0x0021, "ACME", create=True).add_new(1, "OB", b"\xe0\x7f\x10\x00OW\0\0" * 4000)

    expose(folder, scan_, edit)
    return outcome(scan_)


# --- what lies beside the slices


@situation
def localizer_report_and_capture_in_the_series(folder: Path) -> Outcome:
    scan_ = Scan(body())
    expose(folder, scan_)
    localizer = dataset_of(scan_, 0)
    localizer.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    localizer.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    save(localizer, folder / "localizer")
    report = dataset_of(scan_, 0)
    report.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.67"
    del report.PixelData, report.Rows
    save(report, folder / "report")
    state = dataset_of(scan_, 0)
    state.SOPClassUID = "1.2.840.10008.5.1.4.1.1.11.1"
    del state.PixelData, state.Rows
    save(state, folder / "state")
    capture = dataset_of(scan_, 0)
    capture.SOPClassUID = SecondaryCaptureImageStorage
    save(capture, folder / "capture")
    (folder / "notes.txt").write_text("not DICOM")
    return outcome(scan_, aside="localizer dose-report presentation-state secondary-capture not-dicom")


@situation
def a_series_for_each_slice(folder: Path) -> Outcome:
    scan_ = Scan(body())
    expose(
        folder, scan_, stamped(SeriesInstanceUID=lambda index: f"1.2.{index * 5 % 7}", SeriesNumber=lambda index: index)
    )
    return outcome(scan_, flags="joined-series mixed-slices")


@situation
def a_series_for_each_slice_of_two_scans(folder: Path) -> Outcome:
    one = Scan(body())
    other = raised(one, 0)
    for number, scan_ in enumerate((one, other)):
        own = stamped(
            SeriesInstanceUID=lambda index, number=number: f"1.2.{number}.{index}",
            SeriesDescription=("plain", "venous")[number],
        )
        expose(folder / str(number), scan_, own)
    return outcome(one, other, flags="joined-series")


@situation
def mosaic(folder: Path) -> Outcome:
    scan_ = Scan(body(7), modality="MR", spacing=(3.0, 0.7, 0.8))
    save(mosaic_of(scan_, 3), folder / "one")
    return outcome(scan_)


@situation
def mosaic_without_private_header(folder: Path) -> Outcome:
    expose(folder, Scan(body(), modality="MR"), stamped(ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]))
    return outcome(refusals="mosaic")


def hounsfield(text: str) -> Situation:
    def build(folder: Path) -> Outcome:
        scan_ = Scan(body())
        expose(folder, scan_, stamped(RescaleType=text))
        return outcome(scan_)

    return build


SITUATIONS |= {
    f"rescale_type_{text}": hounsfield(text)
    for text in ("HU", "hu", "Houndsfield Unit", "Hounsfield Units", "HOUNSFIELD", "[HU]", "Hounsfield_Unit")
}


@situation
def slices_stored_as_captures(folder: Path) -> Outcome:
    scan_ = Scan(body())
    expose(folder, scan_, stamped(SOPClassUID=SecondaryCaptureImageStorage))
    return outcome(scan_, flags="stored-as-capture")


@situation
def captures_without_a_modality_of_slices(folder: Path) -> Outcome:
    expose(folder, Scan(body()), stamped(SOPClassUID=SecondaryCaptureImageStorage, Modality="OT"))
    return outcome(aside="secondary-capture")


@situation
def two_captures_with_a_place(folder: Path) -> Outcome:
    expose(folder, Scan(body(2)), stamped(SOPClassUID=SecondaryCaptureImageStorage))
    return outcome(aside="secondary-capture")


@situation
def identical_file_twice(folder: Path) -> Outcome:
    scan_ = Scan(body())
    path = expose(folder, scan_)[2]
    (folder / "copy.dcm").write_bytes(path.read_bytes())
    return outcome(scan_, aside="duplicate")


@situation
def same_image_in_another_encoding(folder: Path) -> Outcome:
    scan_ = Scan(body())
    expose(folder, scan_, stamped(SOPInstanceUID=lambda i: f"1.2.3.{i}"))
    copy = dataset_of(scan_, 2)
    copy.SOPInstanceUID, copy.file_meta.TransferSyntaxUID = "1.2.3.2", ImplicitVRLittleEndian
    save(copy, folder / "copy")
    return outcome(scan_, aside="duplicate")


@situation
def same_image_under_another_uid(folder: Path) -> Outcome:
    scan_ = Scan(body())
    expose(folder, scan_)
    save(dataset_of(scan_, 2), folder / "copy")
    return outcome(scan_, aside="duplicate")


@situation
def whole_series_sent_again_under_new_uids(folder: Path) -> Outcome:
    scan_ = Scan(body())
    expose(folder, scan_)
    expose(folder / "again", scan_)
    return outcome(scan_, aside="duplicate")


@situation
def two_images_under_one_uid(folder: Path) -> Outcome:
    scan_ = Scan(body())
    expose(folder, scan_, stamped(SOPInstanceUID=lambda i: f"1.2.3.{i}"))
    other = dataset_of(raised(scan_, 0), 2)
    other.SOPInstanceUID = "1.2.3.2"
    save(other, folder / "other")
    return outcome(refusals="conflicting-duplicates repeated-positions")


@situation
def other_image_at_one_position(folder: Path) -> Outcome:
    scan_ = Scan(body())
    expose(folder, scan_)
    save(dataset_of(raised(scan_, 0), 2), folder / "other")
    return outcome(refusals="repeated-positions")


@situation
def truncated_last_slice(folder: Path) -> Outcome:
    path = expose(folder, Scan(body()))[-1]
    path.write_bytes(path.read_bytes()[:-100])
    return outcome(refusals="truncated")


@situation
def cut_copy_beside_the_whole_file(folder: Path) -> Outcome:
    scan_ = Scan(body())
    paths = expose(folder, scan_)
    (folder / "AAA").write_bytes(paths[1].read_bytes()[:-100])
    (folder / "ZZZ").write_bytes(paths[4].read_bytes()[:-200])
    return outcome(scan_, aside="truncated")


@situation
def slice_cut_inside_its_header(folder: Path) -> Outcome:
    scan_ = Scan(body())
    path = expose(folder, scan_)[-1]
    path.write_bytes(path.read_bytes()[:620])
    whole = replace(scan_, hu=scan_.hu[:-1])
    return outcome(whole, flags="broken-neighbour", aside="unreadable")


@situation
def file_cut_inside_its_meta_header(folder: Path) -> Outcome:
    scan_ = Scan(body())
    path = expose(folder, scan_)[0]
    (folder / "other").mkdir()
    (folder / "other" / "IM9").write_bytes(path.read_bytes()[:140])
    return outcome(scan_, aside="unreadable")


@situation
def slice_cut_after_its_series_uid(folder: Path) -> Outcome:
    path = expose(folder, Scan(body()))[-1]
    raw = path.read_bytes()
    path.write_bytes(raw[: raw.index(b"\x28\x00\x02\x00US")])
    return outcome(refusals="no-pixel-data")


@situation
def empty_file_among_the_slices(folder: Path) -> Outcome:
    scan_ = Scan(body())
    expose(folder, scan_)[-1].write_bytes(b"")
    return outcome(replace(scan_, hu=scan_.hu[:-1]), flags="broken-neighbour", aside="empty")


@situation
def damaged_codestream(folder: Path) -> Outcome:
    compressed(JPEGLosslessSV1, lossless(1))(folder)
    path = sorted(folder.iterdir())[0]
    raw = bytearray(path.read_bytes())
    start = raw.index(b"\xff\xd8\xff")
    raw[start : start + 40] = bytes(40)
    path.write_bytes(raw)
    return outcome(refusals="SliceError")


# --- several volumes under one UID


def twice(first: dict[str, Any], second: dict[str, Any], *, mm: float, flags: str = "", **scan_facts: Any) -> Situation:
    """Two scans in one series, the second moved along z, told apart by attributes."""

    def build(folder: Path) -> Outcome:
        one = Scan(body(8), **scan_facts)
        other = raised(one, mm)
        expose(folder, one, stamped(**first))
        other_numbers = {"InstanceNumber": lambda index: 101 + index, **second}
        expose(folder / "more", other, stamped(**other_numbers))
        return outcome(one, other, flags=flags)

    return build


def times(start: int) -> Callable[[int], str]:
    return lambda index: f"1015{start + index * 0.25:05.2f}"


HALF, ABUT = 1.25, 8 * 2.5
SITUATIONS |= {
    "phases_coincide_acquisition": twice({"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}, mm=0),
    "phases_coincide_times": twice({"AcquisitionTime": times(0)}, {"AcquisitionTime": times(30)}, mm=0),
    "phases_coincide_temporal_position": twice(
        {"TemporalPositionIdentifier": 1}, {"TemporalPositionIdentifier": 2}, mm=0
    ),
    "phases_coincide_agent": twice({}, {"ContrastBolusAgent": "Iohexol"}, mm=0),
    "phases_coincide_instance_only": twice({}, {}, mm=0, flags="told-apart-by-number"),
    "phases_interleave_acquisition": twice({"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}, mm=HALF),
    "phases_interleave_times": twice({"AcquisitionTime": times(0)}, {"AcquisitionTime": times(30)}, mm=HALF),
    "phases_interleave_instance_only": twice({}, {}, mm=HALF, flags="told-apart-by-number"),
    "kernels_coincide": twice({"ConvolutionKernel": "B30f"}, {"ConvolutionKernel": "B70f"}, mm=0),
    "echoes": twice({"EchoTime": 2.3}, {"EchoTime": 4.6}, mm=0, modality="MR"),
    "magnitude_and_phase": twice(
        {"ImageType": ["ORIGINAL", "PRIMARY", "M"]}, {"ImageType": ["ORIGINAL", "PRIMARY", "P"]}, mm=0, modality="MR"
    ),
    "b_values": twice({"DiffusionBValue": 50.0}, {"DiffusionBValue": 800.0}, mm=0, modality="MR"),
    "trigger_times": twice({"TriggerTime": 10.0}, {"TriggerTime": 400.0}, mm=0, modality="MR"),
    "frames_of_reference": twice({"FrameOfReferenceUID": "1.5"}, {"FrameOfReferenceUID": "1.6"}, mm=0),
}


@situation
def phases_that_abut_are_one_volume_and_flagged(folder: Path) -> Outcome:
    one = Scan(body(8))
    other = raised(one, ABUT)
    expose(folder, one, stamped(SeriesTime="101400", AcquisitionNumber=1))
    later = {"SeriesTime": "101600", "AcquisitionNumber": 2, "ContrastBolusAgent": "Iohexol"}
    expose(folder / "more", other, stamped(InstanceNumber=lambda index: 101 + index, **later))
    return outcome(replace(one, hu=np.concatenate([one.hu, other.hu])), flags="two-acquisitions")


@situation
def private_b_values(folder: Path) -> Outcome:
    one = Scan(body(8), modality="MR")
    other = raised(one, 0)
    for scan_, b_value in ((one, 50), (other, 800)):

        def edit(ds: Dataset, index: int, b_value: int = b_value) -> None:
            ds.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", b_value)

        expose(folder / str(b_value), scan_, edit)
    return outcome(one, other)


@situation
def phases_coincide_up_to_rounding_noise(folder: Path) -> Outcome:
    one = Scan(body(8), spacing=(1.25, 0.7, 0.8), origin=(0.0, 0.0, 0.05))
    other = raised(one, 1e-5)
    expose(folder, one, stamped(AcquisitionNumber=1))
    expose(folder / "more", other, stamped(AcquisitionNumber=2))
    return outcome(one, other)


@situation
def step_and_shoot_stays_whole(folder: Path) -> Outcome:
    scan_ = Scan(body(8))
    expose(folder, scan_, stamped(AcquisitionNumber=lambda i: i + 1, AcquisitionTime=lambda i: f"1015{2 * i:02d}"))
    return outcome(scan_)


@situation
def step_and_shoot_in_slabs_stays_whole(folder: Path) -> Outcome:
    scan_ = Scan(body(12))
    slabs = stamped(AcquisitionNumber=lambda i: i // 4 + 1, AcquisitionTime=lambda i: f"1015{5 * (i // 4):02d}")
    expose(folder, scan_, slabs)
    return outcome(scan_)


@situation
def two_acquisitions_one_behind_the_other_are_flagged(folder: Path) -> Outcome:
    scan_ = Scan(body(12))
    blocks = stamped(AcquisitionNumber=lambda i: i // 6 + 1, AcquisitionTime=lambda i: f"1015{40 * (i // 6):02d}")
    expose(folder, scan_, blocks)
    return outcome(scan_, flags="two-acquisitions")


@situation
def passes_of_mr_told_apart_by_number_alone_stay_whole_and_are_flagged(folder: Path) -> Outcome:
    scan_ = Scan(body(16), modality="MR")
    expose(folder, scan_, stamped(InstanceNumber=lambda i: 1 + i // 2 + 100 * (i % 2)))
    return outcome(scan_, flags="told-apart-by-number")


@situation
def repeated_positions_without_numbers_are_never_mixed(folder: Path) -> Outcome:
    one = Scan(body(8))
    for number, scan_ in enumerate((one, raised(one, 0))):
        expose(folder / str(number), scan_, stamped(InstanceNumber=None))
    return outcome(refusals="repeated-positions")


def blocks(**values: Any) -> Situation:
    """Twelve slices in two blocks one behind the other, which something makes look like two scans."""

    def build(folder: Path) -> Outcome:
        scan_ = Scan(body(12))
        expose(folder, scan_, stamped(**values))
        return outcome(scan_, flags="two-acquisitions")

    return build


SITUATIONS |= {
    "blocks_with_a_long_pause": blocks(AcquisitionTime=lambda i: f"1015{i // 6 * 40 + i % 6:02d}"),
    "blocks_of_two_acquisitions_without_times": blocks(AcquisitionNumber=lambda i: i // 6 + 1),
    "blocks_of_two_kinds_of_image": blocks(ImageType=lambda i: [("ORIGINAL", "DERIVED")[i // 6], "PRIMARY", "AXIAL"]),
    "blocks_with_a_gap_in_their_numbers": blocks(InstanceNumber=lambda i: i + 1 + i // 6 * 94),
}


@situation
def lossy_jpeg(folder: Path) -> Outcome:
    scan_ = Scan(np.full((4, 16, 16), 76))
    encode = lambda image: imagecodecs.jpeg8_encode(image.astype(np.uint8), level=100)  # noqa: E731

    def edit(ds: Dataset, index: int) -> None:
        ds.BitsAllocated = ds.BitsStored = 8
        ds.HighBit, ds.PixelRepresentation, ds.RescaleIntercept = 7, 0, 0
        ds.file_meta.TransferSyntaxUID, ds.LossyImageCompression = "1.2.840.10008.1.2.4.50", "01"
        ds.PixelData = encapsulate([encode(scan_.hu[index])])
        ds["PixelData"].VR = "OB"

    expose(folder, scan_, edit)
    return outcome(scan_, flags="lossy")


@situation
def changing_exposure_stays_whole(folder: Path) -> Outcome:
    scan_ = Scan(body(8))
    expose(folder, scan_, stamped(XRayTubeCurrent=lambda i: 100 + i // 4, Exposure=lambda i: i, KVP=120))
    return outcome(scan_)


@situation
def interleaved_mr_packages_stay_whole(folder: Path) -> Outcome:
    scan_ = Scan(body(8), modality="MR")
    packages = stamped(AcquisitionNumber=lambda i: i % 2 + 1, AcquisitionTime=lambda i: f"10{15 + i % 2}00")
    expose(folder, scan_, packages)
    return outcome(scan_)


@situation
def axial_and_coronal_views_in_one_series(folder: Path) -> Outcome:
    one = Scan(body(6))
    other = replace(one, hu=body(6, 12, 16, seed=4), directions=((1.0, 0.0, 0.0), (0.0, 0.0, -1.0)))
    expose(folder, one)
    expose(folder / "coronal", other)
    return outcome(one, other)


@situation
def two_matrices_in_one_series(folder: Path) -> Outcome:
    one, uid = Scan(body(6)), generate_uid()
    other = replace(one, hu=body(6, 10, 10))
    for scan_ in (one, other):
        scan_.series_uid = uid
    expose(folder, one)
    expose(folder / "other", other)
    return outcome(one, other)


@situation
def two_series_of_one_number_and_description(folder: Path) -> Outcome:
    one = Scan(body(6))
    other = replace(raised(one, 3), series_uid=generate_uid())
    expose(folder, one)
    expose(folder / "other", other)
    return outcome(one, other)


@situation
def one_series_uid_in_two_patients(folder: Path) -> Outcome:
    one = Scan(body(6))
    other = raised(one, 0)
    expose(folder, one)
    expose(folder / "other", other, stamped(PatientID="HN-2"))
    return outcome(one, other, flags="shared-uid")


@situation
def series_without_uids(folder: Path) -> Outcome:
    scan_ = Scan(body(6))
    expose(folder, scan_, stamped(SeriesInstanceUID="", StudyInstanceUID="", FrameOfReferenceUID=""))
    return outcome(scan_)


# --- enhanced multi-frame


def enhanced(
    scans: list[Scan], *, order: list[tuple[int, int]], rescales: list[tuple[float, float]] | None = None
) -> FileDataset:
    """One object with all slices of some scans as frames, in any order; frames tell (scan, slice)."""
    ds = dataset_of(scans[0], 0)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope"):
        delattr(ds, keyword)
    del ds.RescaleIntercept, ds.SliceThickness, ds.AcquisitionNumber, ds.InstanceNumber
    shared = Dataset()
    shared.PixelMeasuresSequence = [Dataset()]
    shared.PixelMeasuresSequence[0].PixelSpacing = list(scans[0].spacing[1:])
    shared.PixelMeasuresSequence[0].SliceThickness = 3.0
    shared.PlaneOrientationSequence = [Dataset()]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [*scans[0].directions[0], *scans[0].directions[1]]
    ds.SharedFunctionalGroupsSequence = [shared]
    frames, stored = [], []
    for number, index in order:
        slope, intercept = rescales[index] if rescales else (1.0, -1024.0)
        frame = Dataset()
        frame.PlanePositionSequence = [Dataset()]
        frame.PlanePositionSequence[0].ImagePositionPatient = scans[number].position(index)
        frame.FrameContentSequence = [Dataset()]
        frame.FrameContentSequence[0].TemporalPositionIndex = number + 1
        frame.PixelValueTransformationSequence = [Dataset()]
        frame.PixelValueTransformationSequence[0].RescaleSlope = slope
        frame.PixelValueTransformationSequence[0].RescaleIntercept = intercept
        frame.PixelValueTransformationSequence[0].RescaleType = "HU"
        frames.append(frame)
        stored.append(np.rint((scans[number].hu[index] - intercept) / slope))
    ds.PerFrameFunctionalGroupsSequence, ds.NumberOfFrames = frames, len(frames)
    set_stored(ds, np.stack(stored))
    return ds


SHUFFLED = [(0, index) for index in (3, 0, 5, 1, 4, 2)]


@situation
def enhanced_with_shuffled_frames(folder: Path) -> Outcome:
    scan_ = Scan(body())
    save(enhanced([scan_], order=SHUFFLED), folder / "enhanced")
    return outcome(scan_)


@situation
def enhanced_with_a_rescale_in_every_frame(folder: Path) -> Outcome:
    rescales = [(0.5, -1024.0), (1.0, -1000.0), (0.25, 0.0), (1.0, 0.0), (0.5, 100.0), (1.0, -1.0)]
    scan_ = Scan(body())
    save(enhanced([scan_], order=SHUFFLED, rescales=rescales), folder / "enhanced")
    return outcome(scan_)


@situation
def enhanced_with_two_temporal_positions(folder: Path) -> Outcome:
    one = Scan(body())
    other = raised(one, 0)
    order = [(number, index) for _, index in SHUFFLED for number in (1, 0)]
    save(enhanced([one, other], order=order), folder / "enhanced")
    return outcome(one, other)


@situation
def enhanced_in_jpeg_2000(folder: Path) -> Outcome:
    scan_ = Scan(body())
    ds = enhanced([scan_], order=SHUFFLED)
    frames = [scan_.hu[index].astype(np.int16) + 1024 for _, index in SHUFFLED]
    ds.file_meta.TransferSyntaxUID = JPEG2000Lossless
    ds.PixelData = encapsulate([imagecodecs.jpeg2k_encode(frame, level=0) for frame in frames])
    ds["PixelData"].VR = "OB"
    save(ds, folder / "enhanced")
    return outcome(scan_)


@situation
def enhanced_with_a_frame_missing(folder: Path) -> Outcome:
    save(enhanced([Scan(body())], order=[frame for frame in SHUFFLED if frame[1] != 3]), folder / "enhanced")
    return outcome(refusals="missing-slices")


@situation
def enhanced_that_promises_more_frames(folder: Path) -> Outcome:
    ds = enhanced([Scan(body())], order=SHUFFLED)
    ds.NumberOfFrames = 9
    save(ds, folder / "enhanced")
    return outcome(refusals="truncated frame-count")


@situation
def enhanced_that_describes_no_frame(folder: Path) -> Outcome:
    ds = enhanced([Scan(body())], order=SHUFFLED)
    ds.PerFrameFunctionalGroupsSequence = []
    save(ds, folder / "enhanced")
    return outcome(refusals="frames-without-place no-position no-orientation no-pixel-spacing")


# --- containers


def packed(pack: Callable[[Path, list[Path]], None]) -> Situation:
    def build(folder: Path) -> Outcome:
        scan_ = Scan(body())
        paths = expose(folder / "loose", scan_)
        pack(folder, paths)
        for path in paths:
            path.unlink()
        return outcome(scan_)

    return build


def into_zip(folder: Path, paths: list[Path]) -> None:
    with zipfile.ZipFile(folder / "export.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            archive.write(path, f"../../{path.name}")


def into_tar(folder: Path, paths: list[Path]) -> None:
    with tarfile.open(folder / "export.tgz", "w:gz") as archive:
        for path in paths:
            archive.add(path, f"/absolute/{path.name}")


@situation
def each_slice_in_a_gzip_of_its_own(folder: Path) -> Outcome:
    scan_ = Scan(body())
    for path in expose(folder, scan_):
        path.with_suffix(".dcm.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    (folder / "volume.nii.gz").write_bytes(gzip.compress(struct.pack("<i", 348) + bytes(1000)))
    (folder / "table.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n"))
    return outcome(scan_, aside="not-dicom")


def gzip_broken(breaking: Callable[[bytes], bytes]) -> Situation:
    """The last slice lies in a gzip that is damaged."""

    def build(folder: Path) -> Outcome:
        scan_ = Scan(body())
        path = expose(folder, scan_)[-1]
        path.write_bytes(breaking(gzip.compress(path.read_bytes())))
        return outcome(replace(scan_, hu=scan_.hu[:-1]), flags="broken-neighbour", aside="unreadable")

    return build


SITUATIONS |= {
    "gzip_damaged_at_its_beginning": gzip_broken(lambda packed: packed[:30] + bytes(40) + packed[70:]),
    "gzip_cut_short": gzip_broken(lambda packed: packed[:-300]),
    "gzip_with_a_false_checksum": gzip_broken(lambda packed: packed[:-8] + b"\1\2\3\4" + packed[-4:]),
    "gzip_that_claims_gigabytes": gzip_broken(lambda packed: packed[:-4] + b"\xff\xff\xff\x7f"),
    "gzip_of_several_files": gzip_broken(lambda packed: packed + packed),
}
SITUATIONS |= {"zip_with_paths_that_lead_outside": packed(into_zip), "tar_with_absolute_paths": packed(into_tar)}


@situation
def links_in_a_circle(folder: Path) -> Outcome:
    scan_ = Scan(body())
    expose(folder / "a" / "b", scan_)
    (folder / "a" / "b" / "back").symlink_to(folder / "a")
    (folder / "gone").symlink_to(folder / "nowhere")
    return outcome(scan_, aside="dangling-link")


# --- the test


@pytest.mark.parametrize("name", sorted(SITUATIONS))
def test_situation_is_converted_exactly_or_refused_for_its_reason(name, tmp_path):
    expected = SITUATIONS[name](tmp_path)
    found = scan([tmp_path])
    grouping = group_series(found.instances, found.set_aside)
    volumes, flags, refusals = [], set(), set()
    for series in grouping.series:
        codes = {problem.code for problem in series.problems if problem.severity is Severity.REFUSE}
        try:
            conversion = read_series(series)
        except PipelineError as error:
            refusals |= codes or {type(error).__name__}
            continue
        assert not codes, "a refused series gives no volume"
        assert len(conversion.slices) == conversion.volume.geometry.shape[0]
        volumes.append(conversion.volume)
        flags |= {problem.code for problem in conversion.problems if problem.severity is Severity.FLAG}
    assert_same_volumes(volumes, expected.truths)
    assert (flags, refusals) == (expected.flags, expected.refusals)
    assert {fate.code for fate in (*grouping.set_aside, *found.set_aside)} == expected.aside
    used = {slice_.source for series in grouping.series for slice_ in series.instances}
    fates = [fate.source for fate in (*grouping.set_aside, *found.set_aside)]
    assert len(used) + len(fates) == len(used | set(fates)), "no file has two fates"
    assert used | set(fates) >= {instance.source for instance in found.instances}, "no file is lost"
