"""What kind of image a series is, before its contrast phase is asked: an MR sequence, a part of one, a map, a copy.

What the scanner itself writes (ImageType, b-value, echo time) outranks words: a series called "diff" whose ImageType
says ADC is an ADC map.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from pipeline.core.records import Instance, Phase, Series
from pipeline.dicom.group.wording import mentions, normalised
from pipeline.dicom.read.kinds import image_type_words
from pipeline.vocabulary import forms_by_section

SHORT_ECHO_MS = 6.0
"""A spoiled gradient echo with a shorter echo time is T1-weighted."""
LONG_GRADIENT_ECHO_MS = 12.0
"""A gradient echo with a longer echo time is T2*-weighted."""
T2_ECHO_MS = (60.0, 200.0)
"""Echo times of T2-weighted spin echoes of the liver."""
MRCP_ECHO_MS = 400.0
"""From here on a spin echo shows fluid alone."""
SHORT_SPIN_ECHO_MS, SHORT_REPETITION_MS = 30.0, 1200.0
"""A spin echo below both is T1-weighted."""

KIND_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "localizer": "localizer",
        "bolus_tracking": "bolus tracking",
        "report": "report or capture",
        "subtraction": "subtraction",
        "projection": "projection (MIP or MinIP)",
        "rendering": "volume rendering",
        "iodine": "iodine map",
        "virtual_plain": "virtual non-contrast image",
        "effective_number": "map of effective atomic numbers",
        "exponential_adc": "exponential ADC map",
        "adc": "ADC map",
        "anisotropy": "map of diffusion anisotropy",
        "t1_map": "T1 map",
        "t2_map": "T2 map",
        "t2_star": "T2* or R2* image or map",
        "fat_fraction": "fat fraction map",
        "elastography": "elastography",
        "perfusion_map": "perfusion map",
        "susceptibility": "susceptibility-weighted image",
        "mrcp": "MRCP",
        "balanced": "balanced gradient echo",
        "quantification": "fat or iron quantification",
        "phase_part": "phase of the signal",
        "real_part": "real part of the signal",
        "imaginary_part": "imaginary part of the signal",
    }
)
"""What has no contrast phase of its own, in the order in which it is looked for, and how people call it."""

_SCAN_PARTS: Mapping[str, str] = MappingProxyType(
    {
        "in_and_opposed": "in-phase and opposed-phase",
        "in_phase": "in-phase",
        "opposed_phase": "opposed-phase",
        "water": "water",
        "fat": "fat",
    }
)
"""Parts of a Dixon or two-echo scan."""

_FAMILIES: Mapping[str, Phase] = MappingProxyType(
    {"trace": Phase.DWI, "dwi": Phase.DWI, "t2": Phase.T2, "t1": Phase.T1}
)
_LAST_WORDS = MappingProxyType(
    {"w": "water", "f": "fat", "in": "in_phase", "opp": "opposed_phase", "out": "opposed_phase"}
)
"""How Siemens and Philips end the name of a part: "_W", "_opp"."""

_OF_ONE_LETTER = frozenset({"phase_part", "real_part", "imaginary_part", "water", "fat", "in_phase", "opposed_phase"})
"""What values of ImageType mean in MR alone."""

_COMPONENTS = MappingProxyType({"PHASE": "phase_part", "REAL": "real_part", "IMAGINARY": "imaginary_part"})
_CONTRASTS = MappingProxyType({"T1": "t1", "T2": "t2", "DIFFUSION": "dwi", "T2_STAR": "t2_star"})
_NAMED_B_VALUE = re.compile(r"ep_b(\d{1,4})")


@dataclass(frozen=True, slots=True)
class ImageKind:
    """What kind of image a series is.

    Attributes:
        name: for a person, such as "ADC map" or "DWI b 800"; "" for a usual CT.
        sequence: T1, T2 or DWI; None for CT, for anything else, and where it is not known.
        has_phase: False for what is computed from a scan or shows no tissue at one moment.
        sentence: what says so; "" where nothing does.
        is_disputed: True where header and words name two sequences.
    """

    name: str = ""
    sequence: Phase | None = None
    has_phase: bool = True
    sentence: str = ""
    is_disputed: bool = False


def kind_of(series: Series, protocol: str = "") -> ImageKind:
    """What kind of image a series is.

    Args:
        series: its first slice speaks for it.
        protocol: ProtocolName, where it is not that of the whole exam; asked last.
    """
    first, is_mr = series.first, series.first.text("Modality") == "MR"
    header = frozenset(_of_header(first, is_mr=is_mr)) | (
        {"dwi"} if "DiffusionBValue" in series.distinguished_by else set()
    )
    words = frozenset(_of_words(first.text("SeriesDescription"), is_mr=is_mr))
    without_phase = _without_phase(header, words)
    if without_phase:
        return without_phase
    if not is_mr:
        return ImageKind("reformat" if "reformat" in header | words else "")
    return _mr_kind(first, header, words, frozenset(_of_words(protocol, is_mr=True)))


def _without_phase(header: frozenset[str], words: frozenset[str]) -> ImageKind | None:
    """What has no contrast phase, if it is that; "ADC" in the name of what ImageType calls a trace is of the exam."""
    said_of_exam = {"adc"} if "trace" in header else set()
    for found, source in ((header, "header"), (words - said_of_exam, "text")):
        for kind, name in KIND_NAMES.items():
            if kind in found:
                return ImageKind(name, has_phase=False, sentence=f"{source}: {name}")
    return None


def b_value(first: Instance) -> float | None:
    """The b-value in s/mm², by its attribute or as Siemens writes it into SequenceName; None where there is none."""
    number = first.number("DiffusionBValue")
    if number is not None:
        return number
    named = _NAMED_B_VALUE.search(first.text("SequenceName"))
    return float(named[1]) if named else None


def _mr_kind(first: Instance, header: frozenset[str], words: frozenset[str], protocol: frozenset[str]) -> ImageKind:
    """An MR sequence that is no map, with its part."""
    by_header, by_words = _families(header), _families(words) or _families(protocol)
    if by_header and by_words and not by_header & by_words and Phase.DWI not in by_header:
        both = " and ".join(sorted(by_header | by_words))
        return ImageKind("", None, True, f"header and text name two sequences: {both}", is_disputed=True)
    families = by_header & by_words or by_header or by_words
    if len(families) > 1:
        return ImageKind("", None, True, f"text: words for {' and '.join(sorted(families))}", is_disputed=True)
    part = _part_of(header) or _part_of(words)
    is_reformat = "reformat" in header | words
    if not families and not part:
        return ImageKind("reformat" if is_reformat else "")
    family = next(iter(families), Phase.T1)
    name = _dwi_name(first) if family is Phase.DWI else f"{family} {_SCAN_PARTS[part]}" if part else str(family)
    source = "header" if by_header or _part_of(header) else "text"
    named = f"{name}, reformat" if is_reformat else name
    return ImageKind(named, None if part == "fat" else family, part != "fat", f"{source}: {named}")


def _dwi_name(first: Instance) -> str:
    b = b_value(first)
    return "DWI" if b is None else f"DWI b {b:g}"


def _part_of(found: frozenset[str]) -> str | None:
    """The part of a Dixon or two-echo scan; the names of both echoes mean both."""
    if {"in_phase", "opposed_phase"} <= found:
        return "in_and_opposed"
    return next((part for part in _SCAN_PARTS if part in found), None)


def _families(found: frozenset[str]) -> frozenset[Phase]:
    return frozenset(phase for kind, phase in _FAMILIES.items() if kind in found)


def _of_header(first: Instance, *, is_mr: bool) -> Iterator[str]:
    """What ImageType says, and for MR the attributes of the sequence."""
    meant = [kind for word in image_type_words(first)[2:] if (kind := _image_types().get(word))]
    yield from (kind for kind in meant if is_mr or kind not in _OF_ONE_LETTER)
    if is_mr:
        component, contrast = first.text("ComplexImageComponent"), first.text("AcquisitionContrast")
        yield from filter(None, (_COMPONENTS.get(component), _CONTRASTS.get(contrast), _by_physics(first)))


@cache
def _image_types() -> Mapping[str, str]:
    return {value: section.removeprefix("image_type.") for section, value in forms_by_section("image_type")}


def _of_words(text: str, *, is_mr: bool) -> Iterator[str]:
    """What the words of a text say of the kind of image."""
    for mention in mentions(text):
        top, kind = mention.section.split(".")
        if top in ("derived", "not_a_scan") or (top in ("mr", "mr_names") and is_mr):
            yield kind
    last = normalised(text).split(" ")[-1]
    if is_mr and last in _LAST_WORDS:
        yield _LAST_WORDS[last]


def _by_physics(first: Instance) -> str | None:
    """The sequence that pulses and times make; None where they leave it open."""
    scanning = set(first.text("ScanningSequence").upper().split("\\"))
    b = b_value(first)
    if b is not None and (b > 0 or "EP" in scanning):
        return "dwi"
    echo_ms, repetition_ms = first.number("EchoTime"), first.number("RepetitionTime")
    if echo_ms is None or scanning & {"EP", "RM"}:
        return None
    if "GR" in scanning:
        return _gradient_echo(first, echo_ms, repetition_ms)
    return _spin_echo(echo_ms, repetition_ms) if "SE" in scanning else None


def _gradient_echo(first: Instance, echo_ms: float, repetition_ms: float | None) -> str | None:
    variant = set(first.text("SequenceVariant").upper().split("\\"))
    if "SP" not in variant and "SS" in variant and repetition_ms and 0.4 < echo_ms / repetition_ms < 0.6:
        return "balanced"
    is_spoiled = "SP" in variant or first.text("MRAcquisitionType") == "3D"
    if echo_ms < SHORT_ECHO_MS:
        return "t1" if is_spoiled else None
    return "t2_star" if echo_ms > LONG_GRADIENT_ECHO_MS else None


def _spin_echo(echo_ms: float, repetition_ms: float | None) -> str | None:
    if echo_ms >= MRCP_ECHO_MS:
        return "mrcp"
    if T2_ECHO_MS[0] <= echo_ms <= T2_ECHO_MS[1]:
        return "t2"
    is_short = repetition_ms is not None and repetition_ms < SHORT_REPETITION_MS
    return "t1" if is_short and echo_ms < SHORT_SPIN_ECHO_MS else None
