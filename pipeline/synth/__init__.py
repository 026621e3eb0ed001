"""A synthetic cohort with known truth and planted faults: the specification of the pipeline."""
