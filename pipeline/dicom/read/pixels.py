"""Stored pixel values of one slice: decoded, masked to the bits that count, sign extended.

Free decoders only: imagecodecs for JPEG, JPEG-LS, JPEG 2000, JPEG XL and RLE. Pixels are refused where a byte of
them is missing or left over: decoders make up what is not there, and pass over what they do not expect.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import pairwise
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import DicomError
from pipeline.core.records import Instance, SourceFile
from pipeline.dicom.read import header as words
from pipeline.dicom.read.by_pydicom import READ_FAULTS, read_inflated_pixels
from pipeline.dicom.read.codestreams import end_of, is_lossy, jpeg_2000_frame, jpeg_frame
from pipeline.dicom.read.damage import DamagedError
from pipeline.dicom.read.encapsulated import codestreams_in
from pipeline.dicom.read.entropy import require_all_bits
from pipeline.dicom.read.jpeg_xl import bare_codestream, jpeg_xl_frame
from pipeline.dicom.read.sources import ARCHIVE_FAULTS, MAX_FILE_BYTES, opened
from pipeline.dicom.read.syntaxes import BIG_ENDIAN, DEFLATED, GE_PRIVATE, SYNTAXES, Codec, Loss, loss_of

Decoder = Callable[[bytes], NDArray[Any]]

MAX_SLICE_PIXELS = 1 << 26
"""8192 x 8192: no tomographic slice is larger; a header that claims more is not believed."""

_PIXEL_ELEMENT = (words.PIXEL_TAG >> 16, words.PIXEL_TAG & 0xFFFF)
_RLE_HEADER_BYTES = 64
_CUT_SHORT = "it is cut short: pixels are missing"
_DECODE_FAULTS: tuple[type[Exception], ...] = (*READ_FAULTS, *ARCHIVE_FAULTS, imagecodecs.DelayedImportError)


class SliceError(DicomError):
    """One slice cannot be read.

    Attributes:
        source: which file. Private: never part of the message.
    """

    def __init__(self, message: str, source: SourceFile) -> None:
        super().__init__(message)
        self.source = source


def read_slice(slice_: Instance) -> NDArray[Any]:
    """Stored values of one slice, (rows, columns), as the header means them: masked and sign extended.

    Args:
        slice_: a single-frame object, or one frame.

    Raises:
        SliceError: when the file vanished or changed, is truncated, damaged, or encoded in no free way.
    """
    try:
        with opened(slice_.source) as file:
            return PixelReader(file).read(slice_)
    except ARCHIVE_FAULTS as error:
        raise SliceError(f"it cannot be opened ({type(error).__name__})", slice_.source) from None


def same_pixels(one: Instance, other: Instance) -> bool:
    """True when two objects hold the same stored values, however encoded."""
    try:
        return bool(np.array_equal(read_slice(one), read_slice(other)))
    except SliceError:
        return False


class PixelReader:
    """The slices in one open file, whose frames are found once for all of them.

    Attributes:
        is_lossy: True when a slice that was read is compressed with loss, by its syntax or its codestream.
        has_surplus: True when something that is not part of the image lies behind a slice that was read.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._codestreams: list[bytes] | None = None
        self._inflated: bytes | None = None
        self._mosaic: NDArray[Any] | None = None
        self._has_sound_end = False
        self.is_lossy = False
        self.has_surplus = False

    def read(self, slice_: Instance) -> NDArray[Any]:
        """Stored values of a slice in this file, as `read_slice`."""
        try:
            if words.MOSAIC_SIDE in slice_.header:
                return self._slice_of_mosaic(slice_)
            return _meaning(self._stored(slice_), slice_)
        except SliceError:
            raise
        except DamagedError as error:
            raise SliceError(str(error), slice_.source) from None
        except _DECODE_FAULTS as error:
            raise SliceError(f"its pixels cannot be read ({type(error).__name__})", slice_.source) from None

    def _slice_of_mosaic(self, slice_: Instance) -> NDArray[Any]:
        side, index = (int(slice_.number(word) or 0) for word in (words.MOSAIC_SIDE, words.FRAME_INDEX))
        rows, columns = (int(slice_.number(word) or 0) for word in ("Rows", "Columns"))
        if self._mosaic is None:
            own = {key: value for key, value in slice_.header.items() if key != words.FRAME_INDEX}
            whole = Instance(slice_.source, {**own, "Rows": side * rows, "Columns": side * columns})
            self._mosaic = _meaning(self._stored(whole), whole)
        top, left = rows * (index // side), columns * (index % side)
        return self._mosaic[top : top + rows, left : left + columns]

    def _stored(self, slice_: Instance) -> tuple[NDArray[Any], int]:
        """Values as decoded, unsigned, and how many bits of them count."""
        rows, columns, allocated = (int(slice_.number(word) or 0) for word in ("Rows", "Columns", "BitsAllocated"))
        bits = int(slice_.number("BitsStored") or allocated)
        if not 0 < rows * columns <= MAX_SLICE_PIXELS or allocated not in (8, 16, 32) or not 0 < bits <= allocated:
            raise SliceError(f"impossible image of {rows} x {columns} pixels of {allocated} bits", slice_.source)
        syntax = slice_.text(words.TRANSFER_SYNTAX)
        codec = SYNTAXES[syntax].codec if syntax in SYNTAXES else None
        if codec is None:
            raise SliceError("its transfer syntax has no free decoder here", slice_.source)
        if codec is Codec.NATIVE:
            values = self._native(slice_, rows * columns, allocated)
            unused = _unused_low_bits(slice_, allocated, bits)
            return (values >> unused if unused else values).reshape(rows, columns), bits
        codestream = self._codestream(slice_, codec)
        values, precision = _decoded(codestream, codec, slice_.source, (rows, columns, allocated))
        self.has_surplus |= bool(codestream[end_of(codestream, codec) :].strip(b"\0"))
        self.is_lossy |= loss_of(syntax) is Loss.ALWAYS or is_lossy(codestream, codec)
        if values.shape != (rows, columns):
            raise _other_size(values.shape, (rows, columns), slice_.source)
        _require_known_sign(values, slice_, precision, bits)
        return values.view(f"u{values.dtype.itemsize}"), min(bits, precision)

    def _native(self, slice_: Instance, count: int, allocated: int) -> NDArray[Any]:
        big_endian = slice_.text(words.TRANSFER_SYNTAX) in (BIG_ENDIAN, GE_PRIVATE)
        size = count * allocated // 8
        start = int(slice_.number(words.FRAME_INDEX) or 0) * size
        if big_endian and allocated == 8 and self._is_in_words(slice_):
            content = self._swapped(slice_, start, size)
        else:
            content = self._bytes(slice_, start, size)
        if len(content) < size:
            raise DamagedError(_CUT_SHORT)
        if not self._has_sound_end:
            self._require_sound_end(slice_, int(slice_.number("NumberOfFrames") or 1) * size)
        kind = f"u{allocated // 8}"
        return np.frombuffer(content, f">{kind}" if big_endian else f"<{kind}").astype(kind, copy=False)

    def _is_in_words(self, slice_: Instance) -> bool:
        """True when 8-bit pixels lie two in a big endian word (OW, PS3.5 7.3)."""
        if slice_.text(words.TRANSFER_SYNTAX) == GE_PRIVATE:
            raise SliceError("8-bit pixels in GE's private encoding: their order is unknown", slice_.source)
        self._file.seek(int(slice_.number(words.PIXEL_OFFSET) or 0) - 8)
        return self._file.read(2) == b"OW"

    def _swapped(self, slice_: Instance, start: int, size: int) -> bytes:
        """Bytes of a frame whose words are swapped; a frame of an odd size ends within a word."""
        aside = start % 2
        whole = self._bytes(slice_, start - aside, (aside + size + 1) // 2 * 2)
        return np.frombuffer(whole, "<u2").byteswap().tobytes()[aside : aside + size]

    def _require_sound_end(self, slice_: Instance, size: int) -> None:
        """Raise when the pixels are not all of their element, or bytes follow that are no element.

        Bytes that came in before or between the pixels push some past the end. Zeros may fill an element or a file up.

        Args:
            slice_: any of this file.
            size: bytes of all frames.
        """
        length = int(slice_.number(words.PIXEL_LENGTH) or 0) if self._inflated is None else len(self._inflated)
        if length < size:
            raise DamagedError(_CUT_SHORT)
        even = size + size % 2
        surplus = self._bytes(slice_, even, max(0, length - even))
        if surplus.strip(b"\0"):
            _require_less_than_a_row(surplus, slice_)
            self.has_surplus = True
        if self._inflated is None:
            order = ">" if slice_.text(words.TRANSFER_SYNTAX) == BIG_ENDIAN else "<"
            start = int(slice_.number(words.PIXEL_OFFSET) or 0)
            self._file.seek(start - 4)
            if struct.unpack(f"{order}I", self._file.read(4))[0] != length:
                raise DamagedError("its pixels claim more bytes than the file has: it is damaged")
            self._file.seek(start + length)
            _require_element(self._file.read(MAX_FILE_BYTES), order)
        self._has_sound_end = True

    def _bytes(self, slice_: Instance, start: int, size: int) -> bytes:
        if slice_.text(words.TRANSFER_SYNTAX) != DEFLATED:
            self._file.seek(int(slice_.number(words.PIXEL_OFFSET) or 0) + start)
            return self._file.read(size)
        if self._inflated is None:
            self._inflated = read_inflated_pixels(self._file)
        return self._inflated[start : start + size]

    def _codestream(self, slice_: Instance, codec: Codec) -> bytes:
        if self._codestreams is None:
            self._file.seek(int(slice_.number(words.PIXEL_OFFSET) or 0))
            content = self._file.read(MAX_FILE_BYTES)
            frames = int(slice_.number("NumberOfFrames") or 1)
            self._codestreams, end = codestreams_in(content, frames, codec)
            _require_element(content[end:], "<")
        return self._codestreams[int(slice_.number(words.FRAME_INDEX) or 0)]


def _require_less_than_a_row(surplus: bytes, slice_: Instance) -> None:
    """Raise where PixelData holds so much more than its frames that Rows, Columns or NumberOfFrames may be wrong."""
    sides = [int(slice_.number(word) or 0) for word in ("Rows", "Columns")]
    if len(surplus) >= min(sides) * int(slice_.number("BitsAllocated") or 0) // 8:
        raise DamagedError("its PixelData holds more bytes than Rows and Columns say")


def _require_element(rest: bytes, order: str) -> None:
    """Raise where what follows the pixels in a file is neither an element nor zeros that fill it up."""
    if not rest.strip(b"\0"):
        return
    if len(rest) < 8 or struct.unpack_from(f"{order}HH", rest) <= _PIXEL_ELEMENT:
        raise DamagedError("the bytes after its pixels are not a DICOM element: the file is damaged")


def _unused_low_bits(slice_: Instance, allocated: int, bits: int) -> int:
    """How many bits below those that count are none of the value; HighBit names the highest that counts."""
    high = int(slice_.number("HighBit") or bits - 1)
    if high >= allocated:
        raise SliceError(f"impossible HighBit {high} in pixels of {allocated} bits", slice_.source)
    return max(0, high + 1 - bits)


def _meaning(stored: tuple[NDArray[Any], int], slice_: Instance) -> NDArray[Any]:
    values, bits = stored
    width = values.dtype.itemsize * 8
    if not slice_.number("PixelRepresentation"):
        return values if bits == width else values & ((1 << bits) - 1)
    signed = values.view(f"i{values.dtype.itemsize}")
    return signed if bits == width else (signed << (width - bits)) >> (width - bits)


def _require_known_sign(values: NDArray[Any], slice_: Instance, precision: int, bits: int) -> None:
    """Raise where signed pixels came in a codestream of fewer bits than they have, and its top bit is used.

    Some encoders shorten two's complement, others leave positive numbers as they are; decoders differ too. A codestream
    that itself says "signed" leaves no doubt.
    """
    is_open = slice_.number("PixelRepresentation") and precision < bits and values.dtype.kind == "u"
    if is_open and int(values.max()) >= 1 << (precision - 1):
        message = f"signed pixels of {bits} bits in a codestream of {precision}: their sign is unknown"
        raise SliceError(message, slice_.source)


def _decoded(
    codestream: bytes, codec: Codec, source: SourceFile, image: tuple[int, int, int]
) -> tuple[NDArray[Any], int]:
    """Values of a codestream and its bits a sample; what it says of its size is looked at before it is decoded."""
    rows, columns, allocated = image
    if codec is Codec.RLE:
        return _from_segments(codestream, rows * columns, allocated // 8).reshape(rows, columns), allocated
    frame_of, decode = _DECODERS[codec]
    precision, *size = frame_of(codestream)
    if size != [rows, columns]:
        raise _other_size(tuple(size), (rows, columns), source)
    if end_of(codestream, codec) is None:
        raise DamagedError("its codestream is cut short: it has no end")
    values = decode(codestream)
    if codec is Codec.JPEG:
        require_all_bits(codestream, values)
    return values, precision


def _other_size(found: tuple[int, ...], expected: tuple[int, int], source: SourceFile) -> SliceError:
    return SliceError(f"its codestream holds {found}, the header says {expected}", source)


def _from_segments(codestream: bytes, count: int, size: int) -> NDArray[Any]:
    """Values whose bytes lie apart, the highest first, each packed in a segment (PS3.5 G.2 to G.5)."""
    found, *offsets = struct.unpack_from("<16I", codestream)
    bounds = [*offsets[:found], len(codestream)]
    if found != size or bounds[0] != _RLE_HEADER_BYTES or bounds != sorted(bounds):
        raise DamagedError("its RLE segments lie where none can be")
    values = np.empty((count, size), np.uint8)
    for number, (start, stop) in enumerate(pairwise(bounds)):
        plane = imagecodecs.packbits_decode(codestream[start:stop])
        if len(plane) < count or plane[count:].strip(b"\0"):
            raise DamagedError("an RLE segment unpacks to more or fewer bytes than it must: part of it is lost")
        values[:, number] = np.frombuffer(plane, np.uint8, count)
    return values.view(f">u{size}").astype(f"u{size}")[:, 0]


def _from_jpeg_xl(content: bytes) -> NDArray[Any]:
    """The values of a codestream that has no end marker: it is whole where it does not decode without its last byte."""
    codestream = bare_codestream(content).rstrip(b"\0")
    with suppress(imagecodecs.JpegxlError):
        imagecodecs.jpegxl_decode(codestream[:-1])
        raise DamagedError("its codestream continues after its end")
    values: NDArray[Any] = imagecodecs.jpegxl_decode(content)
    return values


_DECODERS: Mapping[Codec, tuple[Callable[[bytes], tuple[int, int, int]], Decoder]] = {
    Codec.JPEG: (jpeg_frame, imagecodecs.jpeg8_decode),
    Codec.JPEG_LS: (jpeg_frame, imagecodecs.jpegls_decode),
    Codec.JPEG_2000: (jpeg_2000_frame, imagecodecs.jpeg2k_decode),
    Codec.JPEG_XL: (jpeg_xl_frame, _from_jpeg_xl),
}
