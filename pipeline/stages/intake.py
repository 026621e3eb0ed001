"""From files to cases: scan the sources, form series, recognise phases, ask the inclusion rules."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.config import Config, Section
from pipeline.core.errors import ConfigError, DicomError, PipelineError
from pipeline.core.files import (
    PRIVATE_FILE_MODE,
    digest,
    identity_of,
    make_private_folder,
    read_json,
    sha256_of,
    write_json,
    write_text,
)
from pipeline.core.pseudonyms import normalised_patient_id
from pipeline.core.records import Case, FileFate, Patient, Phase, PhaseGuess, PixelFacts, Problem, Series, Severity
from pipeline.core.series_file import save_series
from pipeline.workspace import Stage, Waiting, Work, Workspace

if TYPE_CHECKING:
    from pipeline.cohort.decisions import Decision
    from pipeline.cohort.inclusion import Candidate, FlowStep, Inclusion
    from pipeline.dicom.read.scan import ScanResult

FILES_COLUMNS = ("fate", "code", "reason", "files")
SERIES_COLUMNS = (
    "series", "patient", "phase", "confidence", "kept", "reasons", "chosen_for", "modality", "manufacturer", "model",
    "kernel", "slices", "rows", "columns", "slice_thickness_mm", "slice_spacing_mm", "row_spacing_mm",
    "column_spacing_mm", "evidence",
)  # fmt: skip
EXCLUSION_COLUMNS = ("patient", "series", "phase", "rule", "message")


def case_ids(ws: Workspace) -> tuple[str, ...]:
    """The cases that passed screening, in order; none before the first build."""
    return tuple(case.case_id for case in every_case(ws))


def case_of(ws: Workspace, case_id: str) -> Case:
    """A case as it passed screening.

    Raises:
        ConfigError: when there is no such case.
    """
    cases = _screening(ws)["cases"]
    if case_id not in cases:
        raise ConfigError(f"{case_id} is no case of this dataset; `liverset status` lists them")
    return _case(case_id, cases[case_id])


def every_case(ws: Workspace) -> tuple[Case, ...]:
    """All cases that passed screening, in order; none before the first build."""
    cases = _screening(ws)["cases"] if ws.layout.screening.exists() else {}
    return tuple(_case(case_id, cases[case_id]) for case_id in sorted(cases))


def _case(case_id: str, entry: Mapping[str, Any]) -> Case:
    series = {Phase(phase): key for phase, key in entry["series"].items()}
    return Case(case_id, series, Patient(**entry["patient"]))


def first_study_of(ws: Workspace, case_id: str) -> date | None:
    """Day of a case's first study, of which all its days are counted; None when no header tells it. Private."""
    from pipeline.dicom.deid.value_rules import parsed_date

    return parsed_date(_screening(ws)["cases"][case_id]["first_study_date"])


def was_looked_at(ws: Workspace, series: Series) -> bool:
    """True when a person decided in `decisions.csv` that this series is to be used."""
    from pipeline.cohort.decisions import read_decisions

    decision = read_decisions(ws.layout.decisions).get(_series_name(ws, series.key))
    return decision is not None and decision.phase is not None


def decision_inputs(ws: Workspace) -> dict[str, str]:
    """Hash of what people decided, for stages that ask; empty while nobody has."""
    return {"decisions": sha256_of(ws.layout.decisions)} if ws.layout.decisions.exists() else {}


def site_of(ws: Workspace, case_id: str) -> str:
    """Keyed name of the hospital that scanned a case."""
    return str(_screening(ws)["cases"][case_id]["site"])


def phase_guess(ws: Workspace, case_id: str, phase: Phase) -> PhaseGuess:
    """How the phase of a case's volume was recognised."""
    confidence, evidence = _screening(ws)["cases"][case_id]["guesses"][phase]
    return PhaseGuess(phase, confidence, tuple(evidence))


def read_consort(ws: Workspace) -> tuple[FlowStep, ...]:
    """How many series and patients fell at each rule; nothing before the first screening."""
    from pipeline.cohort.inclusion import FlowStep

    if not ws.layout.consort.exists():
        return ()
    return tuple(FlowStep(**step) for step in read_json(ws.layout.consort))


def source_folders(ws: Workspace) -> tuple[Path, ...]:
    """Where the exports lie.

    Raises:
        ConfigError: when one of them is not there.
    """
    from pipeline.dicom.read.sources import root_of

    found = tuple(root_of(ws.root / path) for path in ws.config.source.paths)
    missing = [name for name, path in zip(ws.config.source.paths, found, strict=True) if not path.exists()]
    if missing:
        raise ConfigError(f"[source] paths names {', '.join(missing)}, which is not there; put the exports there")
    return found


def source_fingerprint(ws: Workspace) -> str:
    """Changes when a source file comes, goes, or changes its size or time."""
    return digest([entry for folder in source_folders(ws) for entry in _listing(folder, ws.root)])


def first_study_date(series: Sequence[Series]) -> str:
    """The earliest StudyDate of a patient's series, as "YYYYMMDD"; "" when none has one. Private."""
    return min((date for one in series if (date := one.first.text("StudyDate"))), default="")


def _sections(config: Config) -> tuple[Section, ...]:
    return config.source, config.phases, config.inclusion, config.dataset


def _source_inputs(ws: Workspace, case_id: str | None) -> dict[str, str]:
    return {"sources": source_fingerprint(ws)}


def _screen_inputs(ws: Workspace, case_id: str | None) -> dict[str, str]:
    clinical = ws.config.source.clinical
    inputs = {**_source_inputs(ws, case_id), **decision_inputs(ws)}
    if clinical is None:
        return inputs
    path = ws.root / clinical
    if not path.is_file():
        raise ConfigError(f"[source] clinical names {clinical}, which is not there; add it or take the line out")
    return {**inputs, "clinical": sha256_of(path)}


def _listing(path: Path, root: Path) -> Iterator[tuple[str, int, int]]:
    """Name, size and time of every file below a path, in order: what a change of the sources changes."""
    files = (
        [path]
        if path.is_file()
        else sorted(Path(folder) / name for folder, _, names in os.walk(path) for name in names)
    )
    for file in files:
        try:
            status = file.stat()
        except OSError:
            continue  # a dangling link or a file that vanished: the scan reports it
        yield os.path.relpath(file, root), status.st_size, status.st_mtime_ns


def _found(ws: Workspace) -> ScanResult:
    from pipeline.dicom.read.scan import scan

    make_private_folder(ws.layout.private)
    return scan(source_folders(ws), index=ws.layout.dicom_index)


def _scan(ws: Workspace, case_id: str | None) -> Work:
    from pipeline.dicom.group.series import group_series

    found = _found(ws)
    if not found.instances:
        names = ", ".join(ws.config.source.paths)
        raise DicomError(f"{names}: {len(found.set_aside)} files, none of them DICOM; expected a hospital's export")
    grouping = group_series(found.instances, found.set_aside)
    _write_files_table(ws, (*found.set_aside, *grouping.set_aside), grouping.series)
    files = len(found.instances) + len(found.set_aside)
    return Work((ws.layout.files_table,), note=f"{files} files, {len(grouping.series)} series")


def _write_files_table(ws: Workspace, set_aside: Sequence[FileFate], series: Sequence[Series]) -> None:
    from pipeline.dataset.manifest import csv_text

    counts = Counter((str(fate.fate), fate.code, fate.reason) for fate in set_aside)
    counts["used", "", ""] = sum(len(one.instances) for one in series)
    rows = [dict(zip(FILES_COLUMNS, (*key, count), strict=True)) for key, count in sorted(counts.items())]
    write_text(ws.layout.files_table, csv_text(FILES_COLUMNS, rows))


def _screen(ws: Workspace, case_id: str | None) -> Work:
    from pipeline.cohort.decisions import read_decisions
    from pipeline.cohort.inclusion import consort, screen_cohort
    from pipeline.dicom.group.people import contradicted_numbers
    from pipeline.dicom.group.series import group_series

    found = _found(ws)
    series = {one.key: one for one in group_series(found.instances, found.set_aside).series}
    guesses = _guesses(ws, series.values())
    decisions = read_decisions(ws.layout.decisions)
    doubtful = contradicted_numbers(one.first for one in series.values())
    candidates = [_candidate(ws, one, guesses[one.key], decisions, doubtful) for one in series.values()]
    inclusion = screen_cohort(candidates, _patients(ws, series.values()), ws.config)
    cases = _numbered(ws, inclusion, series)
    outputs = _write_cases(ws, cases, series, guesses)
    _write_series_table(ws, candidates, inclusion, cases)
    _write_exclusions(ws, candidates, inclusion)
    write_json(ws.layout.consort, [asdict(step) for step in consort(inclusion)])
    ws.crosswalk.save()
    note = f"{len(cases)} cases kept, {len(inclusion.left_out)} patients left out"
    return Work(
        (*outputs, ws.layout.series_table, ws.layout.exclusions_table), _screen_problems(inclusion, cases), note
    )


def _guesses(ws: Workspace, series: Iterable[Series]) -> dict[str, PhaseGuess]:
    from pipeline.dicom.group.phase import guess_phases

    studies: dict[str, list[Series]] = defaultdict(list)
    for one in series:
        studies[one.first.text("StudyInstanceUID")].append(one)
    return {key: guess for study in studies.values() for key, guess in guess_phases(study, ws.config.phases).items()}


def _patient_name(ws: Workspace, series: Series) -> str:
    """What tables call a patient who may not become a case: a keyed name."""
    return ws.crosswalk.pseudonyms.patient(series.first.text("PatientID"))


def _series_name(ws: Workspace, key: str) -> str:
    """What tables call a series: a keyed name."""
    return ws.crosswalk.pseudonyms.token("series", key)


def _candidate(
    ws: Workspace, series: Series, guess: PhaseGuess, decisions: Mapping[str, Decision], doubtful: Mapping[str, str]
) -> Candidate:
    from pipeline.cohort.rules import Candidate, screen_series
    from pipeline.dicom.convert import series_facts
    from pipeline.dicom.deid.admission import admit

    against = admit(series.first, modality=ws.config.dataset.modality)
    refused = () if against is None else (Problem(against.rule, Severity.REFUSE, against.message),)
    patient = normalised_patient_id(series.first.text("PatientID"))
    nobodys = () if patient else (Problem("no-patient", Severity.REFUSE, "its files hold no patient number"),)
    candidate = Candidate(
        key=series.key,
        case_id=_patient_name(ws, series),
        study=series.first.text("StudyInstanceUID"),
        facts=series_facts(series),
        phase=guess,
        problems=(*series.problems, *refused, *nobodys),
        is_usable=series.is_usable and against is None,
        decision=decisions.get(_series_name(ws, series.key)),
        frame=series.first.text("FrameOfReferenceUID"),
        contradiction=doubtful.get(patient, "") if patient else "",
    )
    if not ws.config.inclusion.reads_pixels or screen_series(candidate, ws.config):
        return candidate
    return replace(candidate, pixels=_pixel_facts(ws, series))


def _pixel_facts(ws: Workspace, series: Series) -> PixelFacts | None:
    """None where the pixels cannot be read, which the conversion will report."""
    from pipeline.cohort.image_quality import pixel_facts
    from pipeline.dicom.convert import read_series

    try:
        return pixel_facts(read_series(series, allow_tilt=ws.config.inclusion.allow_tilt).volume)
    except PipelineError:
        return None


def _patients(ws: Workspace, series: Iterable[Series]) -> dict[str, Patient]:
    """Clinical facts by keyed patient name; a patient who is not in the table is unknown."""
    from pipeline.cohort.clinical import read_clinical

    clinical = {} if ws.config.source.clinical is None else read_clinical(ws.root / ws.config.source.clinical)
    ids = {_patient_name(ws, one): normalised_patient_id(one.first.text("PatientID")) for one in series}
    return {name: clinical.get(patient_id, Patient()) for name, patient_id in ids.items()}


def _numbered(ws: Workspace, inclusion: Inclusion, series: Mapping[str, Series]) -> tuple[Case, ...]:
    """The cases with their lasting numbers in place of keyed names."""
    sources = {
        case.case_id: series[next(iter(case.series.values()))].first.text("PatientID") for case in inclusion.cases
    }
    numbers = ws.crosswalk.case_ids(sources.values())
    return tuple(replace(case, case_id=numbers[sources[case.case_id]]) for case in inclusion.cases)


def _write_cases(
    ws: Workspace, cases: Sequence[Case], series: Mapping[str, Series], guesses: Mapping[str, PhaseGuess]
) -> list[Path]:
    layout = ws.layout
    outputs = [layout.screening]
    for case in cases:
        for phase, key in case.series.items():
            save_series(layout.series_record(case.case_id, phase), series[key])
            outputs.append(layout.series_record(case.case_id, phase))
    content = {case.case_id: _case_content(ws, case, series, guesses) for case in cases}
    write_json(layout.screening, {"cases": content}, mode=PRIVATE_FILE_MODE)
    return outputs


def _case_content(
    ws: Workspace, case: Case, series: Mapping[str, Series], guesses: Mapping[str, PhaseGuess]
) -> dict[str, Any]:
    """What later stages ask of a case."""
    first = series[next(iter(case.series.values()))].first
    patient = normalised_patient_id(first.text("PatientID"))
    own = [one for one in series.values() if normalised_patient_id(one.first.text("PatientID")) == patient]
    return {
        "series": dict(case.series),
        "patient": asdict(case.patient),
        "guesses": {phase: [guesses[key].confidence, guesses[key].evidence] for phase, key in case.series.items()},
        "first_study_date": first_study_date(own),
        "site": ws.crosswalk.pseudonyms.token("site", first.text("InstitutionName"), digits=6),
    }


def _write_series_table(
    ws: Workspace, candidates: Sequence[Candidate], inclusion: Inclusion, cases: Sequence[Case]
) -> None:
    from pipeline.dataset.manifest import csv_text

    numbers = {key: case.case_id for case in cases for key in case.series.values()}
    rows = [
        _series_row(ws, candidate, screening.kept, [reason.rule for reason in screening.reasons], numbers)
        | {"chosen_for": inclusion.won.get(candidate.key)}
        for candidate, screening in zip(candidates, inclusion.screenings, strict=True)
    ]
    write_text(
        ws.layout.series_table, csv_text(SERIES_COLUMNS, sorted(rows, key=lambda row: (row["patient"], row["series"])))
    )


def _series_row(
    ws: Workspace, candidate: Candidate, kept: bool, rules: list[str], numbers: Mapping[str, str]
) -> dict[str, Any]:
    facts, guess = candidate.facts, candidate.phase
    rows, columns = facts.matrix or (None, None)
    row_mm, column_mm = facts.pixel_spacing_mm or (None, None)
    return {
        "series": _series_name(ws, candidate.key),
        "patient": numbers.get(candidate.key, candidate.case_id),
        "phase": guess.phase,
        "confidence": guess.confidence,
        "kept": kept,
        "reasons": " ".join(rules),
        "modality": facts.modality,
        "manufacturer": facts.manufacturer,
        "model": facts.model,
        "kernel": facts.kernel,
        "slices": facts.slice_count,
        "rows": rows,
        "columns": columns,
        "slice_thickness_mm": facts.slice_thickness_mm,
        "slice_spacing_mm": facts.slice_spacing_mm,
        "row_spacing_mm": row_mm,
        "column_spacing_mm": column_mm,
        "evidence": "; ".join(guess.evidence),
    }


def _write_exclusions(ws: Workspace, candidates: Sequence[Candidate], inclusion: Inclusion) -> None:
    from pipeline.dataset.manifest import csv_text

    rows = [
        {"patient": candidate.case_id, "series": _series_name(ws, candidate.key), "phase": candidate.phase.phase,
         "rule": reason.rule, "message": reason.message}
        for candidate, screening in zip(candidates, inclusion.screenings, strict=True)
        for reason in screening.reasons
    ]  # fmt: skip
    rows += [
        {"patient": patient, "series": "", "phase": None, "rule": reason.rule, "message": reason.message}
        for patient, reasons in inclusion.left_out.items()
        for reason in reasons
    ]
    ordered = sorted(rows, key=lambda row: (row["patient"], row["series"], row["rule"]))
    write_text(ws.layout.exclusions_table, csv_text(EXCLUSION_COLUMNS, ordered))


def _screen_problems(inclusion: Inclusion, cases: Sequence[Case]) -> tuple[Problem, ...]:
    people = [
        Problem("needs-person", Severity.FLAG, f"a series of {screening.case_id}: {reason.message}", "see series.csv")
        for screening in inclusion.screenings
        for reason in screening.reasons
        if reason.rule in ("patient-conflict", "phase-conflict", "tied")
    ]
    if not cases:
        people.append(Problem("no-case", Severity.FLAG, "no patient passed the inclusion rules", "see exclusions.csv"))
    return tuple(people)


def _screening(ws: Workspace) -> Mapping[str, Any]:
    if not ws.layout.screening.exists():
        raise Waiting("nothing is screened yet; run `liverset build`")
    return _read_screening(ws.layout.screening, identity_of(ws.layout.screening))


@lru_cache(maxsize=1)
def _read_screening(path: Path, identity: tuple[int, int, int]) -> Mapping[str, Any]:
    """Read once as long as the file stays the same: every case asks for it many times."""
    content: dict[str, Any] = read_json(path)
    return content


SCAN = Stage(
    name="scan",
    code=("core", "dicom"),
    packages=("pydicom", "numpy"),
    sections=lambda config: (config.source,),
    inputs=_source_inputs,
    work=_scan,
)

SCREEN = Stage(
    name="screen",
    code=(
        "core",
        "dicom",
        "image/motion.py",
        "cohort",
        "stages/intake.py",
    ),
    packages=("pydicom", "numpy", "pandas", "scipy", "scikit-image"),
    sections=_sections,
    inputs=_screen_inputs,
    work=_screen,
)
