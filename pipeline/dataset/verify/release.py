"""Whether a release is what it says, checked from its own files alone, as a curator would before publishing.

The list follows what Posda and TCIA check (one value a patient, no volume twice, tables against files both ways, stored
digests recomputed, header texts empty, every volume seen by a person) and adds what labels need: nested values, masks
that are one another's parts, figures and tables that come out again.
"""

from __future__ import annotations

import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from pipeline.core.errors import ReleaseError
from pipeline.core.files import sha256_of
from pipeline.core.records import Problem, Severity
from pipeline.dataset.layout import ReleaseLayout, image_name, label_name, liver_mask_name, mask_name
from pipeline.dataset.manifest import check_table, read_manifest, row_name
from pipeline.dataset.sums import files_of, read_sums
from pipeline.dataset.verify.tables import check_tables, labels_of
from pipeline.dataset.verify.volumes import VolumeCheck, check_volume, refused

LeakCheck = Callable[[Path], Sequence[str]]
"""Looks through a folder for source identifiers and tells the places, never the values."""

TELLTALES = {
    "a UID that is no pseudonym": re.compile(r"(?<![\d.])[12]\.(?!25\.)\d+(?:\.\d+){4,}"),
    "a date": re.compile(r"(?<![\w.])(?:19|20)\d\d(?:-[01]\d-[0-3]\d|[01]\d[0-3]\d)(?![\w.])"),
    "a path of a computer": re.compile(r"(?:/home/|/Users/|/mnt/|[A-Z]:\\)\w"),
    "an e-mail address": re.compile(r"[\w.+-]+@[\w-]+\.[a-z]{2,}"),
}
"""Spellings that no table of ours needs: a second net beside the search for known identifiers."""

_TABLES = (".csv", ".json", ".md", ".label")


def verify(release: Path, *, leak_check: LeakCheck | None = None, jobs: int = 1) -> tuple[Problem, ...]:
    """Everything that is wrong with a release; empty when it may be used.

    Args:
        release: the folder of one version, or a copy of it.
        leak_check: searches for identifiers of the sources, where these are at hand.
        jobs: volumes checked at the same time.
    """
    layout = ReleaseLayout(release)
    problems = [*_check_sums(layout), *_check_texts(layout)]
    if leak_check:
        problems += [refused("leak", f"an identifier of the sources in {place}") for place in leak_check(release)]
    try:
        rows = read_manifest(layout.manifest)
    except ReleaseError as error:
        return (*problems, refused("manifest", str(error)))
    with ThreadPoolExecutor(jobs) as pool:
        checks = list(pool.map(partial(check_volume, release, labels_of(layout)), rows))
    problems += check_table(rows)
    problems += _check_files(layout, checks)
    problems += _check_twins(checks)
    problems += [problem for check in checks for problem in check.problems]
    problems += check_tables(layout, checks)
    return tuple(problems)


def _check_sums(layout: ReleaseLayout) -> Iterator[Problem]:
    """Bytes against SHA256SUMS, both ways, and that nothing can be written to by accident."""
    try:
        stored = read_sums(layout.root)
    except ReleaseError as error:
        yield refused("sums", str(error))
        return
    found = {path.relative_to(layout.root).as_posix(): path for path in files_of(layout.root) if path != layout.sums}
    for name in sorted(stored.keys() | found.keys()):
        if name not in found:
            yield refused("missing-file", f"{name} is listed in {layout.sums.name} but not there")
        elif name not in stored:
            yield refused("extra-file", f"{name} is there but not listed in {layout.sums.name}")
        elif sha256_of(found[name]) != stored[name]:
            yield refused("changed-file", f"{name} is not the file that was released")
        elif found[name].is_symlink():
            yield refused("link", f"{name} is a link to another place, not a file")
        elif found[name].stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH):
            yield Problem("writable", Severity.NOTE, f"{name} can be written to")


def _check_files(layout: ReleaseLayout, checks: Sequence[VolumeCheck]) -> Iterator[Problem]:
    """Table against files, both ways, and names that follow from the row."""
    rows = [check.row for check in checks]
    listed = Counter(path for check in checks for path in (*check.row.paths, *check.kind_paths))
    yield from (refused("path-twice", f"{path} is in two rows") for path, count in listed.items() if count > 1)
    for row in rows:
        names = (image_name, mask_name, liver_mask_name, label_name)
        if row.paths != tuple(name(row.patient_id, row.phase) for name in names):
            yield refused("path", f"{row_name(row)}: its paths do not follow from its patient and phase")
    there = {
        path.relative_to(layout.root).as_posix()
        for path in files_of(layout.root)
        if path.name.endswith((".nii", ".gz"))
    }
    yield from (refused("orphan", f"{path} is in no row of the manifest") for path in sorted(there - listed.keys()))
    yield from (refused("missing-file", f"{path} is listed but not there") for path in sorted(listed.keys() - there))


def _check_texts(layout: ReleaseLayout) -> Iterator[Problem]:
    """Tables and texts without what looks like a source identifier."""
    for path in files_of(layout.root):
        if path.suffix not in _TABLES:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        for what, pattern in TELLTALES.items():
            if pattern.search(text):
                yield refused("telltale", f"{path.name} holds what looks like {what}")


def _check_twins(checks: Sequence[VolumeCheck]) -> Iterator[Problem]:
    """No scan and no image under two names: between patients it spoils the splits, within one a phase is wrong."""
    seen: dict[tuple[str, str], VolumeCheck] = {}
    for check in checks:
        for what, value in (
            ("comes from the same series as", check.row.series),
            ("holds the same voxels as", check.voxels_sha256),
        ):
            other = seen.setdefault((what, value), check)
            if value and other is not check:
                yield refused("twin", f"{row_name(check.row)} {what} {row_name(other.row)}")
