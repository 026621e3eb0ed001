"""Whether an encoding lost anything is read from its syntax and its codestream, and says so wherever pixels go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from openjpeg.utils import encode_array
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    UID,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from pipeline.core.config import DeidentificationConfig
from pipeline.core.pseudonyms import Pseudonyms
from pipeline.dicom.convert import read_series
from pipeline.dicom.deid.clean_tree import deidentify_tree
from pipeline.dicom.group.series import group_series
from pipeline.dicom.read.codestreams import is_lossy
from pipeline.dicom.read.scan import scan
from pipeline.dicom.read.syntaxes import GE_PRIVATE, SYNTAXES, Codec, Loss, loss_of
from tests.dicom.scanner import Scan, expose

Image = NDArray[np.uint16]
Encode = Callable[[Image], bytes]

SMOOTH = (np.add.outer(np.arange(48) ** 2, 3 * np.arange(64)) % 4096).astype(np.uint16)
"""Twelve bits that every lossy encoder changes somewhere."""


def jpeg(**options: object) -> Encode:
    return lambda image: imagecodecs.jpeg8_encode(image, bitspersample=12, **options)


def jpeg_ls(near: int) -> Encode:
    return lambda image: imagecodecs.jpegls_encode(image, level=near)


def jpeg_2000(**options: object) -> Encode:
    return lambda image: imagecodecs.jpeg2k_encode(image, codecformat="j2k", **options)


def openjpeg(**options: object) -> Encode:
    return lambda image: bytes(encode_array(image, bits_stored=16, **options))


def jpeg_xl(**options: object) -> Encode:
    return lambda image: imagecodecs.jpegxl_encode(image, bitspersample=12, **options)


JPEG_XL_LOSSLESS, JPEG_XL_OF_JPEG, JPEG_XL = (UID(f"1.2.840.10008.1.2.4.{end}") for end in (110, 111, 112))

CODESTREAMS = {
    "jpeg lossless, first order": (JPEGLosslessSV1, jpeg(lossless=True, predictor=1)),
    "jpeg lossless, predictor 6": (JPEGLossless, jpeg(lossless=True, predictor=6)),
    "jpeg extended": (JPEGExtended12Bit, jpeg(level=90)),
    "jpeg-ls lossless": (JPEGLSLossless, jpeg_ls(0)),
    "near-lossless that allows no error": (JPEGLSNearLossless, jpeg_ls(0)),
    "near-lossless": (JPEGLSNearLossless, jpeg_ls(2)),
    "near-lossless that calls itself lossless": (JPEGLSLossless, jpeg_ls(1)),
    "jpeg 2000 lossless": (JPEG2000Lossless, jpeg_2000(level=0)),
    "jpeg 2000, reversible": (JPEG2000, jpeg_2000(reversible=True)),
    "jpeg 2000, irreversible": (JPEG2000, jpeg_2000(reversible=False)),
    "jpeg 2000 at a quality": (JPEG2000, jpeg_2000(level=45)),
    "jpeg 2000, irreversible, that calls itself lossless": (JPEG2000Lossless, jpeg_2000(reversible=False)),
    "openjpeg, reversible": (JPEG2000, openjpeg()),
    "openjpeg at a ratio": (JPEG2000, openjpeg(compression_ratios=[4])),
    "jpeg xl lossless": (JPEG_XL_LOSSLESS, jpeg_xl(lossless=True)),
    "jpeg xl lossless in a container": (JPEG_XL, jpeg_xl(lossless=True, usecontainer=True)),
    "jpeg xl at a distance": (JPEG_XL, jpeg_xl(distance=2.0)),
    "jpeg xl that calls itself lossless": (JPEG_XL_LOSSLESS, jpeg_xl(distance=1.0)),
    "openjpeg in two layers": (JPEG2000, openjpeg(compression_ratios=[6, 2])),
}


def decoded(codestream: bytes, syntax: UID) -> Image:
    decoder = {
        Codec.JPEG: imagecodecs.jpeg8_decode,
        Codec.JPEG_LS: imagecodecs.jpegls_decode,
        Codec.JPEG_XL: imagecodecs.jpegxl_decode,
    }
    return decoder.get(SYNTAXES[syntax].codec, imagecodecs.jpeg2k_decode)(codestream)


@pytest.mark.parametrize(("syntax", "encode"), CODESTREAMS.values(), ids=CODESTREAMS)
def test_codestream_says_whether_decoding_gives_the_image_back(syntax: UID, encode: Encode):
    codestream = encode(SMOOTH)
    lost = not np.array_equal(decoded(codestream, syntax), SMOOTH)
    assert is_lossy(codestream, SYNTAXES[syntax].codec) == lost


def exposed(folder: Path, syntax: UID, encode: Encode, **attributes: str) -> Path:
    """Six equal slices, each in one codestream; pydicom writes no name of a syntax that it does not know."""
    stands_in = HTJ2KLossless if SYNTAXES[syntax].codec is Codec.JPEG_XL else syntax

    def edit(ds: Dataset, index: int) -> None:
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 12, 11, 0
        ds.file_meta.TransferSyntaxUID = stands_in
        ds.PixelData = encapsulate([encode(SMOOTH)])
        ds["PixelData"].VR = "OB"
        for keyword, value in attributes.items():
            setattr(ds, keyword, value)

    for path in expose(folder, Scan(np.broadcast_to(SMOOTH.astype(np.int32) - 1024, (6, *SMOOTH.shape))), edit):
        path.write_bytes(path.read_bytes().replace(stands_in.encode(), syntax.encode(), 1))
    return folder


@pytest.mark.parametrize(("syntax", "encode"), CODESTREAMS.values(), ids=CODESTREAMS)
def test_conversion_says_what_was_lost(syntax: UID, encode: Encode, tmp_path: Path):
    lost = not np.array_equal(decoded(encode(SMOOTH), syntax), SMOOTH)
    (series,) = group_series(scan([exposed(tmp_path, syntax, encode)]).instances).series
    conversion = read_series(series)
    assert ("lossy" in {problem.code for problem in conversion.problems}) == lost
    assert lost or np.array_equal(conversion.volume.voxels, np.broadcast_to(SMOOTH - 1024.0, (6, *SMOOTH.shape)))


OF_PYDICOM = {name: case for name, case in CODESTREAMS.items() if SYNTAXES[case[0]].codec is not Codec.JPEG_XL}


@pytest.mark.parametrize(("syntax", "encode"), OF_PYDICOM.values(), ids=OF_PYDICOM)
def test_clean_copy_says_what_was_lost(syntax: UID, encode: Encode, tmp_path: Path):
    lost = not np.array_equal(decoded(encode(SMOOTH), syntax), SMOOTH)
    source = exposed(tmp_path / "source", syntax, encode)
    keys, out = Pseudonyms(bytes(32)), tmp_path / "out"
    assert deidentify_tree([source], out, keys, DeidentificationConfig()).counts() == {"written": 6}
    told = {pydicom.dcmread(file).get("LossyImageCompression") for file in out.rglob("*.dcm")}
    assert told == ({"01"} if lost else {None})


def test_header_that_says_lossy_is_believed_whatever_the_encoding(tmp_path: Path):
    source = exposed(tmp_path, JPEG2000, jpeg_2000(reversible=True), LossyImageCompression="01")
    (series,) = group_series(scan([source]).instances).series
    assert "lossy" in {problem.code for problem in read_series(series).problems}


@pytest.mark.parametrize("uid", SYNTAXES)
def test_names_are_those_of_the_standard(uid: str):
    is_known_to_pydicom = UID(uid).name != uid
    if uid != GE_PRIVATE and is_known_to_pydicom:
        assert UID(uid).name == SYNTAXES[uid].name


@pytest.mark.parametrize("uid", SYNTAXES)
def test_what_is_named_lossless_never_loses(uid: str):
    name = SYNTAXES[uid].name
    if SYNTAXES[uid].codec is Codec.NATIVE or "Lossless Only" in name or name.startswith(("RLE", "JPEG Lossless")):
        assert loss_of(uid) is Loss.NEVER


def test_loss_is_known_of_every_syntax():
    always = {uid for uid in SYNTAXES if loss_of(uid) is Loss.ALWAYS}
    never = {JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, HTJ2KLossless, RLELossless}
    assert always == {JPEGBaseline8Bit, JPEGExtended12Bit, JPEG_XL_OF_JPEG}
    assert all(loss_of(uid) is Loss.NEVER for uid in never)
    assert {loss_of(JPEG2000), loss_of(JPEGLSNearLossless), loss_of("1.2.3")} == {Loss.POSSIBLE}
