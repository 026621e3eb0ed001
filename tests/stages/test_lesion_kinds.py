"""Several lesion kinds in one patient, the whole way: packages, three programs, vote, lead, tables, release."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from liverset import open_release
from pipeline import stages
from pipeline.core.files import write_atomically
from pipeline.core.records import Severity
from pipeline.core.volume import LabelMap
from pipeline.dataset.layout import ADJUDICATION, ROUND
from pipeline.image.nifti import decode_nifti, gzipped_nifti, read_labels
from pipeline.workspace import Workspace
from tests.review.variants import ras, slicer
from tests.stages.awkward import Person, build, write_dataset

PEOPLE = (Person("Kinds^Cohen", "109841003"), Person("Lesion^Vote", "551021"))
"""Their names are words of what is written of kinds, and one number is the SNOMED CT code of HCC."""
KINDS = ("HCC", "cyst", "hemangioma")
HCC, CYST, HEMANGIOMA = 3, 4, 5
BIG, SMALL, THIRD = np.s_[8:11, 24:28, 16:21], np.s_[12:14, 30:33, 16:19], np.s_[8:9, 34:37, 24:27]
SAID = {
    # big: two of three say HCC; small: one each; third: nobody names a kind
    "P0001": {"R1": (HCC, CYST, 2), "R2": (HCC, HCC, 2), "R3": (CYST, HEMANGIOMA, 2)},
    # one mind, two kinds beside a lesion of unknown kind
    "P0002": {"R1": (HCC, CYST, 2), "R2": (HCC, CYST, 2), "R3": (HCC, CYST, 2)},
}
LEAD = (HCC, CYST, 2)


def outlined(shape: tuple[int, ...], kinds: tuple[int, int, int]) -> np.ndarray:
    voxels = np.zeros(shape, np.uint8)
    voxels[6:16, 20:40, 12:30] = 1
    for place, kind in zip((BIG, SMALL, THIRD), kinds, strict=True):
        voxels[place] = kind
    return voxels


def answer(package: Path, inbox: Path, kinds_of: Mapping[str, tuple[int, int, int]], *, by_slicer: bool) -> None:
    """The package as it comes back; 3D Slicer's names are those of the colour table it was given."""
    returned = io.BytesIO()
    with zipfile.ZipFile(package) as sent, zipfile.ZipFile(returned, "w") as parcel:
        table = [line.split() for line in sent.read("labels.ctbl").decode().splitlines() if not line.startswith("#")]
        for name in sent.namelist():
            content = sent.read(name)
            if name.endswith("_mask.nii.gz"):
                voxels, geometry = decode_nifti(content, name)
                drawn = outlined(voxels.shape, kinds_of[name.split("/")[1].partition("_")[0]])
                content = gzipped_nifti(LabelMap(drawn, geometry))
                if by_slicer:
                    name = name.replace(".nii.gz", ".seg.nrrd")
                    segments = [(row[1], int(row[0]), 0) for row in table if int(row[0])]
                    content = slicer([drawn.transpose(2, 1, 0)], segments, ras(geometry))
            parcel.writestr(name, content)
    write_atomically(inbox / package.name, returned.getvalue())


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    ws = write_dataset(tmp_path_factory.mktemp("kinds") / "dataset", PEOPLE)
    text = ws.layout.config.read_text(encoding="utf-8")
    listed = ", ".join(f'"{kind}"' for kind in KINDS)
    for before, after in (
        ('lesion_kinds = ["HCC", "ICC"]', f"lesion_kinds = [{listed}]"),
        ('raters = ["R1", "R2"]', 'raters = ["R1", "R2", "R3"]'),
        ("per_case = 2", "per_case = 3"),
    ):
        assert before in text
        text = text.replace(before, after)
    ws.layout.config.write_text(text, encoding="utf-8")
    ws = Workspace.open(ws.root)
    build(ws)
    assert stages.PACK(ws).is_well
    for package in sorted(ws.layout.outbox(1).glob("*.zip")):
        rater = package.stem.rpartition("_")[2]
        kinds = {case: said[rater] for case, said in SAID.items()}
        answer(package, ws.layout.inbox(1, ROUND), kinds, by_slicer=rater == "R3")
    collected(ws)
    assert stages.ADJUDICATE(ws).is_well
    for package in ws.layout.outbox(1, ADJUDICATION).glob("*.zip"):
        answer(package, ws.layout.inbox(1, ADJUDICATION), {"P0001": LEAD}, by_slicer=False)
    collected(ws)
    return ws


def collected(ws: Workspace) -> None:
    outcome = stages.COLLECT(ws)
    assert [row["message"] for row in stages.returned(ws) if not row["verdict"].startswith("accept")] == []
    assert outcome.is_well
    for case_id in stages.case_ids(ws):
        for stage in stages.REVIEW_STAGES:
            assert stage(ws, case_id).is_well


@pytest.fixture(scope="module")
def release(settled: Workspace) -> Path:
    for outcome in (stages.cut_release(settled, "1.0.0"), stages.verify_release(settled, "1.0.0")):
        assert [one.message for one in outcome.problems if one.severity is Severity.REFUSE] == []
    return settled.layout.release("1.0.0")


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_ratings_keep_every_kind_whatever_program_saved_them(settled):
    for case_id, said in SAID.items():
        for rater, kinds in said.items():
            voxels = read_labels(settled.layout.rating(case_id, "C2", rater)).voxels
            np.testing.assert_array_equal(voxels, outlined(voxels.shape, kinds))


def test_the_vote_leaves_open_what_has_no_majority_and_the_lead_decides(settled):
    voted = read_labels(settled.layout.consensus("P0001", "C2")).voxels
    np.testing.assert_array_equal(voted, outlined(voted.shape, (HCC, 2, 2)))
    explanation = json.loads(settled.layout.consensus_explanation("P0001", "C2").read_text())["explanation"]
    assert [one["rule"] for one in explanation["needs_adjudication"]] == ["unsettled-kind"]
    assert {tuple(lesion["kinds"]) for lesion in explanation["lesions"]} == {
        ("HCC", "HCC", "cyst"),
        ("cyst", "HCC", "hemangioma"),
        ("", "", ""),
    }
    lead = read_labels(settled.layout.adjudicated("P0001", "C2")).voxels
    np.testing.assert_array_equal(lead, outlined(lead.shape, LEAD))
    agreed = read_labels(settled.layout.consensus("P0002", "C2")).voxels
    np.testing.assert_array_equal(agreed, outlined(agreed.shape, LEAD))
    assert not settled.layout.adjudicated("P0002", "C2").exists()


def test_the_leads_page_counts_votes_and_shows_every_kind_in_both_languages(settled):
    (package,) = settled.layout.outbox(1, ADJUDICATION).glob("*.zip")
    with zipfile.ZipFile(package) as sent:
        worklist, page = sent.read("worklist.csv").decode(), sent.read("START_HERE.html").decode()
        workspace = sent.read("cases/P0001_C2/P0001_C2.itksnap").decode()
    assert "1 rater for HCC, 1 rater for cyst, 1 rater for hemangioma; the vote leaves it open" in worklist
    for title in ("HCC 肝细胞癌", "cyst 肝囊肿", "hemangioma 肝血管瘤"):
        assert title in page
        assert title in workspace


def test_the_release_tells_every_kind(release):
    lesions = {(row["patient_id"], row["number"]): row["kind"] for row in table(release / "lesions.csv")}
    assert lesions == {
        ("P0001", "1"): "HCC",
        ("P0001", "2"): "cyst",
        ("P0001", "3"): "",
        ("P0002", "1"): "HCC",
        ("P0002", "2"): "cyst",
        ("P0002", "3"): "",
    }
    assert [row["kinds_in_mask"] for row in table(release / "classification.csv")] == ["HCC;cyst"] * 2
    assert {row["kind"] for row in table(release / "enhancement.csv")} == {"HCC", "cyst", ""}
    structures = {row["structure"] for row in table(release / "agreement.csv")}
    assert structures == {"whole_liver", "parenchyma", "lesion", *KINDS}
    confusion = {(row["kind_a"], row["kind_b"]): int(row["lesions"]) for row in table(release / "agreement_kinds.csv")}
    # three pairs of raters: P0001's big and small lesion, P0002's two of one mind, and two without a kind
    assert confusion == {
        ("HCC", "HCC"): 1 + 3,
        ("HCC", "cyst"): 2 + 1,
        ("HCC", "hemangioma"): 1,
        ("cyst", "hemangioma"): 1,
        ("cyst", "cyst"): 3,
        ("unknown", "unknown"): 6,
    }
    opened = open_release(release)
    assert opened.mask("P0001", "C2", kind="cyst").voxels.sum() == 2 * 3 * 3
    boxes = json.loads((release / "detection" / "coco.json").read_text())
    names = {one["id"]: one["name"] for one in boxes["categories"]}
    assert {names[box["category_id"]] for box in boxes["annotations"]} == {"lesion", "HCC", "cyst"}
    assert "lesion kinds" in (release / "qc" / "index.html").read_text(encoding="utf-8")


def test_everything_is_current_afterwards(settled, release):
    ws = Workspace.open(settled.root)
    for case_id in stages.case_ids(ws):
        assert [stage.why(ws, case_id) for stage in stages.REVIEW_STAGES] == [None] * len(stages.REVIEW_STAGES)
