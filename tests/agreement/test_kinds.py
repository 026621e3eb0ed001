"""What kind a lesion is, by several raters: every vote spelled out voxel by voxel in plain Python."""

from __future__ import annotations

import itertools
import json
import runpy
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from statsmodels.stats.inter_rater import cohens_kappa, fleiss_kappa

from pipeline.agreement.agree import against_final, agree
from pipeline.agreement.consensus import vote
from pipeline.agreement.files import agree_files, consensus_files
from pipeline.agreement.reasons import Seen, Span, UnsettledKind
from pipeline.agreement.summary import RatedVolume
from pipeline.agreement.tables import dataset_tables
from pipeline.core.config import AdjudicateConfig, ConsensusConfig
from pipeline.core.geometry import Geometry
from pipeline.core.kinds import KindEntry
from pipeline.core.labels import LabelScheme
from pipeline.core.volume import LabelMap
from tests.agreement import brute
from tests.places import CASES

GRID = Geometry.from_axes((3, 5, 6), spacing_mm=(5, 1, 1))
SIX = LabelScheme(("HCC", "ICC", "metastasis", "cyst", "hemangioma", "FNH"))
CONFIG = ConsensusConfig(adjudicate=AdjudicateConfig(min_dice=0, max_tie_fraction=1, max_volume_difference_ml=1000))
LEVELS = ("whole_liver", "parenchyma", "lesion")
masks_of_kinds = st.integers(1, 5).flatmap(lambda n: arrays(np.uint8, (n, *GRID.shape), elements=st.integers(0, 8)))


def named(masks, grid=GRID):
    return {f"R{n}": LabelMap(voxels, grid) for n, voxels in enumerate(masks, start=1)}


def most(kinds):
    """The most frequent kind; 0 for none, and where two are."""
    counts = Counter(kind for kind in kinds if kind > 2).most_common()
    tied = not counts or (len(counts) > 1 and counts[0][1] == counts[1][1])
    return 0 if tied else counts[0][0]


def voted_by_hand(masks):
    """The voted mask, and for each of its lesions whether a person must settle its kind."""
    places = list(np.ndindex(masks[0].shape))
    voted = np.zeros(masks[0].shape, np.uint8)
    for place in places:
        voted[place] = brute.nested_vote([min(int(mask[place]), 2) for mask in masks])
    unsettled = []
    for lesion in brute.components(voted == 2):
        own = [most([int(mask[place]) for place in lesion]) for mask in masks]
        saw = sum(any(mask[place] > 1 for place in lesion) for mask in masks)
        doubtful = False
        for place in lesion:
            said = [int(mask[place]) if mask[place] > 2 else kind for mask, kind in zip(masks, own, strict=True)]
            voted[place] = most(said) or 2
            named_any = any(said)
            doubtful |= named_any and 2 * said.count(most(said) or -1) <= saw
        unsettled.append(doubtful)
    return voted, unsettled


def unsettled_kinds(found):
    return [doubt for doubt in found.needs_adjudication if isinstance(doubt, UnsettledKind)]


@pytest.mark.parametrize("raters", [1, 2, 3, 4, 5])
def test_every_pattern_of_three_kinds_is_voted_as_the_rule_says(raters):
    """One lesion of one voxel a pattern: not seen, seen without a kind, or one of three kinds, by each rater."""
    patterns = np.array(list(itertools.product((1, 2, 3, 4, 5), repeat=raters)), np.uint8)
    masks = np.ones((raters, 3, 3, 2 * len(patterns) + 1), np.uint8)
    masks[:, 1, 1, 1::2] = patterns.T
    grid = Geometry.from_axes(masks.shape[1:], spacing_mm=(5, 1, 1))
    found = vote(named(masks, grid), CONFIG, scheme=SIX)
    doubtful = 0
    for pattern, label in zip(patterns.tolist(), found.labels.voxels[1, 1, 1::2].tolist(), strict=True):
        saw = [kind for kind in pattern if kind > 1]
        if 2 * len(saw) <= raters:
            assert label == 1
            continue
        assert label == (most(saw) or 2)
        doubtful += any(kind > 2 for kind in saw) and 2 * saw.count(most(saw) or -1) <= len(saw)
    assert len(unsettled_kinds(found)) == doubtful


@settings(max_examples=60, deadline=None)
@given(masks_of_kinds)
def test_the_vote_on_any_masks_is_the_one_by_hand(masks):
    found = vote(named(masks), CONFIG, scheme=SIX)
    expected, unsettled = voted_by_hand(masks)
    np.testing.assert_array_equal(found.labels.voxels, expected)
    assert len(unsettled_kinds(found)) == sum(unsettled)
    values, counts = np.unique(found.labels.voxels, return_counts=True)
    told = {int(value): count for value, count in found.explanation().voxels.items() if count}
    assert told == dict(zip(values.tolist(), counts.tolist(), strict=True))


@settings(max_examples=30, deadline=None)
@given(arrays(np.uint8, GRID.shape, elements=st.integers(0, 8)), st.integers(1, 5))
def test_what_all_raters_say_is_what_the_vote_says(voxels, raters):
    """Lesions of several kinds that touch stay as they are; only what a rater left without a kind is completed."""
    for lesion in brute.components(voxels > 1):
        kinds = {int(voxels[place]) for place in lesion} - {2}
        if kinds:
            for place in lesion:
                voxels[place] = max(voxels[place], 3) if voxels[place] > 2 else min(kinds)
    found = vote(named([voxels] * raters), CONFIG, scheme=SIX)
    np.testing.assert_array_equal(found.labels.voxels, voxels)
    assert not found.needs_adjudication or all(not isinstance(one, UnsettledKind) for one in found.needs_adjudication)


def test_many_raters_and_high_values_are_counted_as_few_are():
    scheme = LabelScheme((*(f"kind {letter}" for letter in "abcdefgh"), KindEntry("last", value=99)))
    rng = np.random.default_rng(3)
    masks = np.ones((18, *GRID.shape), np.uint8)
    masks[:, 1, 1:3, 1:3] = rng.choice([3, 4, 10, 99], (18, 1, 1))
    masks[:, 1, 4, 4:6] = rng.choice([2, 5, 6, 7, 8, 9], (18, 1))
    found = vote(named(masks), CONFIG, scheme=scheme)
    np.testing.assert_array_equal(found.labels.voxels, voted_by_hand(masks)[0])
    assert len(agree(named(masks), scheme=scheme).kind_pairs) > 153


@settings(max_examples=40, deadline=None)
@given(masks_of_kinds)
def test_lesions_whatever_their_kind_agree_as_without_kinds(masks):
    kinds, levels = agree(named(masks), scheme=SIX), agree(named(np.minimum(masks, 2)))
    for part in ("pairs", "against_vote", "reliability", "slices"):
        of_levels = [one for one in getattr(kinds, part) if one.structure in (*LEVELS, "all_labels")]
        assert repr(of_levels) == repr(list(getattr(levels, part)))
    assert repr(kinds.detections) == repr(levels.detections)
    assert tuple(replace(lesion, kinds=()) for lesion in kinds.lesions) == levels.lesions


@settings(max_examples=30, deadline=None)
@given(masks_of_kinds)
def test_each_kind_is_a_structure_of_its_own(masks):
    found = agree(named(masks), scheme=SIX)
    marked = {SIX.names[value] for value in np.unique(masks).tolist() if value > 2}
    assert {pair.structure for pair in found.pairs} - set(LEVELS) == (marked if len(masks) > 1 else set())
    for pair in found.pairs:
        if pair.structure in marked:
            a, b = (masks[int(rater[1]) - 1] == SIX.value_of(pair.structure) for rater in pair.raters)
            assert pair.overlap.dice == pytest.approx(brute.dice(a, b), nan_ok=True)
            assert pair.volumes_ml == pytest.approx((a.sum() * 0.005, b.sum() * 0.005))
            if a.any() and b.any():
                expected = brute.scores(a, b, GRID.spacing_mm, 2.0)
                assert pair.distances.hd95_max_mm == pytest.approx(expected["hd95_max_mm"], abs=1e-5)
                assert pair.distances.nsd == pytest.approx(expected["nsd"])
    final = against_final(named(masks), LabelMap(masks[0], GRID), scheme=SIX)
    for score in final:
        if score.structure in marked:
            value = SIX.value_of(score.structure)
            expected = brute.dice(masks[int(score.rater[1]) - 1] == value, masks[0] == value)
            assert score.dice_with_final == pytest.approx(expected, nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(masks_of_kinds)
def test_joint_and_matching_lesions_bear_every_raters_kind(masks):
    found = agree(named(masks), scheme=SIX)
    if masks.max() < 3:
        assert not found.kind_pairs
        assert all(lesion.kinds == () for lesion in found.lesions)
        return
    said = Counter(
        tuple(SIX.kind_names.get(most([int(mask[place]) for place in lesion]), "") for mask in masks)
        for lesion in brute.components(np.any(masks > 1, axis=0))
    )
    assert Counter(lesion.kinds for lesion in found.lesions) == said
    for match in found.detections:
        pairs = [pair for pair in found.kind_pairs if pair.raters == match.raters]
        assert sum(pair.lesions for pair in pairs) == match.touching


def test_nothing_new_is_written_where_nobody_names_a_kind():
    voxels = np.ones(GRID.shape, np.uint8)
    voxels[1, 2:4, 2:4] = 2
    ratings = named([voxels, voxels, np.minimum(voxels, 1)])
    for found in (agree(ratings, scheme=SIX), vote(ratings, CONFIG, scheme=SIX).explanation()):
        text = json.dumps(found.to_json())
        assert "kinds" not in text
        assert "kind_" not in text
        assert "HCC" not in text


def test_stray_voxels_of_another_kind_and_of_none_change_no_lesion():
    voxels = np.ones(GRID.shape, np.uint8)
    voxels[1, 1:4, 1:5] = 3
    stray = voxels.copy()
    stray[1, 1, 1], stray[1, 3, 4] = 4, 2
    found = vote(named([stray, voxels, voxels]), CONFIG, scheme=SIX)
    np.testing.assert_array_equal(found.labels.voxels, voxels)


@pytest.mark.parametrize(
    ("votes", "kind", "words"),
    [
        ({"HCC": 1, "cyst": 1}, "", "1 rater for HCC, 1 rater for cyst, 1 without a kind; the vote leaves it open"),
        ({"HCC": 1}, "HCC", "1 rater for HCC, 2 without a kind; the vote says HCC, without a majority"),
    ],
)
def test_the_reason_counts_votes_and_names_no_rater(votes, kind, words):
    doubt = UnsettledKind(Seen(2, 0.36, Span(10, 13), ("R1", "R2", "R3"), 3), votes, kind)
    assert doubt.sentence() == f"kind of lesion 2, 0.36 ml on slices 11-14: {words}"


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    if not CASES.is_dir():
        pytest.skip("the folder of shared cases is not here")
    out = tmp_path_factory.mktemp("cases")
    make = runpy.run_path(str(CASES / "agreement" / "make.py"))
    make["main"](out)
    return out


@pytest.mark.parametrize("case", ["kinds_differ", "kinds_agree"])
def test_shared_cases_of_kinds(cases, case, tmp_path):
    expected = json.loads((cases / "expected.json").read_text())[case]
    files = sorted((cases / case).glob("R*.seg.nrrd"))
    scheme = LabelScheme(("HCC", "cyst", "hemangioma"))
    for found in (
        agree_files(files, scheme=scheme),
        consensus_files(files, tmp_path / "vote.nii.gz", config=CONFIG, scheme=scheme),
    ):
        big, small = found["lesions"]
        assert [list(kinds) for kinds in zip(big["kinds"], small["kinds"], strict=True)] == expected["kinds"]
    reasons = [reason["rule"] for reason in found["needs_adjudication"]]
    assert reasons == (["unsettled-kind"] if expected["needs_adjudication"] else [])
    assert [vote["kind"] for vote in found["kind_votes"]] == ["HCC", "" if expected["needs_adjudication"] else "cyst"]


def with_lesions(*kinds):
    """A liver whose lesions, one a slice, are of these kinds."""
    voxels = np.ones((2 * len(kinds) + 1, 4, 4), np.uint8)
    for place, kind in enumerate(kinds):
        voxels[2 * place + 1, 1:3, 1:3] = kind
    return voxels


@pytest.mark.parametrize("seed", range(5))
def test_kappa_of_kinds_is_that_of_statsmodels(seed):
    rng = np.random.default_rng(seed)
    said = rng.integers(3, 6, (3, 12))
    said[1] = np.where(rng.random(12) < 0.6, said[0], said[1])
    grid = Geometry.from_axes(with_lesions(*said[0]).shape, spacing_mm=(5, 1, 1))
    found = agree({f"R{n}": LabelMap(with_lesions(*row), grid) for n, row in enumerate(said, start=1)}, scheme=SIX)
    tables = dataset_tables([RatedVolume("P0001", "C1", found)])
    counts = np.zeros((3, 3), int)
    np.add.at(counts, (said[0] - 3, said[1] - 3), 1)
    first = tables["kind_pairs"][0]
    assert first["cohen_kappa"] == pytest.approx(cohens_kappa(counts).kappa)
    assert (first["lesions"], first["same_kind"]) == (12, pytest.approx(np.trace(counts) / 12))
    votes = np.stack([(said == kind).sum(axis=0) for kind in (3, 4, 5)], axis=1)
    assert tables["kind_groups"] == [
        {"raters": "R1 R2 R3", "lesions": 12, "fleiss_kappa": pytest.approx(fleiss_kappa(votes))}
    ]
    assert sum(row["lesions"] for row in tables["kinds"]) == 36


def test_kinds_that_a_rater_leaves_open_stand_in_the_matrix_and_in_no_kappa():
    grid = Geometry.from_axes(with_lesions(3, 3).shape, spacing_mm=(5, 1, 1))
    found = agree({"R1": LabelMap(with_lesions(3, 4), grid), "R2": LabelMap(with_lesions(2, 4), grid)}, scheme=SIX)
    tables = dataset_tables([RatedVolume("P0001", "C1", found)])
    assert tables["kinds"] == [
        {"kind_a": "HCC", "kind_b": "unknown", "lesions": 1},
        {"kind_a": "ICC", "kind_b": "ICC", "lesions": 1},
    ]
    assert tables["kind_pairs"] == [
        {"rater_a": "R1", "rater_b": "R2", "lesions": 1, "same_kind": 1.0, "cohen_kappa": None}
    ]
    without = dataset_tables([RatedVolume("P0001", "C1", agree(named([np.ones(GRID.shape, np.uint8)] * 2)))])
    assert not {"kinds", "kind_pairs", "kind_groups"} & set(without)
