"""The door to pandas: files and names on disk, inclusion, manifest, splits, releases."""
