"""Heads are recognised by the header, and in CT by a ring of bone around a brain; trunks are not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.faces import (
    BODY_PARTS,
    HEAD_PARTS,
    MIN_INSIDE_CM2,
    SLICE_EVERY_MM,
    TRUNK_PARTS,
    every_so_often,
    has_face,
    shows_head,
)

AIR, FAT, MUSCLE, BRAIN, SKULL = -1000, -100, 55, 33, 1100


def disc(size_mm: float, pixel_mm: float, radius_mm: float, *, at_mm: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """Where a disc lies in a square image."""
    half = np.arange(round(size_mm / pixel_mm)) * pixel_mm - size_mm / 2
    return np.hypot(half[:, None] - at_mm[0], half[None, :] - at_mm[1]) < radius_mm


def head(
    pixel_mm: float, inside_mm: float, *, bone_mm: float = 6.0, inside: int = BRAIN, gap_mm: float = 0.0
) -> np.ndarray:
    """A slice through a vault: scalp, skull, brain; the skull is open over a gap at one side."""
    size = 2 * inside_mm + 2 * bone_mm + 40
    image = np.full(disc(size, pixel_mm, 1).shape, AIR)
    image[disc(size, pixel_mm, inside_mm + bone_mm + 8)] = MUSCLE
    skull = disc(size, pixel_mm, inside_mm + bone_mm)
    beside = np.abs(np.arange(len(image)) * pixel_mm - size / 2) < gap_mm / 2
    skull[beside, len(image) // 2 :] = False
    image[skull] = SKULL
    image[disc(size, pixel_mm, inside_mm)] = inside
    return image


def trunk(pixel_mm: float) -> np.ndarray:
    """A slice through the belly: twelve ribs side by side, a vertebra around its canal, and a table."""
    image = np.full(disc(420, pixel_mm, 1).shape, AIR)
    image[disc(420, pixel_mm, 170)] = FAT
    image[disc(420, pixel_mm, 150)] = MUSCLE
    for number in range(12):
        angle = number * math.pi / 6
        image[disc(420, pixel_mm, 9, at_mm=(140 * math.cos(angle), 140 * math.sin(angle)))] = 700
    image[disc(420, pixel_mm, 25, at_mm=(100, 0))] = 400
    image[disc(420, pixel_mm, 9, at_mm=(100, 0))] = MUSCLE
    image[disc(420, pixel_mm, 4, at_mm=(190, 0))] = 800
    return image


@given(
    pixel_mm=st.sampled_from([0.4, 0.5, 0.75, 0.98, 1.4, 2.0]),
    inside_mm=st.floats(45, 85),
    bone_mm=st.floats(4, 10),
    noise=st.floats(0, 25),
    seed=st.integers(0, 9),
)
@settings(max_examples=40, deadline=None)
def test_a_vault_is_seen_at_any_pixel_size_through_any_noise(pixel_mm, inside_mm, bone_mm, noise, seed):
    image = head(pixel_mm, inside_mm, bone_mm=bone_mm)
    assert shows_head([image + np.random.default_rng(seed).normal(0, noise, image.shape)], pixel_mm)


@given(pixel_mm=st.sampled_from([0.6, 0.75, 0.98, 1.4]), noise=st.floats(0, 25), seed=st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_a_trunk_is_no_head(pixel_mm, noise, seed):
    image = trunk(pixel_mm)
    assert not shows_head([image + np.random.default_rng(seed).normal(0, noise, image.shape)], pixel_mm)


def test_the_ring_must_hold_as_much_as_a_head():
    limit_mm = math.sqrt(MIN_INSIDE_CM2 * 100 / math.pi)
    assert shows_head([head(1.0, limit_mm + 4)], 1.0)
    assert not shows_head([head(1.0, limit_mm - 4)], 1.0)


def test_what_the_ring_holds_must_be_as_dense_as_a_brain():
    assert not shows_head([head(1.0, 70, inside=AIR)], 1.0)
    assert not shows_head([head(1.0, 70, inside=250)], 1.0)
    assert shows_head([head(1.0, 70, inside=80)], 1.0)


def test_a_suture_closes_and_an_open_ring_does_not():
    assert shows_head([head(0.5, 70, gap_mm=2)], 0.5)
    assert not shows_head([head(0.5, 70, gap_mm=25)], 0.5)


def test_the_edge_of_the_image_closes_no_ring():
    image = head(1.0, 70)
    assert not shows_head([image[: len(image) // 2]], 1.0)


def test_one_slice_of_many_is_enough_and_none_is_nothing():
    assert shows_head([trunk(1.0), trunk(1.0), head(1.0, 70)], 1.0)
    assert not shows_head([], 1.0)


@given(count=st.integers(1, 2_000), spacing_mm=st.floats(0.2, 20))
def test_slices_looked_at_lie_close_enough(count, spacing_mm):
    chosen = every_so_often(count, spacing_mm)
    assert chosen[0] == 0
    assert (count - 1 - chosen[-1]) * spacing_mm <= max(SLICE_EVERY_MM, spacing_mm)
    assert chosen.step * spacing_mm <= max(SLICE_EVERY_MM, spacing_mm)


@pytest.mark.parametrize("spelled", ["HEAD", "head", " Brain ", "HEAD_NECK", "HEAD/NECK", "WHOLE BODY"])
def test_a_coded_head_is_one_without_a_look_at_the_image(spelled):
    for modality in ("CT", "MR"):
        assert has_face(spelled, modality, iter(()), 1.0) is True


def test_ct_is_looked_at_and_mr_is_believed():
    assert has_face("CHEST", "CT", [head(1.0, 70)], 1.0) is True
    assert has_face("", "CT", [trunk(1.0)], 1.0) is False
    assert has_face("LIVER", "MR", iter(()), 1.0) is False
    assert has_face("", "MR", iter(()), 1.0) is None
    assert has_face("NECK", "MR", iter(()), 1.0) is None


def test_parts_of_the_trunk_are_no_parts_of_a_head():
    assert not HEAD_PARTS & TRUNK_PARTS
    assert HEAD_PARTS | TRUNK_PARTS < BODY_PARTS
    assert all(part.isalpha() and part.isupper() and len(part) <= 16 for part in BODY_PARTS)
