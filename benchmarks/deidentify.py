"""Leaks and speed of `liverset deidentify` beside its peers, on the torture export and on 300 slices of 512 x 512.

Peers run in a Python of their own, since their pins differ:
    python -m venv PEERS && PEERS/bin/pip install dicognito deid dicom-anonymizer
    python benchmarks/deidentify.py PEERS/bin/python
Without it only liverset is measured. A file that a peer refuses or crashes on leaks nothing and is counted as missing.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pydicom import dcmread
from pydicom.dataset import Dataset

from pipeline.core.config import DeidentificationConfig
from pipeline.core.files import write_atomically
from pipeline.core.pseudonyms import Pseudonyms
from pipeline.dicom.deid.clean_tree import deidentify_tree
from pipeline.dicom.deid.deidentify import deidentify
from pipeline.dicom.deid.encode import file_bytes
from pipeline.dicom.read.pixels import read_slice
from pipeline.dicom.read.scan import scan
from pipeline.leaks.search import harvest, search
from tests.dicom.deid.torture import Planter, Torture, image, make_torture, save

SEEDS = (11, 12, 13)
SLICES = 300
KEYS = Pseudonyms(bytes(range(32)))
READ_PEERS_INPUT = """
import os, sys, warnings, logging, time
warnings.simplefilter("ignore"); logging.disable(50)
source, out, peer = sys.argv[1:4]
import pydicom
files = sorted(os.path.join(d, f) for d, _, names in os.walk(source) for f in names)
"""
PEERS = {
    "dicognito 0.19": """
from dicognito.anonymizer import Anonymizer
anonymizer = Anonymizer(seed="liverset")
def clean(path, target):
    dataset = pydicom.dcmread(path, force=True)
    anonymizer.anonymize(dataset)
    dataset.save_as(target)
""",
    "dicom-anonymizer 2.1, 2026c": """
from dicomanonymizer import simpledicomanonymizer as tool
def clean(path, target):
    dataset = pydicom.dcmread(path, force=True)
    tool.anonymize_dataset(dataset, base_rules_gen=lambda: tool.initialize_actions("dicomfields_2026c"))
    dataset.save_as(target)
""",
    "deid 0.4 (default recipe)": """
from deid.dicom import get_identifiers, replace_identifiers
from deid.config import DeidRecipe
recipe = DeidRecipe()
def clean(path, target):
    found = replace_identifiers([path], deid=recipe, save=False, remove_private=True, strip_sequences=True)
    found[0].save_as(target)
""",
}
RUN_PEER = """
done = 0
started = time.process_time()
for number, path in enumerate(files):
    try:
        clean(path, os.path.join(out, f"{number:05d}.dcm")); done += 1
    except Exception:
        pass
print(done, len(files), time.process_time() - started)
"""


def make_speed_set(folder: Path) -> None:
    """A series of CT slices of 512 x 512 with noise, as large as scanners make them."""
    planter = Planter(Torture(folder), 1)
    folder.mkdir(parents=True)
    first = image(planter, 2)
    rng = np.random.default_rng(1)
    for number in range(1, SLICES + 1):
        dataset: Dataset = first
        dataset.InstanceNumber, dataset.SOPInstanceUID = number, f"{first.SeriesInstanceUID}.{number}"
        dataset.ImagePositionPatient = [-100, -100, number]
        dataset.Rows = dataset.Columns = 512
        dataset.PixelData = np.clip(rng.normal(1050, 40, (512, 512)), 0, 4095).astype("<u2").tobytes()
        save(dataset, folder / f"{number:04d}")


def leaked(torture: Torture, out: Path) -> Counter[str]:
    """How many plants of each category stand in any byte or name below a folder."""
    content = b"\n".join(
        str(file.relative_to(out)).encode() + b"\n" + (file.read_bytes() if file.is_file() else b"")
        for file in sorted(out.rglob("*"))
    ).lower()
    forms = {
        text: {text.lower().encode(charset, "ignore") for charset in ("utf-8", "gb18030")} for text in torture.plants
    }
    return Counter(torture.plants[text] for text, spelt in forms.items() if any(form in content for form in spelt))


def run_liverset(source: Path, out: Path) -> tuple[int, int, float]:
    started = time.process_time()
    report = deidentify_tree([source], out, KEYS, DeidentificationConfig())
    return report.counts().get("written", 0), len(report.files), time.process_time() - started


def seconds_without_text_test(source: Path, out: Path) -> float:
    """CPU seconds for headers and pixels alone: found, read, rebuilt, written."""
    started = time.process_time()
    for instance in scan([source]).instances:
        pixels = read_slice(instance)
        dataset = dcmread(instance.source.path, stop_before_pixels=True)
        clean = deidentify(dataset, KEYS, DeidentificationConfig(), pixels=pixels).dataset
        write_atomically(out / f"{clean.InstanceNumber}.dcm", file_bytes(clean), durable=False)
    return time.process_time() - started


def run_peer(python: str, code: str, source: Path, out: Path) -> tuple[int, int, float]:
    out.mkdir(parents=True, exist_ok=True)
    command = [python, "-c", READ_PEERS_INPUT + code + RUN_PEER, str(source), str(out), ""]
    words = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return int(words[-3]), int(words[-2]), float(words[-1])


def main() -> None:
    python = sys.argv[1] if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_speed_set(folder / "speed")
        exports = [make_torture(folder / f"torture{seed}", seed) for seed in SEEDS]
        planted = sum(len(export.plants) for export in exports)
        print(f"{planted} plants in {len(SEEDS)} exports; {SLICES} slices of 512 x 512")
        for tool, code in {"liverset": None, **(PEERS if python else {})}.items():
            total: Counter[str] = Counter()
            written = found = 0
            for number, export in enumerate(exports):
                out = folder / f"{tool}{number}"
                run = (
                    run_liverset(export.folder, out)
                    if code is None
                    else run_peer(python or "", code, export.folder, out)
                )
                written, found = written + run[0], found + run[1]
                total += leaked(export, out)
            out = folder / f"{tool}-speed"
            done, files, seconds = (
                run_liverset(folder / "speed", out)
                if code is None
                else run_peer(python or "", code, folder / "speed", out)
            )
            speed = f"{done / seconds:6.0f} files/s ({done}/{files})"
            print(f"{tool:30} leaks {total.total():5}  written {written}/{found}  {speed}")
            print("    " + ", ".join(f"{category} {count}" for category, count in sorted(total.items())))
        seconds = seconds_without_text_test(folder / "speed", folder / "parts")
        print(f"liverset, headers and pixels without the search for text: {SLICES / seconds:.0f} files/s")
        started = time.process_time()
        places = search(harvest([exports[0].folder]), [folder / "liverset0"])
        print(f"verifier: {len(places)} leaks, {time.process_time() - started:.1f} s for one export")


if __name__ == "__main__":
    main()
