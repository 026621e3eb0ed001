"""From bytes to indexed headers and the pixels of one slice: every file is read, or set aside with a reason."""
