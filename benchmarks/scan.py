"""Reading the headers of a folder: ours beside pydicom and dcm2niix; ratios within one run.

    python benchmarks/scan.py [FOLDER] [--files 3000] [--runs 3]

Without a folder, one CT series is made whose headers have about 120 elements, private ones among them. Files lie in the
page cache, imports are paid. "cold" reads every header and fills the index, "not sealed" without encrypting it;
"unchanged" is the next scan with it, which makes its records when asked for them: "and all headers" asks. "scandir and
stat" is the least that any scan must do.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pydicom
from dcm2niix import bin as dcm2niix
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from pipeline.core.pseudonyms import Pseudonyms
from pipeline.dataset.sealed import Seal
from pipeline.dicom.read.index import Index
from pipeline.dicom.read.scan import ScanResult, scan

TEXTS = (
    *(
        "StudyDescription",
        "InstitutionName",
        "StationName",
        "ManufacturerModelName",
        "ProtocolName",
        "BodyPartExamined",
    ),
    *("PatientSex", "ScanOptions", "SoftwareVersions", "DeviceSerialNumber", "FilterType", "ConvolutionKernel"),
    *("PatientPosition", "RescaleType", "AccessionNumber", "ReferringPhysicianName", "SeriesDescription", "StudyID"),
)
NUMBERS = (
    *(
        "KVP",
        "DataCollectionDiameter",
        "GantryDetectorTilt",
        "TableHeight",
        "FocalSpots",
        "WindowCenter",
        "WindowWidth",
    ),
    *("DistanceSourceToDetector", "DistanceSourceToPatient", "PatientWeight", "SliceThickness", "SliceLocation"),
)


def write_series(folder: Path, files: int) -> None:
    """A CT series with headers as long as scanners write them, and small pictures."""
    folder.mkdir()
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
    ds = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    for keyword in TEXTS:
        setattr(ds, keyword, "TEXT")
    for keyword in NUMBERS:
        setattr(ds, keyword, "1.5")
    ds.SOPClassUID, ds.Modality, ds.PatientID, ds.PatientName = CTImageStorage, "CT", "1", "A"
    ds.SeriesInstanceUID, ds.StudyInstanceUID, ds.FrameOfReferenceUID = "1.2.1", "1.2.2", "1.2.3"
    ds.ImageOrientationPatient, ds.PixelSpacing, ds.Rows, ds.Columns = [1, 0, 0, 0, 1, 0], [0.7, 0.7], 32, 32
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.RescaleSlope, ds.RescaleIntercept = 16, 12, 11, 1, -1024
    ds.PixelData = bytes(2048)
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, "1.2.4"
    ds.ReferencedImageSequence = [item, item]
    block = ds.private_block(0x0029, "ACME CSA", create=True)
    for number in range(50):
        block.add_new(number, "OB" if number % 5 == 0 else "DS", b"xy" * 40 if number % 5 == 0 else "1.25")
    for index in range(files):
        ds.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = f"1.2.5.{index}"
        ds.InstanceNumber, ds.ImagePositionPatient, ds.SliceLocation = index + 1, [0, 0, index * 1.25], index * 1.25
        ds.AcquisitionTime, ds.XRayTubeCurrent = f"10{index // 60 % 60:02d}{index % 60:02d}", 100 + index // 7
        ds.save_as(folder / f"IM{index:05d}", enforce_file_format=True)


def with_pydicom(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            pydicom.dcmread(path, stop_before_pixels=True, force=True)


def with_dcm2niix(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([dcm2niix, "-b", "o", "-o", out, folder], check=False, capture_output=True)


def stat_alone(folder: Path) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            entry.stat()


class Clear:
    """Seals nothing: what the index costs without its encryption."""

    def close(self, plain: bytes) -> bytes:
        """The content as it is."""
        return plain

    def open(self, sealed: bytes, name: str) -> bytes:
        """The content as it is."""
        return sealed

    def name_of(self, text: bytes) -> bytes:
        """The text as it is."""
        return text


def remove(index: Path) -> None:
    shutil.rmtree(index.parent, ignore_errors=True)


def all_headers(found: ScanResult) -> None:
    for instance in found.instances:
        instance.text("SOPInstanceUID")


def cpu_s() -> float:
    """CPU seconds of this process and of the programs it ran."""
    own, programs = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + programs.ru_utime + programs.ru_stime


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds that some work takes."""
    wall, cpu = time.perf_counter(), cpu_s()
    work()
    return time.perf_counter() - wall, cpu_s() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--files", type=int, default=3000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        folder = options.folder or work / "series"
        if options.folder is None:
            write_series(folder, options.files)
        files = sum(path.is_file() for path in folder.rglob("*"))
        index = work / "private" / "index.sqlite"
        seal = Seal("dicom-index 1", Pseudonyms(bytes(range(32))))
        readers: dict[str, Callable[[], object]] = {
            "pydicom stop_before_pixels": lambda: with_pydicom(folder),
            "dcm2niix -b o": lambda: with_dcm2niix(folder),
            "liverset cold, no index": lambda: scan([folder]),
            "liverset cold, not sealed": lambda: (remove(index), scan([folder], index=Index(index, Clear()))),
            "liverset cold": lambda: (remove(index), scan([folder], index=Index(index, seal))),
            "liverset unchanged": lambda: scan([folder], index=Index(index, seal)),
            "... and all headers": lambda: all_headers(scan([folder], index=Index(index, seal))),
            "scandir and stat": lambda: stat_alone(folder),
        }
        taken: dict[str, list[tuple[float, float]]] = {reader: [] for reader in readers}
        for _ in range(options.runs):
            for reader, read in readers.items():
                taken[reader].append(seconds(read))
        medians = {reader: [median(part) for part in zip(*times, strict=True)] for reader, times in taken.items()}
        base_wall, base_cpu = medians["pydicom stop_before_pixels"]
        print(f"{files} files, median of {options.runs}; x: faster than pydicom")
        for reader, (wall, cpu) in medians.items():
            times = f"wall {wall:7.3f} s {base_wall / wall:6.1f}x   CPU {cpu:7.3f} s {base_cpu / cpu:6.1f}x"
            print(f"{reader:28s} {times} {files / wall:9.0f} files/s")


if __name__ == "__main__":
    main()
