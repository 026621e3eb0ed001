"""Why a vote goes to the lead radiologist: each reason as fields, put into words where it is shown.

The words take names for the raters: their codes, or on the lead's page the letters that stand for them. Reasons about
lesions give a number of raters only, so that nothing says who outlined what.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from pipeline.core.words import counted, slice_ranges

OWN_CODES: Mapping[str, str] = MappingProxyType({})
"""Raters under their own codes."""


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive slices: first and last, indices on the first axis."""

    first: int
    last: int

    def __str__(self) -> str:
        """The slices as people count them, such as "slice 12" or "slices 12-14"."""
        return f"{'slice' if self.first == self.last else 'slices'} {slice_ranges(range(self.first, self.last + 1))}"


@dataclass(frozen=True, slots=True)
class JointReview:
    """Two raters differ, and no third one decides."""

    voxels: int
    rule: Literal["two-raters"] = "two-raters"

    def sentence(self, names: Mapping[str, str] = OWN_CODES) -> str:
        """The reason in words."""
        return f"the two raters differ in {counted(self.voxels, 'voxel')}; review them together"


@dataclass(frozen=True, slots=True)
class TooManyTies:
    """More of what any rater marked is tied than the limit."""

    tied_voxels: int
    marked_voxels: int
    max_fraction: float
    rule: Literal["ties"] = "ties"

    def sentence(self, names: Mapping[str, str] = OWN_CODES) -> str:
        """The reason in words."""
        return f"{self.tied_voxels} of {self.marked_voxels} marked voxels are tied (limit {self.max_fraction:.2%})"


@dataclass(frozen=True, slots=True)
class StapleUnsettled:
    """The mask is STAPLE's, and its estimate of a structure still moved at the last iteration allowed."""

    structure: str
    iterations: int
    rule: Literal["staple-unsettled"] = "staple-unsettled"

    def sentence(self, names: Mapping[str, str] = OWN_CODES) -> str:
        """The reason in words."""
        return f"{self.structure}: STAPLE did not converge in {self.iterations} iterations"


@dataclass(frozen=True, slots=True)
class VolumeDifference:
    """Lesion volumes differ by more than the limit; one volume a rater."""

    raters: tuple[str, ...]
    volumes_ml: tuple[float, ...]
    limit_ml: float
    rule: Literal["volume-difference"] = "volume-difference"

    def sentence(self, names: Mapping[str, str] = OWN_CODES) -> str:
        """The reason in words."""
        spread_ml = max(self.volumes_ml) - min(self.volumes_ml)
        return f"lesion volumes differ by {spread_ml:.1f} ml (limit {self.limit_ml:.1f} ml)"


@dataclass(frozen=True, slots=True)
class LowDice:
    """Two raters agree less on a structure than the limit; of several pairs, the one that agrees least."""

    structure: str
    raters: tuple[str, str]
    dice: float
    limit: float
    rule: Literal["low-dice"] = "low-dice"

    def sentence(self, names: Mapping[str, str] = OWN_CODES) -> str:
        """The reason in words."""
        first, second = sorted(names.get(rater, rater) for rater in self.raters)
        return f"{self.structure}: Dice {self.dice:.3f} between {first} and {second} (limit {self.limit:.3f})"


@dataclass(frozen=True, slots=True)
class Seen:
    """Something that some raters marked as lesion.

    Attributes:
        lesion: number of the region it belongs to, see `JointLesion`.
        volume_ml: of all that any rater marked of it.
        slices: where it is.
        seen_by: the raters who marked any of it.
        raters: how many looked.
    """

    lesion: int
    volume_ml: float
    slices: Span
    seen_by: tuple[str, ...]
    raters: int

    def __str__(self) -> str:
        """Who marked how much where, without names."""
        who = f"{len(self.seen_by)} of {counted(self.raters, 'rater')}"
        return f"{who} marked {self.volume_ml:.3g} ml on {self.slices}"


@dataclass(frozen=True, slots=True)
class MinorityLesion:
    """A lesion that half of the raters or fewer marked, and what the vote keeps of it."""

    seen: Seen
    kept_ml: float
    rule: Literal["minority-lesion"] = "minority-lesion"

    def sentence(self, names: Mapping[str, str] = OWN_CODES) -> str:
        """The reason in words."""
        return f"lesion {self.seen.lesion}: {self.seen}; the vote keeps {_volume(self.kept_ml)} of it"


@dataclass(frozen=True, slots=True)
class LostLesion:
    """A lesion that more than half of the raters marked, of which the vote keeps nothing."""

    seen: Seen
    rule: Literal["lost-lesion"] = "lost-lesion"

    def sentence(self, names: Mapping[str, str] = OWN_CODES) -> str:
        """The reason in words."""
        return f"lesion {self.seen.lesion}: {self.seen}; the vote keeps nothing of it"


@dataclass(frozen=True, slots=True)
class DroppedPiece:
    """A piece of a lesion that the vote drops, though it keeps other parts: more than a wider border."""

    seen: Seen
    limit_mm3: float
    rule: Literal["dropped-piece"] = "dropped-piece"

    def sentence(self, names: Mapping[str, str] = OWN_CODES) -> str:
        """The reason in words."""
        return f"beyond the border of lesion {self.seen.lesion}: {self.seen}; the vote drops it"


@dataclass(frozen=True, slots=True)
class LiverHole:
    """A hole in the voted liver at a place that some raters marked."""

    volume_ml: float
    slices: Span
    limit_mm3: float
    rule: Literal["liver-hole"] = "liver-hole"

    def sentence(self, names: Mapping[str, str] = OWN_CODES) -> str:
        """The reason in words."""
        return f"the vote leaves a hole of {self.volume_ml:.3g} ml in the liver on {self.slices}"


@dataclass(frozen=True, slots=True)
class LesionOutsideLiver:
    """A voted lesion that touches no voted liver."""

    volume_ml: float
    slices: Span
    rule: Literal["outside-liver"] = "outside-liver"

    def sentence(self, names: Mapping[str, str] = OWN_CODES) -> str:
        """The reason in words."""
        return f"a voted lesion of {self.volume_ml:.3g} ml on {self.slices} touches no voted liver"


@dataclass(frozen=True, slots=True)
class UnsettledKind:
    """A lesion whose kind no majority of the raters who saw it gives.

    Attributes:
        seen: the lesion, or its largest part in doubt.
        votes: how many raters name each kind, most first.
        kind: what the vote says; "" where it leaves that open.
    """

    seen: Seen
    votes: Mapping[str, int]
    kind: str
    rule: Literal["unsettled-kind"] = "unsettled-kind"

    def sentence(self, names: Mapping[str, str] = OWN_CODES) -> str:
        """The reason in words."""
        said = ", ".join(f"{counted(count, 'rater')} for {kind}" for kind, count in self.votes.items())
        silent = len(self.seen.seen_by) - sum(self.votes.values())
        said += f", {silent} without a kind" if silent else ""
        outcome = f"the vote says {self.kind}, without a majority" if self.kind else "the vote leaves it open"
        place = f"{self.seen.volume_ml:.3g} ml on {self.seen.slices}"
        return f"kind of lesion {self.seen.lesion}, {place}: {said}; {outcome}"


Doubt: TypeAlias = Annotated[
    JointReview
    | TooManyTies
    | StapleUnsettled
    | VolumeDifference
    | LowDice
    | MinorityLesion
    | LostLesion
    | DroppedPiece
    | LiverHole
    | LesionOutsideLiver
    | UnsettledKind,
    Field(discriminator="rule"),
]
"""Any reason why a person must settle a vote."""


def slices_of(doubt: Doubt) -> range:
    """The slices a reason is about; none where it is about the volume."""
    match doubt:
        case MinorityLesion() | LostLesion() | DroppedPiece() | UnsettledKind():
            span = doubt.seen.slices
        case LiverHole() | LesionOutsideLiver():
            span = doubt.slices
        case _:
            return range(0)
    return range(span.first, span.last + 1)


def _volume(ml: float) -> str:
    return f"{ml:.3g} ml" if ml else "nothing"
