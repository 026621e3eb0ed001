"""Who enters a dataset: clinical facts, rules, the choice between series, image quality, and decisions by people."""
