"""What may stay of a header: each attribute by name, with the rule its value must pass and the reason it is kept.

An attribute that is not here is never copied, whoever invents it next. Sequences name the attributes their items may
hold, and the same rules hold inside them. Numbers are bounded by what scanners can do, so that no hospital number fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pipeline.core.config import DeidentificationOption as Option
from pipeline.dicom.deid import value_rules as rule
from pipeline.dicom.deid import vocabulary
from pipeline.dicom.deid.value_rules import Rule
from pipeline.dicom.read.kinds import CT, MR, STORAGE_CLASSES
from pipeline.faces import BODY_PARTS

FAR_MM = 10_000.0
"""Patient coordinates beyond ten metres are no coordinates."""

LONGEST_RUN_MS = 600_000
"""Ten minutes: a series of volumes in time is over before, so that no hospital number of six digits fits by chance."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute that may stay.

    Attributes:
        keyword: DICOM keyword.
        clean: rule for its value; None for a sequence.
        why: what a liver dataset needs it for.
        needs: option without which it is left out.
        items: for a sequence, keywords its items may hold.
        is_fact: True when it also stands in a volume's `header.json`.
    """

    keyword: str
    clean: Rule | None
    why: str
    needs: Option | None = None
    items: tuple[str, ...] = ()
    is_fact: bool = False


CODES = {
    ("SCT", "818981001"): "Abdomen",
    ("SCT", "818982008"): "Abdomen and Pelvis",
    ("SCT", "416775004"): "Chest, Abdomen and Pelvis",
    ("SCT", "416550000"): "Chest and Abdomen",
    ("SCT", "10200004"): "Liver",
    ("SCT", "102538003"): "recumbent",
    ("SCT", "40199007"): "supine",
    ("SCT", "1240000"): "prone",
    ("SCT", "102540008"): "headfirst",
    ("SCT", "102541007"): "feet-first",
    ("SCT", "69536005"): "Head",
    ("SCT", "47625008"): "Intravenous route",
    ("SCT", "26643006"): "Oral route",
    ("SCT", "109218004"): "Iohexol",
    ("SCT", "109219007"): "Iopamidol",
    ("SCT", "109222009"): "Ioversol",
    ("SCT", "353903006"): "Iopromide",
    ("SCT", "353962003"): "Iodixanol",
    ("SCT", "44588005"): "Iodine",
    ("SCT", "58281002"): "Gadolinium",
    ("SCT", "109216000"): "Gadopentetate dimeglumine",
    ("SCT", "354088005"): "Gadodiamide",
    ("SCT", "407976008"): "Gadobutrol",
    ("SCT", "440223009"): "Gadoxetate disodium",
    ("SCT", "712714000"): "Gadoterate meglumine",
    ("SCT", "792865009"): "Gadobenate dimeglumine",
    ("DCM", "113690"): "IEC Head Dosimetry Phantom",
    ("DCM", "113691"): "IEC Body Dosimetry Phantom",
}
"""Codes that may stay, by scheme and value; their meaning is written from here (PS3.16 CIDs 4030, 11, 12, 19, 20)."""

UNITS = {
    ("UCUM", "1"): "no units",
    ("UCUM", "mm2/s"): "mm2/s",
    ("UCUM", "um2/s"): "um2/s",
    ("UCUM", "ms"): "millisecond",
    ("UCUM", "s"): "second",
    ("UCUM", "/s"): "/s",
    ("UCUM", "%"): "Percent",
    ("UCUM", "kPa"): "kPa",
    ("UCUM", "[hnsf'U]"): "Hounsfield unit",
}
"""Units of what a pixel means (PS3.16 CID 84), kept and written like `CODES`."""

_IMAGE_TYPE_WORDS = """
    ORIGINAL PRIMARY AXIAL VOLUME DERIVED SECONDARY OTHER NONE HELICAL M ND NORM M_FFE FFE M_SE SE DIS2D DIS3D CT_SOM5
    CT_SOM7 SPI SEQ SUB W F IP OP IN_PHASE OUT_PHASE WATER FAT ADC DIFFUSION TRACEW SHIM MFSPLIT RESAMPLED MIXED
    MONOENERGETIC M_IR M_PCA R_FFE I_FFE P_FFE P R I IR FF R2STAR T2STAR T1 T2 FA B0 CSA MULTIPHASE DYNAMIC COMBINED
    FAT_FRACTION FAT_FRAC DIXON IN_OUT UNSPECIFIED MAGNITUDE AVERAGE MONO VMI VNC IODINE Z_EFF MATERIAL_FRACTION
    VIRTUAL_MONOENERGETIC DUAL_ENERGY ADD NORMAL HELIX AXIAL_MODE
"""
IMAGE_TYPES = (
    *_IMAGE_TYPE_WORDS.split(),
    *(
        "CT_SOM5 SPI",
        "CT_SOM7 SPI",
        "CT_SOM5 SEQ",
        "CT_SOM7 SEQ",
        "CT_SOM5 SPI DUAL",
        "CT_SOM7 SPI DUAL",
        "DUAL ENERGY",
    ),
)
_KERNEL = "|".join(
    (
        r"[BDHIJQSTU][a-z]?\d{2}[a-z]?(_\d)?|[1-5]",  # Siemens, with the strength of an iterative reconstruction
        r"(HD ?|SS )?(?i:standard|soft|lung|bone|boneplus|detail|edge|chest|stnd|std|smooth|sharp|ultra)\+?",  # GE
        r"[A-FL]|[YU][A-E]|[SE][BC]|XC[ABC]|XRes",  # Philips
        r"F[CL]\d{2}(-H)?",  # Canon and Toshiba
        r"[BHLC]_(SOFT|SHARP|VSHARP|SMOOTH|LUNG)_[A-E]",  # United Imaging
        r"\d{2}",  # Hitachi
        r"F\d{2}|SB|LF",  # Neusoft
    )
)
"""Kernels of every maker, as its scanners name them."""

_NAME_OF_PLACE = r"[^\W\d_][\w .,'&()-]{0,63}"
_PLACE_KEYWORDS = ("InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName")
_DEVICE_KEYWORDS = ("DeviceSerialNumber", "StationName")
MAKERS = (
    "SIEMENS",
    "Siemens Healthineers",
    "SIEMENS HEALTHINEERS",
    "Siemens",
    "GE MEDICAL SYSTEMS",
    "GE HEALTHCARE",
    "Philips",
    "Philips Medical Systems",
    "Philips Healthcare",
    "TOSHIBA",
    "TOSHIBA_MEC",
    "Canon Medical Systems",
    "CANON_MEC",
    "Hitachi",
    "FUJIFILM Healthcare Corporation",
    "UIH",
    "NMS",
    "Neusoft Medical Systems",
)


def _many(why: str, clean: Rule, *keywords: str, needs: Option | None = None, is_fact: bool = False) -> list[Attribute]:
    return [Attribute(keyword, clean, why, needs, is_fact=is_fact) for keyword in keywords]


_IDENTITY = [
    Attribute("SOPClassUID", rule.word(*STORAGE_CLASSES), "kind of image"),
    Attribute("Modality", rule.word("CT", "MR"), "kind of image", is_fact=True),
    *_many(
        "holds studies, series and images together; every one is a keyed pseudonym",
        rule.uid,
        "SOPInstanceUID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "FrameOfReferenceUID",
        "ReferencedSOPInstanceUID",
        "SynchronizationFrameOfReferenceUID",
        "DimensionOrganizationUID",
        "ConcatenationUID",
    ),
    Attribute("ReferencedSOPClassUID", rule.word(*STORAGE_CLASSES), "kind of object referred to"),
    *_many("separates patients; a keyed pseudonym", rule.patient_name, "PatientID", "PatientName"),
]
_PATIENT = [
    Attribute(
        "PatientSex", rule.word("M", "F", "O"), "cohort description", Option.PATIENT_CHARACTERISTICS, is_fact=True
    ),
    Attribute("PatientAge", rule.age, "cohort description", Option.PATIENT_CHARACTERISTICS, is_fact=True),
    Attribute("PatientSize", rule.number(0.3, 2.3), "dose and contrast", Option.PATIENT_CHARACTERISTICS),
    Attribute("PatientWeight", rule.number(2, 300), "dose and contrast", Option.PATIENT_CHARACTERISTICS),
    Attribute("PatientPosition", rule.pattern(r"[HF]F(S|P|DL|DR)"), "where the patient's sides are", is_fact=True),
]
_DATES = [
    *_many(
        "order and distance of studies; moved by the patient's own number of weeks",
        rule.moved_date,
        "StudyDate",
        "SeriesDate",
        "AcquisitionDate",
        "ContentDate",
        needs=Option.MODIFIED_DATES,
    ),
    *_many(
        "seconds between contrast phases; counted from noon, the start given to every study",
        rule.moved_time,
        "StudyTime",
        "SeriesTime",
        "AcquisitionTime",
        "ContentTime",
        "ContrastBolusStartTime",
        "ContrastBolusStopTime",
        needs=Option.MODIFIED_DATES,
    ),
    *_many(
        "seconds between contrast phases; moved like dates and times",
        rule.moved_moment,
        "AcquisitionDateTime",
        "FrameAcquisitionDateTime",
        "FrameReferenceDateTime",
        "SourceStartDateTime",
        "SourceEndDateTime",
        needs=Option.MODIFIED_DATES,
    ),
]
_DESCRIBED = [
    *_many(
        "phase and body part; only words of a fixed list stay",
        vocabulary.description,
        "SeriesDescription",
        "StudyDescription",
        "ProtocolName",
        needs=Option.CLEAN_DESCRIPTORS,
    ),
    Attribute(
        "ContrastBolusAgent",
        vocabulary.contrast_agent,
        "contrast agent; only known agents stay",
        Option.CLEAN_DESCRIPTORS,
        is_fact=True,
    ),
    *_many(
        "how contrast was given; only known words stay",
        rule.word("IV", "I.V.", "INTRAVENOUS", "Intravenous route", "Intra-venous", "ORAL", "Oral & IV", "NONE"),
        "ContrastBolusRoute",
    ),
    Attribute(
        "ContrastBolusIngredient",
        rule.word("IODINE", "GADOLINIUM", "CARBON DIOXIDE", "BARIUM", "XENON"),
        "contrast agent",
        is_fact=True,
    ),
    Attribute(
        "ContrastBolusAgentPhase",
        rule.word(
            *("PRE_CONTRAST", "POST_CONTRAST", "IMMEDIATE", "DYNAMIC", "STEADY_STATE", "DELAYED", "ARTERIAL"),
            *("CAPILLARY", "VENOUS", "PORTAL_VENOUS"),
        ),
        "phase",
    ),
    *_many("contrast agent", rule.word("YES", "NO"), "ContrastBolusAgentAdministered", "ContrastBolusAgentDetected"),
    Attribute("BodyPartExamined", rule.word(*BODY_PARTS), "body part", is_fact=True),
]
_DEVICE = [
    Attribute("Manufacturer", rule.word(*MAKERS), "scanners differ in their images", is_fact=True),
    Attribute("ManufacturerModelName", vocabulary.scanner_model, "scanners differ in their images", is_fact=True),
    Attribute(
        "SoftwareVersions",
        vocabulary.software,
        "reconstructions differ by version",
        Option.DEVICE_IDENTITY,
        is_fact=True,
    ),
    *_many(
        "kept on request only: which device",
        rule.pattern(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,31}"),
        *_DEVICE_KEYWORDS,
        needs=Option.DEVICE_IDENTITY,
    ),
    *_many(
        "kept on request only: which hospital",
        rule.pattern(_NAME_OF_PLACE),
        *_PLACE_KEYWORDS,
        needs=Option.INSTITUTION,
    ),
]
_SCAN_OPTIONS = (
    *(
        "HELICAL MODE",
        "AXIAL MODE",
        "CINE MODE",
        "DYNAMIC MODE",
        "HELIX",
        "HELICAL",
        "AXIAL",
        "HELICAL_CT",
        "NORMAL_CT",
    ),
    *("PER", "RG", "CG", "PPG", "FC", "PFF", "PFP", "SP", "FS", "SAT1", "SAT2", "NPW", "WE", "OTHER"),
    *(
        f"{word}_GEMS"
        for word in ("FAST", "EDR", "FILTERED", "ACC", "EPI", "SAT", "VB", "RTR", "FR", "TRF", "FSA", "IFLOW")
    ),
)
_ACQUISITION = [
    Attribute("KVP", rule.number(20, 200), "image contrast", is_fact=True),
    Attribute("ConvolutionKernel", rule.pattern(_KERNEL, most=2), "sharpness and noise", is_fact=True),
    Attribute("SliceThickness", rule.number(0.05, 50), "resolution", is_fact=True),
    Attribute("SpacingBetweenSlices", rule.number(-50, 50), "resolution", is_fact=True),
    Attribute("GantryDetectorTilt", rule.number(-45, 45), "geometry", is_fact=True),
    Attribute("ScanOptions", rule.words(*_SCAN_OPTIONS), "way of scanning"),
    Attribute("RotationDirection", rule.word("CW", "CC"), "way of scanning"),
    Attribute("FilterType", rule.word("BODY FILTER", "HEAD FILTER", "WEDGE_3", "FLAT", "BODY", "0", "1", "2"), "dose"),
    Attribute(
        "ExposureModulationType",
        rule.words("NONE", "XYZ_EC", "Z_EC", "XY_EC", "ANGULAR", "LONGITUDINAL", "ORGAN_BASED", "DOSE_RIGHT"),
        "dose",
    ),
    Attribute("EstimatedDoseSaving", rule.number(-1_000, 100), "dose"),
    Attribute(
        "AcquisitionType", rule.word("SEQUENCED", "SPIRAL", "CONSTANT_ANGLE", "STATIONARY", "FREE"), "way of scanning"
    ),
    Attribute("ScanningSequence", rule.words("SE", "IR", "GR", "EP", "RM"), "MR contrast", is_fact=True),
    Attribute(
        "SequenceVariant", rule.words("SK", "MTC", "SS", "TRSS", "SP", "MP", "OSP", "NONE"), "MR contrast", is_fact=True
    ),
    Attribute("MRAcquisitionType", rule.word("2D", "3D"), "MR contrast", is_fact=True),
    Attribute("InPlanePhaseEncodingDirection", rule.word("ROW", "COL"), "MR distortion"),
    *_many("MR contrast", vocabulary.sequence_name, "SequenceName", "PulseSequenceName", is_fact=True),
    *_many("MR intensity differs by coil", vocabulary.coil, "ReceiveCoilName", "TransmitCoilName", is_fact=True),
    Attribute("ReceiveCoilType", rule.word("BODY", "VOLUME", "SURFACE", "MULTICOIL"), "MR intensity differs by coil"),
    Attribute("PixelBandwidth", rule.number(1, 10_000), "MR noise and distortion", is_fact=True),
    Attribute("AcquisitionMatrix", rule.number(0, 2_048, count=4, is_whole=True), "resolution before interpolation"),
    *_many("MR contrast and noise", rule.number(0, 4_096), "NumberOfPhaseEncodingSteps", "SAR", "dBdt"),
    *_many("MR noise", rule.number(0.5, 64), "ParallelReductionFactorInPlane", "ParallelReductionFactorOutOfPlane"),
    *_many("MR contrast", rule.word("Y", "N"), "VariableFlipAngleFlag"),
    *_many(
        "seconds between volumes of a run, and into it, in ms",
        rule.number(0, LONGEST_RUN_MS),
        "TriggerTime",
        "TemporalResolution",
        is_fact=True,
    ),
    Attribute("TemporalPositionTimeOffset", rule.number(-600, 3_600), "seconds between volumes of a run"),
    Attribute("DiffusionDirectionality", rule.word("NONE", "ISOTROPIC", "DIRECTIONAL", "BMATRIX"), "MR contrast"),
    Attribute("DiffusionGradientOrientation", rule.number(-1.001, 1.001, count=3), "MR contrast"),
    Attribute(
        "AcquisitionContrast",
        rule.word("DIFFUSION", "T1", "T2", "T2_STAR", "PROTON_DENSITY", "PERFUSION", "MIXED", "UNKNOWN"),
        "MR contrast",
    ),
    Attribute("ComplexImageComponent", rule.word("MAGNITUDE", "PHASE", "REAL", "IMAGINARY", "MIXED"), "MR contrast"),
    Attribute(
        "RespiratoryMotionCompensationTechnique",
        rule.word("NONE", "BREATH_HOLD", "REALTIME", "GATING", "TRACKING", "PHASE_ORDERING", "PHASE_SCANNING"),
        "breathing",
    ),
    Attribute("ReconstructionAlgorithm", rule.word("FILTER_BACK_PROJ", "ITERATIVE"), "sharpness and noise"),
    Attribute(
        "ConvolutionKernelGroup",
        rule.word("BRAIN", "SOFT_TISSUE", "LUNG", "BONE", "CONSTANT_ANGLE"),
        "sharpness and noise",
    ),
    Attribute("ReconstructionFieldOfView", rule.number(0, 5_000, count=2), "field of view and geometry"),
    *_many(
        "field of view and geometry",
        rule.number(-FAR_MM, FAR_MM, count=3),
        "ReconstructionTargetCenterPatient",
        "DataCollectionCenterPatient",
    ),
    *_many("dual-energy and photon-counting CT", rule.word("YES", "NO"), "MultienergyCTAcquisition"),
    Attribute(
        "MultienergySourceTechnique",
        rule.word("SWITCHING_SOURCE", "CONSTANT_SOURCE"),
        "dual-energy and photon-counting CT",
    ),
    Attribute(
        "MultienergyDetectorType",
        rule.word("INTEGRATING", "MULTILAYER", "PHOTON_COUNTING"),
        "dual-energy and photon-counting CT",
    ),
    Attribute(
        "DecompositionMethod",
        rule.word("PROJECTION_BASED", "IMAGE_BASED", "HYBRID"),
        "dual-energy and photon-counting CT",
    ),
    *_many(
        "dual-energy and photon-counting CT",
        rule.number(0, 300),
        "NominalMaxEnergy",
        "NominalMinEnergy",
        "EffectiveBinEnergy",
        "MonoenergeticEnergyEquivalent",
    ),
    *_many(
        "dual-energy and photon-counting CT",
        rule.number(0, 16, is_whole=True),
        "MultienergyCTPathIndex",
        "XRaySourceIndex",
        "XRayDetectorIndex",
        "ReferencedXRaySourceIndex",
        "ReferencedXRayDetectorIndex",
        "ReferencedPathIndex",
        "SwitchingPhaseNumber",
    ),
    *_many(
        "dual-energy and photon-counting CT",
        rule.number(0, 100_000),
        "SwitchingPhaseNominalDuration",
        "SwitchingPhaseTransitionDuration",
    ),
    *_many("which device; always the same", rule.dummy, "XRaySourceID", "XRayDetectorID"),
    *_many("dose and image noise", rule.number(0, 2_000), "XRayTubeCurrent", "ExposureTime", is_fact=True),
    Attribute("XRayTubeCurrentInmA", rule.number(0, 2_000), "dose and image noise"),
    *_many("dose and image noise", rule.number(0, 100_000), "Exposure", "ExposureInmAs", "ExposureTimeInms"),
    *_many(
        "dose and image noise",
        rule.number(0, 1_000),
        "CTDIvol",
        "GeneratorPower",
        "FocalSpots",
        "SingleCollimationWidth",
    ),
    *_many(
        "field of view and geometry",
        rule.number(0, 5_000),
        "DataCollectionDiameter",
        "ReconstructionDiameter",
        "DistanceSourceToDetector",
        "DistanceSourceToPatient",
        "TableHeight",
        "TotalCollimationWidth",
        "TableSpeed",
        "TableFeedPerRotation",
    ),
    *_many("way of scanning", rule.number(0, 20), "SpiralPitchFactor", "RevolutionTime"),
    *_many(
        "MR contrast",
        rule.number(0, 30_000),
        "RepetitionTime",
        "EchoTime",
        "InversionTime",
        "EffectiveEchoTime",
        "DiffusionBValue",
        is_fact=True,
    ),
    *_many("MR contrast", rule.number(0, 360), "FlipAngle", is_fact=True),
    *_many("MR contrast", rule.number(0, 15), "MagneticFieldStrength", is_fact=True),
    *_many(
        "MR contrast",
        rule.number(0, 1_000),
        "EchoNumbers",
        "EchoTrainLength",
        "NumberOfAverages",
        "ImagingFrequency",
        "PercentSampling",
        "PercentPhaseFieldOfView",
    ),
    *_many(
        "contrast agent",
        rule.number(0, 1_000),
        "ContrastBolusVolume",
        "ContrastBolusTotalDose",
        "ContrastBolusIngredientConcentration",
        is_fact=True,
    ),
    *_many("contrast agent", rule.number(0, 1_000, count=None), "ContrastFlowRate", "ContrastFlowDuration"),
    Attribute("ContrastBolusAgentNumber", rule.number(1, 9, is_whole=True), "contrast agent"),
]
_NUMBERING = _many(
    "order of series and images",
    rule.number(0, 99_999, is_whole=True),
    "SeriesNumber",
    "AcquisitionNumber",
    "InstanceNumber",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "NumberOfTemporalPositions",
    "StackID",
    "InStackPositionNumber",
    "ImagesInAcquisition",
    "ReferencedFrameNumber",
)
_GEOMETRY = [
    Attribute("ImagePositionPatient", rule.number(-FAR_MM, FAR_MM, count=3), "place of the slice"),
    Attribute("ImageOrientationPatient", rule.number(-1.001, 1.001, count=6), "directions of the slice"),
    Attribute("SliceLocation", rule.number(-FAR_MM, FAR_MM), "place of the slice"),
    Attribute("PixelSpacing", rule.number(0.01, 50, count=2), "size of a pixel", is_fact=True),
    Attribute("DimensionIndexValues", rule.number(0, 99_999, count=None, is_whole=True), "order of frames"),
]
_PIXELS = [
    Attribute("ImageType", rule.words(*IMAGE_TYPES, instead="OTHER"), "original or derived", is_fact=True),
    Attribute("SamplesPerPixel", rule.number(1, 1, is_whole=True), "pixel format"),
    Attribute("PhotometricInterpretation", rule.word("MONOCHROME2", "MONOCHROME1"), "pixel format"),
    *_many("pixel format", rule.number(1, 8_192, is_whole=True), "Rows", "Columns", is_fact=True),
    *_many("pixel format", rule.number(1, 16, is_whole=True), "BitsAllocated", "BitsStored"),
    *_many("pixel format", rule.number(0, 15, is_whole=True), "HighBit"),
    *_many("pixel format", rule.number(0, 1, is_whole=True), "PixelRepresentation"),
    *_many("pixel format", rule.number(1, 20_000, is_whole=True), "NumberOfFrames"),
    *_many("what a pixel's number means", rule.number(-70_000, 70_000), "RescaleIntercept"),
    *_many("what a pixel's number means", rule.number(-10_000, 10_000), "RescaleSlope"),
    *_many(
        "what a pixel's number means",
        rule.number(-65_536, 65_536, is_whole=True),
        "PixelPaddingValue",
        "PixelPaddingRangeLimit",
        "SmallestImagePixelValue",
        "LargestImagePixelValue",
    ),
    Attribute("RescaleType", rule.word("HU", "US", "HU_MOD", "normalized"), "what a pixel's number means"),
    *_many(
        "what a pixel's number means", rule.number(-100_000, 100_000), "RealWorldValueSlope", "RealWorldValueIntercept"
    ),
    *_many(
        "what a pixel's number means",
        rule.number(-65_536, 65_536, is_whole=True),
        "RealWorldValueFirstValueMapped",
        "RealWorldValueLastValueMapped",
    ),
    *_many("name of a mapping; always the same", rule.dummy, "LUTLabel", "LUTExplanation"),
    *_many("how to show it", rule.number(-70_000, 70_000, count=None), "WindowCenter", "WindowWidth"),
    Attribute("LossyImageCompression", rule.word("00", "01"), "whether pixels were altered before", is_fact=True),
    Attribute(
        "LossyImageCompressionMethod",
        rule.words("ISO_10918_1", "ISO_14495_1", "ISO_15444_1", "ISO_15444_15"),
        "whether pixels were altered before",
    ),
    Attribute("LossyImageCompressionRatio", rule.number(0.1, 1_000, count=None), "whether pixels were altered before"),
    Attribute("FrameType", rule.words(*IMAGE_TYPES, instead="OTHER"), "original or derived"),
]
_CODE_ITEM = ("CodeValue", "CodingSchemeDesignator")
WORTHLESS_WITHOUT = frozenset(
    {
        *("CodeValue", "ReferencedSOPClassUID", "ReferencedSOPInstanceUID"),
        *("RealWorldValueSlope", "RealWorldValueIntercept"),
    }
)
"""What an item that may hold it must hold (PS3.3 Tables 8.8-1 and 10-11), or else it is left out whole."""


def _sequence(keyword: str, why: str, *items: str) -> Attribute:
    return Attribute(keyword, None, why, items=items)


_SEQUENCES = [
    _sequence("AnatomicRegionSequence", "body part, by code", *_CODE_ITEM),
    _sequence(
        "PatientOrientationCodeSequence",
        "how the patient lies, by code",
        "PatientOrientationModifierCodeSequence",
        *_CODE_ITEM,
    ),
    _sequence("PatientOrientationModifierCodeSequence", "how the patient lies, by code", *_CODE_ITEM),
    _sequence("PatientGantryRelationshipCodeSequence", "how the patient lies, by code", *_CODE_ITEM),
    _sequence("CTDIPhantomTypeCodeSequence", "dose, by code", *_CODE_ITEM),
    _sequence(
        "ContrastBolusAgentSequence",
        "contrast agent, by code",
        "ContrastBolusAgentNumber",
        "ContrastBolusIngredientConcentration",
        "ContrastBolusVolume",
        "ContrastBolusAdministrationRouteSequence",
        *_CODE_ITEM,
    ),
    _sequence("ContrastBolusAdministrationRouteSequence", "how contrast was given, by code", *_CODE_ITEM),
    _sequence(
        "ContrastBolusUsageSequence",
        "phase",
        "ContrastBolusAgentNumber",
        "ContrastBolusAgentAdministered",
        "ContrastBolusAgentDetected",
        "ContrastBolusAgentPhase",
    ),
    _sequence(
        "RealWorldValueMappingSequence",
        "what a pixel's number means",
        "RealWorldValueFirstValueMapped",
        "RealWorldValueLastValueMapped",
        "RealWorldValueIntercept",
        "RealWorldValueSlope",
        "LUTLabel",
        "LUTExplanation",
        "MeasurementUnitsCodeSequence",
    ),
    _sequence("MeasurementUnitsCodeSequence", "unit, by code", *_CODE_ITEM),
    _sequence(
        "MultienergyCTAcquisitionSequence",
        "dual-energy and photon-counting CT",
        "MultienergyCTXRaySourceSequence",
        "MultienergyCTXRayDetectorSequence",
        "MultienergyCTPathSequence",
        *(
            by_path := (
                "CTExposureSequence",
                "CTXRayDetailsSequence",
                "CTAcquisitionDetailsSequence",
                "CTGeometrySequence",
            )
        ),
    ),
    _sequence(
        "CTExposureSequence",
        "dose and image noise",
        "ReferencedPathIndex",
        "ExposureTimeInms",
        "XRayTubeCurrentInmA",
        "ExposureInmAs",
        "ExposureModulationType",
        "EstimatedDoseSaving",
        "CTDIvol",
        "CTDIPhantomTypeCodeSequence",
    ),
    _sequence("CTXRayDetailsSequence", "image contrast", "ReferencedPathIndex", "KVP", "FocalSpots", "FilterType"),
    _sequence(
        "CTAcquisitionDetailsSequence",
        "way of scanning",
        "ReferencedPathIndex",
        "RotationDirection",
        "RevolutionTime",
        "SingleCollimationWidth",
        "TotalCollimationWidth",
        "TableHeight",
        "GantryDetectorTilt",
        "DataCollectionDiameter",
    ),
    _sequence("CTGeometrySequence", "geometry", "ReferencedPathIndex", "DistanceSourceToDetector"),
    _sequence("MRTimingAndRelatedParametersSequence", "MR contrast", "RepetitionTime", "FlipAngle", "EchoTrainLength"),
    _sequence("MRAveragesSequence", "MR noise", "NumberOfAverages"),
    _sequence("MRImagingModifierSequence", "MR noise and distortion", "PixelBandwidth"),
    _sequence("MRReceiveCoilSequence", "MR intensity differs by coil", "ReceiveCoilName", "ReceiveCoilType"),
    _sequence("MRTransmitCoilSequence", "MR intensity differs by coil", "TransmitCoilName"),
    _sequence(
        "MRFOVGeometrySequence",
        "field of view and geometry",
        "InPlanePhaseEncodingDirection",
        "PercentSampling",
        "PercentPhaseFieldOfView",
    ),
    _sequence(
        "MultienergyCTXRaySourceSequence",
        "dual-energy and photon-counting CT",
        "XRaySourceIndex",
        "XRaySourceID",
        "MultienergySourceTechnique",
        "SourceStartDateTime",
        "SourceEndDateTime",
        "SwitchingPhaseNumber",
        "SwitchingPhaseNominalDuration",
        "SwitchingPhaseTransitionDuration",
    ),
    _sequence(
        "MultienergyCTXRayDetectorSequence",
        "dual-energy and photon-counting CT",
        "XRayDetectorIndex",
        "XRayDetectorID",
        "MultienergyDetectorType",
        "NominalMaxEnergy",
        "NominalMinEnergy",
        "EffectiveBinEnergy",
    ),
    _sequence(
        "MultienergyCTPathSequence",
        "dual-energy and photon-counting CT",
        "MultienergyCTPathIndex",
        "ReferencedXRaySourceIndex",
        "ReferencedXRayDetectorIndex",
    ),
    _sequence("MultienergyCTProcessingSequence", "dual-energy and photon-counting CT", "DecompositionMethod"),
    _sequence(
        "MultienergyCTCharacteristicsSequence", "dual-energy and photon-counting CT", "MonoenergeticEnergyEquivalent"
    ),
    _sequence(
        "ReferencedImageSequence", "which image belongs to which", "ReferencedSOPClassUID", "ReferencedSOPInstanceUID"
    ),
    _sequence(
        "SourceImageSequence", "which image belongs to which", "ReferencedSOPClassUID", "ReferencedSOPInstanceUID"
    ),
    _sequence(
        "SharedFunctionalGroupsSequence",
        "multi-frame images",
        *(
            groups := (
                "PixelMeasuresSequence",
                "PlanePositionSequence",
                "PlaneOrientationSequence",
                "FrameContentSequence",
                "PixelValueTransformationSequence",
                "FrameVOILUTSequence",
                "CTImageFrameTypeSequence",
                "MRImageFrameTypeSequence",
                "CTReconstructionSequence",
                "MREchoSequence",
                "MRDiffusionSequence",
                "ContrastBolusUsageSequence",
                "RealWorldValueMappingSequence",
                "MultienergyCTCharacteristicsSequence",
                "MultienergyCTProcessingSequence",
                "TemporalPositionSequence",
                "MRTimingAndRelatedParametersSequence",
                "MRAveragesSequence",
                "MRImagingModifierSequence",
                "MRReceiveCoilSequence",
                "MRTransmitCoilSequence",
                "MRFOVGeometrySequence",
                *by_path,
            )
        ),
    ),
    _sequence("PerFrameFunctionalGroupsSequence", "multi-frame images", *groups),
    _sequence("PixelMeasuresSequence", "size of a pixel", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    _sequence("PlanePositionSequence", "place of the slice", "ImagePositionPatient"),
    _sequence("PlaneOrientationSequence", "directions of the slice", "ImageOrientationPatient"),
    _sequence(
        "FrameContentSequence",
        "order of frames",
        "StackID",
        "InStackPositionNumber",
        "DimensionIndexValues",
        "FrameAcquisitionDateTime",
        "FrameReferenceDateTime",
        "TemporalPositionIdentifier",
        "TemporalPositionIndex",
    ),
    _sequence("TemporalPositionSequence", "seconds into a run", "TemporalPositionTimeOffset"),
    _sequence(
        "PixelValueTransformationSequence",
        "what a pixel's number means",
        "RescaleIntercept",
        "RescaleSlope",
        "RescaleType",
    ),
    _sequence("FrameVOILUTSequence", "how to show it", "WindowCenter", "WindowWidth"),
    _sequence("CTImageFrameTypeSequence", "original or derived", "FrameType"),
    _sequence("MRImageFrameTypeSequence", "original or derived", "FrameType"),
    _sequence("CTReconstructionSequence", "sharpness and noise", "ConvolutionKernel", "ReconstructionDiameter"),
    _sequence("MREchoSequence", "MR contrast", "EffectiveEchoTime"),
    _sequence("MRDiffusionSequence", "MR contrast", "DiffusionBValue", "DiffusionDirectionality"),
]

ALLOWED: Mapping[str, Attribute] = MappingProxyType(
    {
        attribute.keyword: attribute
        for group in (
            _IDENTITY,
            _PATIENT,
            _DATES,
            _DESCRIBED,
            _DEVICE,
            _ACQUISITION,
            _NUMBERING,
            _GEOMETRY,
            _PIXELS,
            _SEQUENCES,
        )
        for attribute in group
    }
)
"""Every attribute that may stay, by keyword."""

_CARRIERS = (
    *("SharedFunctionalGroupsSequence", "ContrastBolusUsageSequence", "RealWorldValueMappingSequence"),
    *("TemporalPositionSequence", "MultienergyCTAcquisitionSequence", "MultienergyCTXRayDetectorSequence"),
    *("MultienergyCTPathSequence", "MultienergyCTProcessingSequence", "MultienergyCTCharacteristicsSequence"),
)
NESTED_ONLY = frozenset(
    {
        "ReferencedSOPClassUID",
        "ReferencedSOPInstanceUID",
        "PatientOrientationModifierCodeSequence",
        "FrameType",
        "ReferencedFrameNumber",
        "TemporalPositionIndex",
        *("XRaySourceIndex", "XRaySourceID", "MultienergySourceTechnique", "SourceStartDateTime", "SourceEndDateTime"),
        *("SwitchingPhaseNumber", "SwitchingPhaseNominalDuration", "SwitchingPhaseTransitionDuration"),
        *("XRayTubeCurrentInmA", "ReferencedPathIndex"),
        *(keyword for name in _CARRIERS for keyword in ALLOWED[name].items if keyword in ALLOWED),
    }
    - {"RealWorldValueMappingSequence", "MultienergyCTProcessingSequence", "MultienergyCTCharacteristicsSequence"}
)
"""Attributes that have a place only inside sequences."""

TOP_LEVEL = tuple(keyword for keyword in ALLOWED if keyword not in NESTED_ONLY)
"""Attributes that may stand at the top of an image."""

EMPTIED = (
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ContentDate",
    "ContentTime",
    "Manufacturer",
    "PositionReferenceIndicator",
    "SeriesNumber",
    "AcquisitionNumber",
)
"""Attributes that an image must have (Type 2) and that are written empty where nothing may stay."""

EMPTIED_BY_CLASS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        CT: ("KVP",),
        MR: ("ScanOptions", "MRAcquisitionType", "EchoTime", "EchoTrainLength"),
    }
)
"""The same, of one storage class only (Type 2 in PS3.3 C.8.2.1 and C.8.3.1)."""

EMPTIED_WITHOUT_BODY_PART = "Laterality"
"""Type 2C unless the body part is known not to be one of a pair (PS3.3 C.7.3.1), so written empty where none stays."""
