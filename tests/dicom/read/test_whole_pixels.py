"""Pixels that are not whole are refused, in every transfer syntax; whole ones in odd but legal layouts are read."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pipeline.core.pseudonyms import Pseudonyms
from pipeline.dicom.read.codestreams import end_of
from pipeline.dicom.read.damage import DamagedError
from pipeline.dicom.read.entropy import require_all_bits
from pipeline.dicom.read.syntaxes import DEFLATED, GE_PRIVATE, SYNTAXES, Codec
from pipeline.dicom.tree import ConvertReport, read_tree
from pipeline.image.nifti import content_sha256
from tests.dicom.scanner import Scan, dataset_of, save
from tests.dicom.test_situations import enhanced, rle, save_big_endian

Image = NDArray[np.uint16]
ROWS, COLUMNS, SLICES, BROKEN = 40, 56, 3, 1
IMAGES = np.random.default_rng(5).normal(1200, 25, (SLICES, ROWS, COLUMNS)).astype(np.uint16) + (
    np.add.outer(np.arange(ROWS) * 11, np.arange(COLUMNS) * 7).astype(np.uint16)
)
"""Twelve bits with noise, so that every part of a codestream holds something."""

JPEG_2000_ENDS = ("90", "91", "201", "202", "203")


def jpeg(**options: object) -> Callable[[Image], bytes]:
    return lambda image: imagecodecs.jpeg8_encode(image, bitspersample=12, **options)


def eight_bits(image: Image) -> NDArray[np.uint8]:
    return (image >> 4).astype(np.uint8)


ENCODERS: dict[str, Callable[[Image], bytes]] = {
    "1.2.840.10008.1.2.5": rle,
    "1.2.840.10008.1.2.4.50": lambda image: imagecodecs.jpeg8_encode(eight_bits(image), level=95),
    "1.2.840.10008.1.2.4.51": jpeg(level=95),
    "1.2.840.10008.1.2.4.57": jpeg(lossless=True, predictor=6),
    "1.2.840.10008.1.2.4.70": jpeg(lossless=True, predictor=1),
    "1.2.840.10008.1.2.4.80": imagecodecs.jpegls_encode,
    "1.2.840.10008.1.2.4.81": lambda image: imagecodecs.jpegls_encode(image, level=2),
    **{
        f"1.2.840.10008.1.2.4.{end}": lambda image: imagecodecs.jpeg2k_encode(image, level=0, codecformat="j2k")
        for end in JPEG_2000_ENDS
    },
    "1.2.840.10008.1.2.4.110": lambda image: imagecodecs.jpegxl_encode(image, lossless=True, bitspersample=12),
    "1.2.840.10008.1.2.4.111": lambda image: imagecodecs.jpegxl_encode(image, lossless=True, usecontainer=True),
    "1.2.840.10008.1.2.4.112": lambda image: imagecodecs.jpegxl_encode(image, distance=0.5, bitspersample=12),
}
"""No encoder for high-throughput JPEG 2000 is at hand: its names stand over plain codestreams, which are read alike."""


@cache
def codestream_of(uid: str, index: int) -> bytes:
    return ENCODERS[uid](IMAGES[index])


NATIVE = [uid for uid, syntax in SYNTAXES.items() if syntax.codec is Codec.NATIVE]


WITH_AN_END = {Codec.JPEG, Codec.JPEG_LS, Codec.JPEG_2000}
"""Whose codestreams end with a marker."""


def item(content: bytes, length: int | None = None) -> bytes:
    return b"\xfe\xff\x00\xe0" + struct.pack("<I", len(content) if length is None else length) + content


END = b"\xfe\xff\xdd\xe0\0\0\0\0"


@dataclass
class Pixels:
    """The value of PixelData in parts: a table, fragments by frame, and what comes after."""

    frames: list[list[bytes]]
    table: bytes = b""
    end: bytes = END

    def encoded(self) -> bytes:
        fragments = [fragment for frame in self.frames for fragment in frame]
        return item(self.table) + b"".join(map(item, fragments)) + self.end

    def offsets(self) -> bytes:
        place, places = 0, []
        for frame in self.frames:
            places.append(place)
            place += sum(len(fragment) + 8 for fragment in frame)
        return struct.pack(f"<{len(places)}I", *places)


def cut_up(codestream: bytes, count: int) -> list[bytes]:
    """Fragments of even length; the last is filled up with a zero."""
    size = len(codestream) // count // 2 * 2
    parts = [codestream[size * number : size * (number + 1)] for number in range(count - 1)]
    last = codestream[size * (count - 1) :]
    return [*parts, last + b"\0" * (len(last) % 2)]


def write(folder: Path, uid: str, pixels_of: Callable[[int], bytes]) -> list[Path]:
    """One file a slice, the value of PixelData as given."""
    scan_ = Scan(IMAGES.astype(np.int32) - 1024)
    paths = []
    for index in range(SLICES):
        ds = dataset_of(scan_, index)
        eight = uid.endswith(".4.50")
        ds.BitsAllocated = 8 if eight else 16
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = (8, 7, 0) if eight else (12, 11, 0)
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.PixelData = b""
        ds["PixelData"].VR = "OB"
        path = save(ds, folder / f"IM{index}")
        paths.append(with_pixels(path, uid, pixels_of(index)))
    return paths


def with_pixels(path: Path, uid: str, pixels: bytes) -> Path:
    """A file of native pixels turned into one of another syntax, with encapsulated pixels."""
    raw = path.read_bytes()
    start = raw.index(b"\xe0\x7f\x10\x00OB") + 8
    native = b"\x02\x00\x10\x00UI\x14\x00" + ExplicitVRLittleEndian.encode() + b"\0"
    padded = uid.encode() + b"\0" * (len(uid) % 2)
    meta = b"\x02\x00\x10\x00UI" + struct.pack("<H", len(padded)) + padded
    length = struct.unpack_from("<I", raw, 140)[0] + len(meta) - len(native)
    head = raw[:140] + struct.pack("<I", length) + raw[144:start].replace(native, meta, 1)
    path.write_bytes(head + b"\xff\xff\xff\xff" + pixels)
    return path


def report_of(folder: Path) -> ConvertReport:
    return read_tree([folder], Pseudonyms(bytes(32)), keep=lambda *_: "", content_sha256=content_sha256)


def assert_refused(report: ConvertReport, path: Path) -> None:
    """Nothing is converted in silence, and the table of files names the file at fault."""
    assert {row["status"] for row in report.series} == {"refused"}
    statuses = {row["file"]: row["status"] for row in report.files}
    assert statuses.pop(path.name) == "unreadable"
    assert "unreadable" not in statuses.values()


def assert_read(report: ConvertReport) -> None:
    (row,) = report.series
    assert row["status"] == "converted" or row["reason"].startswith("lossy")
    assert row["shape"] == f"{SLICES}x{ROWS}x{COLUMNS}"


def without(fragments: list[bytes], number: int) -> list[bytes]:
    return [fragment for place, fragment in enumerate(fragments) if place != number % len(fragments)]


def short_of_its_end(codestream: bytes) -> list[bytes]:
    """The same, its last two bytes lost, before it was cut up."""
    return cut_up(codestream[:-2], 5)


Damage = Callable[[bytes], Pixels]
DAMAGES: dict[str, Damage] = {
    "first fragment lost": lambda c: Pixels([without(cut_up(c, 5), 0)]),
    "middle fragment lost": lambda c: Pixels([without(cut_up(c, 5), 2)]),
    "last fragment lost": lambda c: Pixels([without(cut_up(c, 5), -1)]),
    "all fragments lost": lambda c: Pixels([[]]),
    "middle fragment twice": lambda c: Pixels([[*(f := cut_up(c, 5))[:3], *f[2:]]]),
    "last fragment twice": lambda c: Pixels([[*(f := cut_up(c, 5)), f[-1]]]),
    "whole image twice": lambda c: Pixels([[*cut_up(c, 5), *cut_up(c, 5)]]),
    "middle fragment empty": lambda c: Pixels([[b"" if n == 2 else f for n, f in enumerate(cut_up(c, 5))]]),
    "bytes after the image": lambda c: Pixels([[*cut_up(c, 1), b"\x12\x34\x56\x78"]]),
    "end of the image lost": lambda c: Pixels([short_of_its_end(c)]),
    "no end of the fragments": lambda c: Pixels([cut_up(c, 5)], end=b""),
    "half an end of the fragments": lambda c: Pixels([cut_up(c, 5)], end=END[:5]),
    "other bytes after the fragments": lambda c: Pixels([cut_up(c, 5)], end=END + b"\x01\x02\x03\x04\x05\x06\x07\x08"),
    "something between the fragments": lambda c: Pixels([cut_up(c, 5)], end=b"\x10\x00\x20\x00abcd" + END),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("uid", ENCODERS)
def test_one_damaged_slice_is_refused_and_named(tmp_path, uid, damage):
    def pixels(index: int) -> bytes:
        codestream = codestream_of(uid, index)
        return (damage(codestream) if index == BROKEN else Pixels([cut_up(codestream, 5)])).encoded()

    path = write(tmp_path, uid, pixels)[BROKEN]
    assert_refused(report_of(tmp_path), path)


@pytest.mark.parametrize("cut", [1, 2, 7, 8, 9, 12, 0.02, 0.3, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("uid", ENCODERS)
def test_a_file_cut_anywhere_in_its_pixels_is_refused_and_named(tmp_path, uid, cut):
    path = write(tmp_path, uid, lambda i: Pixels([cut_up(codestream_of(uid, i), 3)]).encoded())[BROKEN]
    raw = path.read_bytes()
    pixels = len(raw) - raw.index(b"\xe0\x7f\x10\x00OB") - 12
    path.write_bytes(raw[: -(cut if isinstance(cut, int) else int(cut * pixels))])
    assert_refused(report_of(tmp_path), path)


LAYOUTS: dict[str, Damage] = {
    "one fragment": lambda c: Pixels([cut_up(c, 1)]),
    "five fragments": lambda c: Pixels([cut_up(c, 5)]),
    "an offset table": lambda c: Pixels([cut_up(c, 2)], table=bytes(4)),
    "an offset table that nobody needs": lambda c: Pixels([cut_up(c, 2)], table=b"\x07\0\0\0"),
    "zeros after the image": lambda c: Pixels([[*cut_up(c, 2), bytes(6)]]),
    "zeros after the end": lambda c: Pixels([cut_up(c, 2)], end=END + bytes(300)),
    "one zero after the end": lambda c: Pixels([cut_up(c, 2)], end=END + b"\0"),
    "an element after the end": lambda c: Pixels([cut_up(c, 2)], end=END + b"\xfc\xff\xfc\xffOB\0\0\4\0\0\0abcd"),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("uid", ENCODERS)
def test_whole_slices_in_odd_layouts_are_read(tmp_path, uid, layout):
    write(tmp_path, uid, lambda index: layout(codestream_of(uid, index)).encoded())
    assert_read(report_of(tmp_path))


# --- several frames in one object


def frames_of_one_object(tmp_path: Path, uid: str, pixels: Pixels) -> Path:
    ds = enhanced([Scan(IMAGES.astype(np.int32) - 1024)], order=[(0, index) for index in range(SLICES)])
    eight = uid.endswith(".4.50")
    ds.BitsAllocated = 8 if eight else 16
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = (8, 7, 0) if eight else (12, 11, 0)
    ds.file_meta.TransferSyntaxUID, ds.PixelData = ExplicitVRLittleEndian, b""
    ds["PixelData"].VR = "OB"
    return with_pixels(save(ds, tmp_path / "object"), uid, pixels.encoded())


def frames(uid: str, fragments: int) -> list[list[bytes]]:
    return [cut_up(codestream_of(uid, index), fragments) for index in range(SLICES)]


def tabled(frames_: list[list[bytes]], shift: int = 0) -> Pixels:
    pixels = Pixels(frames_)
    offsets = np.frombuffer(pixels.offsets(), "<u4").copy()
    offsets[1:] += np.uint32(shift)
    pixels.table = offsets.tobytes()
    return pixels


FRAME_DAMAGES: dict[str, Callable[[str], Pixels]] = {
    "a frame cut": lambda uid: Pixels([f[:-1] if n == 1 else f for n, f in enumerate(frames(uid, 3))]),
    "a frame without its beginning": lambda uid: Pixels([f[1:] if n == 1 else f for n, f in enumerate(frames(uid, 3))]),
    "a frame lost": lambda uid: Pixels(frames(uid, 1)[:-1]),
    "a frame too many": lambda uid: Pixels([*frames(uid, 1), frames(uid, 1)[0]]),
    "a table of places between fragments": lambda uid: tabled(frames(uid, 2), shift=6),
    "a table of too few frames": lambda uid: Pixels(frames(uid, 2), table=Pixels(frames(uid, 2)).offsets()[:-4]),
    "a table that goes back": lambda uid: Pixels(frames(uid, 2), table=Pixels(frames(uid, 2)).offsets()[::-1]),
}
FRAME_LAYOUTS: dict[str, Callable[[str], Pixels]] = {
    "a fragment a frame, no table": lambda uid: Pixels(frames(uid, 1)),
    "a fragment a frame, with a table": lambda uid: tabled(frames(uid, 1)),
    "three fragments a frame, with a table": lambda uid: tabled(frames(uid, 3)),
}


@pytest.mark.parametrize("damage", FRAME_DAMAGES.values(), ids=FRAME_DAMAGES)
@pytest.mark.parametrize("uid", ENCODERS)
def test_an_object_with_one_damaged_frame_is_refused_and_named(tmp_path, uid, damage):
    path = frames_of_one_object(tmp_path, uid, damage(uid))
    assert_refused(report_of(tmp_path), path)


@pytest.mark.parametrize("layout", FRAME_LAYOUTS.values(), ids=FRAME_LAYOUTS)
@pytest.mark.parametrize("uid", ENCODERS)
def test_whole_frames_in_odd_layouts_are_read(tmp_path, uid, layout):
    frames_of_one_object(tmp_path, uid, layout(uid))
    assert_read(report_of(tmp_path))


@pytest.mark.parametrize("uid", [uid for uid in ENCODERS if SYNTAXES[uid].codec is not Codec.RLE])
def test_frames_of_several_fragments_need_no_table_where_codestreams_show_their_beginning(tmp_path, uid):
    frames_of_one_object(tmp_path, uid, Pixels(frames(uid, 3)))
    assert_read(report_of(tmp_path))


# --- pixels that are not compressed


def write_native(folder: Path, uid: str, extra: bytes = b"", after: bytes = b"", odd: int = BROKEN) -> Path:
    """One file a slice; one of them with more bytes in PixelData, or after it."""
    scan_ = Scan(IMAGES.astype(np.int32) - 1024)
    for index in range(SLICES):
        ds = dataset_of(scan_, index)
        more = extra if index == odd else b""
        ds.PixelData += more
        path = folder / f"IM{index}"
        if uid == ExplicitVRBigEndian:
            ds.file_meta.TransferSyntaxUID = uid
            save_big_endian(ds, path)
        else:
            ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if uid == GE_PRIVATE else uid
            save(ds, path)
        if uid == GE_PRIVATE:
            raw, size = path.read_bytes(), len(ds.PixelData)
            swapped = np.frombuffer(raw[-size:], "<u2").byteswap().tobytes()
            path.write_bytes(raw[:-size].replace(b"1.2.840.10008.1.2\0", GE_PRIVATE.encode(), 1) + swapped)
        if index == odd:
            path.write_bytes(path.read_bytes() + after)
    return folder / f"IM{odd}"


@pytest.mark.parametrize("uid", NATIVE)
def test_native_pixels_with_zeros_after_them_are_read(tmp_path, uid):
    write_native(tmp_path, uid, extra=bytes(8), after=bytes(301))
    assert_read(report_of(tmp_path))


@pytest.mark.parametrize("uid", NATIVE)
@pytest.mark.parametrize("size", [2 * ROWS, 2 * ROWS * COLUMNS])
def test_native_pixels_with_more_than_zeros_in_their_element_are_refused_and_named(tmp_path, uid, size):
    path = write_native(tmp_path, uid, extra=b"\x21\x03" * (size // 2))
    assert_refused(report_of(tmp_path), path)


@pytest.mark.parametrize("uid", NATIVE)
def test_native_pixels_with_a_few_bytes_more_in_their_element_are_read_and_flagged(tmp_path, uid):
    write_native(tmp_path, uid, extra=b"a short note")
    (row,) = report_of(tmp_path).series
    assert (row["status"], row["reason"].partition(":")[0]) == ("flagged", "surplus-bytes")


@pytest.mark.parametrize("uid", [uid for uid in ENCODERS if SYNTAXES[uid].codec in WITH_AN_END])
def test_a_note_behind_the_codestream_in_its_last_fragment_is_flagged(tmp_path, uid):
    write(tmp_path, uid, lambda index: Pixels([cut_up(codestream_of(uid, index) + b"a short note", 1)]).encoded())
    (row,) = report_of(tmp_path).series
    assert row["status"] == "flagged"
    assert "surplus-bytes" in row["reason"]


@pytest.mark.parametrize("uid", NATIVE)
@pytest.mark.parametrize("after", [b"\x12\x34", b"\x08\x00\x05\x00CS\x02\x00AB", bytes(4) + b"\x10\x20"])
def test_native_pixels_with_other_bytes_after_them_are_refused_and_named(tmp_path, uid, after):
    path = write_native(tmp_path, uid, after=after)
    assert_refused(report_of(tmp_path), path)


@pytest.mark.parametrize("uid", NATIVE)
@pytest.mark.parametrize("cut", [1, 2, 3, 100, 0.5, 0.9])
def test_a_native_file_cut_anywhere_in_its_pixels_is_refused_and_named(tmp_path, uid, cut):
    path = write_native(tmp_path, uid)
    size = path.stat().st_size if uid == DEFLATED else ROWS * COLUMNS * 2
    raw = path.read_bytes()
    if uid == DEFLATED:
        raw = raw.rstrip(b"\0")
    path.write_bytes(raw[: -(cut if isinstance(cut, int) else int(cut * size * 0.9))])
    assert_refused(report_of(tmp_path), path)


# --- the bits of a JPEG, against an encoder of our own that also writes restart intervals

CODE_LENGTHS = [4] * 15 + [5, 6]
"""Of the sizes 0 to 16, in order of their codes."""


def encoded_losslessly(image: Image, predictor: int, restart_rows: int) -> bytes:
    """JPEG process 14 in 16 bits (ISO 10918-1 annex H), by plain arithmetic on numbers of Python."""
    out = b"\xff\xd8\xff\xc3" + struct.pack(">HBHHB3B", 11, 16, *image.shape, 1, 1, 0x11, 0)
    out += b"\xff\xc4" + struct.pack(">HB", 36, 0) + bytes([0, 0, 0, 15, 1, 1, *[0] * 10, *range(17)])
    if restart_rows:
        out += b"\xff\xdd" + struct.pack(">HH", 4, restart_rows * image.shape[1])
    out += b"\xff\xda" + struct.pack(">HB2B3B", 8, 1, 1, 0, predictor, 0, 0)
    rows = restart_rows or len(image)
    for number, first in enumerate(range(0, len(image), rows)):
        out += b"" if number == 0 else bytes([0xFF, 0xD0 + (number - 1) % 8])
        out += packed_bits(image[first : first + rows].tolist(), predictor)
    return out + b"\xff\xd9"


def packed_bits(rows: list[list[int]], predictor: int) -> bytes:
    bits = ""
    for y, row in enumerate(rows):
        for x, value in enumerate(row):
            difference = (value - predicted(rows, y, x, predictor) + 32768) % 65536 - 32768
            size = abs(difference).bit_length()
            code = format(size, "04b") if size < 15 else "11110" if size == 15 else "111110"
            low = difference if difference > 0 else difference + (1 << size) - 1
            bits += code + (format(low, f"0{size}b") if 0 < size < 16 else "")
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")


def predicted(rows: list[list[int]], y: int, x: int, predictor: int) -> int:
    if y == 0:
        return rows[0][x - 1] if x else 1 << 15
    if x == 0:
        return rows[y - 1][0]
    a, b, c = rows[y][x - 1], rows[y - 1][x], rows[y - 1][x - 1]
    return [0, a, b, c, a + b - c, a + (b - c) // 2, b + (a - c) // 2, (a + b) // 2][predictor]


images = st.tuples(st.integers(2, 9), st.integers(2, 9), st.integers(0, 2**32 - 1)).map(
    lambda facts: np.random.default_rng(facts[2]).integers(0, 1 << 16, facts[:2]).astype(np.uint16)
)


@settings(max_examples=60, deadline=None)
@given(images, st.integers(1, 7), st.integers(0, 3))
def test_bits_of_a_whole_lossless_jpeg_are_those_of_its_image(image, predictor, restart_rows):
    codestream = encoded_losslessly(image, predictor, restart_rows)
    assert end_of(codestream, Codec.JPEG) == len(codestream)
    require_all_bits(codestream, image)


@settings(max_examples=60, deadline=None)
@given(images, st.integers(0, 3), st.data())
def test_a_lossless_jpeg_short_of_its_last_bytes_never_passes(image, restart_rows, data):
    codestream = encoded_losslessly(image, 1, restart_rows)
    first = codestream.index(b"\xff\xda") + 10
    kept = data.draw(st.integers(first, len(codestream) - 3))
    damaged = codestream[:kept].removesuffix(b"\xff") + b"\xff\xd9"
    decoded = imagecodecs.jpeg8_decode(damaged)
    with pytest.raises(DamagedError):
        require_all_bits(damaged, decoded)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(20, 100), st.integers(0, 99))
def test_bits_of_a_whole_lossy_jpeg_are_those_of_its_blocks(rows, columns, level, seed):
    image = np.random.default_rng(seed).integers(0, 256, (rows, columns)).astype(np.uint8)
    codestream = imagecodecs.jpeg8_encode(image, level=level)
    require_all_bits(codestream, imagecodecs.jpeg8_decode(codestream))
