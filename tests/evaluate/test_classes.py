"""Classes and stages, against scikit-learn and against every pair of patients counted one by one."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluate.classes import CLASS_MEASURES, FIBROSIS_STAGES, MACRO, MICRO, STAGING_TASKS, ClassSample, auc
from pipeline.evaluate.estimates import estimates

metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")

CLASSES = ("HCC", "ICC", "cyst")
SCORE = st.sampled_from([0.0, 0.2, 0.49, 0.5, 0.51, 0.8, 1.0])


def sample(truth, scores, classes=CLASSES):
    return ClassSample(
        truth,
        classes,
        {patient: frozenset(own) for patient, own in truth.items()},
        {patient: dict(zip(classes, own, strict=True)) for patient, own in scores.items()},
    )


def figures(found):
    """Every figure over all patients, once each."""
    return {name: float(value[0]) for name, value in found.figures(np.ones((1, len(found.patients)), int)).items()}


@st.composite
def cohorts(draw):
    count = draw(st.integers(2, 12))
    truth = {f"P{n:04d}": draw(st.sets(st.sampled_from(CLASSES))) for n in range(count)}
    return truth, {patient: draw(st.tuples(SCORE, SCORE, SCORE)) for patient in truth}


@given(cohorts())
def test_every_figure_is_that_of_scikit_learn(cohort):
    truth, scores = cohort
    found = figures(sample(truth, scores))
    wanted = np.array([[name in truth[patient] for name in CLASSES] for patient in sorted(truth)])
    ranks = np.array([scores[patient] for patient in sorted(truth)])
    answers = ranks >= 0.5
    there = [column for column in range(3) if wanted[:, column].any()]
    for column, name in enumerate(CLASSES):
        assert found[name, "accuracy"] == pytest.approx(metrics.accuracy_score(wanted[:, column], answers[:, column]))
        values = metrics.precision_recall_fscore_support(
            wanted[:, column], answers[:, column], average="binary", zero_division=0
        )[:3]
        if column in there:
            assert [found[name, measure] for measure in ("precision", "recall", "f1")] == pytest.approx(values)
        else:
            assert all(math.isnan(found[name, measure]) for measure in ("precision", "recall", "f1"))
        if len(set(wanted[:, column])) == 2:
            assert found[name, "auc"] == pytest.approx(metrics.roc_auc_score(wanted[:, column], ranks[:, column]))
        else:
            assert math.isnan(found[name, "auc"])
    assert found[MACRO, "accuracy"] == pytest.approx(metrics.accuracy_score(wanted, answers))
    if there:
        each = metrics.precision_recall_fscore_support(wanted, answers, average=None, zero_division=0)[:3]
        macro = [values[there].mean() for values in each]
        micro = metrics.precision_recall_fscore_support(wanted, answers, average="micro", zero_division=0)[:3]
        assert [found[MACRO, measure] for measure in ("precision", "recall", "f1")] == pytest.approx(macro)
        assert [found[MICRO, measure] for measure in ("precision", "recall", "f1")] == pytest.approx(micro)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([-math.inf, 0.1, 0.5, 0.9, math.inf]), st.integers(0, 3))))
def test_auc_is_the_share_of_pairs_in_the_right_order(people):
    truth = np.array([own for own, _, _ in people], dtype=bool)
    scores = np.array([score for _, score, _ in people], dtype=float)
    weights = np.array([[weight for _, _, weight in people]], dtype=float)
    (found,) = auc(truth, scores, weights)
    drawn = [(own, score) for own, score, weight in people for _ in range(weight)]
    pairs = [(a, b) for (own, a), (other, b) in itertools.product(drawn, drawn) if own and not other]
    if not pairs:
        assert math.isnan(found)
    else:
        right = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs)
        assert found == pytest.approx(right / len(pairs))


def test_a_patient_without_scores_is_wrong_in_every_class_and_ranks_worst():
    truth = {"P0001": {"HCC"}, "P0002": {"HCC"}, "P0003": set(), "P0004": set()}
    found = figures(sample(truth, {"P0001": (0.9, 0, 0), "P0003": (0.1, 0, 0)}))
    assert found["HCC", "accuracy"] == 0.5
    assert found["HCC", "precision"] == 0.5  # one right, and the missing normal counted as called HCC
    assert found["HCC", "recall"] == 0.5
    assert found["HCC", "auc"] == 0.25  # only the pair of those who have scores is in order
    assert found[MACRO, "accuracy"] == 0.5


def test_no_score_at_all_is_as_bad_as_can_be():
    truth = {"P0001": {"HCC"}, "P0002": set()}
    found = figures(sample(truth, {}))
    assert [found["HCC", measure] for measure in CLASS_MEASURES] == [0.0] * 5


def stage_sample(stages, scores):
    truth = {f"P{n:04d}": {stage} if stage else set() for n, stage in enumerate(stages)}
    return figures(sample(truth, dict(zip(truth, scores, strict=True)), classes=FIBROSIS_STAGES))


def test_liqa_tasks_add_the_scores_of_each_side():
    stages = ["S1", "S2", "S3", "S4", None]
    scores = [(0.6, 0.2, 0.1, 0.1), (0.5, 0.2, 0.2, 0.1), (0.1, 0.1, 0.2, 0.6), (0.0, 0.2, 0.1, 0.2), (1, 0, 0, 0)]
    found = stage_sample(stages, scores)
    cirrhosis, substantial = STAGING_TASKS
    by_hand = {
        cirrhosis: ([False, False, False, True], [0.1, 0.1, 0.6, 0.4]),
        substantial: ([False, True, True, True], [0.4, 0.5, 0.9, 1.0]),
    }
    for task, (truth, said) in by_hand.items():
        assert found[task, "accuracy"] == pytest.approx(metrics.accuracy_score(truth, np.array(said) >= 0.5))
        assert found[task, "auc"] == pytest.approx(metrics.roc_auc_score(truth, said))


def test_stages_that_are_all_nought_are_no_answer():
    assert stage_sample(["S4"], [(0, 0, 0, 0)])[next(iter(STAGING_TASKS)), "accuracy"] == 0.0


def test_classes_that_are_no_stages_have_no_staging_task():
    assert not {name for name, _ in figures(sample({"P0001": {"HCC"}}, {}))} & set(STAGING_TASKS)


@settings(max_examples=10)
@given(cohorts(), st.permutations(range(3)))
def test_intervals_do_not_hang_on_the_order_of_patients(cohort, folds):
    truth, scores = cohort
    place = {patient: folds[n % 3] for n, patient in enumerate(sorted(truth))}
    one = estimates(sample(truth, scores), place, seed=1)
    other = estimates(sample(dict(reversed(truth.items())), scores), place, seed=1)
    assert repr(one) == repr(other)
    for estimate in one.values():
        if not math.isnan(estimate.value):
            assert 0.0 <= estimate.value <= 1.0
        if not math.isnan(estimate.ci_low):
            assert 0.0 <= estimate.ci_low <= estimate.ci_high <= 1.0


def test_folds_are_averaged_as_on_paper():
    truth = {f"P{n:04d}": {"HCC"} for n in range(6)}
    scores = {patient: (float(n < 3), 0, 0) for n, patient in enumerate(truth)}
    folds = dict(zip(truth, (0, 0, 1, 1, 2, 2), strict=True))
    found = estimates(sample(truth, scores), folds, seed=1)["HCC", "recall"]
    assert found.value == 0.5
    assert found.folds == 3
    assert found.fold_mean == pytest.approx(np.mean([1.0, 0.5, 0.0]))
    assert found.fold_sd == pytest.approx(np.std([1.0, 0.5, 0.0], ddof=1))
    with_test_patient = estimates(sample(truth, scores), folds | {"P0005": None}, seed=1)["HCC", "recall"]
    assert (with_test_patient.value, with_test_patient.folds) == (0.5, 0)


def test_a_single_patient_has_no_interval():
    found = estimates(sample({"P0001": {"HCC"}}, {"P0001": (1, 0, 0)}), {"P0001": None}, seed=1)["HCC", "recall"]
    assert found.value == 1.0
    assert math.isnan(found.ci_low)
    assert math.isnan(found.ci_high)
    assert (found.folds, math.isnan(found.fold_sd)) == (0, True)
