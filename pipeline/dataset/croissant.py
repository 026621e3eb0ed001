"""`croissant.json`: the release described for machines, in MLCommons Croissant 1.0 with its responsible-AI terms.

Written by hand as plain JSON-LD, so that no package is needed to cut a release and nothing in it depends on the day.
Source: https://docs.mlcommons.org/croissant/docs/croissant-spec.html and croissant-rai-spec.html.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from pipeline.core.config import Config
from pipeline.core.labels import LabelScheme
from pipeline.core.words import counted
from pipeline.dataset.layout import KIND_MASKS, ReleaseLayout
from pipeline.dataset.manifest import ManifestRow, described
from pipeline.dataset.release_inputs import ReleaseInputs

CONTEXT: Mapping[str, Any] = types.MappingProxyType(
    {
        "@language": "en",
        "@vocab": "https://schema.org/",
        "citeAs": "cr:citeAs",
        "column": "cr:column",
        "conformsTo": "dct:conformsTo",
        "containedIn": "cr:containedIn",
        "cr": "http://mlcommons.org/croissant/",
        "data": {"@id": "cr:data", "@type": "@json"},
        "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
        "dct": "http://purl.org/dc/terms/",
        "examples": {"@id": "cr:examples", "@type": "@json"},
        "extract": "cr:extract",
        "field": "cr:field",
        "fileObject": "cr:fileObject",
        "fileProperty": "cr:fileProperty",
        "fileSet": "cr:fileSet",
        "format": "cr:format",
        "includes": "cr:includes",
        "isLiveDataset": "cr:isLiveDataset",
        "jsonPath": "cr:jsonPath",
        "key": "cr:key",
        "md5": "cr:md5",
        "parentField": "cr:parentField",
        "path": "cr:path",
        "rai": "http://mlcommons.org/croissant/RAI/",
        "recordSet": "cr:recordSet",
        "references": "cr:references",
        "regex": "cr:regex",
        "repeated": "cr:repeated",
        "replace": "cr:replace",
        "samplingRate": "cr:samplingRate",
        "sc": "https://schema.org/",
        "separator": "cr:separator",
        "source": "cr:source",
        "subField": "cr:subField",
        "transform": "cr:transform",
    }
)
"""The context that the specification asks every file to repeat."""

_MANIFEST_TABLE = ReleaseLayout(Path()).manifest.name
_CROISSANT_TYPES = {int: "sc:Integer", float: "sc:Float", bool: "sc:Boolean"}


def croissant(
    rows: Sequence[ManifestRow], inputs: ReleaseInputs, scheme: LabelScheme, manifest_sha256: str
) -> dict[str, Any]:
    """The description of a release.

    Args:
        rows: of its manifest.
        inputs: of the release: name, description, licence and version.
        scheme: the labels that its masks hold.
        manifest_sha256: of `patient_data.csv`.
    """
    config, version = inputs.config, inputs.version
    patients = len({row.patient_id for row in rows})
    description = (
        config.dataset.description or "Liver imaging with masks of liver and lesions, checked by radiologists."
    )
    return {
        "@context": dict(CONTEXT),
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": config.dataset.name,
        "description": f"{description} {counted(patients, 'patient')}, {counted(len(rows), 'volume')}.",
        "version": version,
        "license": f"https://spdx.org/licenses/{config.dataset.license}.html",
        "citeAs": f"{config.dataset.name}, version {version}",
        **_responsible_ai(config),
        "distribution": [_manifest_file(manifest_sha256), *_file_sets(scheme)],
        "recordSet": [_record_set(scheme)],
    }


def _responsible_ai(config: Config) -> dict[str, Any]:
    raters = config.review.per_case
    options = ", ".join(sorted(config.deidentification.options))
    return {
        "rai:dataCollection": "Exported from hospital archives as DICOM; inclusion rules are listed in datacard.md.",
        "rai:dataAnnotationProtocol": f"Initial masks came from a network; {raters} radiologists per volume corrected "
        f"them independently; combined by {config.consensus.method}; the lead radiologist decided what was left open.",
        "rai:annotationsPerItem": str(raters),
        "rai:dataPreprocessingProtocol": "Liver slices and HU window as in the columns first_slice and window_*.",
        "rai:personalSensitiveInformation": "Age and sex. Headers were rebuilt under DICOM PS3.15 Annex E, Basic "
        f"Profile, options: {options}.",
    }


def _manifest_file(sha256: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": _MANIFEST_TABLE,
        "name": _MANIFEST_TABLE,
        "contentUrl": _MANIFEST_TABLE,
        "encodingFormat": "text/csv",
        "sha256": sha256,
    }


def _file_sets(scheme: LabelScheme) -> list[dict[str, Any]]:
    return [
        {
            "@type": "cr:FileSet",
            "@id": folder,
            "name": folder,
            "encodingFormat": "application/gzip",
            "includes": f"{folder}/*.nii.gz",
        }
        for folder in ("ct_files", "mask_files", "liver_mask_files", "label_files", *[KIND_MASKS] * bool(scheme.kinds))
    ]


def _record_set(scheme: LabelScheme) -> dict[str, Any]:
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"volumes/{name}",
            "name": name,
            "description": described(name, scheme.kind_names),
            "dataType": _data_type(field.annotation),
            "source": {"fileObject": {"@id": _MANIFEST_TABLE}, "extract": {"column": name}},
        }
        for name, field in ManifestRow.model_fields.items()
    ]
    return {
        "@type": "cr:RecordSet",
        "@id": "volumes",
        "name": "volumes",
        "key": [{"@id": "volumes/patient_id"}, {"@id": "volumes/phase"}],
        "field": fields,
    }


def _data_type(annotation: Any) -> str:
    """Croissant's word for a column's Python type; what may be empty is named by what it is when it is not."""
    while get_origin(annotation) is not None:
        known = [part for part in get_args(annotation) if part is not type(None)]
        if get_origin(annotation) not in (Union, types.UnionType) and not hasattr(annotation, "__metadata__"):
            break
        annotation = known[0]
    return _CROISSANT_TYPES.get(annotation, "sc:Text")
