"""Texts that may stay once they are cleaned: descriptions word by word, names of devices as a whole or not at all.

A description is taken apart; a word stays when it is in `vocabulary.toml`, or is a thickness, a time, a b-value or a
kernel. Names, numbers, dates and everything else fall away, since nothing is kept for not looking like a name. What
names a thing (a scanner, a coil, a sequence, a program) would name another one without some of its words: it stays
whole where all of it is known, or goes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from pipeline.dicom.deid.value_rules import Subject, joined, parts_of
from pipeline.vocabulary import folded, words_of

MODEL_WORDS = """
    somatom definition sensation emotion duo spirit balance perspective scope confidence force drive edge
    flash as as+ go up all top now sim open on x.cite naeotom alpha peak biograph biograph40 biograph64 mct
    vision horizon quadra symbia intevo magnetom avanto aera skyra prisma trio triotim verio vida lumina altea
    amira sempra espree essenza symphony sonata harmony cima terra free max star flow fit lightspeed
    lightspeed16 vct brightspeed elite select optima discovery revolution frontier apex evo maxima ace ascend
    hispeed ct/i nx/i qx/i ct hd hd750 ct750 ct660 ct680 ct590 ct580 ct540 ct530 ct520 rt series pro16 pro
    plus ultra speed rx st ste le ls mi iq dual genesis signa excite hdx hdxt hde hdi architect premier artist
    pioneer voyager explorer creator prime infinity mr mr450 mr450w mr750 mr750w gem uhp pet/mr 7.0t aquilion
    one nature insight lightning precision exceed serve start cx cxl lb rxl large bore alexion astelion
    activion asteion auklet xpress/gx vantage orian elan centurian fortian zgv excelart atlas mrt50h1
    brilliance big ingenuity core incisive ict iqon spectral cct icts access gemini gxl tf mx8000 idt vereos
    t5 achieva dstream tx ingenia elition ambition evolution intera gyroscan nt panorama hfo multiva mr5300
    mr7700 uct umi umr astound supria scenaria view eclos echelon oval smart synergy apto airis vento elegance
    aperto lucent trillium neuviz essence epoch qx nx gx xpress 4 4r 6 8 10 12 16 20 32 40 64 64e 80 96 128
    160 192 256 320 500 510 520 528 530 540 550 560 570 580 588 620 640 660 680 710 750 760 768 770 780 790
    820 850 860 870 880 890 950 960 968 970 990 7500 2007 2010 0.3t 0.35t 0.4t 1.0t 1.5t 3t 3.0t 1.5 3.0 pet
    pet/ct
"""
_COIL_WORDS = """
    body torso abdomen cardiac heart spine neck head headneck breast flex large small medium long array matrix
    coil multi sense xl qbody q t/r ds anterior posterior upper lower hd air aa phased integrated surface
    combined whole torsopa 8us speeder 8hrbrain quad syn dual extremity
"""
_SOFTWARE_WORDS = """
    syngo ct mr release software of lx signa sles hde gmp vct revo cadence pet hp bj rt bjcl dm09 dvctsp1 zeta
    xt coreload lightspeedverrel lightspeedapps mx slice nt ea cl columbia
"""
_SEQUENCE_FAMILIES = """
    fl tfl fm hfl gre h tse tser tir se spc spcr spcir tfi trufi fi ep epfid epse epi ir tgse tfe ffe t1tfe
    t2tfe t1ffe t2ffe grase dwise seepi feepi fse ssfse frfse efgre fgre fspgr spgr efspgr lava fiesta mfgre
    epi2 dwi flair cube fe fase rssg fir quick vibe thrive
"""
MODEL = frozenset(MODEL_WORDS.split())
"""Words of models that are hardly a person's name."""

_ALL_OF_MODELS = MODEL | frozenset((*"irstx", "galan", "hero", "jupiter", "master", "omega", "sola", "titan", "vega"))
DESCRIPTION = words_of(*("phase", "exam", "relation", "time", "body", "scan", "derived", "spectral_ct", "mr"))
_AGENT_NAMES = words_of("agent")
AGENT = _AGENT_NAMES | words_of("agent_remark")
_COIL = frozenset(_COIL_WORDS.split())
_SOFTWARE = frozenset(_SOFTWARE_WORDS.split())

CONCENTRATIONS = frozenset(["140", "150", "180", "200", "240", "250", "270", "280", "300", "320", "350", "370", "400"])
"""Milligrams of iodine in a millilitre of what is sold."""

MAX_VERSION_DIGITS = 5
"""In those parts of a version that are numbers alone; a telephone number has more."""

_THICKNESS = r"(?:[0-9]|10)(?:\.\d{1,2})?mm|[0-9]\.\d{1,2}"
_TIME = r"\d{1,3}(?:s|sec|sek)|\d{1,2}min"
_B_VALUE = r"b=?(?:0|[1-9]\d{1,2}|1[0-5]00|2[05]00|3000)"
_KERNEL_WORD = r"[BDHIJQSTU][a-z]?\d{2}[a-z]?(?:_\d)?|FC\d{2}"
_TECHNICAL = re.compile(rf"(?i:{_THICKNESS}|{_TIME}|{_B_VALUE})|{_KERNEL_WORD}", re.ASCII)
_SEPARATORS = re.compile(r"[\s,;:_/\\()\[\]&|^=']+")
_INNER_SEPARATORS = re.compile(r"[-+.]")
_HAN_OR_KANA = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]{2,}")
_UNSPACED = re.compile(
    "|".join(sorted(filter(_HAN_OR_KANA.fullmatch, DESCRIPTION), key=lambda word: (-len(word), word)))
)
"""Words of scripts that write no blanks between them; of two letters and more, since one may be a part of a name."""

_NAME_AND_NUMBER = re.compile(r"([^\W\d_]+)-?(\d{3})")
_VOLUME = re.compile(r"\d{1,3}(?:ml|cc)", re.ASCII | re.IGNORECASE)
_COIL_ELEMENT = re.compile(r"(?:he|ne|bo|sp|pa|bl|br|b|s|c|l|t|p)?\d{1,2}(?:ch|hap|hp|ha)?", re.ASCII)
_SHORT_DATE = re.compile(r"(?<!\d)\d\d[^\w]\d\d[^\w]\d\d(?!\d)", re.ASCII)
_SOFTWARE_SEPARATORS = re.compile(r"[\s_:/.*%,;()-]+")
_VERSION_PART = re.compile(
    r"(?:[a-z]{0,3}|lightspeedapps)\d{1,3}(?:[a-z]{1,3}\d{0,3}[a-z]?)?|20\d\d[a-z]|\d?sp\d{4}", re.ASCII
)
_BUILD_OF_GE = re.compile(r"(?:(?<=_[RMV]\d\d_)|(?<=_[RMV]\d_)|(?<=_EA_))\d{4}\.[a-z]$", re.ASCII)
_SEQUENCE = re.compile(
    rf"[*#]*(?:{'|'.join(sorted(_SEQUENCE_FAMILIES.split(), key=len, reverse=True))})(?:\d?d\d?)?[rt]?"
    r"(?:_(?:b(?:\d{1,3}|[1-3][05]00)|t?\d{1,3}))?(?:[_-]?(?:ns|fs|ir|rr|st|we|xl|pa))*(?:#\d{1,2})?t?",
    re.ASCII,
)


def description(value: object, _subject: Subject) -> object:
    """The words of a description that are on the list; None when none is."""
    return _text(kept for word in _words(value) for kept in _kept_of(word))


def contrast_agent(value: object, _subject: Subject) -> object:
    """The agent's generic or brand name with its concentration and volume, without remarks."""
    words = ["", *(part for word in _words(value) for part in _parts_of_agent(word))]
    return _text(word for before, word in pairwise(words) if _is_of_agent(word, before))


def scanner_model(value: object, _subject: Subject) -> object:
    """The model, where every word of it is on the list."""
    return _whole(value, lambda word: word in _ALL_OF_MODELS or _has_parts_in(_ALL_OF_MODELS, word))


def coil(value: object, _subject: Subject) -> object:
    """The coil or its elements, where every word of it is on the list."""
    parts = [part for word in _words(value) for part in _INNER_SEPARATORS.split(word.casefold())]
    numbers = sum(part.isdigit() for part in parts)
    return _in_one(value) if numbers < min(len(parts), 2) and all(map(_is_of_coil, parts)) else None


def sequence_name(value: object, _subject: Subject) -> object:
    """The name of a pulse sequence, where it is built as scanners build it."""
    text = _in_one(value)
    return text if _SEQUENCE.fullmatch(text.lower()) else None


def software(value: object, _subject: Subject) -> object:
    """The versions of a scanner's programs, where every part of all of them is one of a version."""
    texts = [str(part).strip() for part in parts_of(value)]
    bare_numbers = sum(text.isdigit() for text in texts)
    return joined(texts) if bare_numbers <= 1 and all(map(_is_version, texts)) else None


def _words(value: object) -> list[str]:
    return [word for word in _SEPARATORS.split(_in_one(value)) if word]


def _in_one(value: object) -> str:
    return " ".join(" ".join(str(part) for part in parts_of(value)).split())


def _text(words: Iterable[str]) -> str | None:
    return " ".join(words)[:64].strip() or None


def _whole(value: object, is_known: Callable[[str], object]) -> str | None:
    words = _words(value)
    known = words and all(is_known(word.casefold()) for word in words)
    return _in_one(value) if known else None


def _has_parts_in(known: frozenset[str], word: str) -> bool:
    parts = _INNER_SEPARATORS.split(word)
    return len(parts) > 1 and all(folded(part) in known for part in parts)


def _is_of_coil(word: str) -> bool:
    return word in _COIL or _COIL_ELEMENT.fullmatch(word) is not None


def _kept_of(word: str) -> list[str]:
    if folded(word) in DESCRIPTION or _TECHNICAL.fullmatch(word):
        return [word]
    if _has_parts_in(DESCRIPTION, word):
        return _INNER_SEPARATORS.split(word)
    return _UNSPACED.findall(unicodedata.normalize("NFKC", word))


def _parts_of_agent(word: str) -> Sequence[str]:
    found = _NAME_AND_NUMBER.fullmatch(word)
    if found:
        return found.groups()
    return _INNER_SEPARATORS.split(word) if _has_parts_in(AGENT, word) else [word]


def _is_of_agent(word: str, before: str) -> bool:
    if word in CONCENTRATIONS:
        return folded(before) in _AGENT_NAMES
    return folded(word) in AGENT or _VOLUME.fullmatch(word) is not None


def _is_version(text: str) -> bool:
    bare = _BUILD_OF_GE.sub("", text)
    parts = [part for part in _SOFTWARE_SEPARATORS.split(bare.lower()) if part]
    is_short = sum(len(part) for part in parts if part.isdigit()) <= MAX_VERSION_DIGITS
    is_known = parts and all(part in _SOFTWARE or _VERSION_PART.fullmatch(part) for part in parts)
    return bool(is_known and is_short and not _SHORT_DATE.search(bare))
