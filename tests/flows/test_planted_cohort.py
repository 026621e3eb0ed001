"""A cohort with identifiers wherever an export has room for them, the whole way by the commands a user types.

Nothing of what was planted may stand outside `private/` and the owner's own files: in no table, page, package, release,
log or file name, nor in Prefect's database or on the terminal.
"""

from __future__ import annotations

import gzip
import io
import re
import subprocess
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import EnhancedCTImageStorage, SecondaryCaptureImageStorage, generate_uid

from pipeline.dataset.layout import ADJUDICATION, ROUND
from tests.dicom.deid.torture import Planter, Torture, make_torture
from tests.stages.awkward import Person, answer, write_dataset

NAMES = "ReferringPhysicianName OperatorsName PerformingPhysicianName PhysiciansOfRecord RequestingPhysician"
TEXTS = (
    "InstitutionName InstitutionAddress StationName PatientAddress PatientComments ImageComments AdmissionID StudyID"
)
MIXED = "StudyDescription SeriesDescription ProtocolName ManufacturerModelName ConvolutionKernel ContrastBolusAgent"
NUMBERS = "AccessionNumber DeviceSerialNumber MilitaryRank OtherPatientIDs"


def person(planter: Planter) -> Person:
    """A patient in whose header every text holds something that identifies."""
    own = {keyword: f"{planter.word('name')}^{planter.word('name')}" for keyword in NAMES.split()}
    own |= {keyword: planter.word("text") for keyword in TEXTS.split()}
    own |= {keyword: f"portal venous {planter.word('text')} {planter.number('number')}" for keyword in MIXED.split()}
    own |= {keyword: planter.number("number") for keyword in NUMBERS.split()}
    own |= {keyword: planter.day("date") for keyword in ("StudyDate", "SeriesDate", "PatientBirthDate")}
    own["SoftwareVersions"] = f"syngo CT {planter.word('text')}"
    return Person(f"{planter.word('name')}^{planter.word('name')}", planter.number("number"), own)


def with_hidden_texts(dataset: Dataset, planter: Planter) -> None:
    """Private elements, sequences in sequences, a padding that is a name."""
    dataset.private_block(0x0009, "ACME 1.1", create=True).add_new(1, "LO", planter.word("private"))
    request = Dataset()
    request.RequestedProcedureDescription, request.ScheduledProcedureStepID = planter.word("text"), planter.word("text")
    request.ReferencedStudySequence = [Dataset()]
    request.ReferencedStudySequence[0].ReferencedSOPInstanceUID = planter.uid("uid")
    dataset.RequestAttributesSequence = [request]
    dataset.DataSetTrailingPadding = planter.word("padding").encode().ljust(16)


def as_fractions(slices: list[Dataset]) -> list[Dataset]:
    """The same picture with a rescale that gives no whole numbers."""
    for dataset in slices:
        stored = np.frombuffer(dataset.PixelData, "<u2")
        dataset.RescaleSlope = 1.5346
        dataset.PixelData = np.rint(stored / 1.5346).astype("<u2").tobytes()
    return slices


def as_frames(slices: list[Dataset], *, described: bool = True) -> list[Dataset]:
    """One object of many frames, each with its place or none with any."""
    whole = slices[0].copy()
    whole.SOPInstanceUID, whole.NumberOfFrames = generate_uid(), len(slices)
    whole.PixelData = b"".join(one.PixelData for one in slices)
    if described:
        whole.SOPClassUID = EnhancedCTImageStorage
        whole.SharedFunctionalGroupsSequence = [Dataset()]
        shared = whole.SharedFunctionalGroupsSequence[0]
        shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [Dataset()], [Dataset()]
        shared.PixelMeasuresSequence[0].PixelSpacing = slices[0].PixelSpacing
        shared.PixelMeasuresSequence[0].SliceThickness = slices[0].SliceThickness
        shared.PlaneOrientationSequence[0].ImageOrientationPatient = slices[0].ImageOrientationPatient
        shared.PixelValueTransformationSequence = [Dataset()]
        shared.PixelValueTransformationSequence[0].RescaleSlope = slices[0].RescaleSlope
        shared.PixelValueTransformationSequence[0].RescaleIntercept = slices[0].RescaleIntercept
        shared.PixelValueTransformationSequence[0].RescaleType = "HU"
        whole.PerFrameFunctionalGroupsSequence = [Dataset() for _ in slices]
        for frame, one in zip(whole.PerFrameFunctionalGroupsSequence, slices, strict=True):
            frame.PlanePositionSequence = [Dataset()]
            frame.PlanePositionSequence[0].ImagePositionPatient = one.ImagePositionPatient
    return [whole]


def as_colours(slices: list[Dataset]) -> list[Dataset]:
    """Coloured copies, as a workstation exports them."""
    for dataset in slices:
        grey = (np.frombuffer(dataset.PixelData, "<u2") >> 4).astype(np.uint8)
        dataset.SOPClassUID, dataset.SamplesPerPixel, dataset.PhotometricInterpretation = (
            SecondaryCaptureImageStorage,
            3,
            "RGB",
        )
        dataset.PlanarConfiguration, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 0, 8, 8, 7
        dataset.PixelData = np.repeat(grey, 3).tobytes()
    return slices


def expose_again(folder: Path, planter: Planter, number: int) -> None:
    """The series of a person in another form, or a second series beside it."""
    slices = [dcmread(path) for path in sorted(folder.iterdir())]
    for dataset in slices:
        with_hidden_texts(dataset, planter)
    if number == 0:
        changed = as_fractions(slices)
    elif number == 1:
        changed = as_frames(slices)
    else:
        beside = [dcmread(path) for path in sorted(folder.iterdir())]
        uid = planter.uid("uid")
        extra = as_colours(beside) if number == 2 else as_frames(beside, described=False)
        for dataset in extra:
            dataset.SeriesInstanceUID, dataset.SOPInstanceUID = uid, generate_uid()
        changed = [*slices, *extra]
    for path in folder.iterdir():
        path.unlink()
    for place, dataset in enumerate(changed):
        dataset.save_as(folder / f"{planter.word('path')}_{place:03d}.dcm")


def clinical_table(people: list[Person], planter: Planter) -> str:
    """What a clinic exports: more columns than anybody asked for."""
    lines = ["patient_id;age;sex;diagnosis;Nachname;Arzt;Telefon;Bemerkung"]
    for one in people:
        name = one.name.split("^")[0]
        remark = f"{planter.word('text')} {planter.day('date')}"
        lines.append(f"{one.number};60;F;HCC;{name};{planter.word('name')};{planter.number('phone')};{remark}")
    return "\n".join(lines)


def opened(name: str, content: bytes, depth: int = 0) -> Iterator[tuple[str, bytes]]:
    """A file, and what is packed in it."""
    yield name, content
    if depth < 4 and content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as parcel:
            for member in parcel.namelist():
                yield from opened(f"{name}/{member}", parcel.read(member), depth + 1)
    if content.startswith(b"\x1f\x8b"):
        yield from opened(f"{name} unpacked", gzip.decompress(content), depth + 1)
    if content.startswith(b"\x89PNG"):
        for found in re.finditer(rb"(?:zTXt|iTXt|IDAT)", content):
            try:
                yield f"{name} chunk", zlib.decompressobj().decompress(content[found.end() :], 1 << 24)
            except zlib.error:
                continue


SHAPES = re.compile(
    rb"[bcdfghjklmnpqrstvwxz]{7}\d{4}|(?<!\d)\d{8}(?!\d)|(?=(\d{10}))\d|\d{4}-\d\d-\d\d|\d\d\.\d\d\.\d{4}|\d\d/\d\d/\d{4}"
)
"""How planted words, days and numbers look: every such text is looked up. Everything else is sought as it is."""


class Sought:
    """Planted texts in all their spellings, by category."""

    def __init__(self, plants: dict[str, str]) -> None:
        forms = {plant.lower(): category for plant, category in plants.items()}
        for day in [plant for plant, category in plants.items() if category == "date"]:
            year, month, of_month = day[:4], day[4:6], day[6:]
            forms |= dict.fromkeys((f"{year}-{month}-{of_month}", f"{of_month}.{month}.{year}"), "date")
            forms[f"{month}/{of_month}/{year}"] = "date"
        self.shaped = {form.encode(): category for form, category in forms.items() if SHAPES.match(form.encode())}
        self.others = {form.encode(): kind for form, kind in forms.items() if form.encode() not in self.shaped}

    def in_(self, content: bytes) -> set[str]:
        """Categories of what a content holds; UTF-16 is read by leaving out its zeros."""
        plain = content.replace(b"\0", b"").lower()
        found = {self.shaped[text] for hit in SHAPES.finditer(plain) if (text := hit[1] or hit[0]) in self.shaped}
        return found | {category for form, category in self.others.items() if form in plain}


@pytest.mark.slow
def test_nothing_planted_leaves_by_any_door(root: Path, start: Callable[..., subprocess.Popen[str]]):
    planter = Planter(Torture(root), seed=11)
    people = [person(planter) for _ in range(4)]
    home = root.with_name("planted")
    root.rename(home)
    ws = write_dataset(home, tuple(people), more='[source]\nclinical = "clinical.csv"')
    for number, folder in enumerate(sorted((home / "dicom").iterdir())):
        expose_again(folder, planter, number)
        folder.rename(folder.with_name(f"{people[number].name.split('^')[0]}_{people[number].number}"))
    (home / "clinical.csv").write_text(clinical_table(people, planter), encoding="utf-8")
    plants = planter.torture.plants | make_torture(home / "dicom" / planter.word("path"), seed=5).plants
    terminal = io.StringIO()

    def run(*command: str, expected: tuple[int, ...] = (0,)) -> None:
        process = start("-m", "pipeline.cli", *command)
        terminal.write("".join(process.communicate(timeout=300)))
        assert process.returncode in expected, terminal.getvalue()

    run("build", str(home), expected=(1,))
    run("review", "pack", str(home))
    answer(ws, ROUND)
    run("review", "check", str(home), expected=(1,))
    run("review", "adjudicate", str(home))
    answer(ws, ADJUDICATION)
    run("review", "check", str(home))
    run("release", "cut", str(home), "--version", "1.0.0")
    run("release", "verify", str(home), "--version", "1.0.0")
    assert "version 1.0.0: 4 patients, 4 volumes" in terminal.getvalue()

    kept_by_the_owner = (ws.layout.private, home / "dicom", home / "clinical.csv")
    left = [path for path in home.rglob("*") if path.is_file() and not any(map(path.is_relative_to, kept_by_the_owner))]
    assert {".db", ".zip", ".html", ".csv", ".json", ".gz", ".parquet", ".log"} <= {path.suffix for path in left}
    sought = Sought(plants)
    contents = {"terminal": terminal.getvalue().encode(), **{str(path.relative_to(home)): None for path in left}}
    found = set()
    for name, content in contents.items():
        for inner, part in opened(name, (home / name).read_bytes() if content is None else content):
            found |= {f"{category} in {inner}" for category in sought.in_(part)}
            found |= {f"{category} as a name of {inner}" for category in sought.in_(inner.encode())}
    assert not found
    assert {"name", "number", "text", "date", "phone"} <= sought.in_((home / "clinical.csv").read_bytes())
    sources = [path for path in (home / "dicom").rglob("*") if path.is_file()]
    planted = {category for path in sources for category in sought.in_(path.read_bytes() + path.name.encode())}
    assert {"uid", "private", "path", "padding", "name", "date"} <= planted
