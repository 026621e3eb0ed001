"""One scan stays one volume, whatever varies within it; two scans of one place come apart, whatever differs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.records import Instance, Series, Severity, SourceFile
from pipeline.dicom.group.series import group_series
from pipeline.dicom.group.split import ONCE_A_SCAN

VALUES: dict[str, tuple[Any, Any]] = {
    "SeriesNumber": (3, 4),
    "SeriesDescription": ("Body", "Body edited"),
    "ProtocolName": ("Liver", "Liver 2"),
    "SeriesDate": ("20240311", "20240312"),
    "SeriesTime": ("101500", "101501"),
    "FrameOfReferenceUID": ("1.2.3", "1.2.4"),
    "ContrastBolusAgent": ("", "IOHEXOL"),
    "ContrastBolusStartTime": ("101000", "102000"),
    "ConvolutionKernel": ("B30f", "B70f"),
    "StackID": ("1", "2"),
    "TemporalPositionIdentifier": (1, 2),
    "EchoNumbers": (1, 2),
    "EchoTime": (2.3, 4.6),
    "DiffusionBValue": (50.0, 800.0),
    "ImageType": (("ORIGINAL", "PRIMARY", "M"), ("ORIGINAL", "PRIMARY", "P")),
    "InversionTime": (150.0, 160.0),
    "FlipAngle": (10.0, 15.0),
    "ScanningSequence": ("GR", "SE"),
    "KVP": (100.0, 120.0),
    "SliceThickness": (2.5, 10.0),
    "MonoenergeticEnergyEquivalent": (40.0, 70.0),
    "DiffusionGradientOrientation": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    "DiffusionDirectionality": ("NONE", "DIRECTIONAL"),
    "ContrastBolusAgentAdministered": ("NO", "YES"),
    "AcquisitionNumber": (1, 2),
    "TriggerTime": (10.0, 400.0),
    "AcquisitionTime": ("101500", "101530"),
    "XRayTubeCurrent": (100, 200),
    "RepetitionTime": (4.0, 8.0),
    "StationName": ("CT1", "CT2"),
    "ImageComments": ("", "second reading"),
}


@dataclass(frozen=True)
class Place:
    """Where the slices of a scan lie: first position, and the step from one to the next."""

    first: tuple[float, float, float]
    spacing: float
    count: int
    normal: int

    def position(self, index: int) -> list[float]:
        place = list(self.first)
        place[self.normal] += index * self.spacing
        return place

    @property
    def orientation(self) -> tuple[float, ...]:
        """Axial or sagittal, so that the normal points along an axis."""
        return (1.0, 0.0, 0.0, 0.0, 1.0, 0.0) if self.normal == 2 else (0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def slices_of(place: Place, modality: str, name: str) -> list[dict[str, Any]]:
    return [
        {
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1." + ("2" if modality == "CT" else "4"),
            "SOPInstanceUID": f"1.2.{name}.{index}",
            "SeriesInstanceUID": "1.2.9",
            "Modality": modality,
            "InstanceNumber": index + 1,
            "ImagePositionPatient": tuple(round(part, 4) for part in place.position(index)),
            "ImageOrientationPatient": place.orientation,
            "PixelSpacing": (0.8, 0.8),
            "Rows": 8,
            "Columns": 8,
            "BitsAllocated": 16,
            "PixelDataOffset": 1000,
            "PixelDataLength": 128,
            "TransferSyntaxUID": "1.2.840.10008.1.2.1",
        }
        for index in range(place.count)
    ]


def grouped(headers: list[dict[str, Any]], seed: int = 0) -> tuple[Series, ...]:
    """The series of some headers, which arrive in any order under any name."""
    order = np.random.default_rng(seed).permutation(len(headers))
    present = [{key: value for key, value in headers[index].items() if value != ""} for index in order]
    instances = [
        Instance(SourceFile(Path(f"f{number}")), MappingProxyType(header)) for number, header in enumerate(present)
    ]
    grouping = group_series(instances)
    assert not grouping.set_aside
    return grouping.series


def is_sound(series: Series) -> bool:
    return series.geometry is not None and not [p for p in series.problems if p.severity is Severity.REFUSE]


def assert_whole(series: Series, place: Place) -> None:
    assert is_sound(series)
    assert series.geometry is not None
    ends = [(series.geometry.affine @ [index, 0, 0, 1])[:3] for index in (0, place.count - 1)]
    np.testing.assert_allclose(ends, [place.position(0), place.position(place.count - 1)], atol=0.01)
    assert len(series.instances) == place.count


places = st.builds(
    Place,
    first=st.tuples(*[st.floats(-300, 300).map(lambda value: round(value, 2))] * 3),
    spacing=st.sampled_from([0.6, 1.0, 1.25, 2.5, 5.0, 7.5]),
    count=st.integers(6, 24),
    normal=st.sampled_from([0, 2]),
)
modalities = st.sampled_from(["CT", "MR", "PT"])
seeds = st.integers(0, 2**16)


@st.composite
def varying(draw: st.DrawFn, count: int) -> list[bool]:
    """Which slices have the second value: those from some slice on, every second one, or any."""
    kind = draw(st.sampled_from(["from", "alternate", "any"]))
    if kind == "from":
        start = draw(st.integers(1, count - 1))
        return [index >= start for index in range(count)]
    if kind == "alternate":
        return [index % 2 == 1 for index in range(count)]
    return draw(st.lists(st.booleans(), min_size=count, max_size=count))


def test_every_attribute_that_a_scan_has_once_is_tried():
    assert set(ONCE_A_SCAN) <= VALUES.keys()


@pytest.mark.parametrize("keyword", VALUES)
@settings(max_examples=25, deadline=None)
@given(place=places, modality=modalities, seed=seeds, data=st.data())
def test_one_scan_stays_one_volume_whatever_varies_within_it(keyword, place, modality, seed, data):
    headers = slices_of(place, modality, "1")
    is_second = data.draw(varying(place.count))
    for header, second in zip(headers, is_second, strict=True):
        header[keyword] = VALUES[keyword][second]
    (series,) = grouped(headers, seed)
    assert_whole(series, place)
    if keyword in ONCE_A_SCAN and len(set(is_second)) == 2:
        flags = {problem.code for problem in series.problems if problem.severity is Severity.FLAG}
        assert flags & {"mixed-slices", "two-acquisitions"}


@pytest.mark.parametrize("keyword", VALUES)
@settings(max_examples=25, deadline=None)
@given(place=places, modality=modalities, seed=seeds)
def test_two_scans_of_one_place_that_differ_in_one_attribute_are_two_volumes(keyword, place, modality, seed):
    scans = [slices_of(place, modality, name) for name in ("1", "2")]
    for headers, value in zip(scans, VALUES[keyword], strict=True):
        for header in headers:
            header[keyword] = value
    found = grouped([*scans[0], *scans[1]], seed)
    assert len(found) == 2
    for series in found:
        assert_whole(series, place)
        assert not series.problems
        assert series.distinguished_by.keys() == {keyword}
        assert len({slice_.text("SOPInstanceUID").split(".")[2] for slice_ in series.instances}) == 1
    assert found[0].distinguished_by != found[1].distinguished_by


@settings(max_examples=60, deadline=None)
@given(
    place=places,
    modality=modalities,
    seed=seeds,
    keywords=st.permutations(sorted(VALUES)),
    data=st.data(),
)
def test_two_scans_of_one_place_come_apart_although_something_else_varies_within_both(
    place, modality, seed, keywords, data
):
    between, within = keywords[:2]
    scans = [slices_of(place, modality, name) for name in ("1", "2")]
    is_second = data.draw(varying(place.count))
    for headers, value in zip(scans, VALUES[between], strict=True):
        for header, second in zip(headers, is_second, strict=True):
            header[between], header[within] = value, VALUES[within][second]
    found = grouped([*scans[0], *scans[1]], seed)
    assert len(found) == 2
    for series in found:
        assert_whole(series, place)
        assert len({slice_.text("SOPInstanceUID").split(".")[2] for slice_ in series.instances}) == 1


@settings(max_examples=40, deadline=None)
@given(place=places, times=st.integers(2, 6), pause_s=st.integers(1, 9), seed=seeds, by_slice=st.booleans())
def test_a_place_scanned_again_and_again_gives_a_volume_each_time(place, times, pause_s, seed, by_slice):
    headers = []
    for number in range(times):
        for index, header in enumerate(slices_of(place, "CT", str(number))):
            second = number * pause_s + (index * pause_s / (2 * place.count) if by_slice else 0.0)
            headers.append({**header, "AcquisitionTime": f"1015{second:09.6f}"})
    found = grouped(headers, seed)
    assert len(found) == times
    for series in found:
        assert_whole(series, place)
        assert len({slice_.text("SOPInstanceUID").split(".")[2] for slice_ in series.instances}) == 1


@settings(max_examples=40, deadline=None)
@given(place=places, noise=st.lists(st.sampled_from([4.80, 4.81, 4.82]), min_size=24, max_size=24), seed=seeds)
def test_a_number_rounded_differently_from_slice_to_slice_is_one_number(place, noise, seed):
    headers = slices_of(place, "MR", "1")
    for header, echo_time in zip(headers, noise, strict=False):
        header["EchoTime"] = echo_time
    (series,) = grouped(headers, seed)
    assert_whole(series, place)
    assert not series.problems


@pytest.mark.parametrize("keyword", VALUES)
def test_a_scan_with_a_slice_lost_is_never_two_sound_halves(keyword):
    place = Place((0.0, 0.0, 0.0), 2.5, 20, 2)
    headers = slices_of(place, "CT", "1")
    for index, header in enumerate(headers):
        header[keyword] = VALUES[keyword][index > 9]
    for lost in range(1, 19):
        found = grouped([header for index, header in enumerate(headers) if index != lost])
        assert all(series.problems for series in found)
