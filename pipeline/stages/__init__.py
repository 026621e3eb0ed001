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
nothing; what is wrong with a case stops that case alone. What a step leaves for others is a typed artefact
(`artefacts.py`); what it needs of a case it reads once, at its start (`case.py`).
"""

from __future__ import annotations

from pipeline.stages.adjudicate import ADJUDICATE, open_votes, to_adjudicate
from pipeline.stages.case import case_ids
from pipeline.stages.collect import COLLECT, accept_flagged, returned, review_status
from pipeline.stages.convert import CONVERT
from pipeline.stages.intake import SCAN
from pipeline.stages.label import LABEL
from pipeline.stages.pack import PACK, packages, to_pack
from pipeline.stages.privacy import accept_leaks
from pipeline.stages.recall import recall_problems, recalls
from pipeline.stages.release import cut_release, page_of_version, settled_cases, verify_release
from pipeline.stages.report import REPORT, standing_problems
from pipeline.stages.screen import SCREEN, waiting
from pipeline.stages.settle import AGREE, MEASURE, PREPARE, VOTE
from pipeline.stages.way import CASE_STAGES, DATASET_STAGES, HANDOUT_STAGES, REVIEW_STAGES
from pipeline.stages.withdraw import withdraw

STAGES = (*DATASET_STAGES, *CASE_STAGES, *HANDOUT_STAGES, *REVIEW_STAGES, REPORT)
"""Every stage there is."""

__all__ = [
    "ADJUDICATE",
    "AGREE",
    "CASE_STAGES",
    "COLLECT",
    "CONVERT",
    "DATASET_STAGES",
    "HANDOUT_STAGES",
    "LABEL",
    "MEASURE",
    "PACK",
    "PREPARE",
    "REPORT",
    "REVIEW_STAGES",
    "SCAN",
    "SCREEN",
    "STAGES",
    "VOTE",
    "accept_flagged",
    "accept_leaks",
    "case_ids",
    "cut_release",
    "open_votes",
    "packages",
    "recall_problems",
    "recalls",
    "page_of_version",
    "returned",
    "review_status",
    "settled_cases",
    "standing_problems",
    "to_adjudicate",
    "to_pack",
    "verify_release",
    "waiting",
    "withdraw",
]
