"""Who enters a dataset: clinical facts, rules, the choice between series, and image quality."""
