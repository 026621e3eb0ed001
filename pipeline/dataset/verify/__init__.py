"""Whether a release is what it says, from its own files alone: sums, tables and volumes."""
