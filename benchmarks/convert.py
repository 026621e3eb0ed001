"""Converting one CT series: ours beside dcm2niix, SimpleITK and the usual pydicom loop; ratios within one run.

    python benchmarks/convert.py [--slices 300] [--runs 5] [--real FOLDER]

The series is a phantom, or the slices of a real one again and again, such as those of
`../shared/data/body_ct/example_ct_dicom`; no compressor looks back as far as a slice.

Imports are paid before the clock starts; dcm2niix is a program and pays its start, a few milliseconds. Every figure is
the median of all runs, taken in turn so that a busy moment hits every tool alike. Peak memory is that of a process that
converts the series once.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import pydicom
import SimpleITK as sitk
from dcm2niix import bin as dcm2niix
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from scipy.ndimage import gaussian_filter

from pipeline.dicom.convert import read_series
from pipeline.dicom.group.series import group_series
from pipeline.dicom.read.scan import scan
from pipeline.image.nifti import write_nifti

Tool = Callable[[Path, Path], None]


def phantom(slices: int) -> np.ndarray:
    """A body in air with organs, a table and noise, in HU: it compresses about as a CT does."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[-1:1:512j, -1:1:512j]
    volume = np.full((slices, 512, 512), -1000, np.int16)
    for index in range(slices):
        wobble = 0.03 * np.sin(index / 20)
        body = (x / (0.8 + wobble)) ** 2 + (y / 0.6) ** 2 < 1
        volume[index][body] = 40
        volume[index][((x + 0.35) / 0.35) ** 2 + ((y + 0.1) / 0.3) ** 2 < 1] = 110
        volume[index][(x / 0.1) ** 2 + ((y - 0.35) / 0.1) ** 2 < 1] = 500
        noise = gaussian_filter(rng.normal(0, 30, (512, 512)), 0.7)
        volume[index] += np.where(body, noise, noise / 3).astype(np.int16)
    return volume


def repeated(folder: Path, slices: int) -> np.ndarray:
    """So many slices of a real series, in HU, from its first again after its last."""
    (series,) = group_series(scan([folder]).instances).series
    voxels = read_series(series).volume.voxels
    return np.resize(voxels, (slices, *voxels.shape[1:]))


def write_series(folder: Path, volume: np.ndarray) -> None:
    folder.mkdir()
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, pydicom.uid.CTImageStorage
    ds = pydicom.dataset.FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.Modality, ds.PatientID, ds.PatientName = meta.MediaStorageSOPClassUID, "CT", "1", "A"
    ds.SeriesInstanceUID, ds.StudyInstanceUID, ds.FrameOfReferenceUID = (generate_uid() for _ in range(3))
    ds.ImageType, ds.SeriesNumber, ds.SeriesDescription = ["ORIGINAL", "PRIMARY", "AXIAL"], 1, "abdomen"
    ds.ImageOrientationPatient, ds.PixelSpacing, ds.SliceThickness = [1, 0, 0, 0, 1, 0], [0.7, 0.7], 1
    ds.Rows, ds.Columns = volume.shape[1:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
    for index, slice_ in enumerate(volume):
        ds.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = generate_uid()
        ds.InstanceNumber, ds.ImagePositionPatient = index + 1, [-179, -179, index * 1.0]
        ds.PixelData = (np.clip(slice_, -1024, 3071) + 1024).astype("<u2").tobytes()
        ds["PixelData"].VR = "OW"
        ds.save_as(folder / f"IM{index:04d}.dcm", enforce_file_format=True)


def ours(ending: str) -> Tool:
    def convert(source: Path, out: Path) -> None:
        (series,) = group_series(scan([source]).instances).series
        write_nifti(out / f"volume{ending}", read_series(series).volume, durable=False)  # as the peers do

    return convert


def with_dcm2niix(*options: str) -> Tool:
    def convert(source: Path, out: Path) -> None:
        subprocess.run([dcm2niix, *options, "-b", "n", "-o", out, source], check=True, capture_output=True)

    return convert


def with_simpleitk(ending: str) -> Tool:
    def convert(source: Path, out: Path) -> None:
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(source)))
        sitk.WriteImage(reader.Execute(), str(out / f"volume{ending}"))

    return convert


TOOLS: dict[str, Tool] = {
    "liverset .nii.gz": ours(".nii.gz"),
    "dcm2niix -z y -1": with_dcm2niix("-z", "y", "-1"),
    "dcm2niix -z i": with_dcm2niix("-z", "i"),
    "dcm2niix -z y": with_dcm2niix("-z", "y"),
    "SimpleITK .nii.gz": with_simpleitk(".nii.gz"),
    "liverset .nii": ours(".nii"),
    "dcm2niix -z n": with_dcm2niix("-z", "n"),
    "SimpleITK .nii": with_simpleitk(".nii"),
}

ENDINGS = {tool: ".nii" if tool.endswith((".nii", "-z n")) else ".nii.gz" for tool in TOOLS}


@dataclass(frozen=True, slots=True)
class Run:
    """One conversion: wall and CPU seconds, size and SHA-256 of the image."""

    wall_s: float
    cpu_s: float
    size: int
    sha256: str


def cpu_s() -> float:
    """CPU seconds of this process and of the programs it ran."""
    own, programs = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + programs.ru_utime + programs.ru_stime


def measured(tool: Tool, source: Path, work: Path) -> Run:
    """What one conversion takes and gives."""
    out = work / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    wall, cpu = time.perf_counter(), cpu_s()
    tool(source, out)
    wall, cpu = time.perf_counter() - wall, cpu_s() - cpu
    (image,) = (path for path in out.iterdir() if ".nii" in path.name)
    return Run(wall, cpu, image.stat().st_size, hashlib.sha256(image.read_bytes()).hexdigest())


def peak_mb(source: Path, out: Path) -> float:
    """Peak memory of a fresh process that converts the series, less what its imports take."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return float(pool.apply(_growth_mb, (source, out)))


def _growth_mb(source: Path, out: Path) -> float:
    out.mkdir(exist_ok=True)
    Path("/proc/self/clear_refs").write_text("5")  # begin a new high-water mark
    before = _status_mb("VmRSS")
    ours(".nii.gz")(source, out)
    return _status_mb("VmHWM") - before


def _status_mb(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1000


def print_table(results: dict[str, list[Run]]) -> None:
    """One line a tool; the first is what the others are compared with."""
    medians = {
        tool: (median(run.wall_s for run in runs), median(run.cpu_s for run in runs)) for tool, runs in results.items()
    }
    base_wall, base_cpu = next(iter(medians.values()))
    for tool, (wall, cpu) in medians.items():
        runs = results[tool]
        same = "same bytes" if len({run.sha256 for run in runs}) == 1 else "bytes differ"
        times = f"wall {wall:6.2f} s {wall / base_wall:6.2f}x   CPU {cpu:6.2f} s {cpu / base_cpu:6.2f}x"
        print(f"{tool:18s} {times} {runs[0].size / 1e6:7.1f} MB  {same}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--real", type=Path, help="folder of a real CT series, instead of the phantom")
    options = parser.parse_args()
    volume = repeated(options.real, options.slices) if options.real else phantom(options.slices)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_series(work / "series", volume)
        results: dict[str, list[Run]] = {tool: [] for tool in TOOLS}
        for _ in range(options.runs):
            for tool, convert in TOOLS.items():
                results[tool].append(measured(convert, work / "series", work))
        print(f"{options.slices} slices, {volume.nbytes / 1e6:.0f} MB, median of {options.runs}; x: of liverset's")
        for ending in (".nii.gz", ".nii"):
            print_table({tool: runs for tool, runs in results.items() if ENDINGS[tool] == ending})
        print(f"peak memory over imports: {peak_mb(work / 'series', work / 'peak'):.0f} MB")


if __name__ == "__main__":
    main()
