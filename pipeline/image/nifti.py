"""NIfTI-1 files in and out: the only place that knows of RAS and of (column, row, slice) order.

The header is our own 348 bytes, with every free-text field blank, so that nothing of a source can ride along; the gzip
stream has one member, no file name and no time, so that the same voxels give the same bytes.
Layout: NIfTI-1.1, nifti1.h; gzip: RFC 1952.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import struct
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias, cast

import deflate
import numpy as np
from isal import igzip, isal_zlib
from numpy.typing import NDArray

from pipeline.core.errors import GeometryError, LabelError, StorageError
from pipeline.core.files import GZIP_MAGIC, atomic_writer, write_atomically
from pipeline.core.files import THREADS as _THREADS
from pipeline.core.geometry import Geometry
from pipeline.core.volume import ColorImage, LabelMap, Unit, Volume

HEADER_BYTES = 352
"""348 of header and 4 that say: no extensions."""

WORKING_LEVEL = 3
"""ISA-L level for files in `cases/`: about 400 MB/s a core on CT, 3 % larger than zlib's level 6."""

_WORKING_MEMORY = 2
"""ISA-L's memory level. A low one chooses codes anew every few rows, which suits CT, where air lies beside tissue: 1 to
2 % smaller than by default."""

RELEASE_LEVEL = 3
"""libdeflate level for released files: smaller than zlib's 6 at six times its speed, and the same on every CPU."""

BLOCK_BYTES = 1 << 20
"""What one thread compresses, or one write takes, at a time. Smaller blocks cost size. Larger writes make Linux seek
larger pages, in a virtual machine for long: 157 MB took 0.04 s CPU, but 0.3 s and more at 4 MB a write."""

MAX_GZIP_EXPANSION = 1100
"""Deflate cannot expand by more than 1032: a header that claims more voxels than that is lying."""

_READ_BYTES = 1 << 22
_LAST_BLOCK = b"\x03\x00"
"""An empty final block with fixed codes (RFC 1951 3.2.6)."""

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_ISAL_ERROR = cast("type[Exception]", isal_zlib.IsalError)  # its stub calls the class an instance
_DAMAGED_GZIP = (EOFError, zlib.error, _ISAL_ERROR, gzip.BadGzipFile)
_GZIP_HEADER = GZIP_MAGIC + b"\x08\x00\x00\x00\x00\x00\x00\xff"
_RGB24 = 128
_TYPE_CODES = {
    "uint8": 2,
    "int16": 4,
    "int32": 8,
    "float32": 16,
    "float64": 64,
    "int8": 256,
    "uint16": 512,
    "uint32": 768,
    "int64": 1024,
    "uint64": 1280,
}
_TYPES = {code: np.dtype(name) for name, code in _TYPE_CODES.items()}


Image: TypeAlias = Volume | LabelMap | ColorImage
"""What can be written."""


def nifti_bytes(image: Image) -> bytes:
    """The whole uncompressed `.nii` file of an image; the same image always gives the same bytes."""
    return _header(image) + np.ascontiguousarray(image.voxels).tobytes()


def content_sha256(image: Image) -> str:
    """SHA-256 of the uncompressed file: names voxels and grid, whatever the compression."""
    content = hashlib.sha256(_header(image))
    content.update(_voxel_bytes(image))
    return content.hexdigest()


def stored_sha256(path: Path) -> str:
    """The `content_sha256` of the image that `write_nifti` wrote to a file.

    From its bytes: an image read back may have its place rounded once more.

    Raises:
        StorageError: when the file is missing or damaged.
    """
    content = hashlib.sha256()
    try:
        with path.open("rb") as file, _inflating(file, 0, path.name) as (stream, _):
            while block := stream.read(_READ_BYTES):
                content.update(block)
    except OSError as error:
        raise StorageError(f"{path.name} cannot be read: {error.strerror or error}") from None
    return content.hexdigest()


def write_nifti(path: Path, image: Image, *, for_release: bool = False, durable: bool = True) -> None:
    """Write `.nii`, or `.nii.gz` by the name's ending.

    Args:
        path: where to.
        image: what to write.
        for_release: compress the same on every CPU, instead of fastest.
        durable: wait until the disk has it; False for what can be made again at will, as by `convert`.

    Raises:
        StorageError: when the disk is full or the folder cannot be written.
    """
    if not path.name.endswith(".gz"):
        with atomic_writer(path, durable=durable) as file:
            for block in _blocks(image):
                file.write(block)
    elif for_release:
        write_atomically(path, gzipped_nifti(image, for_release=True), durable=durable)
    else:
        write_atomically(path, _gzipped(_blocks(image)), durable=durable)


def gzipped_nifti(image: Image, *, for_release: bool = False) -> bytes:
    """The whole `.nii.gz` file of an image.

    Args:
        image: what to write.
        for_release: compress the same on every CPU, instead of fastest.
    """
    if for_release:
        return bytes(deflate.gzip_compress(nifti_bytes(image), RELEASE_LEVEL))
    return b"".join(_gzipped(_blocks(image)))


def read_volume(path: Path, unit: Unit = Unit.HU) -> Volume:
    """An image volume as stored, in its own orientation: int16 where the file holds it, else float32.

    Raises:
        StorageError: when the file is missing, truncated or not NIfTI-1.
        GeometryError: when it is not three-dimensional, or has no place in space.
    """
    voxels, geometry = read_nifti(path)
    exact = voxels.dtype in (np.int8, np.uint8, np.int16)
    return Volume(
        voxels.astype(np.int16, copy=False) if exact else voxels.astype(np.float32, copy=False), geometry, unit
    )


def read_labels(path: Path) -> LabelMap:
    """A mask as stored, in its own orientation.

    Raises:
        StorageError: when the file is missing, truncated or not NIfTI-1.
        GeometryError: when it is not three-dimensional, or has no place in space.
        LabelError: when it holds fractions, or values outside 0 to 255.
    """
    voxels, geometry = read_nifti(path)
    labels = voxels.astype(np.uint8)
    if not np.array_equal(labels, voxels):
        raise LabelError(f"{path.name} has values that are not labels; expected whole numbers from 0 to 255")
    return LabelMap(labels, geometry)


def read_nifti(path: Path) -> tuple[NDArray[Any], Geometry]:
    """Voxels as (slice, row, column), scaled where the header says so, and their grid.

    Raises:
        StorageError: when the file is missing, truncated or not NIfTI-1.
        GeometryError: when it is not three-dimensional, or has no place in space.
    """
    try:
        with path.open("rb") as file:
            return _decoded(file, os.fstat(file.fileno()).st_size, path.name)
    except OSError as error:
        raise StorageError(f"{path.name} cannot be read: {error.strerror or error}") from None


def decode_nifti(file: bytes, name: str) -> tuple[NDArray[Any], Geometry]:
    """Voxels and grid of a file's bytes, compressed or not, as `read_nifti` gives them.

    Args:
        file: the whole file; a gzip stream must be complete and its checksum right.
        name: what to call the file in a message.

    Raises:
        StorageError: when the bytes are truncated or not NIfTI-1.
        GeometryError: when it is not three-dimensional, or has no place in space.
    """
    return _decoded(BytesIO(file), len(file), name)


def _decoded(file: BinaryIO, size: int, name: str) -> tuple[NDArray[Any], Geometry]:
    """Voxels and grid, read no further than the header says and the file's size allows."""
    with _inflating(file, size, name) as (stream, limit):
        header = stream.read(HEADER_BYTES)
        if len(header) < HEADER_BYTES:
            raise StorageError(f"{name} is {len(header)} bytes long, too short for NIfTI; export it again")
        order = _byte_order(header, name)
        shape, dtype = _shape(header, order, name), _dtype(header, order, name)
        gap = _offset(header, order) - HEADER_BYTES
        size = math.prod(shape) * dtype.itemsize
        if size + gap > limit or len(stream.read(gap)) < gap:
            raise StorageError(f"{name} is cut short: voxels are missing; copy or export it again")
        stored = _read_voxels(stream, size, name).view(dtype).reshape(shape)
    return _scaled(stored, header, order), Geometry(shape, _affine(header, order, name))


def _dtype(header: bytes, order: Literal["<", ">"], name: str) -> np.dtype[Any]:
    code = struct.unpack_from(order + "h", header, 70)[0]
    if code not in _TYPES:
        raise StorageError(f"{name} stores voxels as NIfTI type {code}, which is not supported")
    return _TYPES[code].newbyteorder(order)


def _header(image: Image) -> bytes:
    geometry, dtype = image.geometry, image.voxels.dtype
    code, bits = (_RGB24, 24) if isinstance(image, ColorImage) else (_TYPE_CODES[dtype.name], dtype.itemsize * 8)
    header = bytearray(HEADER_BYTES)
    slices, rows, columns = geometry.shape
    slice_mm, row_mm, column_mm = geometry.spacing_mm
    ras = _ras_affine(geometry)
    quaternion, handedness = _quaternion(ras)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<c", header, 38, b"r")
    struct.pack_into("<8h", header, 40, 3, columns, rows, slices, 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, code, bits)
    struct.pack_into("<8f", header, 76, handedness, column_mm, row_mm, slice_mm, 0, 0, 0, 0)
    struct.pack_into("<fff", header, 108, HEADER_BYTES, 1, 0)
    struct.pack_into("<B", header, 123, 2)  # millimetres
    struct.pack_into("<hh", header, 252, 0 if geometry.is_sheared else 1, 1)
    struct.pack_into("<6f", header, 256, *quaternion, *ras[:3, 3])
    struct.pack_into("<12f", header, 280, *ras[:3].ravel())
    struct.pack_into("<4s", header, 344, b"n+1\0")
    return bytes(header)


def _ras_affine(geometry: Geometry) -> NDArray[np.float64]:
    """(4, 4) from (column, row, slice) to RAS millimetres."""
    affine: NDArray[np.float64] = _LPS_TO_RAS @ geometry.affine[:, [2, 1, 0, 3]]
    return affine


def _quaternion(affine: NDArray[np.float64]) -> tuple[tuple[float, float, float], float]:
    """The quaternion's b, c, d of an affine's rotation, and the handedness NIfTI calls qfac."""
    rotation = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    handedness = 1.0 if np.linalg.det(rotation) > 0 else -1.0
    rotation[:, 2] *= handedness
    symmetric = np.array(
        [
            [rotation[0, 0] - rotation[1, 1] - rotation[2, 2], 0, 0, 0],
            [
                rotation[0, 1] + rotation[1, 0],
                rotation[1, 1] - rotation[0, 0] - rotation[2, 2],
                0,
                0,
            ],
            [
                rotation[0, 2] + rotation[2, 0],
                rotation[1, 2] + rotation[2, 1],
                rotation[2, 2] - rotation[0, 0] - rotation[1, 1],
                0,
            ],
            [
                rotation[2, 1] - rotation[1, 2],
                rotation[0, 2] - rotation[2, 0],
                rotation[1, 0] - rotation[0, 1],
                np.trace(rotation),
            ],
        ]
    )  # Bar-Itzhack 2000: the eigenvector of the largest eigenvalue is the quaternion
    vectors = np.linalg.eigh(symmetric, UPLO="L")[1]
    b, c, d, a = vectors[:, -1] * (-1.0 if vectors[3, -1] < 0 else 1.0)
    return (float(b), float(c), float(d)) if a >= 0 else (
        float(-b),
        float(-c),
        float(-d),
    ), handedness


def _voxel_bytes(image: Image) -> memoryview:
    """An image's voxels as they lie in the file, without a copy."""
    return np.ascontiguousarray(image.voxels).reshape(-1).view(np.uint8).data


def _blocks(image: Image) -> Iterator[bytes | memoryview]:
    """The uncompressed file in pieces: the header, then so many voxels at a time."""
    yield _header(image)
    voxels = _voxel_bytes(image)
    for start in range(0, len(voxels), BLOCK_BYTES):
        yield voxels[start : start + BLOCK_BYTES]


def _gzipped(blocks: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """One gzip member, its blocks compressed side by side.

    Each block ends in a full flush (RFC 1951 3.2.4: an empty stored block), so it depends on no other: the bytes are
    the same for any number of threads.
    """
    yield _GZIP_HEADER
    checksum = size = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        waiting: deque[Future[bytes]] = deque()
        for block in blocks:
            waiting.append(pool.submit(_deflated, block))
            checksum = isal_zlib.crc32(block, checksum)
            size += len(block)
            if len(waiting) > 2 * _THREADS:
                yield waiting.popleft().result()
        for compressed in waiting:
            yield compressed.result()
    yield _LAST_BLOCK
    yield struct.pack("<II", checksum, size & 0xFFFFFFFF)


def _deflated(block: bytes | memoryview) -> bytes:
    compressor = isal_zlib.compressobj(level=WORKING_LEVEL, wbits=-15, memLevel=_WORKING_MEMORY)
    return bytes(compressor.compress(block) + compressor.flush(isal_zlib.Z_FULL_FLUSH))


def inflated(content: bytes, name: str) -> bytes:
    """The bytes inside a gzip stream, checked against its CRC; bytes that are no gzip stream come back as they are.

    Raises:
        StorageError: when the stream is damaged or truncated.
    """
    try:
        return igzip.decompress(content) if content.startswith(GZIP_MAGIC) else content
    except _DAMAGED_GZIP as error:
        raise StorageError(f"{name} is a damaged or truncated gzip file ({error}); copy or export it again") from None


@contextmanager
def _inflating(file: BinaryIO, size: int, name: str) -> Iterator[tuple[BinaryIO, int]]:
    """A file as its uncompressed content, and the most bytes that content can have."""
    is_gzip = file.read(2) == GZIP_MAGIC
    file.seek(0)
    try:
        if is_gzip:
            with igzip.IGzipFile(fileobj=file) as stream:
                yield cast("BinaryIO", stream), size * MAX_GZIP_EXPANSION
        else:
            yield file, size
    except _DAMAGED_GZIP as error:
        raise StorageError(f"{name} is a damaged or truncated gzip file ({error}); copy or export it again") from None


def _read_voxels(stream: BinaryIO, size: int, name: str) -> NDArray[np.uint8]:
    content = np.empty(size, np.uint8)
    view, done = content.data, 0
    while done < size:
        count = stream.readinto(view[done : done + _READ_BYTES])  # type: ignore[attr-defined]
        if not count:
            raise StorageError(f"{name} is cut short: voxels are missing; copy or export it again")
        done += count
    stream.read(1)  # a gzip stream checks itself at its end
    return content


def _byte_order(content: bytes, name: str) -> Literal["<", ">"]:
    orders: tuple[Literal["<"], Literal[">"]] = ("<", ">")
    for order in orders:
        if struct.unpack_from(order + "i", content, 0)[0] == 348 and content[344:347] == b"n+1":
            return order
    raise StorageError(f"{name} is not a single-file NIfTI-1; export it as .nii or .nii.gz")


def _shape(content: bytes, order: str, name: str) -> tuple[int, int, int]:
    rank, *sizes = struct.unpack_from(order + "8h", content, 40)
    if not 3 <= rank <= 7 or any(n != 1 for n in sizes[3:rank]) or min(sizes[:3]) < 1:
        raise GeometryError(f"{name} has dimensions {tuple(sizes[: max(rank, 0)])}, expected three")
    return sizes[2], sizes[1], sizes[0]


def _offset(content: bytes, order: str) -> int:
    return max(int(struct.unpack_from(order + "f", content, 108)[0]), HEADER_BYTES)


def _scaled(stored: NDArray[Any], content: bytes, order: str) -> NDArray[Any]:
    slope, intercept = struct.unpack_from(order + "ff", content, 112)
    native = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    if slope == 0 or not np.isfinite([slope, intercept]).all() or (slope, intercept) == (1, 0):
        return native
    return native * np.float64(slope) + np.float64(intercept)


def _affine(content: bytes, order: str, name: str) -> NDArray[np.float64]:
    qform, sform = struct.unpack_from(order + "hh", content, 252)
    ras = np.eye(4)
    if sform > 0:
        ras[:3] = np.array(struct.unpack_from(order + "12f", content, 280)).reshape(3, 4)
    elif qform > 0:
        ras[:3] = _affine_of_quaternion(content, order)
    else:
        raise GeometryError(f"{name} has no place in space (sform and qform are 0); export it with its geometry")
    affine: NDArray[np.float64] = (_LPS_TO_RAS @ ras)[:, [2, 1, 0, 3]]
    return affine


def _affine_of_quaternion(content: bytes, order: str) -> NDArray[np.float64]:
    """(3, 4) of the qform, by the formula in nifti1.h."""
    handedness, *spacing = struct.unpack_from(order + "4f", content, 76)
    b, c, d, *offset = struct.unpack_from(order + "6f", content, 256)
    a = np.sqrt(max(0.0, 1.0 - b * b - c * c - d * d))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    rotation[:, 2] *= -1.0 if handedness < 0 else 1.0
    return np.column_stack([rotation * spacing, offset])
