"""Words of the trade: what a free-text description may say after cleaning.

A description is taken apart into words; a word stays when it is on the list, or is a thickness or a kernel. Names,
numbers, dates and everything else fall away, since nothing is kept for not looking like a name.
"""

from __future__ import annotations

import re

from pipeline.dicom.deid.value_rules import Subject, parts_of

PHASE_WORDS = """
    plain native noncontrast non contrast unenhanced enhanced pre post arterial art early late portal porto venous ven
    vein delayed delay equilibrium hepatobiliary hbp phase phases nephrographic excretory dynamic dyn c+ c- w wo with
    without min sec ce cect ncct 平扫 增强 动脉期 动脉 门脉期 门脉 门静脉期 静脉期 延迟期 平衡期 肝胆期 三期 期
"""
BODY_WORDS = (
    "abdomen abdominal abd liver hepatic upper pelvis thorax chest lung body whole 腹部 上腹部 肝脏 肝 胸部 盆腔"
)
SCAN_WORDS = """
    ct mr mri axial ax tra transverse sag sagittal cor coronal helical spiral seq vol volume thin thick slice slices std
    standard soft tissue bone detail recon mpr mip iterative routine protocol adult multiphase triphasic biphasic bolus
    t1 t2 t1w t2w dwi adc dixon vibe lava thrive haste tse fse gre flair fs fat sat in opp out phase water trufi ssfse
    薄层 厚层 冠状 矢状 轴位 扫描
"""
AGENT_WORDS = """
    iohexol omnipaque iopamidol isovue iopromide ultravist iodixanol visipaque iomeprol iomeron ioversol optiray
    iobitridol xenetix gadoxetate gadoxetic primovist eovist gadobenate multihance gadobutrol gadovist gadoterate
    dotarem gadopentetate magnevist contrast iodine oral iv i.v. 碘海醇 碘普罗胺 碘佛醇 碘帕醇 碘克沙醇
"""
MODEL_WORDS = """
    somatom definition sensation emotion force drive edge flash as as+ go up all top now on x.cite naeotom alpha
    biograph mct vision horizon symbia intevo lightspeed vct brightspeed optima discovery revolution frontier apex evo
    maxima hispeed ct hd hd750 ct750 ct660 ct540 ct520 ct580 pro16 plus ultra speed qx/i aquilion one prime genesis
    lightning exceed cx spectral brilliance ingenuity incisive ict iqon icts access gemini tf mx8000 idt uct umi
    neuviz prime essence scenaria supria activion alexion asteion magnetom avanto aera skyra prisma trio verio vida
    lumina espree symphony signa hdxt hdx architect premier artist pioneer voyager achieva ingenia intera ambition
    elition umr titan vantage
    6 8 10 16 20 32 40 64 80 128 192 256 320 510 520 528 530 540 550 560 570 580 588 640 660 680 710 750 760 770 780 790
    820 860 870 890 960 1.5t 3t 3.0t
"""

_THICKNESS = re.compile(r"(?:[0-9]|10)(?:\.\d{1,2})?mm|[0-9]\.\d{1,2}", re.ASCII)
_KERNEL_WORD = re.compile(r"(?:[BDHIJQSTU][a-z]?\d{2}[a-z]?(?:_\d)?|FC\d{2})", re.ASCII)
_SEPARATORS = re.compile(r"[\s,;:_/\\()\[\]&|^=]+")
_INNER_SEPARATORS = re.compile(r"[-+.]")


def _listed(*texts: str) -> frozenset[str]:
    return frozenset(word for text in texts for word in text.split())


DESCRIPTION = _listed(PHASE_WORDS, BODY_WORDS, SCAN_WORDS)
AGENT = _listed(AGENT_WORDS)
MODEL = _listed(MODEL_WORDS)


def description(value: object, _subject: Subject) -> object:
    """The words of a description that are on the list; None when none is."""
    return _cleaned(value, DESCRIPTION)


def contrast_agent(value: object, _subject: Subject) -> object:
    """The agent's generic or brand name, without amounts and remarks."""
    return _cleaned(value, AGENT)


def scanner_model(value: object, _subject: Subject) -> object:
    """The model's words and numbers that are on the list."""
    return _cleaned(value, MODEL, is_technical=False)


def _cleaned(value: object, vocabulary: frozenset[str], *, is_technical: bool = True) -> object:
    text = " ".join(str(part) for part in parts_of(value))
    kept = [kept for word in _SEPARATORS.split(text) for kept in _kept_of(word, vocabulary, is_technical=is_technical)]
    return " ".join(kept)[:64].strip() or None


def _kept_of(word: str, vocabulary: frozenset[str], *, is_technical: bool) -> list[str]:
    if word.casefold() in vocabulary or (is_technical and (_THICKNESS.fullmatch(word) or _KERNEL_WORD.fullmatch(word))):
        return [word]
    inner = _INNER_SEPARATORS.split(word)
    return inner if len(inner) > 1 and all(part.casefold() in vocabulary for part in inner) else []
