"""Whether a run came to the planted truth: every difference in one line, nothing when there is none.

Lines number patients and series as the truth enrols them, so that they can be read in any log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from pipeline.core.records import FileFate, Phase, Screening
from pipeline.image.nifti import content_sha256
from pipeline.synth.truth import CohortTruth, PatientTruth, SeriesTruth

OLDEST_TOLD_YEARS = 89
"""Ages above are released as "90+" (HIPAA Safe Harbor, 45 CFR 164.514(b)(2)(i)(C))."""


def wrong_files(truth: CohortTruth, folder: Path, fates: Iterable[FileFate]) -> tuple[str, ...]:
    """Files set aside that should not be, or not set aside that should, or under another code.

    Args:
        truth: of the cohort.
        folder: that `make_cohort` wrote to.
        fates: of every file that is no slice, from the scan and from the grouping.
    """
    wanted = {item.path: item.code for item in truth.set_aside}
    found = {fate.source.path.relative_to(folder).as_posix(): fate.code for fate in fates}
    missed = Counter(code for path, code in wanted.items() if path not in found)
    lines = [f"{count} files of code {code} were not set aside" for code, count in sorted(missed.items())]
    extra = Counter(code for path, code in found.items() if path not in wanted)
    lines += [f"{count} files were set aside as {code} that should be used" for code, count in sorted(extra.items())]
    other = Counter((wanted[path], code) for path, code in found.items() if wanted.get(path, code) != code)
    lines += [f"{count} files are {code}, expected {right}" for (right, code), count in sorted(other.items())]
    return tuple(lines)


def wrong_series(truth: CohortTruth, screenings: Iterable[Screening]) -> tuple[str, ...]:
    """Series that were kept, refused, or given a phase or rules other than planted; also series too many or too few."""
    verdicts = {screening.series_key: screening for screening in screenings}
    lines = []
    for name, series in _named_series(truth):
        verdict = verdicts.pop(series.series_uid, None)
        if verdict is None:
            lines.append(f"{name} was not found")
            continue
        rules = frozenset(reason.rule for reason in verdict.reasons)
        expected = truth.expected_rules(series)
        if verdict.phase.phase is not series.phase:
            lines.append(f"{name} is of phase {verdict.phase.phase}, expected {series.phase}")
        if rules != expected:
            lines.append(f"{name} was refused for {_listed(rules)}, expected {_listed(expected)}")
    return (*lines, *("a series was found that was not planted" for _ in verdicts))


def wrong_masks(truth: CohortTruth, masks: Mapping[str, str]) -> tuple[str, ...]:
    """Volumes whose mask is not the planted one, voxel for voxel; also volumes too many or too few.

    Args:
        truth: of the cohort.
        masks: `content_sha256` of each volume in HU to that of its voted mask.
    """
    left = dict(masks)
    numbers = _numbers(truth)
    lines = []
    for volume in truth.volumes:
        name = f"patient {numbers[volume.patient_id]}, {volume.phase}"
        found = left.pop(volume.image_sha256, None)
        if found is None:
            lines.append(f"{name}: no such volume")
        elif found != content_sha256(volume.labels):
            lines.append(f"{name}: the mask is not the planted one")
    return (*lines, *("a volume was made that was not planted" for _ in left))


def wrong_rows(
    truth: CohortTruth, rows: Iterable[Mapping[str, str]], patient_of: Callable[[str], str]
) -> tuple[str, ...]:
    """Rows of `patient_data.csv` whose age, gender, phase or cancer type is not as planted; also too many or too few.

    Args:
        truth: of the cohort.
        rows: cells as text by column.
        patient_of: the source patient id of a released one.
    """
    patients = {patient.patient_id: patient for patient in truth.patients}
    numbers = _numbers(truth)
    wanted = {(volume.patient_id, volume.phase) for volume in truth.volumes}
    lines = []
    for row in rows:
        key = patient_of(row["patient_id"]), Phase(row["phase"])
        if key not in wanted:
            lines.append(f"a row of phase {row['phase']} was not planted")
            continue
        wanted.remove(key)
        cells = _cells(patients[key[0]])
        lines += [
            f"patient {numbers[key[0]]}, {row['phase']}: {column} is {row[column]}, expected {value}"
            for column, value in cells.items()
            if row[column] != value
        ]
    return (*lines, *(f"patient {numbers[patient]}, {phase}: no row" for patient, phase in sorted(wanted)))


def _cells(patient: PatientTruth) -> dict[str, str]:
    age = str(patient.age_years) if patient.age_years <= OLDEST_TOLD_YEARS else "90+"
    return {"age": age, "gender": patient.sex, "cancer_type": patient.diagnosis}


def _numbers(truth: CohortTruth) -> dict[str, int]:
    return {patient.patient_id: number for number, patient in enumerate(truth.patients, start=1)}


def _named_series(truth: CohortTruth) -> Iterable[tuple[str, SeriesTruth]]:
    numbers = _numbers(truth)
    seen: Counter[str] = Counter()
    for series in truth.series:
        seen[series.patient_id] += 1
        yield f"patient {numbers[series.patient_id]}, series {seen[series.patient_id]}", series


def _listed(rules: frozenset[str]) -> str:
    return ", ".join(sorted(rules)) or "nothing"
