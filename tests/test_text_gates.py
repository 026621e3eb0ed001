"""Only volumes that were searched for burned-in text leave, whatever the type of their voxels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from pipeline import stages
from pipeline.core.records import Phase
from pipeline.core.volume import Volume
from pipeline.image.nifti import read_volume, write_nifti
from pipeline.stages.artefacts import ConvertedVolume
from pipeline.synth.phantom import make_phantom
from pipeline.workspace import Outcome, Status, Workspace
from tests.dicom.scanner import Scan, expose
from tests.test_screening import SETTINGS, patient

SETTINGS_WITH_READER = f"""{SETTINGS}
[review]
raters = ["R1"]
per_case = 1
"""
UNSEARCHED = '\n[deidentification]\noptions = ["modified_dates", "patient_characteristics", "clean_descriptors"]\n'
PHASE = Phase.PORTAL_VENOUS


def with_name(hu: np.ndarray) -> np.ndarray:
    page = Image.new("1", hu.shape[:0:-1])
    ImageDraw.Draw(page).text((3, 3), "KOWALSKA", fill=1, font=ImageFont.load_default(10))
    return np.where(np.asarray(page), 2500, hu)


def dataset(root: Path, *, slope: float = 1.0, named: bool = False, settings: str = SETTINGS_WITH_READER) -> Workspace:
    """One patient, whose scan has whole or fractional HU."""
    (root / "dataset.toml").write_text(settings)
    rng = np.random.default_rng(3)
    hu = make_phantom(rng, shape=(36, 80, 80), spacing_mm=(5.0, 4.5, 4.5), phase=PHASE).volume.voxels.astype(np.int32)
    scan = Scan(with_name(hu) if named else hu, spacing=(5.0, 4.5, 4.5))
    expose(root / "dicom", scan, patient(PatientID="1"), slope=slope)
    ws = Workspace.open(root)
    assert all(stage(ws).is_well for stage in stages.DATASET_STAGES)
    return ws


def converted(ws: Workspace) -> Outcome:
    (case_id,) = stages.case_ids(ws)
    return stages.CONVERT(ws, case_id)


def packed(ws: Workspace) -> Outcome:
    (case_id,) = stages.case_ids(ws)
    assert all(stage(ws, case_id).is_well for stage in stages.CASE_STAGES)
    return stages.PACK(ws)


@pytest.mark.parametrize("slope", [1.0, 2.0, 1.5346])
def test_a_name_is_stopped_whatever_the_slope_and_a_clean_scan_is_not(tmp_path: Path, slope: float):
    for name in ("clean", "named"):
        (tmp_path / name).mkdir()
    stopped = converted(dataset(tmp_path / "named", slope=slope, named=True))
    assert not stopped.is_well
    assert "text burned into its pixels" in stopped.problems[0].message
    assert (tmp_path / "named" / "private" / "montages").is_dir()
    assert converted(dataset(tmp_path / "clean", slope=slope)).is_well


def test_a_searched_volume_is_packed_and_its_search_is_kept(tmp_path: Path):
    ws = dataset(tmp_path, slope=1.5346)
    assert packed(ws).is_well
    (case_id,) = stages.case_ids(ws)
    header = ConvertedVolume.load(ws.layout.header(case_id, PHASE))
    assert header.text_search is not None
    assert header.text_search.content_sha256 == header.content_sha256
    assert header.text_search.found == ()


def test_what_a_person_let_pass_is_packed_and_its_record_says_so(tmp_path: Path):
    ws = dataset(tmp_path, named=True)
    assert not converted(ws).is_well
    series = (tmp_path / "reports" / "series.csv").read_text().splitlines()
    name = series[1].split(",")[series[0].split(",").index("series")]
    (tmp_path / "decisions.csv").write_text(f"series,phase,text,by\n{name},{PHASE},,R9\n")
    ws = Workspace.open(tmp_path)
    assert stages.SCREEN(ws).is_well
    assert not converted(ws).is_well  # who decides on a phase says nothing about text
    (tmp_path / "decisions.csv").write_text(f"series,phase,text,by\n{name},{PHASE},publish,R9\n")
    assert stages.SCREEN(ws).status is Status.CURRENT
    assert packed(ws).is_well
    (case_id,) = stages.case_ids(ws)
    search = ConvertedVolume.load(ws.layout.header(case_id, PHASE)).text_search
    assert search is not None
    assert search.was_looked_at
    assert search.found


def test_another_image_than_the_searched_one_is_not_packed(tmp_path: Path):
    ws = dataset(tmp_path)
    (case_id,) = stages.case_ids(ws)
    assert all(stage(ws, case_id).is_well for stage in stages.CASE_STAGES)
    image = ws.layout.image(case_id, PHASE)
    volume = read_volume(image)
    write_nifti(image, Volume(with_name(volume.voxels).astype(np.int16), volume.geometry))
    refused = stages.PACK(ws)
    assert not refused.is_well
    message = refused.problems[0].message
    assert f"{case_id} {PHASE}" in message
    assert "run `liverset build`" in message


def test_a_volume_converted_without_a_search_is_packed_only_where_none_is_asked_for(tmp_path: Path):
    ws = dataset(tmp_path, named=True, settings=SETTINGS_WITH_READER + UNSEARCHED)
    assert packed(ws).is_well
    (tmp_path / "dataset.toml").write_text(SETTINGS_WITH_READER)
    for assignment in (tmp_path / "review").rglob("assignment.json"):
        assignment.unlink()
    refused = stages.PACK(Workspace.open(tmp_path))
    assert not refused.is_well
    assert "was not searched for burned-in text" in refused.problems[0].message
