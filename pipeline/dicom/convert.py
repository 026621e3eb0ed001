"""A series as a volume: Hounsfield units for CT, intensity for anything else, each slice by its own rescale.

int16 where that loses nothing, else float32. Values are never inverted (MONOCHROME1 tells how to show them, not what
they mean) and never resampled.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import DicomError, GeometryError
from pipeline.core.files import THREADS as _THREADS
from pipeline.core.geometry import Geometry
from pipeline.core.problems import meaning_of
from pipeline.core.records import Instance, Problem, Series, SeriesFacts, Severity, SourceFile
from pipeline.core.volume import AIR_HU, Unit, Volume
from pipeline.dicom.group.grid import TILTED, axes, gaps_mm, vector
from pipeline.dicom.read import header as words
from pipeline.dicom.read.pixels import PixelReader, SliceError
from pipeline.dicom.read.sources import ARCHIVE_FAULTS, each_opened

_MODALITY_TERMS = """
    ANN AR ASMT AU BDUS BI BMD CFM CR CT CTPROTOCOL DMS DG DOC DX ECG EEG EMG EOG EPS ES FID GM HC HD IO IOL
    IVOCT IVUS KER KO LEN LS MG MR M3D NM OAM OCT OP OPM OPT OPTBSV OPTENF OPV OSS OT PA PLAN POS PR PT PX REG
    RESP RF RG RTDOSE RTIMAGE RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN RTSTRUCT RWV SEG SM SMR SR SRF STAIN
    TEXTUREMAP TG US VA XA XC XAPROTOCOL
"""
MODALITIES = frozenset(_MODALITY_TERMS.split())
"""Defined terms of Modality (PS3.3 C.7.3.1.1.1)."""

AXIAL_TOLERANCE_DEG = 5.0
"""A normal this near to the patient's long axis makes an axial series."""

PADDING_LIKE_TISSUE_HU = (-900.0, 3000.0)
"""A padding value that means something between these could also be tissue: such a series is flagged."""

MAX_RESCALE = float(1 << 31)
"""Stored values of 32 bits times more than this leave 64 bits; no scanner writes such a slope or intercept."""

CT_SLOPES = (1e-3, 100.0)
CT_INTERCEPT = 65536.0
"""CT is stored in HU or a fraction or multiple of it, shifted by the range of 16 bits at most; else it is flagged."""

_HOUNSFIELD = re.compile(r"\W*(HU|HU_MOD|HOUN[DS]*FIELD([ _-]*UNITS?)?)\W*", re.IGNORECASE)
"""How scanners and converters write that values are Hounsfield units; the standard's word is HU (PS3.3 C.11.1.1.2)."""

_SMALL_RESCALE = 1 << 14
"""16-bit values times and plus this stay far within 32 bits."""

_INT16 = np.iinfo(np.int16)


@dataclass(frozen=True, slots=True)
class SliceRecord:
    """Where one slice of a volume came from.

    Attributes:
        source: its file. Private.
        frame: number of the frame in a multi-frame object, from 0; None in a plain one.
        sop_instance_sha256: SHA-256 of its SOPInstanceUID.
        position_lps_mm: centre of its first pixel.
        slope: RescaleSlope as applied.
        intercept: RescaleIntercept as applied.
        padded_pixels: pixels that were padding and became air.
    """

    source: SourceFile
    frame: int | None
    sop_instance_sha256: str
    position_lps_mm: tuple[float, float, float]
    slope: float
    intercept: float
    padded_pixels: int


@dataclass(frozen=True, slots=True, eq=False)
class Conversion:
    """A volume with its provenance.

    Attributes:
        volume: the voxels and their grid.
        slices: one record a slice, in the volume's order.
        problems: those of the series, and what its pixels added.
    """

    volume: Volume
    slices: tuple[SliceRecord, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class _Rescale:
    slope: float
    intercept: float

    @property
    def is_whole(self) -> bool:
        return self.slope.is_integer() and self.intercept.is_integer()


@dataclass(frozen=True, slots=True, eq=False)
class _Filled:
    """Voxels; padding, loss and bytes beside the image by slice; False for a value too large for int16."""

    voxels: NDArray[np.int16] | NDArray[np.float32]
    padded: list[int]
    lossy: list[bool]
    surplus: list[bool]
    fits: bool


def read_series(series: Series, *, allow_tilt: bool = False) -> Conversion:
    """The volume of a series, with where each slice came from and everything doubtful about it.

    Args:
        series: from `group_series`.
        allow_tilt: keep a tilted series with its true, sheared grid.

    Raises:
        DicomError: when the series is refused (the message tells all its problems) or pixels cannot be read.
        GeometryError: when it is tilted and tilt is not allowed.
    """
    geometry = _usable_geometry(series, allow_tilt=allow_tilt)
    rescales = [_rescale(slice_) for slice_ in series.instances]
    is_ct = series.first.text("Modality") == "CT"
    whole = all(rescale.is_whole for rescale in rescales)
    filled = _filled(series.instances, rescales, geometry, whole=whole, is_ct=is_ct)
    if not filled.fits:
        filled = _filled(series.instances, rescales, geometry, whole=False, is_ct=is_ct)
    records = tuple(map(_record, series.instances, rescales, filled.padded))
    problems = (*series.problems, *_value_problems(series.instances, rescales, filled))
    return Conversion(Volume(filled.voxels, geometry, Unit.HU if is_ct else Unit.INTENSITY), records, problems)


def some_slices(series: Series, indices: Sequence[int]) -> Iterator[NDArray[np.floating[Any]]]:
    """Single slices in HU or intensity, one after the other, for a look at a series before the whole is read.

    Raises:
        DicomError: when one cannot be read.
    """
    for index, stored, _ in _read_all(series.instances, indices):
        rescale = _rescale(series.instances[index])
        yield stored * rescale.slope + rescale.intercept


def _usable_geometry(series: Series, *, allow_tilt: bool) -> Geometry:
    refusals = [problem.message for problem in series.problems if problem.severity is Severity.REFUSE]
    if refusals or series.geometry is None:
        raise DicomError("; ".join(refusals) or "the slices do not form a grid")
    tilted = [problem for problem in series.problems if problem.code == TILTED]
    if tilted and not allow_tilt:
        raise GeometryError(f"{tilted[0].message}; {tilted[0].fix}")
    return series.geometry


def _rescale(slice_: Instance) -> _Rescale:
    values = []
    for keyword, absent in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0)):
        value = slice_.number(keyword) if keyword in slice_.header else absent
        if value is None or abs(value) > MAX_RESCALE:
            raise SliceError(f"{keyword} is not a usable number", slice_.source)
        values.append(value)
    if values[0] == 0:
        raise SliceError("RescaleSlope is 0: it would wipe out the image", slice_.source)
    return _Rescale(*values)


def _filled(
    slices: Sequence[Instance], rescales: Sequence[_Rescale], geometry: Geometry, *, whole: bool, is_ct: bool
) -> _Filled:
    """The slices read, files side by side."""
    voxels = _room_for(geometry, np.dtype(np.int16 if whole else np.float32))
    padded, lossy, surplus = [0] * len(slices), [False] * len(slices), [False] * len(slices)

    def fill(share: Sequence[int]) -> bool:
        for index, stored, reader in _read_all(slices, share):
            lossy[index], surplus[index] = reader.is_lossy, reader.has_surplus
            padding = _padding(stored, slices[index]) if is_ct else None
            if padding is None and voxels.dtype == np.int16 and _shifted(stored, rescales[index], voxels[index]):
                continue
            values = _rescaled(stored, rescales[index], whole=whole)
            if padding is not None:
                values[padding] = AIR_HU
                padded[index] = int(np.count_nonzero(padding))
            if whole and (values.min() < _INT16.min or values.max() > _INT16.max):
                return False
            voxels[index] = values
        return True

    with ThreadPoolExecutor(_THREADS) as pool:
        filled = [pool.submit(fill, share) for share in _shares(slices)]
    faults = [fault for share in filled if (fault := share.exception()) is not None]
    if faults:
        raise _first(faults, slices)
    return _Filled(voxels, padded, lossy, surplus, all(share.result() for share in filled))


def _first(faults: Sequence[BaseException], slices: Sequence[Instance]) -> BaseException:
    """The fault of the first slice, so that the same one is told whatever the number of threads."""
    order = [slice_.source for slice_ in slices]
    return min(faults, key=lambda fault: order.index(fault.source) if isinstance(fault, SliceError) else -1)


def _shares(slices: Sequence[Instance]) -> list[list[int]]:
    """Indices of slices for each thread: files in turn, since they are read at their own pace, archives whole."""
    by_path: dict[Path, list[int]] = defaultdict(list)
    for index, slice_ in enumerate(slices):
        by_path[slice_.source.path].append(index)
    files = list(by_path.values())
    return [[index for file in files[first::_THREADS] for index in file] for first in range(_THREADS)]


def _room_for(geometry: Geometry, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Memory in small pages: numpy asks for huge ones, for which a volume may wait 0.4 s in a virtual machine."""
    try:
        room = mmap.mmap(-1, math.prod(geometry.shape) * dtype.itemsize, access=mmap.ACCESS_COPY)
        return np.ndarray(geometry.shape, dtype, room)
    except (OSError, OverflowError, ValueError):
        raise DicomError(f"a volume of shape {geometry.shape} does not fit into memory") from None


def _shifted(stored: NDArray[np.integer], rescale: _Rescale, out: NDArray[Any]) -> bool:
    """Fill in a slice that only its intercept changes, the usual case, in one pass; False where it is another case.

    Sums of 16-bit numbers that wrap around are right again where the true sum fits, which is looked at first.
    """
    if stored.dtype.itemsize != 2 or rescale.slope != 1:
        return False
    low, high = int(stored.min()) + rescale.intercept, int(stored.max()) + rescale.intercept
    if low < _INT16.min or high > _INT16.max:
        return False
    np.add(stored.view(np.int16), np.array(int(rescale.intercept)).astype(np.int16), out=out)
    return True


def _read_all(
    slices: Sequence[Instance], share: Sequence[int]
) -> Iterator[tuple[int, NDArray[np.integer], PixelReader]]:
    """Index and stored values of some slices, and what read them; a file is opened once for its frames."""
    indices: dict[SourceFile, list[int]] = defaultdict(list)
    for index in share:
        indices[slices[index].source].append(index)
    unread = dict.fromkeys(indices)
    try:
        for source, file in each_opened(indices):
            reader = PixelReader(file)
            for index in indices[source]:
                yield index, reader.read(slices[index]), reader
            del unread[source]
    except ARCHIVE_FAULTS as error:
        raise SliceError(f"a slice cannot be opened ({type(error).__name__})", next(iter(unread))) from None


def _rescaled(
    stored: NDArray[np.integer], rescale: _Rescale, *, whole: bool
) -> NDArray[np.int64] | NDArray[np.float64]:
    if not whole:
        return stored.astype(np.float64) * rescale.slope + rescale.intercept
    small = stored.dtype.itemsize <= 2 and max(abs(rescale.slope), abs(rescale.intercept)) <= _SMALL_RESCALE
    kind = np.int32 if small else np.int64
    values: NDArray[np.int64] = np.multiply(stored, kind(rescale.slope), dtype=kind) + kind(rescale.intercept)
    return values


def _padding(stored: NDArray[np.integer], slice_: Instance) -> NDArray[np.bool_] | None:
    """Pixels that the header calls padding; None where there are none."""
    bounds = [_as_stored(slice_.number(word), slice_) for word in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    low, high = bounds[0], bounds[1] if bounds[1] is not None else bounds[0]
    if low is None or high is None:
        return None
    padding = stored == low if low == high else (stored >= min(low, high)) & (stored <= max(low, high))
    return padding if padding.any() else None


def _as_stored(value: float | None, slice_: Instance) -> int | None:
    """A padding value as its pixels read, whichever sign its own VR gave it."""
    if value is None:
        return None
    bits = int(slice_.number("BitsStored") or 16)
    signed = bool(slice_.number("PixelRepresentation"))
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    number = int(value)
    return number if low <= number <= high else _wrapped(number, bits, signed=signed)


def _wrapped(number: int, bits: int, *, signed: bool) -> int:
    number &= (1 << bits) - 1
    return number - (1 << bits) if signed and number >= 1 << (bits - 1) else number


def _record(slice_: Instance, rescale: _Rescale, padded: int) -> SliceRecord:
    frame = slice_.number(words.FRAME_INDEX)
    position = vector(slice_, "ImagePositionPatient", 3)
    x, y, z = (0.0, 0.0, 0.0) if position is None else map(float, position)
    return SliceRecord(
        source=slice_.source,
        frame=None if frame is None else int(frame),
        sop_instance_sha256=hashlib.sha256(slice_.text("SOPInstanceUID").encode()).hexdigest(),
        position_lps_mm=(x, y, z),
        slope=rescale.slope,
        intercept=rescale.intercept,
        padded_pixels=padded,
    )


def _value_problems(slices: Sequence[Instance], rescales: Sequence[_Rescale], filled: _Filled) -> list[Problem]:
    first, padded = slices[0], sum(filled.padded)
    problems = []
    if padded:
        message = f"{padded} voxels of padding were set to air ({AIR_HU} HU)"
        problems.append(Problem("padding", Severity.NOTE, message))
        if any(_padding_could_be_tissue(slice_, rescale) for slice_, rescale in zip(slices, rescales, strict=True)):
            problems.append(_flag("padding-in-tissue"))
    if first.text("PhotometricInterpretation") == "MONOCHROME1":
        problems.append(Problem("monochrome1", Severity.NOTE, meaning_of("monochrome1")))
    if any(filled.lossy) or any(slice_.text("LossyImageCompression") == "01" for slice_ in slices):
        problems.append(_flag("lossy"))
    if any(filled.surplus):
        problems.append(_flag("surplus-bytes"))
    if any("ModalityLUTSequence" in slice_.header for slice_ in slices):
        problems.append(_flag("modality-lut"))
    if not first.text("Modality"):
        problems.append(_flag("no-modality"))
    if first.text("Modality") == "CT":
        problems.extend(_unit_problems(slices, rescales))
    return problems


def _padding_could_be_tissue(slice_: Instance, rescale: _Rescale) -> bool:
    value = _as_stored(slice_.number("PixelPaddingValue"), slice_)
    return (
        value is not None
        and PADDING_LIKE_TISSUE_HU[0] < value * rescale.slope + rescale.intercept < PADDING_LIKE_TISSUE_HU[1]
    )


def _unit_problems(slices: Sequence[Instance], rescales: Sequence[_Rescale]) -> Iterator[Problem]:
    kinds = {slice_.text("RescaleType") for slice_ in slices} - {""}
    if not all(map(_HOUNSFIELD.fullmatch, kinds)):
        yield _flag("not-hounsfield")
    low, high = CT_SLOPES
    if any(not low <= rescale.slope <= high or abs(rescale.intercept) > CT_INTERCEPT for rescale in rescales):
        yield _flag("odd-rescale")
    if any("RescaleIntercept" not in slice_.header for slice_ in slices):
        yield _flag("no-rescale")


def _flag(code: str) -> Problem:
    return Problem(code, Severity.FLAG, meaning_of(code))


def safe_modality(text: str) -> str:
    """A modality by its defined term, "XX" where there is something else."""
    return text if text in MODALITIES else "XX"


def series_facts(series: Series) -> SeriesFacts:
    """What the inclusion rules ask about a series; what the header does not tell stays empty."""
    first = series.first
    spacing = vector(first, "PixelSpacing", 2)
    rows, columns = first.number("Rows"), first.number("Columns")
    gaps = gaps_mm(series.instances)
    kinds, modality = first.header.get("ImageType", ()), first.text("Modality")
    return SeriesFacts(
        modality=safe_modality(modality) if modality else "",
        manufacturer=first.text("Manufacturer"),
        model=first.text("ManufacturerModelName"),
        institution=first.text("InstitutionName"),
        kernel=first.text("ConvolutionKernel"),
        kvp=first.number("KVP"),
        slice_thickness_mm=first.number("SliceThickness"),
        slice_spacing_mm=_spacing_mm(series, gaps),
        pixel_spacing_mm=None if spacing is None else (float(spacing[0]), float(spacing[1])),
        matrix=(int(rows), int(columns)) if rows and columns else None,
        slice_count=len(series.instances),
        coverage_mm=float(gaps.sum()) if gaps.size else None,
        image_type=tuple(str(kind).upper() for kind in (kinds if isinstance(kinds, tuple) else (kinds,))),
        study_date=first.text("StudyDate"),
        acquisition_datetime=min(filter(None, map(acquired, series.instances)), default=""),
        is_axial=_is_axial(first),
        is_tilted=any(problem.code == TILTED for problem in series.problems),
        description=" ".join(filter(None, (first.text("SeriesDescription"), first.text("ProtocolName")))),
    )


def acquired(slice_: Instance) -> str:
    """When a slice was acquired, "YYYYMMDDHHMMSS" as far as the header tells; "" where it does not. Private."""
    stamp = slice_.text("AcquisitionDateTime")
    if stamp:
        return stamp[:14]
    date = slice_.text("AcquisitionDate") or slice_.text("SeriesDate") or slice_.text("StudyDate")
    time = slice_.text("AcquisitionTime") or slice_.text("SeriesTime") or slice_.text("StudyTime")
    return (date + time[:6]) if date else ""


def _spacing_mm(series: Series, gaps: NDArray[np.float64]) -> float | None:
    """The grid's spacing along the normal; the usual gap where slices are missing, so that the rest can be judged."""
    if not gaps.size:
        return None
    return float(np.median(gaps) if series.geometry is None else gaps.mean())


def _is_axial(slice_: Instance) -> bool:
    directions = axes(slice_)
    return directions is not None and bool(abs(directions[0][2]) >= np.cos(np.radians(AXIAL_TOLERANCE_DEG)))
