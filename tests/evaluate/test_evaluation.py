"""Predictions in files against a release: what is matched, what counts as failed, what is refused, and the tables."""

from __future__ import annotations

import csv
import json
import math
import shutil
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.core.errors import EvaluationError, ReleaseError
from pipeline.core.geometry import Geometry
from pipeline.core.volume import LabelMap
from pipeline.dataset.manifest import ManifestRow, read_manifest
from pipeline.evaluate.evaluation import Evaluation, evaluate
from pipeline.evaluate.tables import latex, latex_table, markdown, printed_rows, write_evaluation
from pipeline.image.nifti import read_labels, write_nifti
from tests.agreement import brute
from tests.dataset.conftest import SHAPE, SPACING_MM

DIAGONAL_MM = math.dist((0, 0, 0), [(n - 1) * mm for n, mm in zip(SHAPE, SPACING_MM, strict=True)])


def rows_of(release: Path) -> tuple[ManifestRow, ...]:
    return read_manifest(release / "patient_data.csv")


def shifted(labels: LabelMap, columns: int) -> LabelMap:
    return LabelMap(np.roll(labels.voxels, columns, axis=2), labels.geometry)


def write_masks(release: Path, folder: Path, change: Callable[[ManifestRow, LabelMap], LabelMap | None]) -> Path:
    """A mask for every volume, named as nnU-Net names it; None leaves it out."""
    for row in rows_of(release):
        mask = change(row, read_labels(release / row.label_path))
        if mask is not None:
            write_nifti(folder / f"{row.patient_id}_{row.phase}.nii.gz", mask)
    return folder


def as_released(row: ManifestRow, labels: LabelMap) -> LabelMap:
    return labels


def figure(evaluation: Evaluation, measure: str, of: str, group: str = "all", value: str = "all") -> dict:
    (row,) = [
        row
        for row in evaluation.rows
        if (row["group"], row["value_of_group"], row["of"], row["measure"]) == (group, value, of, measure)
    ]
    return dict(row)


def test_the_released_masks_score_as_well_as_can_be(release, tmp_path):
    evaluation = evaluate(release, write_masks(release, tmp_path, as_released))
    assert not evaluation.missing
    for of in ("whole_liver", "lesion"):
        assert figure(evaluation, "dice", of)["value"] == figure(evaluation, "jaccard", of)["value"] == 1.0
        assert figure(evaluation, "hd95_mm", of)["value"] == figure(evaluation, "asd_mm", of)["value"] == 0.0
    assert figure(evaluation, "lesion_recall", "lesion")["value"] == 1.0


def test_masks_score_as_voxels_counted_one_by_one(release, tmp_path):
    evaluation = evaluate(release, write_masks(release, tmp_path, lambda row, labels: shifted(labels, 1)))
    scores = [row for row in evaluation.volumes if row["structure"] == "lesion"]
    wanted: dict[str, list[float]] = {"dice": [], "hd95_mm": [], "asd_mm": []}
    for row, score in zip(rows_of(release), scores, strict=True):
        truth = read_labels(release / row.label_path)
        mask, other = shifted(truth, 1).voxels == 2, truth.voxels == 2
        if not row.lesion_count:
            assert (score["empty"], score["dice"], score["hd95_mm"]) == ("both", None, None)
            continue
        slow = brute.scores(mask, other, SPACING_MM, 2.0)
        wanted["dice"].append(brute.dice(mask, other))
        wanted["hd95_mm"].append(slow["hd95_max_mm"])
        wanted["asd_mm"].append(slow["assd_mm"])
    for measure, values in wanted.items():
        assert figure(evaluation, measure, "lesion")["value"] == pytest.approx(statistics.mean(values))


def test_folds_are_those_that_held_the_patients_out(release, tmp_path):
    def worse_by_fold(row: ManifestRow, labels: LabelMap) -> LabelMap | None:
        return shifted(labels, row.fold) if row.fold is not None else None

    evaluation = evaluate(release, write_masks(release, tmp_path, worse_by_fold))
    assert evaluation.left_out == ("segmentation: test",)
    by_fold = [figure(evaluation, "dice", "whole_liver", "fold", str(fold))["value"] for fold in range(3)]
    assert by_fold == pytest.approx([1.0, 2 * 11 / 24, 2 * 10 / 24])  # 12 columns of liver, moved
    over_all = figure(evaluation, "dice", "whole_liver")
    assert over_all["folds"] == 3
    assert over_all["fold_mean"] == pytest.approx(statistics.mean(by_fold))
    assert over_all["fold_sd"] == pytest.approx(statistics.stdev(by_fold))
    assert over_all["ci_low"] <= over_all["value"] <= over_all["ci_high"]


def test_missing_masks_count_as_failed_and_are_named(release, tmp_path):
    evaluation = evaluate(
        release,
        write_masks(release, tmp_path, lambda row, labels: None if row.patient_id == "P0002" else labels),
    )
    volumes = len(rows_of(release))
    assert evaluation.missing == {"segmentation": ("P0002 P", "P0002 C1")}
    liver = figure(evaluation, "dice", "whole_liver")
    assert (liver["value"], liver["missing"]) == (pytest.approx((volumes - 2) / volumes), 2)
    assert figure(evaluation, "hd95_mm", "whole_liver")["value"] == pytest.approx(2 * DIAGONAL_MM / volumes)
    lesions = {row.patient_id: row.lesion_count for row in rows_of(release)}
    assert lesions["P0002"] == 2
    found = 1 - 2 / sum(lesions.values())
    assert figure(evaluation, "lesion_recall", "lesion")["value"] == pytest.approx(found)
    assert figure(evaluation, "lesion_precision", "lesion")["value"] == 1.0


def test_an_empty_mask_scores_as_a_missing_one(release, tmp_path):
    def emptied(row: ManifestRow, labels: LabelMap) -> LabelMap:
        return LabelMap(np.zeros_like(labels.voxels), labels.geometry) if row.patient_id == "P0002" else labels

    without = write_masks(release, tmp_path / "a", lambda row, labels: None if row.patient_id == "P0002" else labels)
    first, second = evaluate(release, without), evaluate(release, write_masks(release, tmp_path / "b", emptied))
    assert [row["value"] for row in first.rows] == [row["value"] for row in second.rows]
    assert not second.missing


def test_names_and_formats_of_the_release_are_taken_in_any_folder(release, tmp_path):
    for n, row in enumerate(rows_of(release)):
        folder = tmp_path / f"fold_{row.fold}" / "validation"
        folder.mkdir(parents=True, exist_ok=True)
        for path in (row.mask_path, row.liver_mask_path) if n % 2 else (row.label_path,):
            shutil.copy(release / path, folder)
    (tmp_path / "plans.json").write_text('{"dataset_name": "x"}')
    (tmp_path / "progress.txt").write_text("done")
    evaluation = evaluate(release, tmp_path)
    assert not evaluation.missing
    assert evaluation.unused == ("plans.json", "progress.txt")
    assert figure(evaluation, "dice", "lesion")["value"] == figure(evaluation, "dice", "whole_liver")["value"] == 1.0


def test_masks_of_lesions_alone_say_nothing_of_the_liver(release, tmp_path):
    for row in rows_of(release):
        shutil.copy(release / row.mask_path, tmp_path)
    evaluation = evaluate(release, tmp_path)
    assert {row["of"] for row in evaluation.rows} == {"lesion"}
    assert figure(evaluation, "dice", "lesion")["value"] == 1.0


def test_a_lesion_mask_where_others_hold_the_liver_too_lacks_the_liver(release, tmp_path):
    def all_but_one(row: ManifestRow, labels: LabelMap) -> LabelMap | None:
        return None if (row.patient_id, row.phase) == ("P0001", "P") else labels

    write_masks(release, tmp_path, all_but_one)
    shutil.copy(release / "mask_files" / "P0001_mask_P.nii.gz", tmp_path)
    evaluation = evaluate(release, tmp_path)
    assert evaluation.missing == {"segmentation": ("P0001 P",)}
    assert figure(evaluation, "dice", "lesion")["value"] == 1.0
    assert figure(evaluation, "dice", "whole_liver")["value"] < 1.0


HCC, ICC = 3, 4


@pytest.fixture
def kinds_released(release: Path, tmp_path: Path) -> Path:
    """The release with HCC as the kind of each volume's upper lesion, ICC as that of the lower one."""
    copy = tmp_path / "release"
    shutil.copytree(release, copy)
    for row in rows_of(copy):
        labels = read_labels(copy / row.label_path)
        voxels = labels.voxels.copy()
        voxels[:, :9][voxels[:, :9] == 2] = HCC
        voxels[:, 9:][voxels[:, 9:] == 2] = ICC
        write_nifti(copy / row.label_path, LabelMap(voxels, labels.geometry))
    return copy


def swapped(row: ManifestRow, labels: LabelMap) -> LabelMap:
    """Moved by a column, and of patients with an even number the kinds exchanged."""
    voxels = shifted(labels, 1).voxels.copy()
    if int(row.patient_id[1:]) % 2 == 0:
        voxels[voxels >= HCC] = HCC + ICC - voxels[voxels >= HCC]
    return LabelMap(voxels, labels.geometry)


def test_kinds_score_as_voxels_and_lesions_counted_one_by_one(kinds_released, tmp_path):
    evaluation = evaluate(kinds_released, write_masks(kinds_released, tmp_path / "masks", swapped))
    assert evaluation.left_out == ()
    for kind, value in (("HCC", HCC), ("ICC", ICC)):
        dice, hd95_mm, lesions = [], [], [0, 0, 0]
        for row in rows_of(kinds_released):
            truth = read_labels(kinds_released / row.label_path)
            mask, other = swapped(row, truth).voxels == value, truth.voxels == value
            if not mask.any() and not other.any():
                continue
            both = mask.any() and other.any()
            dice.append(brute.dice(mask, other))
            hd95_mm.append(brute.scores(mask, other, SPACING_MM, 2.0)["hd95_max_mm"] if both else DIAGONAL_MM)
            ours, theirs = brute.components(mask), brute.components(other)
            found = sum(len(a & b) > 0.5 * len(a | b) for a in ours for b in theirs)
            lesions = [sum(pair) for pair in zip(lesions, (len(ours), len(theirs), found), strict=True)]
        assert len(set(dice)) > 1
        assert figure(evaluation, "dice", kind)["value"] == pytest.approx(statistics.mean(dice))
        assert figure(evaluation, "hd95_mm", kind)["value"] == pytest.approx(statistics.mean(hd95_mm))
        assert figure(evaluation, "lesion_recall", kind)["value"] == pytest.approx(lesions[2] / lesions[1])
        assert figure(evaluation, "lesion_precision", kind)["value"] == pytest.approx(lesions[2] / lesions[0])
    assert "| all | HCC |" in markdown(evaluation)


def test_masks_without_kinds_are_not_measured_by_them_and_it_is_said(kinds_released, tmp_path):
    def without_kinds(row: ManifestRow, labels: LabelMap) -> LabelMap:
        return LabelMap(np.minimum(labels.voxels, 2), labels.geometry)

    evaluation = evaluate(kinds_released, write_masks(kinds_released, tmp_path / "masks", without_kinds))
    assert {row["of"] for row in evaluation.rows} == {"whole_liver", "lesion"}
    assert evaluation.left_out == ("segmentation: HCC", "segmentation: ICC")
    assert figure(evaluation, "dice", "lesion")["value"] == 1.0
    assert "Not measured, since nothing of it was predicted: segmentation: HCC, segmentation: ICC." in markdown(
        evaluation
    )


def test_one_mask_with_kinds_asks_for_kinds_of_all(kinds_released, tmp_path):
    """All other masks are handed in as binary lesion masks, which say nothing of kinds."""

    def of_the_first(row: ManifestRow, labels: LabelMap) -> LabelMap | None:
        return labels if row.ct_path.endswith("P0001_ct_P.nii.gz") else None

    folder = write_masks(kinds_released, tmp_path / "masks", of_the_first)
    for row in rows_of(kinds_released)[1:]:
        shutil.copy(kinds_released / row.mask_path, folder)
        shutil.copy(kinds_released / row.liver_mask_path, folder)
    evaluation = evaluate(kinds_released, folder)
    with_hcc = sum(row.lesion_count > 0 for row in rows_of(kinds_released))
    assert figure(evaluation, "dice", "HCC")["value"] == pytest.approx(1 / with_hcc)
    assert figure(evaluation, "dice", "ICC")["value"] == 0.0
    assert figure(evaluation, "dice", "lesion")["value"] == 1.0
    assert len(evaluation.missing["segmentation"]) == len(rows_of(kinds_released)) - 1


def test_a_release_without_kinds_asks_for_none(release, tmp_path):
    def named(row: ManifestRow, labels: LabelMap) -> LabelMap:
        return LabelMap(np.where(labels.voxels == 2, np.uint8(HCC), labels.voxels), labels.geometry)

    evaluation = evaluate(release, write_masks(release, tmp_path, named))
    assert {row["of"] for row in evaluation.rows} == {"whole_liver", "lesion"}
    assert figure(evaluation, "dice", "lesion")["value"] == 1.0
    assert evaluation.left_out == ()


def test_phases_that_nobody_predicted_are_not_asked_for(release, tmp_path):
    evaluation = evaluate(
        release, write_masks(release, tmp_path, lambda row, labels: labels if row.phase == "C1" else None)
    )
    assert not evaluation.missing
    assert evaluation.left_out == ("segmentation: P",)


def test_a_mask_in_another_order_of_axes_lies_where_it_should(release, tmp_path):
    def turned(row: ManifestRow, labels: LabelMap) -> LabelMap:
        affine = labels.geometry.affine.copy()
        affine[:, 3] += affine[:, 2] * (labels.voxels.shape[2] - 1)
        affine[:, 2] *= -1
        return LabelMap(np.ascontiguousarray(labels.voxels[:, :, ::-1]), Geometry(labels.geometry.shape, affine))

    assert figure(evaluate(release, write_masks(release, tmp_path, turned)), "dice", "lesion")["value"] == 1.0


def test_a_lesion_of_any_kind_is_a_lesion(release, tmp_path):
    def as_kind(row: ManifestRow, labels: LabelMap) -> LabelMap:
        return LabelMap(np.where(labels.voxels == 2, 3, labels.voxels).astype(np.uint8), labels.geometry)

    evaluation = evaluate(release, write_masks(release, tmp_path, as_kind))
    assert {row["of"] for row in evaluation.rows} == {"whole_liver", "lesion"}
    assert figure(evaluation, "dice", "lesion")["value"] == figure(evaluation, "dice", "whole_liver")["value"] == 1.0


def refused(release: Path, predictions: Path) -> list[str]:
    with pytest.raises(EvaluationError) as error:
        evaluate(release, predictions)
    return str(error.value).splitlines()


def test_every_wrong_name_is_named(release, tmp_path):
    write_masks(release, tmp_path, as_released)
    shutil.copy(tmp_path / "P0001_C1.nii.gz", tmp_path / "P9999_C1.nii.gz")
    shutil.copy(tmp_path / "P0001_C1.nii.gz", tmp_path / "liver.nii.gz")
    faults = refused(release, tmp_path)
    assert len(faults) == 2
    assert faults[0].startswith("P9999_C1.nii.gz is no name of version 1.0.0")
    assert faults[1].startswith("liver.nii.gz is no name")


@pytest.mark.parametrize("again", ["more/P0001_C1.nii.gz", "P0001_label_C1.nii.gz", "P0001_mask_C1.nii.gz"])
def test_two_masks_of_one_volume_are_refused(release, tmp_path, again):
    write_masks(release, tmp_path, as_released)
    (tmp_path / again).parent.mkdir(exist_ok=True)
    shutil.copy(tmp_path / "P0001_C1.nii.gz", tmp_path / again)
    (fault,) = refused(release, tmp_path)
    assert fault.startswith("P0001 C1 is predicted twice, by ")


def test_masks_on_other_grids_and_with_other_labels_are_all_named(release, tmp_path):
    def wrong(row: ManifestRow, labels: LabelMap) -> LabelMap:
        if (row.patient_id, row.phase) == ("P0001", "C1"):
            return LabelMap(labels.voxels, Geometry.from_axes(SHAPE, spacing_mm=(5.0, 2.5, 2.0)))
        return LabelMap(labels.voxels * 5, labels.geometry) if row.patient_id == "P0002" else labels

    faults = refused(release, write_masks(release, tmp_path, wrong))
    assert len(faults) == 3
    assert "P0001_C1.nii.gz has spacing" in faults[0]
    assert faults[1].startswith("P0002_P.nii.gz has the values [5, 10]")


def test_a_damaged_mask_is_named(release, tmp_path):
    write_masks(release, tmp_path, as_released)
    whole = (tmp_path / "P0003_P.nii.gz").read_bytes()
    (tmp_path / "P0003_P.nii.gz").write_bytes(whole[: len(whole) // 2])
    (fault,) = refused(release, tmp_path)
    assert fault.startswith("P0003_P.nii.gz")


def test_a_folder_without_predictions_says_what_is_expected(release, tmp_path):
    (fault,) = refused(release, tmp_path)
    assert fault.startswith(
        "no prediction was found; expected masks named as in the release, such as P0001_ct_P.nii.gz"
    )


def test_a_folder_that_is_no_release_is_refused(tmp_path):
    with pytest.raises(ReleaseError, match=r"there is no patient_data.csv in this folder"):
        evaluate(tmp_path, tmp_path)


# boxes


def coco_of(release: Path) -> dict:
    return json.loads((release / "detection" / "coco.json").read_text())


def results(release: Path) -> list[dict]:
    return [
        {key: box[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.9}
        for box in coco_of(release)["annotations"]
    ]


def as_csv(release: Path) -> str:
    images = {image["id"]: image for image in coco_of(release)["images"]}
    lines = ["patient_id,phase,slice,x,y,width,height,score"]
    for box in results(release):
        image = images[box["image_id"]]
        name = Path(image["file_name"]).name.removesuffix(".nii.gz").split("_ct_")
        lines.append(",".join(map(str, [*name, image["slice"], *box["bbox"], box["score"]])))
    return "\n".join(lines) + "\n"


def test_released_boxes_score_as_well_as_can_be_in_either_format(release, tmp_path):
    (tmp_path / "boxes.json").write_text(json.dumps(results(release)))
    (tmp_path / "boxes.csv").write_text(as_csv(release))
    one, other = evaluate(release, tmp_path / "boxes.json"), evaluate(release, tmp_path / "boxes.csv")
    assert one.rows == other.rows
    for measure in ("map50", "precision", "recall", "f1", "froc", "sensitivity_at_0.125"):
        assert figure(one, measure, "all kinds")["value"] == pytest.approx(1.0)
    assert not one.missing


def test_no_box_at_all_finds_no_lesion(release, tmp_path):
    (tmp_path / "boxes.json").write_text("[]")
    assert figure(evaluate(release, tmp_path), "map50", "all kinds")["value"] == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 0}, "box 1: no such slice"),
        ({"image_id": True}, "box 1: no such slice"),
        ({"category_id": 77}, "box 1: no such kind"),
        ({"category_id": [1]}, "box 1: no such kind"),
        ({"bbox": [1, 2, 3]}, "box 1: a box needs x, y, width and height"),
        ({"bbox": [1, 2, 0, 3]}, "box 1: a box needs x, y, width and height"),
        ({"bbox": [1, 2, math.nan, 3]}, "box 1: a box needs x, y, width and height"),
        ({"bbox": None}, "box 1: a box needs x, y, width and height"),
        ({"score": math.nan}, "box 1: a box needs a score"),
        ({"score": "high"}, "box 1: a box needs a score"),
    ],
)
def test_a_box_that_fits_nothing_is_refused(release, tmp_path, change, message):
    first, *others = results(release)
    (tmp_path / "boxes.json").write_text(json.dumps([first | change, *others]))
    (fault,) = refused(release, tmp_path)
    assert message in fault


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",score", ",confidence", "boxes.csv lacks score and has unknown confidence"),
        ("P0001,P,", "P0001,C9,", "boxes.csv, line 2: no such slice"),
        ("0.9", "", "boxes.csv, line 2: a box needs a score"),
        ("P0001,P,2", "P0001,P,2.5", "boxes.csv, line 2: no such slice"),
    ],
)
def test_a_line_of_boxes_that_fits_nothing_is_refused(release, tmp_path, old, new, message):
    (tmp_path / "boxes.csv").write_text(as_csv(release).replace(old, new, 1))
    (fault,) = refused(release, tmp_path)
    assert message in fault


# classes


def scores(release: Path, sure: float = 0.9) -> dict[str, tuple[float, ...]]:
    with (release / "classification.csv").open(newline="") as file:
        return {
            row["patient_id"]: tuple(sure if row[kind] == "1" else 1 - sure for kind in ("HCC", "ICC"))
            for row in csv.DictReader(file)
        }


def score_text(table: dict[str, tuple[float, ...]], head: str = "patient_id,HCC,ICC") -> str:
    return "\n".join([head, *(",".join(map(str, (patient, *own))) for patient, own in table.items())]) + "\n"


def test_right_scores_are_right_in_every_class(release, tmp_path):
    (tmp_path / "scores.csv").write_text("\ufeff" + score_text(scores(release)))  # as Excel saves it
    evaluation = evaluate(release, tmp_path)
    for of in ("HCC", "ICC", "macro"):
        for measure in ("accuracy", "precision", "recall", "f1", "auc"):
            assert figure(evaluation, measure, of)["value"] == 1.0
    assert figure(evaluation, "f1", "micro")["value"] == 1.0
    assert {row["group"] for row in evaluation.rows} == {"all", "split", "fold", "site"}


def test_scores_of_several_phases_are_averaged(release, tmp_path):
    table = {(patient, phase): own for patient, own in scores(release).items() for phase in ("P", "C1")}
    table["P0001", "P"] = tuple(1 - value for value in table["P0001", "P"])  # 0.9 and 0.1 are one half: it applies
    lines = {f"{patient},{phase}": own for (patient, phase), own in table.items()}
    (tmp_path / "scores.csv").write_text(score_text(lines, head="patient_id,phase,HCC,ICC"))
    found = figure(evaluate(release, tmp_path), "accuracy", "macro")
    assert found["value"] == pytest.approx(11 / 12)


def test_patients_without_scores_are_named_and_wrong(release, tmp_path):
    half = dict(list(scores(release).items())[::2])
    (tmp_path / "scores.csv").write_text(score_text(half))
    evaluation = evaluate(release, tmp_path)
    asked = figure(evaluation, "accuracy", "macro")
    assert set(evaluation.missing["classification"]).isdisjoint(half)
    assert asked["patients"] == len(half) + asked["missing"] == len(half) + len(evaluation.missing["classification"])
    assert asked["value"] == pytest.approx(len(half) / asked["patients"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("HCC", "hcc"), "scores.csv lacks HCC and has unknown hcc"),
        (lambda text: text.replace(",ICC", ",HCC", 1), "scores.csv lacks ICC"),
        (lambda text: text.replace("0.9", "nan", 1), "line 2: a score is missing or not from 0 to 1"),
        (lambda text: text.replace("0.9", "", 1), "line 2: a score is missing or not from 0 to 1"),
        (lambda text: text.replace("0.9", "1.1", 1), "line 2: a score is missing or not from 0 to 1"),
        (lambda text: text.replace("P0001", "P9999", 1), "line 2: no such patient"),
        (lambda text: text.replace("P0002", "P0001", 1), "line 3: P0001 has a row before"),
        (lambda text: text + "P0001,0.1\n", "P0001 has a row before"),
        (lambda text: "", "scores.csv lacks patient_id, HCC, ICC"),
        (
            lambda text: text.replace("\n", ",0.5\n").replace("ICC,0.5", "ICC"),
            "scores.csv, line 2: more cells than columns",
        ),
    ],
)
def test_tables_of_scores_that_do_not_fit_are_refused(release, tmp_path, change, message):
    (tmp_path / "scores.csv").write_text(change(score_text(scores(release))))
    assert any(message in fault for fault in refused(release, tmp_path))


def test_a_patient_scored_in_two_files_is_refused(release, tmp_path):
    for name in ("fold_0.csv", "fold_1.csv"):
        (tmp_path / name).write_text(score_text({"P0001": scores(release)["P0001"]}))
    (fault,) = refused(release, tmp_path)
    assert fault.startswith("fold_1.csv, line 2: P0001 has a row before")


def test_a_table_in_another_encoding_is_refused(release, tmp_path):
    (tmp_path / "scores.csv").write_bytes("patient_id,肝".encode("utf-16"))
    (fault,) = refused(release, tmp_path)
    assert fault.startswith("scores.csv is no table in UTF-8")


def test_of_many_faults_the_first_are_named_and_the_others_counted(release, tmp_path):
    (tmp_path / "scores.csv").write_text("patient_id,HCC,ICC\n" + "P9999,0,0\n" * 30)
    faults = refused(release, tmp_path)
    assert len(faults) == 21
    assert faults[-1] == "and 10 more faults"


# tables


@pytest.fixture
def everything(release: Path, tmp_path: Path) -> Iterator[Path]:
    """Masks of all but one volume, boxes and scores in one folder."""
    folder = tmp_path / "predictions"
    write_masks(release, folder, lambda row, labels: None if row.ct_path.endswith("P0001_ct_P.nii.gz") else labels)
    (folder / "boxes.json").write_text(json.dumps(results(release)))
    (folder / "scores.csv").write_text(score_text(scores(release)))
    return folder


def test_tables_print_what_was_measured(release, everything):
    evaluation = evaluate(release, everything)
    lines = printed_rows(evaluation, "segmentation")
    assert list(lines[0]) == [
        *("Group", "Of", "Patients", "Dice (%)", "Jaccard (%)", "ASD (mm)", "HD95 (mm)"),
        *("Lesion precision (%)", "Lesion recall (%)", "Lesion F1 (%)"),
    ]
    shown = {(line["Group"], line["Of"]): line for line in lines}
    held_out = figure(evaluation, "dice", "whole_liver", "split", "train")
    interval = f"[{100 * held_out['ci_low']:.2f}, {100 * held_out['ci_high']:.2f}]"
    spread = f"{100 * held_out['fold_mean']:.2f} ± {100 * held_out['fold_sd']:.2f}"
    assert shown["split: train", "whole_liver"]["Dice (%)"] == f"{spread} {interval}"
    over_all = figure(evaluation, "dice", "whole_liver")  # test patients have no fold, so there is no mean over folds
    assert over_all["folds"] == 0
    assert shown["all", "whole_liver"]["Dice (%)"].startswith(f"{100 * over_all['value']:.2f} [")
    assert shown["all", "whole_liver"]["Lesion recall (%)"] == "-"
    assert "vendor: GE" not in {group for group, _ in shown}  # all are of one vendor
    text = markdown(evaluation)
    assert "Missing, and counted as failed (segmentation): P0001 P." in text
    assert latex(evaluation).count(r"\begin{tabular}") == 3
    assert "±" not in latex(evaluation)


def test_latex_keeps_letters_that_it_would_take_for_commands():
    assert r"a\_b & 5\% & 1 $\pm$ 2 \\" in latex_table([{"x": "a_b", "y": "5%", "z": "1 ± 2"}])
    assert latex_table([]) == ""


def test_the_same_predictions_give_the_same_bytes_in_any_folder(release, everything, tmp_path):
    shutil.copytree(everything, tmp_path / "again" / "below")
    first = write_evaluation(evaluate(release, everything), tmp_path / "one")
    second = write_evaluation(evaluate(release, tmp_path / "again"), tmp_path / "two")
    assert [file.name for file in first] == [
        *("evaluation.csv", "evaluation_volumes.csv", "evaluation.md", "evaluation.tex"),
    ]
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]


def run(*words: str | Path):
    return CliRunner().invoke(main, ["evaluate", *map(str, words)])


def test_command_writes_tables_and_ends_with_one_where_something_is_missing(release, everything, tmp_path):
    result = run(release, everything, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "Missing, and counted as failed (segmentation): P0001 P." in result.output
    assert (tmp_path / "out" / "evaluation.tex").is_file()
    write_masks(release, everything, as_released)
    result = run(release, everything, "--json")
    assert result.exit_code == 0
    assert json.loads(result.output)["missing"] == {}


def test_command_refuses_wrong_use_and_wrong_predictions(release, tmp_path):
    assert run(release, tmp_path).exit_code == 1
    assert run(release).exit_code == 2
    assert run(release, tmp_path, "--version", "1.0.0").exit_code == 2
    assert run(release, tmp_path, tmp_path).exit_code == 2
    assert run(release, tmp_path / "nothing").exit_code == 2
