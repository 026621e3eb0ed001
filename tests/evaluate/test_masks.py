"""Scores of masks against MONAI, scikit-learn and sums on paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline.core.geometry import Geometry
from pipeline.evaluate.estimates import estimates, ratio
from pipeline.evaluate.masks import MASK_MEASURES, MaskSample, MaskScores, diagonal_mm, score_masks
from pipeline.image.nifti import read_labels, write_nifti
from tests.evaluate.test_evaluation import rows_of, shifted

VALUE = st.one_of(st.just(math.nan), st.floats(0, 1))


def scored(patient: str, value: float, lesions: tuple[int, int, int] | None = None) -> MaskScores:
    return MaskScores((patient, "C1"), "lesion", "none", (value,) * len(MASK_MEASURES), lesions)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
def test_every_measure_is_that_of_monai(release, tmp_path):
    torch = pytest.importorskip("torch")
    monai = pytest.importorskip("monai.metrics", reason="MONAI is not installed")
    from pipeline.evaluate.reference import open_reference

    masks, wanted = {}, []
    for n, row in enumerate(rows_of(release)):
        truth = read_labels(release / row.label_path)
        predicted = shifted(truth, n % 3)
        file = tmp_path / f"{row.patient_id}_{row.phase}.nii.gz"
        write_nifti(file, predicted)
        masks[row.patient_id, str(row.phase)] = {"labels": file}
        for low in (1, 2):
            one, other = (torch.tensor(mask.voxels >= low)[None, None].float() for mask in (predicted, truth))
            if not other.any():
                continue
            spacing = truth.geometry.spacing_mm
            wanted.append(
                [
                    monai.compute_dice(one, other).item(),
                    monai.compute_iou(one, other).item(),
                    monai.compute_average_surface_distance(one, other, symmetric=True, spacing=spacing).item(),
                    monai.compute_hausdorff_distance(one, other, percentile=95, spacing=spacing).item(),
                ]
            )
    found = score_masks(masks, tuple(masks), open_reference(release)).scores
    np.testing.assert_allclose([one.values for one in found if one.empty == "none"], wanted, rtol=1e-5, atol=1e-5)


@settings(max_examples=30)
@given(arrays.arrays(bool, 40), arrays.arrays(bool, 40))
def test_lesions_of_a_voxel_each_are_found_as_scikit_learn_counts(predicted, truth):
    """Precision and recall over lesions that are single voxels are those over voxels."""
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    counts = int(predicted.sum()), int(truth.sum()), int((predicted & truth).sum())
    sample = MaskSample((scored("P0001", math.nan, counts),))
    found = {measure: float(value[0]) for (_, measure), value in sample.figures(np.ones((1, 1), int)).items()}
    if predicted.any() and truth.any():
        wanted = metrics.precision_recall_fscore_support(truth, predicted, average="binary", zero_division=0)[:3]
        assert [found[f"lesion_{name}"] for name in ("precision", "recall", "f1")] == pytest.approx(wanted)


@given(st.dictionaries(st.sampled_from(["P0001", "P0002", "P0003"]), st.lists(VALUE, min_size=1), min_size=1))
def test_a_mean_is_over_volumes_and_leaves_out_what_is_undefined(values):
    sample = MaskSample(tuple(scored(patient, value) for patient, own in values.items() for value in own))
    draw = np.arange(1, len(values) + 1)[None]
    found = sample.figures(draw)["lesion", "dice"][0]
    drawn = [one for n, patient in enumerate(sorted(values), 1) for one in values[patient] * n if not math.isnan(one)]
    assert found == pytest.approx(np.mean(drawn) if drawn else math.nan, nan_ok=True)


def test_an_interval_holds_the_mean_of_resampled_patients():
    values = {f"P{n:04d}": float(n % 2) for n in range(40)}
    sample = MaskSample(tuple(scored(patient, value) for patient, value in values.items()))
    found = estimates(sample, dict.fromkeys(values), seed=3)["lesion", "dice"]
    assert found.value == 0.5
    width = 1.96 * 0.5 / math.sqrt(40)  # of the normal approximation
    assert found.ci_low == pytest.approx(0.5 - width, abs=0.03)
    assert found.ci_high == pytest.approx(0.5 + width, abs=0.03)


def test_patients_are_drawn_with_all_their_volumes():
    volumes = [scored("P0001", 0.0)] * 50 + [scored("P0002", 1.0)] * 50
    alike = MaskSample(tuple(volumes))
    found = estimates(alike, dict.fromkeys(alike.patients), seed=3)["lesion", "dice"]
    assert (found.ci_low, found.ci_high) == (0.0, 1.0)  # a hundred volumes, but only two patients


def test_the_diagonal_runs_from_corner_to_corner():
    assert diagonal_mm(Geometry.from_axes((4, 1, 5), spacing_mm=(1.0, 9.0, 1.0))) == pytest.approx(5.0)


def test_a_share_of_nothing_is_undefined():
    np.testing.assert_array_equal(ratio(np.array([1.0, 0.0]), np.array([2.0, 0.0])), [0.5, math.nan])
