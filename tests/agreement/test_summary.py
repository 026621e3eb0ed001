from __future__ import annotations

import json
import math
import statistics
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from pipeline.agreement.agree import against_final, agree, coarse_against_final
from pipeline.agreement.summary import RatedVolume, bootstrap_interval, summarise
from pipeline.agreement.tables import (
    coarse_table,
    dataset_tables,
    group_table,
    limt_table,
    page_tables,
    pair_table,
    plc_table,
    rater_table,
    repeat_table,
    volume_groups,
)
from pipeline.agreement.volumes import icc_2_1
from pipeline.core.geometry import Geometry
from pipeline.core.volume import LabelMap

GRID = Geometry.from_axes((2, 10, 10), spacing_mm=(10, 10, 10))


def mask_of(columns):
    """A liver that fills the image, and as many columns of lesion as told."""
    voxels = np.ones(GRID.shape, np.uint8)
    voxels[:, :, :columns] = 2
    return LabelMap(voxels, GRID)


def striped(*columns):
    """One mask a rater."""
    return agree({f"R{number}": mask_of(count) for number, count in enumerate(columns, start=1)})


VOLUMES = [
    RatedVolume("P0001", "C1", striped(5, 5, 5), {"vendor": "one"}),
    RatedVolume("P0001", "C2", striped(4, 6, 5), {"vendor": "one"}),
    RatedVolume("P0002", "C1", striped(2, 4, 0), {"vendor": "two"}),
    RatedVolume("P0003", "C1", striped(0, 0, 0), {"vendor": "two"}),
]


def row_of(rows, **wanted):
    (found,) = [row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())]
    return found


def test_dice_over_volumes_is_computed_on_paper():
    row = row_of(summarise(VOLUMES), group="all", structure="lesion", measure="dice")
    by_volume = [1.0, (8 / 10 + 8 / 9 + 10 / 11) / 3, (4 / 6 + 0 + 0) / 3]
    assert (row.patients, row.volumes) == (2, 3)
    assert row.mean == pytest.approx(statistics.mean(by_volume))
    assert row.median == pytest.approx(statistics.median(by_volume))
    assert row.sd == pytest.approx(statistics.stdev(by_volume))


def test_missed_and_absent_structures_are_counted_apart_beside_every_mean():
    row = row_of(summarise(VOLUMES), group="all", structure="lesion", measure="hd95_max_mm")
    assert (row.both_empty, row.one_empty) == (3, 2)


def test_volume_differences_lose_their_sign_before_the_mean():
    row = row_of(summarise(VOLUMES), group="all", structure="lesion", measure="volume_difference_ml")
    assert row.volumes == 3
    assert row.mean == pytest.approx(20 * statistics.mean([0, 4 / 3, 8 / 3]))


def test_groups_are_phases_and_whatever_the_volumes_carry():
    rows = summarise(VOLUMES)
    assert list(dict.fromkeys((row.group, row.value) for row in rows)) == [
        ("all", "all"),
        ("phase", "C1"),
        ("phase", "C2"),
        ("vendor", "one"),
        ("vendor", "two"),
    ]
    assert row_of(rows, group="vendor", value="one", structure="lesion", measure="dice").volumes == 2


def test_order_of_volumes_changes_nothing_and_the_seed_only_the_interval():
    straight, turned = summarise(VOLUMES), summarise(VOLUMES[::-1])
    for row in straight:
        twin = row_of(turned, group=row.group, value=row.value, structure=row.structure, measure=row.measure)
        assert twin.to_json() == pytest.approx(row.to_json())
    other = row_of(summarise(VOLUMES, seed=8), group="all", structure="lesion", measure="jaccard")
    assert other.mean == row_of(straight, group="all", structure="lesion", measure="jaccard").mean


def test_no_volume_gives_no_row():
    assert summarise([]) == ()
    assert (plc_table([]), limt_table([]), rater_table([]), pair_table([])) == ([], [], [], [])


def test_interval_of_single_values_is_scipys_percentile_bootstrap():
    values = np.random.default_rng(1).normal(0.8, 0.1, 60)
    found = bootstrap_interval([[value] for value in values], np.random.default_rng(2), samples=20000)
    peer = stats.bootstrap((values,), np.mean, n_resamples=20000, method="percentile", rng=3).confidence_interval
    assert found == pytest.approx((peer.low, peer.high), abs=0.002)


def test_alike_volumes_of_a_patient_count_as_one():
    values = np.random.default_rng(4).normal(0, 1, 15).tolist()
    fourfold = bootstrap_interval([[value] * 4 for value in values], np.random.default_rng(5))
    assert fourfold == pytest.approx(bootstrap_interval([[value] for value in values], np.random.default_rng(5)))


def test_a_patient_with_more_volumes_weighs_more():
    low, high = bootstrap_interval([[0.0], [1.0, 1.0, 1.0]], np.random.default_rng(5))
    assert (low, high) == (0.0, 1.0)
    draws = [bootstrap_interval([[0.0], [1.0, 1.0, 1.0]], np.random.default_rng(n), samples=1)[0] for n in range(40)]
    assert set(draws) == {0.0, 0.75, 1.0}


def test_one_patient_has_no_interval():
    assert all(math.isnan(end) for end in bootstrap_interval([[0.5, 0.7]], np.random.default_rng(1)))


def test_plc_table_is_dice_and_volume_difference_of_lesions():
    table = plc_table(summarise(VOLUMES))
    assert [(row["measure"], row["volumes"]) for row in table if row["group"] == "all"] == [
        ("dice", 3),
        ("volume_difference_ml", 3),
    ]
    assert {"volumes", "mean", "median", "sd", "ci_low", "ci_high", "one_empty", "both_empty"} <= set(table[0])
    assert (table[0]["both_empty"], table[0]["one_empty"]) == (3, 2)


def test_limt_table_is_before_and_after_in_percent_with_the_fair_figure():
    table = limt_table(summarise([VOLUMES[1]]))
    row = next(row for row in table if row["structure"] == "lesion" and row["group"] == "all")
    assert row["before"] == pytest.approx(100 * (8 / 10 + 8 / 9 + 10 / 11) / 3)
    assert row["after"] == pytest.approx(100 * (8 / 9 + 10 / 11 + 1) / 3)
    assert row["after_fair"] == pytest.approx(100 * (8 / 9 + 8 / 10 + 8 / 9) / 3)
    assert row["after_final"] is None


def test_after_consensus_is_against_the_mask_that_counts_beside_the_vote():
    """Raters of 4, 6 and 5 columns; their vote has 5, the lead made it 6."""
    ratings = {"R1": mask_of(4), "R2": mask_of(6), "R3": mask_of(5)}
    settled = [replace(VOLUMES[1], against_final=against_final(ratings, mask_of(columns))) for columns in (5, 6)]
    voted, adjudicated = (
        next(row for row in limt_table(summarise([volume])) if (row["group"], row["structure"]) == ("all", "lesion"))
        for volume in settled
    )
    assert voted["after_final"] == pytest.approx(voted["after"])
    assert adjudicated["after"] == pytest.approx(voted["after"])
    assert adjudicated["after_final"] == pytest.approx(100 * (8 / 10 + 1 + 10 / 11) / 3)


def test_nothing_marked_agrees_with_nothing_left():
    scores = against_final({"R1": mask_of(0), "R2": mask_of(2)}, mask_of(0))
    dice = {(score.rater, score.structure): score.dice_with_final for score in scores}
    assert math.isnan(dice["R1", "lesion"])
    assert (dice["R2", "lesion"], dice["R1", "whole_liver"], dice["R2", "whole_liver"]) == (0, 1, 1)
    assert len(dice) == 6


def test_rater_table_shows_who_draws_too_much():
    rows = {row["rater"]: row for row in rater_table(VOLUMES[1:2]) if row["structure"] == "lesion"}
    assert [rows[rater]["bias_ml"] for rater in ("R1", "R2", "R3")] == pytest.approx([-20.0, 20.0, 0.0])
    assert [rows[rater]["bias_percent"] for rater in ("R1", "R2", "R3")] == pytest.approx([-200 / 9, 200 / 11, 0.0])
    assert rows["R1"]["bias_low_ml"] is None


def test_pair_table_holds_bland_altman_and_icc_of_volumes():
    row = next(row for row in pair_table(VOLUMES) if row["structure"] == "lesion" and row["rater_b"] == "R2")
    assert row["volumes"] == 4
    assert row["bias_ml"] == pytest.approx(np.mean([0, -40, -40, 0]))
    assert row["icc_2_1"] < 1
    json.dumps(pair_table(VOLUMES), allow_nan=False)


def cohort(*, normals):
    """100 patients whose lesion two raters outline in 1 to 9 columns of 20 ml, and normals in whom neither sees one."""
    rng = np.random.default_rng(3)
    first = rng.integers(1, 7, 100)
    second = first + rng.integers(0, 4, 100)
    columns = [*zip(first.tolist(), second.tolist(), strict=True), *[(0, 0)] * normals]
    volumes = [RatedVolume(f"P{n:04d}", "C1", striped(*pair)) for n, pair in enumerate(columns)]
    return volumes, 20.0 * np.array(columns)


def icc_by_sums(volumes_ml):
    """ICC(2,1) spelled out from sums of squares (Shrout & Fleiss 1979)."""
    n, k = volumes_ml.shape
    mean = volumes_ml.sum() / (n * k)
    rows = k * sum((row.sum() / k - mean) ** 2 for row in volumes_ml)
    columns = n * sum((column.sum() / n - mean) ** 2 for column in volumes_ml.T)
    rest = sum((value - mean) ** 2 for value in volumes_ml.ravel()) - rows - columns
    of_rows, of_columns, error = rows / (n - 1), columns / (k - 1), rest / ((n - 1) * (k - 1))
    return (of_rows - error) / (of_rows + (k - 1) * error + k * (of_columns - error) / n)


def test_volumes_without_a_lesion_raise_the_icc_and_are_counted_apart():
    volumes, volumes_ml = cohort(normals=50)
    (row,) = [row for row in pair_table(volumes) if row["structure"] == "lesion"]
    (group,) = [row for row in group_table(volumes) if row["structure"] == "lesion"]
    differences = (volumes_ml[:, 0] - volumes_ml[:, 1])[:100]
    assert (row["volumes"], row["marked_volumes"]) == (group["volumes"], group["marked_volumes"]) == (150, 100)
    for found in (row, group):
        assert found["icc_2_1"] == pytest.approx(icc_by_sums(volumes_ml))
        assert found["marked_icc_2_1"] == pytest.approx(icc_by_sums(volumes_ml[:100]))
    assert row["icc_2_1"] > row["marked_icc_2_1"] + 0.1
    assert row["marked_bias_ml"] == pytest.approx(statistics.mean(differences))
    spread = 1.96 * statistics.stdev(differences)
    assert row["marked_bias_low_ml"] == pytest.approx(statistics.mean(differences) - spread)
    assert row["bias_ml"] == pytest.approx(statistics.mean(differences) * 100 / 150)


def test_a_cohort_without_normals_has_one_icc():
    (row,) = [row for row in pair_table(cohort(normals=0)[0]) if row["structure"] == "lesion"]
    assert row["icc_2_1"] == row["marked_icc_2_1"]
    (rater, _) = [row for row in rater_table(cohort(normals=7)[0]) if row["structure"] == "lesion"]
    assert (rater["volumes"], rater["marked_volumes"]) == (107, 100)


def test_raters_who_never_saw_a_lesion_have_no_icc_of_marked_volumes():
    (row,) = [row for row in pair_table([RatedVolume("P1", "C1", striped(0, 0))] * 3) if row["structure"] == "lesion"]
    assert (row["marked_volumes"], row["marked_icc_2_1"], row["marked_bias_ml"]) == (0, None, None)


def test_icc_is_given_for_each_group_of_raters_who_read_the_same_volumes():
    others = agree({name: mask_of(columns) for name, columns in (("R1", 3), ("R4", 5))})
    rows = [row for row in group_table([*VOLUMES, RatedVolume("P0009", "C1", others)]) if row["structure"] == "lesion"]
    volumes_ml = 20 * np.array([[5, 5, 5], [4, 6, 5], [2, 4, 0], [0, 0, 0]], float)
    assert [(row["raters"], row["volumes"], row["icc_2_1"]) for row in rows] == [
        ("R1 R2 R3", 4, pytest.approx(icc_2_1(volumes_ml))),
        ("R1 R4", 1, None),
    ]


def test_hidden_repeats_tell_how_far_a_rater_agrees_with_himself():
    def liver(columns):
        voxels = np.zeros(GRID.shape, np.uint8)
        voxels[:, :, :columns] = 1
        return LabelMap(voxels, GRID)

    repeats = [
        RatedVolume("P0001", "C1", agree({"first": liver(4), "again": liver(6)}), {"rater": "R1"}),
        RatedVolume("P0002", "C1", agree({"first": liver(5), "again": liver(5)}), {"rater": "R2"}),
    ]
    dice = {
        row["rater"]: row["mean"]
        for row in repeat_table(repeats)
        if (row["structure"], row["measure"]) == ("whole_liver", "dice")
    }
    assert dice == pytest.approx({"R1": 0.8, "R2": 1.0})


def test_all_tables_of_a_dataset_come_from_one_call():
    tables = dataset_tables(VOLUMES)
    json.dumps(tables, allow_nan=False)
    assert all(tables[name] for name in ("summary", "overall", "plc_cect", "limt", "raters", "rater_pairs"))
    assert {"ci_low, ci_high", "after_fair", "icc_2_1"} <= set(tables["definitions"])


def test_tables_for_a_page_are_short_texts_under_headings():
    page = page_tables(dataset_tables(VOLUMES[:2]))
    (before_and_after,) = [rows for heading, rows in page.items() if "before and after" in heading]
    assert before_and_after[2] == {
        "group": "all",
        "value": "all",
        "structure": "lesion",
        "before": "93.3",
        "after": "96.63",
        "after_fair": "92.96",
        "after_final": "-",
    }
    assert page_tables(dataset_tables([])) == {heading: [] for heading in page}


def coarse_of(case_id, coarse_columns, final_columns, **groups):
    """A volume whose lesions are stripes of the image, as the network and as the raters have them."""
    agreement = coarse_against_final(mask_of(coarse_columns), mask_of(final_columns))
    return RatedVolume(case_id, "C1", agreement, volume_groups(**groups))


def test_coarse_labels_are_told_by_group_as_on_paper():
    thin = {"vendor": "GE", "kernel": None, "slice_thickness_mm": 1.25}
    volumes = [
        coarse_of("P0001", 4, 6, **thin, largest_lesion_mm=19.9),
        coarse_of("P0002", 0, 5, **thin, largest_lesion_mm=20.0),
        coarse_of("P0003", 0, 0, **{**thin, "slice_thickness_mm": 5.0}, largest_lesion_mm=None),
    ]
    lesion = {(row["group"], row["value"]): row for row in coarse_table(volumes) if row["structure"] == "lesion"}
    assert set(lesion) == {
        ("all", "all"),
        ("phase", "C1"),
        ("vendor", "GE"),
        ("kernel", "unknown"),
        ("slice thickness", "1.25 mm"),
        ("slice thickness", "5 mm"),
        ("largest lesion", "10 to 20 mm"),
        ("largest lesion", "20 to 50 mm"),
        ("largest lesion", "no lesion"),
    }
    both = lesion["slice thickness", "1.25 mm"]
    assert both["dice"] == pytest.approx(statistics.mean([8 / 10, 0]))
    assert both["dice_sd"] == pytest.approx(statistics.stdev([8 / 10, 0]))
    assert both["jaccard"] == pytest.approx(statistics.mean([4 / 6, 0]))
    assert (both["volumes"], both["one_empty"], both["both_empty"]) == (2, 1, 0)
    assert both["hd95_max_mm"] == pytest.approx(20.0)  # only where both marked a lesion
    none = lesion["slice thickness", "5 mm"]
    assert (none["volumes"], none["both_empty"], none["dice"]) == (0, 1, None)


def test_without_a_final_mask_there_is_no_table_of_coarse_labels():
    assert coarse_table([]) == []


@pytest.mark.parametrize(
    ("diameter_mm", "said"),
    [(None, "no lesion"), (0.0, "0 to 10 mm"), (9.99, "0 to 10 mm"), (10.0, "10 to 20 mm"), (50.0, "50 mm or more")],
)
def test_lesion_sizes_part_at_their_bounds(diameter_mm, said):
    assert volume_groups("GE", "B30f", 1.0, diameter_mm)["largest lesion"] == said
