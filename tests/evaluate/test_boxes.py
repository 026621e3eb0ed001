"""Boxes against pycocotools, against MONAI's FROC, and against definitions spelled out box by box."""

from __future__ import annotations

import math
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.core.labels import LabelScheme
from pipeline.evaluate.boxes import ALL_KINDS, BoxSample, iou
from pipeline.evaluate.curves import FROC_RATES, ranked, sensitivities
from pipeline.evaluate.predictions import ScoredBox
from pipeline.evaluate.reference import LesionBox, Reference, Slice

KINDS = {1: "HCC", 2: "ICC"}
SLICES = {image: Slice((f"P{1 + image // 4:04d}", "C1"), image % 4) for image in range(12)}
VOLUMES = sorted({place.volume for place in SLICES.values()})


def reference_of(boxes):
    return Reference(Path(), "1.0.0", {}, LabelScheme(), SLICES, KINDS, tuple(boxes), (), {})


def figures(boxes, predicted, volumes=VOLUMES):
    found = BoxSample(volumes, predicted, reference_of(boxes))
    return {name: float(value[0]) for name, value in found.figures(np.ones((1, len(found.patients)), int)).items()}


CORNERS = st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(1, 6), st.integers(1, 6)).map(
    lambda corners: tuple(float(part) for part in corners)
)
LESION = st.builds(LesionBox, st.sampled_from(sorted(SLICES)), st.sampled_from(["HCC", "ICC"]), st.just(1), CORNERS)
PREDICTED = st.builds(
    ScoredBox,
    st.sampled_from(sorted(SLICES)),
    st.sampled_from(["HCC", "ICC"]),
    st.sampled_from([0.1, 0.25, 0.5, 0.75, 0.9]),
    CORNERS,
)


def by_coco(boxes, predicted, draw=None):
    """AP50 of each kind as pycocotools computes it."""
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    cocoeval = pytest.importorskip("pycocotools.cocoeval", reason="pycocotools is not installed")
    copies = [(image, copy) for image in sorted(SLICES) for copy in range((draw or {}).get(SLICES[image].volume[0], 1))]
    numbers = {place: number for number, place in enumerate(copies, start=1)}
    category = {name: number for number, name in KINDS.items()}
    lesions = [(numbers[image, n], box) for image, n in copies for box in boxes if box.image == image]
    results = [(numbers[image, n], box) for image, n in copies for box in predicted if box.image == image]
    truth = coco.COCO()
    truth.dataset = {
        "images": [{"id": number} for number in numbers.values()],
        "categories": [{"id": number, "name": name} for number, name in KINDS.items()],
        "annotations": [
            {"id": n, "image_id": image, "category_id": category[box.kind], "bbox": list(box.corners), "iscrowd": 0}
            | {"area": box.corners[2] * box.corners[3]}
            for n, (image, box) in enumerate(lesions, start=1)
        ],
    }
    with redirect_stdout(StringIO()):
        truth.createIndex()
        told = truth.loadRes(
            [
                {"image_id": image, "category_id": category[box.kind], "bbox": list(box.corners), "score": box.score}
                for image, box in results
            ]
        )
        evaluation = cocoeval.COCOeval(truth, told, "bbox")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][0, :, :, 0, -1]  # every area, 100 boxes a slice
    return {
        name: math.nan if (precision[:, n] < 0).all() else float(precision[:, n].mean())
        for n, name in enumerate(KINDS.values())
    }


@settings(max_examples=60)
@given(st.lists(LESION, max_size=12), st.lists(PREDICTED, min_size=1, max_size=25))
def test_average_precision_is_that_of_pycocotools(boxes, predicted):
    found, wanted = figures(boxes, predicted), by_coco(boxes, predicted)
    for kind, value in wanted.items():
        assert found.get((kind, "map50"), math.nan) == pytest.approx(value, nan_ok=True)
    defined = [value for value in wanted.values() if not math.isnan(value)]
    assert found[ALL_KINDS, "map50"] == pytest.approx(np.mean(defined) if defined else math.nan, nan_ok=True)


@settings(max_examples=30)
@given(
    st.lists(LESION, min_size=1, max_size=8),
    st.lists(PREDICTED, min_size=1, max_size=15),
    st.lists(st.integers(0, 3), min_size=3, max_size=3),
)
def test_a_patient_drawn_twice_counts_as_two_patients(boxes, predicted, draw):
    sample = BoxSample(VOLUMES, predicted, reference_of(boxes))
    found = {name: float(value[0]) for name, value in sample.figures(np.array([draw])).items()}
    drawn = dict(zip(sample.patients, draw, strict=True))
    assume(any(drawn[SLICES[box.image].volume[0]] for box in predicted))  # pycocotools takes no empty list of results
    for kind, value in by_coco(boxes, predicted, drawn).items():
        if (kind, "map50") in found:
            assert found[kind, "map50"] == pytest.approx(value, nan_ok=True)


def test_more_than_a_hundred_boxes_of_a_slice_do_not_count():
    lesion = LesionBox(0, "HCC", 1, (0.0, 0.0, 4.0, 4.0))
    crowd = [ScoredBox(0, "HCC", 0.9, (20.0 + n, 20.0, 2.0, 2.0)) for n in range(100)]
    hit = ScoredBox(0, "HCC", 0.1, lesion.corners)
    assert figures([lesion], [*crowd, hit])["HCC", "map50"] == by_coco([lesion], [*crowd, hit])["HCC"] == 0.0
    assert figures([lesion], [*crowd[1:], hit])["HCC", "map50"] == pytest.approx(1 / 100)


@given(CORNERS, CORNERS)
def test_intersection_over_union_counts_pixels(one, other):
    def pixels(corners):
        left, top, width, height = map(int, corners)
        return {(x, y) for x in range(left, left + width) for y in range(top, top + height)}

    both, either = pixels(one) & pixels(other), pixels(one) | pixels(other)
    assert iou([one], [other])[0, 0] == pytest.approx(len(both) / len(either))


def test_half_an_overlap_is_enough():
    lesion = LesionBox(0, "HCC", 1, (0.0, 0.0, 4.0, 4.0))
    just, less = (0.0, 0.0, 4.0, 2.0), (0.0, 0.0, 4.0, 1.9)
    assert figures([lesion], [ScoredBox(0, "HCC", 0.9, just)])["HCC", "map50"] == 1.0
    assert figures([lesion], [ScoredBox(0, "HCC", 0.9, less)])["HCC", "map50"] == 0.0
    assert figures([lesion], [ScoredBox(0, "ICC", 0.9, just)])["HCC", "map50"] == 0.0
    assert figures([lesion], [ScoredBox(1, "HCC", 0.9, just)])["HCC", "map50"] == 0.0


@given(st.lists(LESION, max_size=6), st.lists(PREDICTED, max_size=12))
def test_precision_and_recall_are_the_best_that_any_score_gives(boxes, predicted):
    found = figures(boxes, predicted)
    if not boxes:
        assert math.isnan(found[ALL_KINDS, "f1"])
        return
    best = (0.0, 0.0, 0.0)
    for score in sorted({box.score for box in predicted}, reverse=True):
        kept = [box for box in predicted if box.score >= score]
        right = sum(hits(boxes, kept, image, kind) for image in SLICES for kind in KINDS.values())
        f1 = 2 * right / (len(kept) + len(boxes))
        if f1 > best[2] + 1e-12:
            best = (right / len(kept), right / len(boxes), f1)
    assert [found[ALL_KINDS, measure] for measure in ("precision", "recall", "f1")] == pytest.approx(best)


def hits(boxes, kept, image, kind):
    """Boxes of a slice that get a lesion: from the surest, each the best that is left, the last of equal ones."""
    free = [box.corners for box in boxes if (box.image, box.kind) == (image, kind)]
    right = 0
    for box in sorted((box for box in kept if (box.image, box.kind) == (image, kind)), key=lambda box: -box.score):
        shares = [float(iou([box.corners], [corners])[0, 0]) for corners in free]
        if shares and max(shares) >= 0.5:
            right += 1
            del free[max(place for place, share in enumerate(shares) if share == max(shares))]
    return right


def test_a_lesion_is_found_once_on_any_of_its_slices():
    lesions = [LesionBox(image, "HCC", 1, (0.0, 0.0, 4.0, 4.0)) for image in range(3)]
    lesions.append(LesionBox(4, "HCC", 1, (0.0, 0.0, 4.0, 4.0)))
    predicted = [
        ScoredBox(0, "HCC", 0.9, (0.0, 0.0, 4.0, 4.0)),
        ScoredBox(1, "HCC", 0.8, (0.0, 0.0, 4.0, 4.0)),
        ScoredBox(1, "HCC", 0.7, (0.0, 0.0, 4.0, 3.0)),  # again on a lesion: neither found nor false
        ScoredBox(3, "HCC", 0.6, (10.0, 10.0, 4.0, 4.0)),
        ScoredBox(4, "HCC", 0.5, (0.0, 0.0, 4.0, 4.0)),
    ]
    found = figures(lesions, predicted)
    assert found[ALL_KINDS, "sensitivity_at_0.125"] == pytest.approx(0.5)
    assert found[ALL_KINDS, "sensitivity_at_0.25"] == pytest.approx(0.5)
    assert found[ALL_KINDS, "sensitivity_at_0.5"] == 1.0  # one false positive in three volumes, then the second lesion
    assert found[ALL_KINDS, "froc"] == pytest.approx((0.5 + 0.5 + 5) / 7)


@given(
    st.lists(st.sampled_from([0.1, 0.2, 0.4, 0.6, 0.8, math.inf]), min_size=1, max_size=8),
    st.lists(st.sampled_from([0.15, 0.3, 0.4, 0.6, 0.85]), min_size=1, max_size=30),
)
def test_sensitivity_at_each_rate_is_that_of_monai(lesions, wrong):
    monai = pytest.importorskip("monai.metrics", reason="MONAI is not installed")
    volumes = 2
    sure = [-math.inf if score == math.inf else score for score in lesions]
    found = sensitivities(
        ranked((0, score, True) for score in sure),
        ranked((0, score, False) for score in wrong),
        np.ones((1, 1), int),
        np.array([float(volumes)]),
    )
    # MONAI leaves out the lowest score; -1 stands for a lesion that no box is on, and is that lowest
    told = monai.compute_froc_curve_data(
        np.array(wrong), np.array([-1.0, *(max(score, -1.0) for score in sure)]), len(sure), volumes
    )
    assert found["froc"][0] == pytest.approx(monai.compute_froc_score(*told, eval_thresholds=FROC_RATES))
    for rate in FROC_RATES:
        one = monai.compute_froc_score(*told, eval_thresholds=(rate,))
        assert found[f"sensitivity_at_{rate:g}"][0] == pytest.approx(one)


@given(st.lists(PREDICTED, max_size=12), st.lists(LESION, max_size=6))
def test_every_figure_is_a_share(predicted, boxes):
    for (_, measure), value in figures(boxes, predicted).items():
        if measure != "score" and not math.isnan(value):
            assert 0.0 <= value <= 1.0


def test_many_draws_at_once_are_those_one_by_one():
    rng = np.random.default_rng(5)
    corners = rng.integers(0, 12, (200, 4)) + np.array([0, 0, 1, 1])
    places = [
        (int(rng.integers(12)), "HCC" if rng.random() < 0.5 else "ICC", tuple(map(float, one))) for one in corners
    ]
    boxes = [LesionBox(image, kind, n, one) for n, (image, kind, one) in enumerate(places[:60])]
    predicted = [ScoredBox(image, kind, round(float(rng.random()), 1), one) for image, kind, one in places[40:]]
    sample = BoxSample(VOLUMES, predicted, reference_of(boxes))
    draws = rng.integers(0, 3, (40, 3))
    together = sample.figures(draws)
    for number, draw in enumerate(draws):
        for name, value in sample.figures(draw[None]).items():
            assert together[name][number] == pytest.approx(value[0], nan_ok=True)


def test_nothing_predicted_finds_nothing_and_nothing_to_find_is_undefined():
    lesion = LesionBox(0, "HCC", 1, (0.0, 0.0, 4.0, 4.0))
    found = figures([lesion], [])
    assert [found[ALL_KINDS, measure] for measure in ("map50", "precision", "recall", "f1", "froc")] == [0.0] * 5
    assert math.isnan(figures([], [])[ALL_KINDS, "map50"])
    assert math.isnan(figures([], [ScoredBox(0, "HCC", 0.9, (0.0, 0.0, 4.0, 4.0))])["HCC", "map50"])
