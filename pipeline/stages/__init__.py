"""The way of the data: the only reader and writer around the pure functions; each step leaves a receipt.

    SCAN     every file of the sources, used or set aside with a reason     reports/files.csv
    SCREEN   series formed, phases recognised, inclusion rules asked        reports/series.csv, exclusions.csv
    CONVERT  a case's volumes in HU, headers rebuilt from an allow-list     image.nii.gz, header.json
    LABEL    nnU-Net's labels, post-processed, with provenance              coarse.nii.gz, coarse.json
    PACK     one zip a rater, blinded                                       review/round-N/outbox
             ... radiologists at work in ITK-SNAP or 3D Slicer ...
    COLLECT  what came back, checked mask by mask                           ratings/<rater>.nii.gz
    AGREE    how far raters agree                                           agreement.json
    VOTE     nested majority, and what it does not settle                   consensus.nii.gz, consensus.json
    MEASURE  lesions: volume, diameters, HU                                 lesions.json
    ADJUDICATE  what the vote does not settle, for the lead radiologist     review/adjudication-N/outbox
             ... and back through COLLECT ...                               adjudicated.nii.gz
    PREPARE  liver slices and HU window of the released copy                prepared/
    cut_release, verify_release                                             releases/<version>
    REPORT   the quality page and tables                                    reports/qc.html

Steps of the whole dataset take a workspace, those of a case a workspace and a case id. A step that is current does
nothing; what is wrong with a case stops that case alone.
"""

from __future__ import annotations

from pipeline.stages.handout import ADJUDICATE, PACK, packages
from pipeline.stages.imaging import CONVERT, LABEL
from pipeline.stages.intake import SCAN, SCREEN, case_ids
from pipeline.stages.publish import REPORT, cut_release, standing_problems, verify_release
from pipeline.stages.returns import COLLECT, accept_flagged, returned, review_status
from pipeline.stages.settle import AGREE, MEASURE, PREPARE, VOTE, open_votes

DATASET_STAGES = (SCAN, SCREEN)
CASE_STAGES = (CONVERT, LABEL)
REVIEW_STAGES = (AGREE, VOTE, MEASURE, PREPARE)

__all__ = [
    "ADJUDICATE",
    "AGREE",
    "CASE_STAGES",
    "COLLECT",
    "CONVERT",
    "DATASET_STAGES",
    "LABEL",
    "MEASURE",
    "PACK",
    "PREPARE",
    "REPORT",
    "REVIEW_STAGES",
    "SCAN",
    "SCREEN",
    "VOTE",
    "accept_flagged",
    "case_ids",
    "cut_release",
    "open_votes",
    "packages",
    "returned",
    "review_status",
    "standing_problems",
    "verify_release",
]
