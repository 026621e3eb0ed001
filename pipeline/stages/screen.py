"""From files to cases: series formed, phases recognised, inclusion rules asked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.config import Config, Section
from pipeline.core.decisions import Decision
from pipeline.core.errors import ConfigError, PipelineError
from pipeline.core.files import sha256_of, write_text
from pipeline.core.pseudonyms import normalised_patient_id
from pipeline.core.records import Case, Patient, PhaseGuess, PixelFacts, Problem, Series, Severity
from pipeline.core.words import counted
from pipeline.stages.artefacts import ConsortFlow, ScreenedCase
from pipeline.stages.decisions import decided, series_name, use_inputs, withdrawal_inputs
from pipeline.stages.intake import scan_sources, source_inputs
from pipeline.stages.kept import keep_screened, keep_series, remove_others
from pipeline.stages.privacy import remember_sources
from pipeline.workspace import Stage, Work, Workspace

if TYPE_CHECKING:
    from pipeline.cohort.inclusion import Candidate, Inclusion

SCREEN_COLUMNS = (
    "series", "patient", "phase", "confidence", "kept", "reasons", "chosen_for", "modality", "manufacturer", "model",
    "kernel", "slices", "rows", "columns", "slice_thickness_mm", "slice_spacing_mm", "row_spacing_mm",
    "column_spacing_mm", "evidence",
)  # fmt: skip
EXCLUSION_COLUMNS = ("patient", "series", "phase", "rule", "message")


def first_study_date(series: Sequence[Series]) -> str:
    """The earliest StudyDate of a patient's series, as "YYYYMMDD"; "" when none has one. Private."""
    return min((date for one in series if (date := one.first.text("StudyDate"))), default="")


def _sections(config: Config) -> tuple[Section, ...]:
    return config.phases, config.inclusion, config.dataset, config.labels


def _screen_inputs(ws: Workspace, case_id: str | None) -> dict[str, str]:
    clinical = ws.config.source.clinical
    inputs = {**source_inputs(ws, case_id), **use_inputs(ws), **withdrawal_inputs(ws)}
    if clinical is None:
        return inputs
    path = ws.root / clinical
    if not path.is_file():
        raise ConfigError(f"[source] clinical: {clinical} not found; add the table or delete the line")
    return {**inputs, "clinical": sha256_of(path)}


def _screen(ws: Workspace, case_id: str | None) -> Work:
    from pipeline.cohort.inclusion import consort, screen_cohort
    from pipeline.dicom.group.people import contradicted_numbers
    from pipeline.dicom.group.series import group_series

    found = scan_sources(ws)
    remember_sources(ws)
    grouped = group_series(found.instances, found.set_aside).series
    series = {one.key: one for one in grouped if not ws.crosswalk.is_withdrawn(one.first.text("PatientID"))}
    guesses = _guesses(ws, series.values())
    decisions = decided(ws).use
    doubtful = contradicted_numbers(one.first for one in series.values())
    candidates = [_candidate(ws, one, guesses[one.key], decisions, doubtful) for one in series.values()]
    inclusion = screen_cohort(candidates, _patients(ws, series.values()), ws.config)
    cases = _numbered(ws, inclusion, series)
    outputs = _write_cases(ws, cases, series, guesses)
    _write_series_table(ws, candidates, inclusion, cases, series)
    _write_exclusions(ws, candidates, inclusion)
    ConsortFlow(steps=consort(inclusion)).save(ws.layout.consort)
    ws.crosswalk.save()
    note = f"{counted(len(cases), 'case')} included, {counted(len(inclusion.left_out), 'patient')} excluded"
    tables = (ws.layout.series_table, ws.layout.exclusions_table)
    problems = (*_screen_problems(inclusion, cases), *_withdrawn_problems(len(grouped) - len(series)))
    return Work((*outputs, ws.layout.harvest, *tables), problems, note)


def _withdrawn_problems(count: int) -> Iterator[Problem]:
    """What is still there of patients who withdrew; none of it is used."""
    if count:
        found = counted(count, "series", "series")
        message = f"{found} of patients who withdrew consent found in the sources; none is used"
        yield Problem("withdrawn", Severity.FLAG, message)


def _guesses(ws: Workspace, series: Iterable[Series]) -> dict[str, PhaseGuess]:
    from pipeline.dicom.group.phase import guess_phases

    studies: dict[str, list[Series]] = defaultdict(list)
    for one in series:
        studies[one.first.text("StudyInstanceUID")].append(one)
    return {key: guess for study in studies.values() for key, guess in guess_phases(study, ws.config.phases).items()}


def _patient_name(ws: Workspace, series: Series) -> str:
    """What tables call a patient who may not become a case: a keyed name."""
    return ws.crosswalk.pseudonyms.patient(series.first.text("PatientID"))


def _candidate(
    ws: Workspace, series: Series, guess: PhaseGuess, decisions: Mapping[str, Decision], doubtful: Mapping[str, str]
) -> Candidate:
    from pipeline.cohort.rules import Candidate, screen_series
    from pipeline.dicom.convert import series_facts
    from pipeline.dicom.deid.admission import admit

    against = admit(series.first, modality=ws.config.dataset.modality)
    refused = () if against is None else (Problem(against.rule, Severity.REFUSE, against.message),)
    patient = normalised_patient_id(series.first.text("PatientID"))
    nobodys = () if patient else (Problem("no-patient", Severity.REFUSE, "its files have no patient number"),)
    candidate = Candidate(
        key=series.key,
        case_id=_patient_name(ws, series),
        study=series.first.text("StudyInstanceUID"),
        facts=series_facts(series),
        phase=guess,
        problems=(*series.problems, *refused, *nobodys),
        is_usable=series.is_usable and against is None,
        decision=decisions.get(series_name(ws, series.key)),
        frame=series.first.text("FrameOfReferenceUID"),
        contradiction=doubtful.get(patient, "") if patient else "",
    )
    if screen_series(candidate, ws.config):
        return candidate
    if candidate.decision is None:
        candidate = replace(candidate, has_face=_has_face(series))
    if candidate.has_face or not ws.config.inclusion.reads_pixels:
        return candidate
    return replace(candidate, pixels=_pixel_facts(ws, series))


def _has_face(series: Series) -> bool:
    """False also where the pixels cannot be read, which the conversion will report."""
    from pipeline.dicom.convert import some_slices
    from pipeline.faces import every_so_often, has_face

    if series.geometry is None:
        return False
    depth_mm, _, pixel_mm = series.geometry.spacing_mm
    slices = some_slices(series, every_so_often(len(series.instances), depth_mm))
    try:
        return bool(has_face(series.first.text("BodyPartExamined"), series.first.text("Modality"), slices, pixel_mm))
    except PipelineError:
        return False


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
    from pipeline.cohort.clinical import known_diagnoses, read_clinical

    path, diagnoses = ws.config.source.clinical, known_diagnoses(ws.config)
    clinical = {} if path is None else read_clinical(ws.root / path, diagnoses)
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
    records = [
        keep_series(ws, case.case_id, phase, series[key]) for case in cases for phase, key in case.series.items()
    ]
    remove_others(ws, records)
    return [*records, keep_screened(ws, {case.case_id: _screened(ws, case, series, guesses) for case in cases})]


def _screened(
    ws: Workspace, case: Case, series: Mapping[str, Series], guesses: Mapping[str, PhaseGuess]
) -> ScreenedCase:
    first = series[next(iter(case.series.values()))].first
    patient = normalised_patient_id(first.text("PatientID"))
    own = [one for one in series.values() if normalised_patient_id(one.first.text("PatientID")) == patient]
    return ScreenedCase(
        series=dict(case.series),
        patient=case.patient,
        guesses={phase: replace(guesses[key], phase=phase) for phase, key in case.series.items()},
        first_study_date=first_study_date(own),
        site=ws.crosswalk.pseudonyms.token("site", first.text("InstitutionName"), digits=6),
    )


def _write_series_table(
    ws: Workspace,
    candidates: Sequence[Candidate],
    inclusion: Inclusion,
    cases: Sequence[Case],
    series: Mapping[str, Series],
) -> None:
    from pipeline.dataset.manifest import csv_text
    from pipeline.dicom.deid.deidentify import scanner_facts

    numbers = {key: case.case_id for case in cases for key in case.series.values()}
    rows = [
        _series_row(ws, candidate, screening.kept, [reason.rule for reason in screening.reasons], numbers)
        | {"chosen_for": inclusion.won.get(candidate.key)}
        | scanner_facts(series[candidate.key], ws.crosswalk.pseudonyms)
        for candidate, screening in zip(candidates, inclusion.screenings, strict=True)
    ]
    write_text(
        ws.layout.series_table, csv_text(SCREEN_COLUMNS, sorted(rows, key=lambda row: (row["patient"], row["series"])))
    )


def _series_row(
    ws: Workspace, candidate: Candidate, kept: bool, rules: list[str], numbers: Mapping[str, str]
) -> dict[str, Any]:
    facts, guess = candidate.facts, candidate.phase
    rows, columns = facts.matrix or (None, None)
    row_mm, column_mm = facts.pixel_spacing_mm or (None, None)
    return {
        "series": series_name(ws, candidate.key),
        "patient": numbers.get(candidate.key, candidate.case_id),
        "phase": guess.phase,
        "confidence": guess.confidence,
        "kept": kept,
        "reasons": " ".join(rules),
        "modality": facts.modality,
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
        {"patient": candidate.case_id, "series": series_name(ws, candidate.key), "phase": candidate.phase.phase,
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
        Problem(
            "needs-person",
            Severity.FLAG,
            f"a series of {screening.case_id}: {reason.message}",
            "decide in decisions.csv; reports/series.csv lists the series",
        )
        for screening in sorted(inclusion.screenings, key=lambda one: str(one.case_id))
        for reason in screening.reasons
        if reason.rule in ("patient-conflict", "phase-conflict", "tied")
    ]
    if not cases:
        people.append(
            Problem("no-case", Severity.FLAG, "no patient passed the inclusion rules", "see reports/exclusions.csv")
        )
    return tuple(people)


SCREEN = Stage(
    name="screen",
    sections=_sections,
    inputs=_screen_inputs,
    work=_screen,
)
