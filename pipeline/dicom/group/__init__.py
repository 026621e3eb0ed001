"""From indexed headers to series: split, sorted along their normal, checked, and their contrast phase recognised."""
