"""What kind raters say a lesion is: a plurality, lesion by lesion, of those who saw it.

A rater's say on a lesion is the kind of most of the rater's voxels in it. Where a rater outlined two kinds that touch,
each voxel counts as it was marked, so that what all raters tell apart stays apart. A lesion of unknown kind
(`Label.LESION`) says nothing about its kind, and neither does an equal share of two kinds.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.agreement.detection import LesionMaps, best_matching, components, groups_of
from pipeline.agreement.joint import Joint, encoded
from pipeline.agreement.reasons import Seen, Span, UnsettledKind
from pipeline.agreement.records import JointLesion, KindPair, KindVote
from pipeline.core.kinds import FIRST_KIND, LAST_KIND, kind_name
from pipeline.core.labels import Label
from pipeline.core.volume import LabelMap

_WIDTH = LAST_KIND + 1

KindNames: TypeAlias = Mapping[int, str]
"""Value to name of each lesion kind; a value without a name shows as a number."""


@dataclass(frozen=True, slots=True, eq=False)
class KindDecision:
    """What a vote makes of the kinds of its lesions.

    Attributes:
        places: (voxels, 3) indices in the whole grid of all that the vote calls lesion.
        labels: (voxels) the kind voted; `Label.LESION` where the vote left it open.
        votes: the say of every rater on each lesion of the vote.
        doubts: kinds that no majority gave.
    """

    places: NDArray[np.int64]
    labels: NDArray[np.uint8]
    votes: tuple[KindVote, ...]
    doubts: tuple[UnsettledKind, ...]


def kinds_marked(maps: LesionMaps, ratings: Mapping[str, LabelMap]) -> NDArray[np.uint8] | None:
    """(raters, voxels) the kind each rater gave each voxel of `maps`, 0 for none; None where nobody named any."""
    places = tuple(maps.positions.T)
    marked = np.stack([ratings[rater].voxels[places] for rater in maps.joint.raters])
    marked[(marked < FIRST_KIND) | (marked > LAST_KIND)] = 0
    return marked if marked.any() else None


def kind_joint(maps: LesionMaps, marked: NDArray[np.uint8]) -> Joint:
    """The ratings as `join` has them, with lesion kinds alone as labels."""
    low, high = maps.positions.min(axis=0), maps.positions.max(axis=0) + 1
    codes, patterns = _patterns(marked)
    painted = np.zeros(high - low, dtype=codes.dtype)
    painted[tuple((maps.positions - low).T)] = codes
    counts = np.array([np.bincount(plane.ravel(), minlength=len(patterns)) for plane in painted], dtype=np.int64)
    start = int(low[0]), int(low[1]), int(low[2])
    return replace(maps.joint, start=start, codes=painted, patterns=patterns, slice_counts=counts)


def with_kinds(
    lesions: Sequence[JointLesion], maps: LesionMaps, marked: NDArray[np.uint8], names: KindNames
) -> tuple[JointLesion, ...]:
    """Joint lesions with the kind that each rater gives them."""
    said = np.stack([_most(_shares(maps.union, row)) for row in marked], axis=1)
    return tuple(
        replace(lesion, kinds=tuple(_name(value, names) for value in said[lesion.number].tolist()))
        for lesion in lesions
    )


def kind_pairs(maps: LesionMaps, marked: NDArray[np.uint8], names: KindNames) -> tuple[KindPair, ...]:
    """The kinds that both raters of each pair give the lesions that match one to one."""
    said = [_most(_shares(numbers, row)) for numbers, row in zip(maps.by_rater, marked, strict=True)]
    return tuple(pair for a, b in combinations(range(len(said)), 2) for pair in _pairs(maps, said, names, a, b))


def vote_on_kinds(
    maps: LesionMaps, marked: NDArray[np.uint8], voted: NDArray[np.bool_], names: KindNames
) -> KindDecision:
    """The kind of every lesion of a vote: a plurality of the raters who saw it.

    Kinds that equally many raters name leave it open. A kind that no more than half of them name is written, and is
    for a person to settle too.

    Args:
        maps: the lesions of every rater.
        marked: from `kinds_marked`.
        voted: (voxels of `maps`), True where the vote says lesion.
        names: of the kinds.
    """
    places, union, saw = maps.positions[voted], maps.union[voted], maps.by_rater[:, voted] > 0
    lesion = _separate(places)
    codes, patterns = _patterns(_said(marked[:, voted], lesion))
    decided = _most((patterns[:, :, np.newaxis] == np.arange(_WIDTH)).sum(axis=1))
    seen = np.stack([np.bincount(lesion, weights=row) > 0 for row in saw], axis=1)
    votes: dict[int, list[KindVote]] = defaultdict(list)
    for part in groups_of(_numbered(lesion * len(patterns) + codes)):
        number, code = int(lesion[part[0]]), int(codes[part[0]])
        said = {
            rater: _name(kind, names)
            for rater, kind, has_seen in zip(maps.joint.raters, patterns[code].tolist(), seen[number], strict=True)
            if has_seen
        }
        votes[number].append(_vote(maps, int(union[part[0]]), places[part], said, _name(int(decided[code]), names)))
    doubts = (_doubt(of_lesion, len(maps.joint.raters)) for of_lesion in votes.values())
    labels = np.where(decided > 0, decided, np.uint8(Label.LESION))[codes]
    return KindDecision(
        places, labels, tuple(chain.from_iterable(votes.values())), tuple(doubt for doubt in doubts if doubt)
    )


def _said(marked: NDArray[np.uint8], lesion: NDArray[np.int64]) -> NDArray[np.uint8]:
    """(raters, voxels) the kind each rater gives each voxel: as marked, else that of most of the lesion's."""
    own = np.stack([_most(_shares(lesion, row)) for row in marked])
    return np.where(marked > 0, marked, own[:, lesion])


def _vote(maps: LesionMaps, union: int, places: NDArray[np.int64], said: Mapping[str, str], kind: str) -> KindVote:
    return KindVote(
        lesion=union,
        voxels=len(places),
        volume_ml=len(places) * maps.joint.geometry.voxel_volume_ml,
        first_slice=int(places[:, 0].min()),
        last_slice=int(places[:, 0].max()),
        by_rater=said,
        kind=kind,
    )


def _doubt(votes: Sequence[KindVote], raters: int) -> UnsettledKind | None:
    """The largest part of a lesion whose kind no majority of those who saw it gave; None where there is none."""
    unsettled = [vote for vote in votes if vote.named and 2 * vote.named.get(vote.kind, 0) <= len(vote.by_rater)]
    if not unsettled:
        return None
    vote = max(unsettled, key=lambda vote: vote.voxels)
    seen = Seen(vote.lesion, vote.volume_ml, Span(vote.first_slice, vote.last_slice), tuple(vote.by_rater), raters)
    return UnsettledKind(seen, vote.named, vote.kind)


def _pairs(maps: LesionMaps, said: Sequence[NDArray[np.uint8]], names: KindNames, a: int, b: int) -> Iterator[KindPair]:
    shared, iou = maps.overlapping(a, b)
    matched = best_matching(shared, iou)
    found = Counter(zip(said[a][shared.first[matched]].tolist(), said[b][shared.second[matched]].tolist(), strict=True))
    for (kind_a, kind_b), lesions in sorted(found.items()):
        raters = maps.joint.raters[a], maps.joint.raters[b]
        yield KindPair(raters, _name(kind_a, names), _name(kind_b, names), lesions)


def _shares(numbers: NDArray[np.int64], marked: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(numbers, values) how many voxels of each number bear each kind."""
    count = int(numbers.max(initial=0)) + 1
    shares: NDArray[np.int64] = np.bincount(numbers * _WIDTH + marked, minlength=count * _WIDTH)
    return shares.reshape(count, _WIDTH)


def _most(shares: NDArray[np.integer]) -> NDArray[np.uint8]:
    """The kind with the largest share in each row; 0 for none, and where two kinds have it."""
    kinds = shares[:, FIRST_KIND:]
    largest = kinds.max(axis=1, keepdims=True)
    is_one = (largest[:, 0] > 0) & ((kinds == largest).sum(axis=1) == 1)
    return np.where(is_one, kinds.argmax(axis=1) + FIRST_KIND, 0).astype(np.uint8)


def _patterns(said: NDArray[np.uint8]) -> tuple[NDArray[np.unsignedinteger[Any]], NDArray[np.uint8]]:
    """(voxels) a row of the second array for each voxel: the kinds that the raters give it."""
    values = np.flatnonzero(np.bincount(np.append(said, np.uint8(0)))).astype(np.uint8)
    places = np.zeros(_WIDTH, dtype=np.uint8)
    places[values] = range(len(values))  # small numbers, so that many raters and high values can be told apart
    codes, patterns = encoded([places[row][np.newaxis, np.newaxis] for row in said])
    return codes[0, 0], values[patterns]


def _separate(places: NDArray[np.int64]) -> NDArray[np.int64]:
    """(voxels) number of the connected lesion each belongs to, from 1."""
    if not len(places):
        return np.empty(0, dtype=np.int64)
    low = places.min(axis=0)
    mask = np.zeros(np.ptp(places, axis=0) + 1, dtype=bool)
    inside = tuple((places - low).T)
    mask[inside] = True
    numbered: NDArray[np.int64] = components(mask)[inside]
    return numbered


def _numbered(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Keys as numbers from 1, in their order."""
    return np.unique(keys, return_inverse=True)[1] + 1


def _name(value: int, names: KindNames) -> str:
    """A kind's name; "" for none."""
    return kind_name(value, names) if value else ""
