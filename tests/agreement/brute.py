"""The slow truth: every definition spelled out voxel by voxel, sharing nothing with the code under test."""

from __future__ import annotations

import itertools
import math

import numpy as np


def surface_points(mask, spacing_mm):
    """Centres in mm of the mask's voxels that have a face neighbour outside."""
    marked = {tuple(index) for index in np.argwhere(mask).tolist()}
    steps = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]
    surface = [
        index
        for index in sorted(marked)
        if any(tuple(n + step for n, step in zip(index, move, strict=True)) not in marked for move in steps)
    ]
    return [tuple(n * mm for n, mm in zip(index, spacing_mm, strict=True)) for index in surface]


def directed(points_a, points_b):
    return [min(math.dist(a, b) for b in points_b) for a in points_a]


def percentile95(values):
    ordered = sorted(values)
    place = 0.95 * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def scores(mask_a, mask_b, spacing_mm, tolerance_mm):
    there = directed(surface_points(mask_a, spacing_mm), surface_points(mask_b, spacing_mm))
    back = directed(surface_points(mask_b, spacing_mm), surface_points(mask_a, spacing_mm))
    everything = there + back
    return {
        "hd_mm": max(everything),
        "hd95_max_mm": max(percentile95(there), percentile95(back)),
        "hd95_pooled_mm": percentile95(everything),
        "hd95_mean_mm": (percentile95(there) + percentile95(back)) / 2,
        "assd_mm": sum(everything) / len(everything),
        "masd_mm": (sum(there) / len(there) + sum(back) / len(back)) / 2,
        "nsd": sum(d <= tolerance_mm + 1e-9 for d in everything) / len(everything),
    }


def dice(mask_a, mask_b):
    a = {tuple(index) for index in np.argwhere(mask_a).tolist()}
    b = {tuple(index) for index in np.argwhere(mask_b).tolist()}
    return 2 * len(a & b) / (len(a) + len(b)) if a or b else math.nan


def nested_vote(labels, ties="down"):
    """One voxel's label by the rule in words: liver if most say liver or lesion, lesion if most say lesion."""
    for_liver, for_lesion = (2 * sum(label >= level for label in labels) for level in (1, 2))
    without, granted = ((for_liver > n) + (for_lesion > n) for n in (len(labels), len(labels) - 1))
    return settled(without, granted, ties)


def plurality_vote(labels, ties="down"):
    """One voxel's most frequent label."""
    most = max(labels.count(label) for label in labels)
    winners = sorted(label for label in set(labels) if labels.count(label) == most)
    return settled(winners[0], winners[-1], ties)


def settled(lower, upper, ties):
    return lower if lower == upper or ties == "down" else upper if ties == "up" else 255


def touching(a, b):
    return max(abs(x - y) for x, y in zip(a, b, strict=True)) <= 1


def components(mask):
    """Sets of voxels connected over faces, edges or corners."""
    left = {tuple(index) for index in np.argwhere(mask).tolist()}
    found = []
    while left:
        group, front = set(), [left.pop()]
        while front:
            here = front.pop()
            group.add(here)
            near = {
                tuple(n + step for n, step in zip(here, move, strict=True))
                for move in itertools.product((-1, 0, 1), repeat=3)
            }
            front.extend(near & left)
            left -= near
        found.append(group)
    return found


def near(voxel, kept, spacing_mm, border_mm=2.0):
    """Whether what is kept lies within the border: in the slice in mm or next to it, across by slices, one at least."""
    slices = max(1, math.floor(border_mm / spacing_mm[0]))
    return any(
        abs(z - voxel[0]) <= slices
        and (
            math.hypot((y - voxel[1]) * spacing_mm[1], (x - voxel[2]) * spacing_mm[2]) <= border_mm + 1e-9
            or max(abs(y - voxel[1]), abs(x - voxel[2])) <= 1
        )
        for z, y, x in kept
    )


def wider_borders(mask, kept, spacing_mm):
    """Voted lesions that a mask surrounds, each with how far around the vote its border may reach."""
    voted = np.zeros(mask.shape, bool)
    for voxel in kept:
        voted[voxel] = True
    padded = np.pad(mask, 1)
    outside = [tuple(n - 1 for n in place) for place in np.ndindex(padded.shape) if not padded[place]]
    for part in components(voted):
        gap = min(
            math.hypot(*((a - b) * mm for a, b, mm in zip(voxel, other, spacing_mm, strict=True)))
            for voxel in part
            for other in outside
        )
        ball_mm = (6 * len(part) * math.prod(spacing_mm) / math.pi) ** (1 / 3)
        yield part, 2.0 + max(0.0, min(gap - min(spacing_mm), ball_mm / 3))


def losses(masks, kept, spacing_mm, limit_mm3):
    """What is lost of lesions: minority and lost ones as (rule, voxels), and dropped pieces."""
    kept = {tuple(voxel) for voxel in np.argwhere(kept).tolist()}
    borders = [[(kept, 2.0), *wider_borders(mask, kept, spacing_mm)] for mask in masks]
    found = []
    for lesion in components(np.any(masks, axis=0)):
        seen = sum(any(mask[voxel] for voxel in lesion) for mask in masks)
        if 2 * seen <= len(masks):
            found.append(("minority-lesion", len(lesion)))
        elif not lesion & kept:
            found.append(("lost-lesion", len(lesion)))
        if not lesion & kept:
            continue
        own = {voxel for mask in masks for part in components(mask) if not part & kept for voxel in part & lesion}
        far = {
            voxel
            for mask, own_borders in zip(masks, borders, strict=True)
            for voxel in lesion
            if mask[voxel] and not any(near(voxel, part, spacing_mm, mm) for part, mm in own_borders)
        }
        piece_mask = np.zeros(masks[0].shape, bool)
        for voxel in own | far:
            piece_mask[voxel] = True
        voxel_mm3 = math.prod(spacing_mm)
        pieces = [part for part in components(piece_mask) if part & own or len(part) * voxel_mm3 >= limit_mm3 - 1e-9]
        found += [("dropped-piece", len(piece)) for piece in pieces]
    return sorted(found)
