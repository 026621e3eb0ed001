"""Two scanners at two hospitals, with the habits that make their exports differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pipeline.core.records import Phase


class Kernel(StrEnum):
    """What a reconstruction is for."""

    SOFT = "soft"
    SHARP = "sharp"


@dataclass(frozen=True, slots=True)
class Scanner:
    """What one site's scanner writes into every file.

    Attributes:
        site: code of the site in `clinical.csv`.
        charset: SpecificCharacterSet of its text.
        descriptions: SeriesDescription by phase; `{mm}` stands for the slice thickness.
        kernels: ConvolutionKernel by purpose.
        image_type: further values after ORIGINAL, PRIMARY.
        syntax: transfer syntax of uncompressed files.
        is_signed: True for 16-bit signed pixels with padding, False for 12-bit unsigned ones without.
        names_patients_in_folders: True when the export's folders tell the patient's name.
    """

    site: str
    manufacturer: str
    model: str
    software: str
    serial: str
    station: str
    institution: str
    address: str
    department: str
    charset: str
    descriptions: Mapping[Phase, str]
    protocol: str
    kernels: Mapping[Kernel, str]
    image_type: tuple[str, ...]
    study_description: str
    contrast_agent: str
    syntax: UID
    is_signed: bool
    names_patients_in_folders: bool

    @property
    def bits_stored(self) -> int:
        """BitsStored of its slices."""
        return 16 if self.is_signed else 12


GENERAL = Scanner(
    site="A",
    manufacturer="GE MEDICAL SYSTEMS",
    model="LightSpeed VCT",
    software="gmp_vct.42",
    serial="400207VCT64",
    station="CT01_OC0",
    institution="Saint Florian General Hospital",
    address="12 Harbour Road, 4020 Lindenau",
    department="Radiology",
    charset="ISO_IR 100",
    descriptions=MappingProxyType(
        {
            Phase.PLAIN: "NON-CONTRAST ABD {mm}",
            Phase.ARTERIAL: "ARTERIAL PHASE {mm}",
            Phase.PORTAL_VENOUS: "PORTAL VENOUS {mm}",
            Phase.DELAYED: "EQ LIVER {mm}",
        }
    ),
    protocol="5.2 LIVER 4PHASE",
    kernels=MappingProxyType({Kernel.SOFT: "STANDARD", Kernel.SHARP: "LUNG"}),
    image_type=("AXIAL",),
    study_description="CT LIVER MULTIPHASE",
    contrast_agent="IOHEXOL 350",
    syntax=ImplicitVRLittleEndian,
    is_signed=True,
    names_patients_in_folders=False,
)

UNIVERSITY = Scanner(
    site="B",
    manufacturer="SIEMENS",
    model="SOMATOM Definition AS+",
    software="syngo CT VA48A",
    serial="66112",
    station="CTAWP66112",
    institution="江东大学附属医院",
    address="江东市人民路88号",
    department="影像科",
    charset="GB18030",
    descriptions=MappingProxyType(
        {
            Phase.PLAIN: "腹部平扫 {mm}",
            Phase.ARTERIAL: "肝脏动脉期 {mm}",
            Phase.PORTAL_VENOUS: "肝脏门静脉期 {mm}",
            Phase.DELAYED: "肝脏延迟期 {mm}",
        }
    ),
    protocol="Abdomen_4Phase",
    kernels=MappingProxyType({Kernel.SOFT: "B30f", Kernel.SHARP: "B70f"}),
    image_type=("AXIAL", "CT_SOM5 SPI"),
    study_description="上腹部增强CT",
    contrast_agent="碘海醇 350",
    syntax=ExplicitVRLittleEndian,
    is_signed=False,
    names_patients_in_folders=True,
)

SITE_PATTERNS: Mapping[str, Mapping[Phase, str]] = MappingProxyType(
    {GENERAL.institution: MappingProxyType({Phase.DELAYED: "EQ LIVER"})}
)
"""What a data engineer would put under `[phases.sites]`: the one description that no general rule knows."""
