"""The fast header reader says what pydicom says, or nothing."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pipeline.dicom.read.by_pydicom import READ_FAULTS, read_slowly
from pipeline.dicom.read.header import plain_value
from pipeline.dicom.read.walker import Verdict, Walker
from tests.dicom.scanner import Scan, body, dataset_of

SHARED = Walker()
"""One walker for all examples: what it learned from one header must never colour the next."""

ASCII = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="\\^="), max_size=12)
NUMBER = st.integers(-30000, 30000).map(lambda n: n / 8)
UID = st.integers(0, 10**9).map(lambda n: f"1.2.840.{n}")


@st.composite
def nested(draw: st.DrawFn, depth: int = 0) -> Dataset:
    """An item with the tags that a careless reader would take for the slice's own."""
    item = Dataset()
    item.ImagePositionPatient = [draw(NUMBER) for _ in range(3)]
    item.SeriesInstanceUID, item.Rows, item.PatientID = draw(UID), 3, draw(ASCII)
    if draw(st.booleans()):
        item.PixelData = draw(st.binary(max_size=9)) + b"\0"
        item["PixelData"].VR = "OW"
    if depth < 2 and draw(st.booleans()):
        item.ReferencedImageSequence = sequence(draw, depth + 1)
        item["ReferencedImageSequence"].is_undefined_length = draw(st.booleans())
    return item


def sequence(draw: st.DrawFn, depth: int) -> Sequence:
    items = draw(st.lists(nested(depth), max_size=2))
    for item in items:
        item.is_undefined_length_sequence_item = draw(st.booleans())
    return Sequence(items)


@st.composite
def headers(draw: st.DrawFn) -> bytes:
    """A file as scanners, archives and careless software write it."""
    ds = dataset_of(Scan(body(1, 4, 4)), 0)
    ds.file_meta.TransferSyntaxUID = draw(st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian]))
    ds.SOPInstanceUID, ds.SeriesDescription, ds.PatientID = draw(UID), draw(ASCII), draw(ASCII)
    ds.ImagePositionPatient = [draw(NUMBER) for _ in range(3)]
    ds.ImageComments = draw(ASCII) * draw(st.integers(0, 20))
    if draw(st.booleans()):
        ds.SpecificCharacterSet = draw(st.sampled_from(["ISO_IR 100", "ISO_IR 192", "GB18030"]))
        ds.ProtocolName = (
            draw(st.sampled_from(["", "肝脏 动脉期", "Leber nativ"]))
            if ds.SpecificCharacterSet != ("ISO_IR 100")
            else "Münster"
        )
    for keyword in ("SourceImageSequence", "IconImageSequence", "ReferencedImageSequence", "ModalityLUTSequence"):
        if draw(st.booleans()):
            setattr(ds, keyword, sequence(draw, 0))
            ds[keyword].is_undefined_length = draw(st.booleans())
    for keyword in draw(
        st.sets(st.sampled_from(["KVP", "EchoTime", "AcquisitionTime", "InstanceNumber", "ImageType"]))
    ):
        delattr(ds, keyword) if keyword in ds else setattr(ds, keyword, None)
    if draw(st.booleans()):
        block = ds.private_block(0x0019, draw(st.sampled_from(["SIEMENS MR HEADER", "ACME"])), create=True)
        block.add_new(0x0C, "IS", draw(st.integers(0, 2000)))
    if draw(st.booleans()):
        ds.private_block(0x0029, "CSA", create=True).add_new(
            1, "OB", b"\xe0\x7f\x10\x00" * draw(st.sampled_from([1, 3000, 40000]))
        )
    if draw(st.integers(0, 9)) == 0:
        del ds.PixelData
    file = io.BytesIO()
    ds.save_as(file, enforce_file_format=True)
    return file.getvalue()


def fast(raw: bytes, walker: Walker) -> dict[str, object] | Verdict:
    """As the scan reads: a short piece first, then a long one."""
    header = walker.walk(raw[:8192], len(raw))
    return walker.walk(raw[: 8192 + (1 << 18)], len(raw)) if header is Verdict.MORE else header


def agree(raw: bytes, walker: Walker) -> bool:
    """True when the fast reader read it all; it must then have read what pydicom reads."""
    header = fast(raw, walker)
    if isinstance(header, Verdict):
        return False
    assert header == read_slowly(io.BytesIO(raw), len(raw))
    return True


@given(raws=st.lists(headers(), min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_fast_reader_and_pydicom_read_the_same_header(raws):
    for raw in [*raws, *raws]:
        assert agree(raw, SHARED), "an ordinary header must not need pydicom"


def test_slices_of_a_long_series_are_read_by_what_they_share():
    walker, scan = Walker(), Scan(body(40, 4, 4))
    for index in range(40):
        ds = dataset_of(scan, index)
        ds.AcquisitionTime, ds.XRayTubeCurrent = f"1015{index:02d}", 100 + index // 13
        file = io.BytesIO()
        ds.save_as(file, enforce_file_format=True)
        assert agree(file.getvalue(), walker)


def test_series_that_lie_mixed_are_read_by_what_each_shares():
    walker, scan = Walker(), Scan(body(24, 4, 4))
    for index in range(24):
        ds = dataset_of(scan, index)
        ds.SeriesInstanceUID, ds.ProtocolName = f"1.2.3.{index % 3}", ("liver", "Leber", "foie")[index % 3]
        ds.PatientName, ds.ConvolutionKernel = f"A^{index % 2}", f"B{index % 3}0f"
        file = io.BytesIO()
        ds.save_as(file, enforce_file_format=True)
        assert agree(file.getvalue(), walker)


@pytest.mark.parametrize(
    ("raw", "vr", "value"),
    [
        (b"1.5 ", "DS", 1.5),
        (b"1.5\0", "DS", 1.5),
        (b" 12", "IS", 12),
        (b"12.0", "IS", 12),
        (b"12.5", "IS", "12.5"),
        (b"1\\-2e1\\.5", "DS", (1.0, -20.0, 0.5)),
        (b"1\\\\3", "DS", (1.0, "", 3.0)),
        (b"1\\two", "IS", (1, "two")),
        (b"1,5", "DS", "1,5"),
        (b"\\ ", "DS", None),
        (b"", "IS", None),
        (b"A \\ B\0", "CS", ("A", "B")),
        (b" \0", "UI", None),
    ],
)
def test_numbers_written_as_text_are_numbers_where_they_can_be(raw, vr, value):
    found = plain_value(raw, vr, little_endian=True, charset="")
    assert (found, type(found)) == (value, type(value))


def mutated(raw: bytes, rng: np.random.Generator) -> bytes:
    """One header with some bytes changed, cut out, doubled or cut off."""
    mutant = bytearray(raw)
    for _ in range(rng.integers(1, 4)):
        place, length = int(rng.integers(0, len(mutant))), int(rng.integers(1, 9))
        kind = rng.integers(0, 5)
        if kind == 0:
            mutant[place] = int(rng.integers(0, 256))
        elif kind == 1:
            mutant[place : place + length] = rng.bytes(length)
        elif kind == 2:
            del mutant[place : place + length]
        elif kind == 3:
            mutant[place:place] = mutant[place : place + length]
        else:
            mutant[place : place + 4] = bytes(rng.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f"]))
    return bytes(mutant[: int(rng.integers(200, len(mutant)))] if rng.integers(0, 8) == 0 else mutant)


def templates() -> list[bytes]:
    raws = []
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        ds = dataset_of(Scan(body(1, 4, 4)), 0)
        ds.file_meta.TransferSyntaxUID = syntax
        item = Dataset()
        item.ImagePositionPatient, item.SourceImageSequence = [1, 2, 3], Sequence([Dataset()])
        ds.ReferencedImageSequence = Sequence([item, item])
        ds["ReferencedImageSequence"].is_undefined_length = True
        file = io.BytesIO()
        ds.save_as(file, enforce_file_format=True)
        raws.append(file.getvalue())
    return raws


def assert_mutants_agree(count: int, seed: int) -> None:
    rng, walker, raws = np.random.default_rng(seed), Walker(), templates()
    read = 0
    for number in range(count):
        raw = mutated(raws[number % len(raws)], rng)
        try:
            read += agree(raw, walker)
        except READ_FAULTS as error:
            pytest.fail(f"pydicom refuses ({error!r}) mutant {number} of seed {seed}, which the fast reader read")
    assert read > count // 20, "the mutants must not all be beyond reading"


def test_on_a_thousand_mutated_headers_the_fast_reader_agrees_or_gives_up():
    assert_mutants_agree(1_000, seed=11)


@pytest.mark.slow
def test_on_a_hundred_thousand_mutated_headers_the_fast_reader_agrees_or_gives_up():
    assert_mutants_agree(100_000, seed=12)


def test_hostile_lengths_and_depths_end_quickly(tmp_path: Path):
    meta = templates()[0][: templates()[0].index(b"\x08\x00\x08\x00CS")]
    deep = meta + b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" * 3 + b"\xfe\xff\x00\xe0\xff\xff\xff\xff" * 5000
    claims = meta + b"\x08\x00\x16\x00OB\0\0\xf0\xff\xff\xff" + b"1.2"
    for raw in (deep, claims):
        assert isinstance(Walker().walk(raw, len(raw)), Verdict)
