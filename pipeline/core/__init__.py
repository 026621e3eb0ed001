"""The words everything else is written in: geometry, volumes, labels, records, config, files, receipts."""
