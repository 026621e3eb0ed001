"""Elements, pixels and whole DICOM files in bytes, as pydicom writes them.

The elements that the slices of a series share are encoded once and put together with each slice's own: three times as
fast as writing each file anew, and the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.charset import convert_encodings
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element, write_file_meta_info
from pydicom.pixels import encoders
from pydicom.uid import UID, JPEG2000Lossless, generate_uid

Elements = Mapping[int, bytes]
"""Encoded elements by tag; a file holds them in the order of their tags (PS3.5 7.1)."""

Stored = NDArray[np.int16] | NDArray[np.uint16]
"""Pixels of one slice as stored."""

_PIXEL_DATA = 0x7FE00010
_PREAMBLE = b"\0" * 128 + b"DICM"


def made_up_uid(*parts: object) -> UID:
    """A UID under pydicom's root for made-up data that hangs on nothing but its parts."""
    return generate_uid(entropy_srcs=[str(part) for part in parts])


def encoded(dataset: Dataset, syntax: UID) -> dict[int, bytes]:
    """Each element of a dataset in bytes; text in the dataset's own character set."""
    charsets = convert_encodings(dataset.get("SpecificCharacterSet", "ISO_IR 6"))
    return {int(element.tag): _element_bytes(element, syntax, charsets) for element in dataset}


def pixel_element(stored: Stored, syntax: UID, bits: int) -> dict[int, bytes]:
    """PixelData of one frame, compressed where the transfer syntax asks for it."""
    dataset = Dataset()
    if syntax.is_compressed:
        dataset.add_new(_PIXEL_DATA, "OB", encapsulate([_compressed(stored, syntax, bits)]))
        dataset[_PIXEL_DATA].is_undefined_length = True
    else:
        dataset.add_new(_PIXEL_DATA, "OW", stored.tobytes())
    return encoded(dataset, syntax)


def file_bytes(elements: Elements, sop_class: UID, sop_instance: UID, syntax: UID) -> bytes:
    """A DICOM file with preamble and meta group (PS3.10 7.1)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = sop_instance
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = made_up_uid("scanner software")
    head = DicomBytesIO()
    write_file_meta_info(head, meta)
    return b"".join([_PREAMBLE, head.getvalue(), *(elements[tag] for tag in sorted(elements))])


def _element_bytes(element: DataElement, syntax: UID, charsets: list[str]) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, syntax.is_implicit_VR
    write_data_element(buffer, element, charsets)
    return bytes(buffer.getvalue())


def _compressed(stored: Stored, syntax: UID, bits: int) -> bytes:
    """One frame without loss: JPEG 2000, or RLE (PS3.5 Annex G)."""
    if syntax == JPEG2000Lossless:
        frame = imagecodecs.jpeg2k_encode(stored, level=0, reversible=True, codecformat="j2k", bitspersample=bits)
        return bytes(frame)
    rows, columns = stored.shape
    return encoders.RLELosslessEncoder.encode(  # type: ignore[attr-defined]
        stored.tobytes(),
        encoding_plugin="pydicom",
        rows=rows,
        columns=columns,
        number_of_frames=1,
        samples_per_pixel=1,
        photometric_interpretation="MONOCHROME2",
        bits_allocated=16,
        bits_stored=bits,
        pixel_representation=int(stored.dtype.kind == "i"),
    )
