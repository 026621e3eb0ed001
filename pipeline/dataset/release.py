"""Cut a release: everything written aside, checked, then given its name in one step; no version ever changes.

The same inputs give the same bytes. Files that the version before already has become hard links to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.core.errors import LeakError, ReleaseError
from pipeline.core.files import (
    json_text,
    link_or_copy,
    publish_folder,
    remove,
    sha256_of,
    write_atomically,
    write_json,
    write_text,
)
from pipeline.core.labels import LabelScheme
from pipeline.core.problems import CUT_AGAIN, FINISH_REVIEW
from pipeline.core.records import Problem, Severity
from pipeline.core.words import counted
from pipeline.dataset.anonymity import Row as PatientRow
from pipeline.dataset.croissant import croissant
from pipeline.dataset.datacard import datacard_text
from pipeline.dataset.difference import ReleaseDifference, diff
from pipeline.dataset.layout import ReleaseLayout
from pipeline.dataset.manifest import (
    ManifestRow,
    manifest_text,
    parquet_bytes,
    row_order,
    schema,
)
from pipeline.dataset.release_inputs import (
    ReleaseInputs,
    ReleaseVolume,
    ReviewFacts,
    Row,
    ScanFacts,
    public_config,
)
from pipeline.dataset.release_rows import generalised_columns, patient_facts, release_volume, told_facts
from pipeline.dataset.splits import Splits, assign_splits, held_out, nnunet_folds
from pipeline.dataset.statistics import statistics_rows
from pipeline.dataset.sums import read_sums, write_sums
from pipeline.dataset.tables import (
    AGREEMENT_COLUMNS,
    COARSE_COLUMNS,
    ENHANCEMENT_COLUMNS,
    LESION_COLUMNS,
    STATISTICS_COLUMNS,
    TABLE1_COLUMNS,
    coarse_rows,
    label_names_text,
    lesion_kinds_text,
    rows_text,
    table1_rows,
)
from pipeline.dataset.tasks import classification_text, coco, kinds_in_masks, lesion_kind
from pipeline.dataset.verify.release import LeakCheck, verify

__all__ = [
    "LeakCheck",
    "ReleaseDifference",
    "ReleaseInputs",
    "ReleaseVolume",
    "ReviewFacts",
    "ScanFacts",
    "cut",
    "diff",
    "latest_version",
    "refusals",
    "verify",
]

ACCEPT_LEAK = (
    "look at each place; what is no identifier there can be accepted with "
    "`liverset leaks accept FOLDER PLACE --kind KIND --by WHO --why TEXT`"
)
VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")


def cut(inputs: ReleaseInputs, releases: Path, *, leak_check: LeakCheck, jobs: int = 1) -> Path:
    """The folder of the new version, whole and read-only.

    Cutting a version again from the same inputs changes nothing and gives the same folder.

    Args:
        inputs: everything that goes out.
        releases: where the versions lie.
        leak_check: gates the release; one place stops it.
        jobs: volumes written and checked at the same time; changes no byte.

    Raises:
        ReleaseError: when labels are undecided or unchecked, the version exists with other content, or a check fails;
            all faults are named.
        LeakError: when a source identifier was found.
    """
    require_ready(inputs)
    final = releases / inputs.version
    staging = releases / f".{inputs.version}.partial"
    previous = latest_version(releases, before=inputs.version)
    for leftover in releases.glob(".*.partial"):
        remove(leftover)
    try:
        _fill(ReleaseLayout(staging), inputs, previous, jobs)
        _require_clean(staging, leak_check)
        _share_with(previous, staging)
        write_sums(staging)
        if final.exists():
            return _same_as_before(staging, final)
        _require_sound(staging, jobs)
        publish_folder(staging, final)
    finally:
        remove(staging)
    return final


def refusals(inputs: ReleaseInputs) -> tuple[Problem, ...]:
    """Why these inputs may not go out; empty when they may."""
    found = []
    if not VERSION.fullmatch(inputs.version):
        found.append(_refused("version", f"{inputs.version} is not a version of three numbers, such as 1.0.0"))
    if not inputs.volumes:
        found.append(_refused("empty", "there is no volume to release", FINISH_REVIEW))
    names = [volume.name for volume in inputs.volumes]
    found += [_refused("twice", f"{name} comes twice") for name in sorted({n for n in names if names.count(n) > 1})]
    for volume in inputs.volumes:
        found += _open_points(volume, inputs.min_raters)
        if volume.case_id not in inputs.patients:
            found.append(_refused("no-patient", f"{volume.name}: no clinical facts, not even unknown ones", CUT_AGAIN))
    return tuple(found)


def _refused(code: str, message: str, fix: str = "") -> Problem:
    return Problem(code, Severity.REFUSE, message, fix)


def require_ready(inputs: ReleaseInputs) -> None:
    """Raise a `ReleaseError` that names every reason why these inputs may not go out."""
    problems = refusals(inputs)
    if problems:
        raise ReleaseError("not released:\n" + "\n".join(problem.message for problem in problems))


def latest_version(releases: Path, *, before: str | None = None) -> Path | None:
    """Folder of the highest version, or of the highest below another; None where there is none."""
    lower = [path for path in _versions(releases) if before is None or _numbers(path.name) < _numbers(before)]
    return lower[-1] if lower else None


def known_splits(releases: Path) -> Splits | None:
    """Where every patient of any version stands, also of those that left and may return; None before the first."""
    found = [Splits.read(ReleaseLayout(path).splits) for path in _versions(releases)]
    places = {case_id: place for splits in found for case_id, place in splits.places.items()}
    return Splits(found[-1].seed, found[-1].folds, places) if found else None


def _versions(releases: Path) -> list[Path]:
    """Folders of all versions, lowest first."""
    found = [path for path in releases.glob("*") if path.is_dir() and VERSION.fullmatch(path.name)]
    return sorted(found, key=lambda path: _numbers(path.name))


def _open_points(volume: ReleaseVolume, min_raters: int) -> Iterator[Problem]:
    review = volume.review
    wanted = max(1, min_raters)
    if len(review.raters) < wanted:
        yield _refused("missing-reviews", f"{volume.name}: {len(review.raters)} of {wanted} reviews are there")
    if review.undecided_voxels:
        yield _refused("undecided", f"{volume.name}: {review.undecided_voxels} voxels are undecided")
    if review.open_reasons and not review.adjudicator:
        reasons = ", ".join(review.open_reasons)
        yield _refused("adjudication", f"{volume.name}: the lead radiologist has not decided yet ({reasons})")


def _fill(layout: ReleaseLayout, inputs: ReleaseInputs, previous: Path | None, jobs: int) -> None:
    """Write every file but the checksums."""
    splits, generalised = _as_published(inputs, known_splits(layout.root.parent))
    volumes = sorted(inputs.volumes, key=lambda volume: volume.name)

    def release(volume: ReleaseVolume) -> tuple[ManifestRow, Sequence[Row]]:
        return release_volume(layout.root, volume, inputs, splits, generalised[volume.case_id])

    with ThreadPoolExecutor(jobs) as pool:
        released = list(pool.map(release, volumes))
    rows = sorted((row for row, _ in released), key=row_order)
    write_text(layout.manifest, manifest_text(rows))
    write_atomically(layout.manifest_parquet, parquet_bytes(rows))
    boxes = sorted(released, key=lambda pair: row_order(pair[0]))
    in_masks = kinds_in_masks(boxes, inputs.config.labels.scheme)
    scheme = inputs.config.labels.scheme if in_masks else LabelScheme()
    write_json(layout.schema, schema(scheme.kind_names))
    write_json(layout.splits, splits.to_json())
    write_json(layout.nnunet_splits, nnunet_folds(splits, [(row.patient_id, str(row.phase)) for row in rows]))
    write_text(layout.table1, rows_text(TABLE1_COLUMNS, table1_rows(rows)))
    write_text(layout.statistics, rows_text(STATISTICS_COLUMNS, statistics_rows(rows)))
    write_text(layout.classification, classification_text(rows, inputs.config.labels.kind_names, in_masks))
    write_json(layout.detection, coco(boxes, scheme))
    write_text(layout.lesions, rows_text(LESION_COLUMNS, _lesion_rows(volumes, rows, in_masks)))
    if in_masks:
        write_text(layout.lesion_kinds, lesion_kinds_text(scheme))
    write_text(layout.agreement, rows_text(AGREEMENT_COLUMNS, inputs.agreement))
    write_text(layout.coarse_agreement, rows_text(COARSE_COLUMNS, coarse_rows(inputs.coarse, rows)))
    summaries = inputs.summaries(rows)
    for name, summary in summaries.items():
        write_text(layout.agreement_summary(name), rows_text((), summary))
    write_text(layout.enhancement, rows_text(ENHANCEMENT_COLUMNS, inputs.enhancement))
    write_text(layout.label_names, label_names_text(scheme))
    write_text(layout.datacard, datacard_text(rows, inputs, summaries, scheme))
    write_text(layout.provenance, json_text(_provenance(inputs, previous)))
    difference = diff(previous, layout.root)
    _require_version(inputs.version, difference)
    write_text(layout.changes, difference.to_markdown())
    write_json(layout.croissant, croissant(rows, inputs, scheme, sha256_of(layout.manifest)))
    for name, page in inputs.pages.items():
        write_text(layout.root / name, page(rows, summaries))


def _as_published(inputs: ReleaseInputs, known: Splits | None) -> tuple[Splits, Mapping[str, PatientRow]]:
    """Where each patient stands, and which columns of each are published more generally than they are known."""
    facts, settings = patient_facts(inputs), inputs.config.splits
    outside = held_out(facts, settings, known)
    published = told_facts(facts, inputs.config.deidentification.min_k, outside)
    return assign_splits(published, settings, known, outside=outside), generalised_columns(facts, published)


def _lesion_rows(
    volumes: Iterable[ReleaseVolume], rows: Iterable[ManifestRow], in_masks: Mapping[str, Sequence[str]]
) -> list[Row]:
    """Lesions in the order of the manifest.

    A lesion is of the kind its mask tells. Where the patient's masks tell none, it is of the patient's kind if the
    diagnosis names just one.
    """
    lesions = {(volume.case_id, volume.phase): volume.lesions for volume in volumes}
    found: list[Row] = []
    for row in rows:
        diagnosed = None if row.patient_id in in_masks else lesion_kind(row)
        for lesion in lesions[row.patient_id, row.phase]:
            measures = {name: value for name, value in lesion.items() if name != "kinds"}
            kind, *others = lesion.get("kinds") or [diagnosed]
            mixed = {"other_kinds": ";".join(others)} if others else {}
            found.append({"patient_id": row.patient_id, "phase": str(row.phase), "kind": kind, **measures, **mixed})
    return found


def _provenance(inputs: ReleaseInputs, previous: Path | None) -> Row:
    """What the release was made of; of a package's version not the part that names a machine ("2.13.0+cpu")."""
    packages = {name: found.partition("+")[0] for name, found in inputs.provenance.get("packages", {}).items()}
    before = {"version": previous.name, "sums": sha256_of(ReleaseLayout(previous).sums)} if previous else None
    return {
        "dataset": inputs.config.dataset.name,
        "version": inputs.version,
        "previous": before,
        "config": public_config(inputs.config),
        **inputs.provenance,
        "packages": packages,
    }


def _require_version(version: str, difference: ReleaseDifference) -> None:
    """Raise a `ReleaseError` when a version's number rises by less than its content changed."""
    if not difference.old or difference.step is None:
        return
    old, new = _numbers(difference.old), _numbers(version)
    lowest = (*old[: difference.step], old[difference.step] + 1, 0, 0)[:3]
    if new < lowest:
        wanted = ".".join(str(number) for number in lowest)
        raise ReleaseError(
            f"{version} is too small a step from {difference.old} ({_reason(difference)}); use version {wanted}"
        )


def _reason(difference: ReleaseDifference) -> str:
    counts = (
        ("volume", "removed", difference.removed),
        ("column", "removed", difference.columns_removed),
        ("patient", "moved", difference.moved),
        ("volume", "added", difference.added),
        ("column", "added", difference.columns_added),
        ("volume", "changed", difference.changed),
    )
    return ", ".join(f"{counted(len(found), noun)} {what}" for noun, what, found in counts if found)


def _require_clean(staging: Path, leak_check: LeakCheck) -> None:
    places = leak_check(staging)
    if places:
        shown = "\n".join(places[:20])
        found = f"source identifiers at {counted(len(places), 'place')} of the release, nothing was published"
        raise LeakError(f"{found}:\n{shown}\n{ACCEPT_LEAK}")


def _share_with(previous: Path | None, staging: Path) -> None:
    """Replace each file that the version before has under the same name and content by a hard link to it."""
    for name, digest in (read_sums(previous) if previous else {}).items():
        file = staging / name
        if previous and file.is_file() and sha256_of(file) == digest == sha256_of(previous / name):
            link_or_copy(previous / name, file)


def _same_as_before(staging: Path, final: Path) -> Path:
    if ReleaseLayout(staging).sums.read_bytes() != ReleaseLayout(final).sums.read_bytes():
        changed = sorted(dict(read_sums(staging).items() ^ read_sums(final).items()))
        raise ReleaseError(
            f"version {final.name} exists with different content ({', '.join(changed[:3])}); a version never changes: "
            "cut a new version"
        )
    return final


def _require_sound(staging: Path, jobs: int) -> None:
    wrong = [problem.message for problem in verify(staging, jobs=jobs) if problem.severity is Severity.REFUSE]
    if wrong:
        raise ReleaseError("the release fails its own checks:\n" + "\n".join(wrong))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
