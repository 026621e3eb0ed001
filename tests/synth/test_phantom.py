"""Phantoms: nested truth, phase-true enhancement, the same bytes for the same seed on any CPU."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pipeline.core.records import Phase
from pipeline.synth.anatomy import (
    ENDLESS_UM,
    FULL,
    LESION_GAP_UM,
    MAX_LESIONS,
    Ellipsoid,
    Grid,
    LesionKind,
    Tissue,
    Tube,
    make_anatomy,
)
from pipeline.synth.phantom import CT_PHASES, draw_kinds, make_phantom, render

GRID_SHAPE, GRID_SPACING_UM = (72, 160, 160), (2500, 2200, 2200)


def phases_of(kind: LesionKind, seed: int = 11):
    """One body with one lesion of a kind, seen in all phases."""
    rng = np.random.default_rng(seed)
    anatomy = make_anatomy(rng, (kind,))
    grid = Grid.around(anatomy.centre_um, GRID_SHAPE, GRID_SPACING_UM)
    tissues = anatomy.tissues(grid)
    return tissues, {phase: render(anatomy, tissues, grid, phase, rng).volume.voxels for phase in CT_PHASES}


def contrast(kind: LesionKind) -> dict[str, tuple[float, float]]:
    """Lesion core and rim against the liver, in HU, by phase."""
    tissues, volumes = phases_of(kind)
    liver = ndimage.binary_erosion(tissues == Tissue.LIVER, iterations=1)
    core = ndimage.binary_erosion(tissues == Tissue.LESION, iterations=1)
    rim = tissues == Tissue.LESION + 1
    return {
        phase.value: (hu[core].mean() - hu[liver].mean(), hu[rim].mean() - hu[liver].mean())
        for phase, hu in volumes.items()
    }


def test_a_sphere_on_a_cubic_grid_has_the_voxels_one_can_count_by_hand():
    grid = Grid((5, 5, 5), (1000, 1000, 1000), (-2000, -2000, -2000))
    box, inside = Ellipsoid((0, 0, 0), (1000, 1000, 1000)).inside(grid)
    assert inside.sum() == 7  # the centre and its six neighbours
    assert box == (slice(1, 4), slice(1, 4), slice(1, 4))


def test_levels_grow_with_the_square_of_the_distance():
    grid = Grid((1, 1, 5), (1000, 1000, 1000), (0, 0, 0))
    _, levels = Ellipsoid((0, 0, 0), (4000, 4000, 4000)).levels(grid)
    assert levels.ravel().tolist() == [n * n * FULL // 16 for n in range(5)]


def test_a_cylinder_reaches_through_every_slice():
    grid = Grid.around((0, 0, 0), (60, 9, 9), (5000, 1000, 1000))
    box, inside = Ellipsoid((0, 0, 0), (3100, 3100, ENDLESS_UM)).inside(grid)
    assert box[0] == slice(0, 60)
    assert (inside == inside[0]).all()


@given(
    end=st.tuples(*[st.integers(-80, 80)] * 3),
    radius=st.integers(20, 60),
)
@settings(max_examples=40, deadline=None)
def test_a_tube_holds_exactly_the_points_near_its_axis(end, radius):
    """Against the distance to a segment in floating point, away from the surface."""
    tube = Tube((0, 0, 0), (end[0] * 100, end[1] * 100, end[2] * 100), radius * 100)
    grid = Grid.around((0, 0, 0), (21, 21, 21), (1500, 1500, 1500))
    found = np.zeros(grid.shape, dtype=bool)
    box, inside = tube.inside(grid)
    found[box] = inside
    points = grid.geometry.to_lps_mm(np.stack(np.indices(grid.shape), axis=-1))
    axis = np.array(end) / 10
    share = np.clip(points @ axis / max(axis @ axis, 1e-9), 0, 1)
    apart = np.linalg.norm(points - share[..., None] * axis, axis=-1) - radius / 10
    assert found[apart < -0.2].all()
    assert not found[apart > 0.2].any()


def test_the_same_seed_gives_the_bytes_recorded_here():
    """Recorded once; another CPU, library or thread count must give the same."""
    phantom = make_phantom(np.random.default_rng(7), phase=Phase.ARTERIAL, kinds=(LesionKind.HCC, LesionKind.CYST))
    content = phantom.volume.voxels.astype("<i2").tobytes() + phantom.labels.voxels.tobytes()
    assert hashlib.sha256(content).hexdigest() == "963a6370844d036f1b234d2af76ec13539e0b87d70b31e64866bde888d3669c6"


@pytest.mark.parametrize("seed", range(4))
def test_lesions_lie_inside_the_liver_and_apart(seed):
    rng = np.random.default_rng(seed)
    phantom = make_phantom(rng, kinds=tuple(LesionKind)[:MAX_LESIONS])
    labels = phantom.labels.voxels
    lesions, count = ndimage.label(labels == 2, structure=np.ones((3, 3, 3)))
    assert count == MAX_LESIONS
    assert sorted(np.bincount(lesions.ravel())[1:]) == sorted(phantom.lesion_voxels)
    around = ndimage.binary_dilation(labels == 2) & (labels != 2)
    assert (labels[around] == 1).mean() > 0.97  # a lesion may touch the wall of a vessel or of the gallbladder


@pytest.mark.parametrize("seed", range(4))
def test_the_liver_is_one_piece_of_an_adult_size_that_fits_the_scan(seed):
    phantom = make_phantom(np.random.default_rng(seed), kinds=())
    liver = phantom.labels.voxels > 0
    pieces = np.bincount(ndimage.label(liver)[0].ravel())[1:]
    assert pieces.max() / pieces.sum() > 0.99
    assert 900 < liver.sum() * phantom.labels.geometry.voxel_volume_ml < 2200
    assert not liver[[0, -1]].any()


def test_hcc_is_bright_in_the_arterial_phase_and_washed_out_later():
    hu = contrast(LesionKind.HCC)
    assert hu["C1"][0] > 30
    assert hu["C2"][0] < -15
    assert hu["C3"][0] < -15


def test_icc_has_a_rim_first_and_fills_late():
    hu = contrast(LesionKind.ICC)
    assert hu["C1"][1] > 15 > 0 > hu["C1"][0]
    assert hu["C3"][0] > 10


def test_a_metastasis_is_dark_in_the_portal_phase():
    assert contrast(LesionKind.METASTASIS)["C2"][0] < -40


def test_a_cyst_is_water_in_every_phase():
    tissues, volumes = phases_of(LesionKind.CYST)
    core = ndimage.binary_erosion(tissues == Tissue.LESION, iterations=1)
    for hu in volumes.values():
        assert abs(hu[core].mean() - 6) < 5


def test_a_hemangioma_fills_from_its_rim():
    hu = contrast(LesionKind.HEMANGIOMA)
    assert hu["C1"][1] > 50 > 0 > hu["C1"][0]
    assert hu["C2"][0] > 10


def test_the_aorta_is_brightest_in_the_arterial_phase():
    tissues, volumes = phases_of(LesionKind.CYST)
    aorta = {phase: hu[tissues == Tissue.AORTA].mean() for phase, hu in volumes.items()}
    assert max(aorta, key=aorta.get) is Phase.ARTERIAL
    assert aorta[Phase.ARTERIAL] > 200


def test_the_spleen_is_near_the_liver_in_the_portal_phase():
    tissues, volumes = phases_of(LesionKind.CYST)
    portal = volumes[Phase.PORTAL_VENOUS]
    assert abs(portal[tissues == Tissue.SPLEEN].mean() - portal[tissues == Tissue.LIVER].mean()) < 15


def test_two_grids_see_the_same_body():
    anatomy = make_anatomy(np.random.default_rng(5), (LesionKind.HCC,), centre_um=(3000, -2000, 900_000))
    liver_ml = []
    for shape, spacing in (((40, 96, 96), (5000, 3800, 3800)), ((60, 128, 128), (3000, 2900, 2900))):
        grid = Grid.around(anatomy.centre_um, shape, spacing)
        tissues = anatomy.tissues(grid)
        liver_ml.append((tissues >= Tissue.LIVER).sum() * grid.geometry.voxel_volume_ml)
    assert liver_ml[0] == pytest.approx(liver_ml[1], rel=0.02)


def test_beyond_the_round_field_of_view_is_air():
    voxels = make_phantom(np.random.default_rng(0), kinds=()).volume.voxels
    assert voxels.dtype == np.int16
    assert (voxels[:, 0, 0] == -1024).all()
    assert voxels.min() == -1024


def test_more_lesions_than_fit_are_refused():
    with pytest.raises(ValueError, match="at most 5"):
        make_anatomy(np.random.default_rng(0), (LesionKind.CYST,) * 6)


def test_drawn_lesion_counts_reach_from_none_to_five():
    counts = {len(draw_kinds(np.random.default_rng(seed))) for seed in range(60)}
    assert counts == set(range(MAX_LESIONS + 1))


def test_the_gap_between_lesions_is_wider_than_any_voxel_of_the_cohort():
    assert LESION_GAP_UM > (5000**2 + 3900**2 + 3900**2) ** 0.5
