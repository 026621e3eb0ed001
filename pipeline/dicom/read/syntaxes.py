"""The transfer syntaxes that are read here: how each stores numbers and pixels, and whether it can lose anything.

Standard: DICOM PS3.5 Annex A; UIDs and names as in PS3.6 Table A-1.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final

IMPLICIT: Final = "1.2.840.10008.1.2"
EXPLICIT: Final = "1.2.840.10008.1.2.1"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
GE_PRIVATE: Final = "1.2.840.113619.5.2"
"""Implicit VR little endian, but for the pixels, which are big endian (GE's conformance statements)."""


class Codec(StrEnum):
    """How pixels are stored."""

    NATIVE = "native"
    RLE = "RLE"
    JPEG = "JPEG"
    JPEG_LS = "JPEG-LS"
    JPEG_2000 = "JPEG 2000"
    JPEG_XL = "JPEG XL"


class Loss(Enum):
    """Whether an encoding alters pixels."""

    NEVER = "never"
    POSSIBLE = "depends on the codestream"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class TransferSyntax:
    """One way to write a DICOM object.

    Attributes:
        uid: TransferSyntaxUID.
        name: as the standard calls it.
        codec: how pixels are stored.
        loss: whether the syntax itself says that pixels are altered.
    """

    uid: str
    name: str
    codec: Codec
    loss: Loss = Loss.NEVER


_READ = (
    TransferSyntax(IMPLICIT, "Implicit VR Little Endian", Codec.NATIVE),
    TransferSyntax(EXPLICIT, "Explicit VR Little Endian", Codec.NATIVE),
    TransferSyntax(DEFLATED, "Deflated Explicit VR Little Endian", Codec.NATIVE),
    TransferSyntax(BIG_ENDIAN, "Explicit VR Big Endian", Codec.NATIVE),
    TransferSyntax(GE_PRIVATE, "GE Private Implicit VR Big Endian", Codec.NATIVE),
    TransferSyntax("1.2.840.10008.1.2.5", "RLE Lossless", Codec.RLE),
    TransferSyntax("1.2.840.10008.1.2.4.50", "JPEG Baseline (Process 1)", Codec.JPEG, Loss.ALWAYS),
    TransferSyntax("1.2.840.10008.1.2.4.51", "JPEG Extended (Process 2 and 4)", Codec.JPEG, Loss.ALWAYS),
    TransferSyntax("1.2.840.10008.1.2.4.57", "JPEG Lossless, Non-Hierarchical (Process 14)", Codec.JPEG),
    TransferSyntax(
        "1.2.840.10008.1.2.4.70",
        "JPEG Lossless, Non-Hierarchical, First-Order Prediction (Process 14 [Selection Value 1])",
        Codec.JPEG,
    ),
    TransferSyntax("1.2.840.10008.1.2.4.80", "JPEG-LS Lossless Image Compression", Codec.JPEG_LS),
    TransferSyntax(
        "1.2.840.10008.1.2.4.81", "JPEG-LS Lossy (Near-Lossless) Image Compression", Codec.JPEG_LS, Loss.POSSIBLE
    ),
    TransferSyntax("1.2.840.10008.1.2.4.90", "JPEG 2000 Image Compression (Lossless Only)", Codec.JPEG_2000),
    TransferSyntax("1.2.840.10008.1.2.4.91", "JPEG 2000 Image Compression", Codec.JPEG_2000, Loss.POSSIBLE),
    TransferSyntax(
        "1.2.840.10008.1.2.4.201", "High-Throughput JPEG 2000 Image Compression (Lossless Only)", Codec.JPEG_2000
    ),
    TransferSyntax(
        "1.2.840.10008.1.2.4.202",
        "High-Throughput JPEG 2000 with RPCL Options Image Compression (Lossless Only)",
        Codec.JPEG_2000,
    ),
    TransferSyntax(
        "1.2.840.10008.1.2.4.203", "High-Throughput JPEG 2000 Image Compression", Codec.JPEG_2000, Loss.POSSIBLE
    ),
    TransferSyntax("1.2.840.10008.1.2.4.110", "JPEG XL Lossless", Codec.JPEG_XL),
    TransferSyntax("1.2.840.10008.1.2.4.111", "JPEG XL JPEG Recompression", Codec.JPEG_XL, Loss.ALWAYS),
    TransferSyntax("1.2.840.10008.1.2.4.112", "JPEG XL", Codec.JPEG_XL, Loss.POSSIBLE),
)

SYNTAXES: Final = {syntax.uid: syntax for syntax in _READ}
"""Every syntax that is read, by UID."""


def loss_of(uid: str) -> Loss:
    """What a syntax says about loss; of one that is not read here nothing is known."""
    syntax = SYNTAXES.get(uid)
    return syntax.loss if syntax else Loss.POSSIBLE
