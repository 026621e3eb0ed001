"""Lesion kinds: what a dataset lists, and what is known of each: value, colour, names, SNOMED CT code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, ClassVar, TypeAlias

from pydantic import ConfigDict, Field

Color: TypeAlias = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""

FIRST_KIND = 3
"""Value of the first lesion kind; 2 is a lesion of unknown kind."""

LAST_KIND = 99
"""Highest value a lesion kind may have; well below 255, which means undecided."""


@dataclass(frozen=True, slots=True)
class KindEntry:
    """A lesion kind as `dataset.toml` lists it; what is left out follows from its name and its place in the list.

    Attributes:
        name: in English, as tables, files and the clinical table spell it.
        value: in masks.
        colour: "#rrggbb".
        chinese: its name in Chinese; "" where none is known.
        snomed: SNOMED CT concept of the disorder; None where there is none.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: str
    value: Annotated[int, Field(ge=FIRST_KIND, le=LAST_KIND)] | None = None
    colour: Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}$")] | None = None
    chinese: str = ""
    snomed: Annotated[str, Field(pattern=r"^\d{6,18}$")] | None = None


@dataclass(frozen=True, slots=True)
class Kind:
    """A lesion kind with all that is known of it.

    Attributes:
        name: in English.
        value: in masks.
        color: RGB.
        chinese: its name in Chinese; "" where none is known.
        snomed: SNOMED CT concept of the disorder; None where there is none.
    """

    name: str
    value: int
    color: Color
    chinese: str
    snomed: str | None

    @property
    def title(self) -> str:
        """Its name in both languages, as radiologists see it."""
        return f"{self.name} {self.chinese}".strip()


KNOWN_KINDS: Mapping[str, KindEntry] = MappingProxyType(
    {
        entry.name.casefold(): entry
        for entry in (
            KindEntry("HCC", None, "#e69f00", "肝细胞癌", "109841003"),
            KindEntry("ICC", None, "#56b4e9", "肝内胆管癌", "109842005"),
            KindEntry("cHCC-CCA", None, "#f0e442", "混合型肝癌"),
            KindEntry("metastasis", None, "#cc79a7", "肝转移瘤", "94381002"),
            KindEntry("cyst", None, "#003fa0", "肝囊肿", "85057007"),
            KindEntry("hemangioma", None, "#6e145a", "肝血管瘤", "93469006"),
            KindEntry("FNH", None, "#ffffff", "局灶性结节增生", "278527001"),
        )
    }
)
"""Kinds that need no more than their name, in colours that colour-blind eyes tell apart too."""

_SPARE_COLOURS = ("#00dcc8", "#604020", "#969696", "#780000", "#ffc8aa")


def completed(listed: Sequence[str | KindEntry]) -> tuple[Kind, ...]:
    """Every listed kind with all that is known of it: values by place from `FIRST_KIND`, colours nobody else has.

    Args:
        listed: names, or entries that say more.
    """
    entries = [KindEntry(one) if isinstance(one, str) else one for one in listed]
    known = [KNOWN_KINDS.get(entry.name.casefold(), entry) for entry in entries]
    wanted = [entry.colour or other.colour for entry, other in zip(entries, known, strict=True)]
    spare = iter([colour for colour in _SPARE_COLOURS if colour not in wanted] * len(wanted))
    return tuple(
        Kind(
            name=entry.name,
            value=entry.value or place,
            color=_rgb(colour or next(spare, _SPARE_COLOURS[0])),
            chinese=entry.chinese or other.chinese,
            snomed=entry.snomed or other.snomed,
        )
        for place, (entry, other, colour) in enumerate(zip(entries, known, wanted, strict=True), start=FIRST_KIND)
    )


def kind_name(value: int, names: Mapping[int, str]) -> str:
    """What a lesion kind is called; a value that no list names shows as a number."""
    return names.get(value, str(value))


def plain(name: str) -> str:
    """A name as it is compared: case, blanks and underscores, which some programs write for blanks, do not matter."""
    return "".join(name.replace("_", " ").split()).casefold()


def _rgb(colour: str) -> Color:
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue
