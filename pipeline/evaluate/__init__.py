"""Predictions against a release: masks, boxes and class scores, measured as papers on liver imaging do."""
