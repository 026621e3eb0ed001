"""The stages in the order of the way: the one list of each kind."""

from __future__ import annotations

from pipeline.stages.adjudicate import ADJUDICATE
from pipeline.stages.collect import COLLECT
from pipeline.stages.convert import CONVERT
from pipeline.stages.intake import SCAN
from pipeline.stages.label import LABEL
from pipeline.stages.pack import PACK
from pipeline.stages.screen import SCREEN
from pipeline.stages.settle import AGREE, MEASURE, PREPARE, VOTE

DATASET_STAGES = (SCAN, SCREEN)
"""Of the whole dataset, before its cases are known."""

CASE_STAGES = (CONVERT, LABEL)
"""Of one case, before its review."""

HANDOUT_STAGES = (PACK, COLLECT, ADJUDICATE)
"""Of the whole dataset, when people hand out and take back."""

REVIEW_STAGES = (AGREE, VOTE, MEASURE, PREPARE)
"""Of one case, when its ratings are back."""

TO_SETTLE = (*CASE_STAGES, *REVIEW_STAGES)
"""What a case must have behind it to be released."""
