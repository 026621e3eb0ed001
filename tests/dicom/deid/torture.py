"""A hospital export in which identifiers hide wherever a DICOM file has room, and the list of all of them.

Every plant is a text of its own, made from the seed, so that a leak tells its category. Files are written the way
scanners and archives write them, and by hand where pydicom would refuse.
"""

from __future__ import annotations

import random
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydicom import config as pydicom_config
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from pipeline.dicom.deid.annex_e import table

CT = "1.2.840.10008.5.1.4.1.1.2"
SHAPE = (128, 128)
LATIN = ["KOWALSKA^MARIANNA", "MÜLLER^JÜRGEN", "O'CONNOR^SAOIRSE", "FERNÁNDEZ^IÑIGO"]
CHINESE = ["张晓明", "欧阳婉清", "司马建国", "慕容雪"]
ROOT = "1.3.6.1.4.1.55555"


@dataclass
class Torture:
    """The export and what was planted in it.

    Attributes:
        folder: where it lies.
        plants: category of each planted text.
        clean: names of files that are clean axial CT apart from their header, and must come through.
    """

    folder: Path
    plants: dict[str, str] = field(default_factory=dict)
    clean: list[str] = field(default_factory=list)


class Planter:
    """Makes texts that occur nowhere else and remembers them."""

    def __init__(self, torture: Torture, seed: int) -> None:
        self.torture, self.rng, self.count = torture, random.Random(seed), 0

    def word(self, category: str) -> str:
        self.count += 1
        letters = "".join(self.rng.choice("BCDFGHJKLMNPQRSTVWXZ") for _ in range(7))
        return self._remember(category, f"{letters}{self.count:04d}")

    def number(self, category: str) -> str:
        return self._remember(category, str(self.rng.randrange(10**9, 10**10)))

    def uid(self, category: str) -> str:
        return self._remember(
            category, f"{ROOT}.{self.rng.randrange(10**11, 10**12)}.{self.rng.randrange(10**6, 10**7)}"
        )

    def day(self, category: str) -> str:
        year, month = self.rng.randrange(1931, 2025), self.rng.randrange(1, 13)
        return self._remember(category, f"{year}{month:02d}{self.rng.randrange(1, 29):02d}")

    def _remember(self, category: str, text: str) -> str:
        self.torture.plants[text] = category
        return text


def make_torture(folder: Path, seed: int) -> Torture:
    """The whole export of one seed, written below a folder."""
    torture = Torture(folder)
    planter = Planter(torture, seed)
    for number, make in enumerate(MAKERS):
        patient = planter.number("path")
        place = folder / f"{LATIN[number % 4].split('^')[0]}_{patient}"
        place.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings(action="ignore"):
            make(planter, place, number)
    return torture


def image(planter: Planter, number: int, *, slice_number: int = 1) -> Dataset:
    """An axial CT slice of one patient with every identity attribute filled."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SOPClassUID, dataset.Modality = CT, "CT"
    for word in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"):
        setattr(dataset, word, planter.uid("UID"))
    name = LATIN[number % 4] if number % 2 else f"{planter.word('name')}^{planter.word('name')}"
    dataset.PatientName, dataset.PatientID = name, planter.number("number")
    planter.torture.plants.update(dict.fromkeys(str(name).split("^"), "name"))
    dataset.PatientBirthDate, dataset.AccessionNumber = planter.day("date"), planter.number("number")
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = planter.day("date")
    dataset.StudyTime, dataset.AcquisitionTime = "101112", "101313.25"
    dataset.ReferringPhysicianName = f"{planter.word('name')}^{planter.word('name')}"
    dataset.InstitutionName, dataset.StationName = planter.word("place"), planter.word("device")
    dataset.PatientAddress, dataset.PatientTelephoneNumbers = planter.word("place"), f"+48{planter.number('phone')}"
    dataset.Manufacturer, dataset.ManufacturerModelName = "SIEMENS", "SOMATOM Force"
    dataset.SliceThickness, dataset.KVP, dataset.ConvolutionKernel = "5", "120", "Br40d"
    dataset.ImagePositionPatient = [-100, -100, 5 * slice_number]
    dataset.ImageOrientationPatient, dataset.PixelSpacing = [1, 0, 0, 0, 1, 0], [0.75, 0.75]
    dataset.InstanceNumber, dataset.SeriesNumber, dataset.PatientPosition = slice_number, 3, "HFS"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = SHAPE
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.RescaleIntercept, dataset.RescaleSlope = "-1024", "1"
    dataset.PixelData = pixels(number, slice_number).tobytes()
    return dataset


def pixels(number: int, slice_number: int = 1) -> np.ndarray:
    """A noisy disc in noisy air, as a scanner would store it."""
    rng = np.random.default_rng((number, slice_number))
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]] - np.array([64, 64])[:, None, None]
    body = (rows / (40 + slice_number % 7)) ** 2 + (columns / 52) ** 2 < 1
    return np.clip(rng.normal(np.where(body, 1084, 60), 15), 0, 4095).astype("<u2")


def save(dataset: Dataset, path: Path, syntax: UID = ExplicitVRLittleEndian, **kwargs: object) -> None:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, enforce_file_format=True, **kwargs)


def _identity(planter: Planter, place: Path, number: int) -> None:
    for slice_number in range(1, 4):
        dataset = image(planter, number, slice_number=slice_number)
        name = f"{planter.number('path')}.dcm"
        save(dataset, place / name)
        planter.torture.clean.append(name)


def _table(planter: Planter, place: Path, number: int) -> None:
    top, nested = image(planter, number), image(planter, number)
    item = Dataset()
    for row in table():
        element = _row_element(row.tag, bool(row.keyword), planter)
        if element is not None:
            item[element.tag] = element
            if element.tag not in top:
                top[element.tag] = element
    nested.RequestAttributesSequence = Sequence([item])
    nested.ReferencedImageSequence = Sequence([item])
    for name, dataset in (("top", top), ("nested", nested)):
        save(dataset, place / name)
        planter.torture.clean.append(name)


def _row_element(tag_text: str, is_known: bool, planter: Planter) -> DataElement | None:
    tag = int(tag_text.replace("xx", "00"), 16) if "xxxx" not in tag_text and tag_text != "private" else 0x50003000
    vr = dictionary_VR(tag) if is_known else "LO"
    if tag >> 16 in (0, 2) or vr not in {"LO", "SH", "PN", "LT", "ST", "UT", "UC", "DA", "DT", "UI", "AE", "CS"}:
        return None
    value = {"DA": planter.day, "DT": planter.day, "UI": planter.uid}.get(vr, planter.word)("table row")
    return DataElement(tag, vr, value, validation_mode=pydicom_config.IGNORE)


def _private(planter: Planter, place: Path, number: int) -> None:
    dataset = image(planter, number)
    for group, creator in ((0x0009, "GEMS_IDEN_01"), (0x0029, "SIEMENS CSA HEADER"), (0x0099, planter.word("private"))):
        block = dataset.private_block(group, creator, create=True)
        block.add_new(1, "LO", planter.word("private"))
        block.add_new(2, "UN", planter.word("private").encode())
        item = Dataset()
        item.PatientName = planter.word("private")
        block.add_new(3, "SQ", Sequence([item]))
    dataset.add_new(0x00081030, "UN", planter.word("UN").encode())
    dataset.add_new(0x0010FFF1, "UN", planter.word("UN").encode())
    save(dataset, place / "private")
    planter.torture.clean.append("private")


def _overlays(planter: Planter, place: Path, number: int) -> None:
    dataset = image(planter, number)
    dataset.add_new(0x60000010, "US", 8)
    for tag in (0x60000022, 0x60001500, 0x60004000, 0x50000040):
        dataset.add_new(tag, "LO", planter.word("overlay"))
    dataset.add_new(0x60003000, "OW", planter.word("overlay").encode() + b" ")
    dataset.add_new(0x50003000, "OW", planter.word("overlay").encode() + b" ")
    hidden = np.frombuffer(planter.word("high bits").encode(), np.uint8)
    values = pixels(number).ravel()
    values[: 2 * hidden.size : 2] |= (hidden >> 4).astype("<u2") << 12
    values[1 : 2 * hidden.size : 2] |= (hidden & 15).astype("<u2") << 12
    dataset.PixelData = values.tobytes()
    save(dataset, place / "overlay")
    planter.torture.clean.append("overlay")


def _text(planter: Planter, place: Path, number: int) -> None:
    dataset = image(planter, number)
    for word in (
        "PatientComments",
        "ImageComments",
        "StudyComments",
        "AdditionalPatientHistory",
        "RequestedProcedureDescription",
    ):
        setattr(
            dataset,
            word,
            f"patient {planter.word('free text')} called {planter.number('free text')} on {planter.day('free text')}",
        )
    for word in ("SeriesDescription", "StudyDescription", "ProtocolName", "ContrastBolusAgent"):
        setattr(dataset, word, f"Abdomen {planter.word('description')} 5.0mm {planter.day('description')} arterial")
    listed = (
        "ConvolutionKernel",
        "ScanOptions",
        "Manufacturer",
        "ManufacturerModelName",
        "FilterType",
        "BodyPartExamined",
    )
    for word in (*listed, "ContrastBolusRoute", "RescaleType", "PatientPosition", "KVP", "ExposureTime", "StackID"):
        vr = "LO" if dictionary_VR(word) in ("DS", "IS") else dictionary_VR(word)
        planted = planter.word("listed attribute")
        element = DataElement(word, vr, planted, validation_mode=pydicom_config.IGNORE)
        dataset[element.tag] = element
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL", planter.word("listed attribute")]
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "10200004", "SCT", planter.word("code meaning")
    dataset.AnatomicRegionSequence = Sequence([code])
    dataset.PatientAge = "097Y"
    save(dataset, place / "text")
    planter.torture.clean.append("text")


def _invalid(planter: Planter, place: Path, number: int) -> None:
    """Values that break their VR's rules: readers complain about them, and quote them."""
    dataset = image(planter, number)
    long = {"AccessionNumber": 20, "StudyID": 40, "IssuerOfPatientID": 90, "SeriesDescription": 80}
    for word in ("IrradiationEventUID", "PatientBirthDate", "PatientAge", "ContentTime", "SliceLocation", *long):
        vr = "LO" if dictionary_VR(word) == "DS" else dictionary_VR(word)
        value = planter.word("invalid").ljust(long.get(word, 0), "_")
        element = DataElement(word, vr, value, validation_mode=pydicom_config.IGNORE)
        dataset[element.tag] = element
    save(dataset, place / "invalid")
    planter.torture.clean.append("invalid")


def _around(planter: Planter, place: Path, number: int) -> None:
    dataset = image(planter, number)
    dataset.preamble = planter.word("preamble").encode().ljust(128, b" ")
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for word in ("SourceApplicationEntityTitle", "SendingApplicationEntityTitle", "ImplementationVersionName"):
        setattr(dataset.file_meta, word, planter.word("group 2"))
    dataset.file_meta.PrivateInformationCreatorUID = planter.uid("group 2")
    dataset.file_meta.PrivateInformation = planter.word("group 2").encode() + b" "
    dataset.PixelData += planter.word("in pixel data").encode() + b" "
    dataset.add_new(0xFFFCFFFC, "OB", planter.word("trailing padding").encode() + b" ")
    dataset.save_as(place / "around", enforce_file_format=True)
    with (place / "around").open("ab") as file:
        file.write(planter.word("after the data").encode())
    planter.torture.clean.append("around")


def _documents(planter: Planter, place: Path, number: int) -> None:
    classes = {
        "sr": "88.67",
        "pdf": "104.1",
        "capture": "7",
        "presentation": "11.1",
        "structures": "481.3",
        "keys": "88.59",
    }
    for name, ending in classes.items():
        dataset = image(planter, number)
        dataset.SOPClassUID = f"1.2.840.10008.5.1.4.1.1.{ending}"
        dataset.EncapsulatedDocument = planter.word("document").encode() + b" "
        item = Dataset()
        item.TextValue = planter.word("report")
        dataset.ContentSequence = Sequence([item])
        save(dataset, place / name)
    signed = image(planter, number)
    item = Dataset()
    item.CertificateOfSigner, item.SignerName = planter.word("signature").encode(), planter.word("signature")
    signed.DigitalSignaturesSequence = signed.OriginalAttributesSequence = Sequence([item])
    save(signed, place / "signed")
    planter.torture.clean.append("signed")
    for name, changes in (
        ("localizer", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}),
        ("flag", {"BurnedInAnnotation": "YES"}),
    ):
        dataset = image(planter, number)
        dataset.update(changes)
        save(dataset, place / name)


def _charsets(planter: Planter, place: Path, number: int) -> None:
    for name, charset in (
        ("gb", "GB18030"),
        ("utf", "ISO_IR 192"),
        ("iso", ["", "ISO 2022 IR 58"]),
        ("wrong", "ISO_IR 100"),
    ):
        dataset = image(planter, number)
        chinese = planter.rng.choice(CHINESE)
        planter.torture.plants[chinese] = "charset"
        dataset.SpecificCharacterSet = charset
        dataset.PatientName = f"Ouyang^Wan={chinese[:2]}^{chinese[2:]}"
        dataset.SeriesDescription = f"腹部 动脉期 {chinese}"
        if name == "wrong":
            dataset.add_new(0x00100010, "UN", chinese.encode("gb18030"))
            dataset.SeriesDescription = "plain"
        save(dataset, place / name)
        planter.torture.clean.append(name)


def _syntaxes(planter: Planter, place: Path, number: int) -> None:
    save(image(planter, number), place / "implicit", ImplicitVRLittleEndian)
    save(image(planter, number), place / "deflated", DeflatedExplicitVRLittleEndian)
    swapped = image(planter, number)
    swapped["PixelData"].VR = "OW"
    swapped.PixelData = np.frombuffer(swapped.PixelData, "<u2").astype(">u2").tobytes()
    save(swapped, place / "big", ExplicitVRBigEndian)
    bare = image(planter, number)
    bare.save_as(place / "bare", implicit_vr=True, little_endian=True)
    packers: dict[str, tuple[UID, Callable[[np.ndarray], bytes]]] = {
        "j2k": (JPEG2000Lossless, lambda a: imagecodecs.jpeg2k_encode(a, level=0, reversible=True, codecformat="j2k")),
        "jls": (JPEGLSLossless, imagecodecs.jpegls_encode),
    }
    for name, (syntax, pack) in packers.items():
        dataset = image(planter, number)
        stream = bytes(pack(pixels(number)))
        comment = planter.word("codestream").encode()
        marker = b"\xff\x64" if name == "j2k" else b"\xff\xfe"
        extra = b"\0\1" if name == "j2k" else b""
        segment = marker + (len(comment) + 2 + len(extra)).to_bytes(2, "big") + extra + comment
        at = stream.index(b"\xff\x52") if name == "j2k" else 2
        dataset.PixelData = encapsulate(
            [stream[:at] + segment + stream[at:] + planter.word("after the codestream").encode()]
        )
        dataset["PixelData"].VR = "OB"
        save(dataset, place / name, syntax)
    packed = image(planter, number)
    packed.file_meta = FileMetaDataset()
    packed.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    packed.compress(RLELossless)
    packed.save_as(place / "rle", enforce_file_format=True)
    planter.torture.clean += ["implicit", "deflated", "big", "bare", "j2k", "jls", "rle"]


def _burned_in(planter: Planter, place: Path, number: int) -> None:
    series, study = planter.uid("UID"), planter.uid("UID")
    patient = planter.number("number")
    text = Image.new("1", SHAPE[::-1])
    ImageDraw.Draw(text).text((4, 4), "KOWALSKA 1954", fill=1, font=ImageFont.load_default(12))
    strokes = np.array(text)
    for slice_number in range(1, 11):
        dataset = image(planter, number, slice_number=slice_number)
        dataset.SeriesInstanceUID, dataset.StudyInstanceUID, dataset.PatientID = series, study, patient
        values = pixels(number, slice_number)
        values[strokes] = 4095
        dataset.PixelData = values.tobytes()
        save(dataset, place / f"burned{slice_number}")


def _archive(planter: Planter, place: Path, number: int) -> None:
    save(image(planter, number), place / "inside")
    with zipfile.ZipFile(place / f"{planter.word('path')}.zip", "w") as archive:
        archive.write(place / "inside", f"{planter.word('path')}/IM1")
    (place / "inside").unlink()
    (place / "notes.txt").write_text(f"patient {planter.word('path')}")
    planter.torture.clean.append("IM1")


MAKERS = (
    _identity,
    _table,
    _private,
    _overlays,
    _text,
    _invalid,
    _around,
    _documents,
    _charsets,
    _syntaxes,
    _burned_in,
    _archive,
)
