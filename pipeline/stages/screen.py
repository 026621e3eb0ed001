"""From files to cases: series formed, phases recognised, inclusion rules asked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.config import Config, Section
from pipeline.core.decisions import Decision
from pipeline.core.errors import ConfigError, PipelineError
from pipeline.core.files import csv_text, sha256_of, write_text
from pipeline.core.pseudonyms import normalised_patient_id
from pipeline.core.receipts import read_receipt
from pipeline.core.records import Case, Patient, PhaseGuess, PixelFacts, Problem, Reason, Series, Severity
from pipeline.core.words import counted
from pipeline.stages.arrival import Arrivals, arrival_inputs, arrivals, awaited, keep_taken_up
from pipeline.stages.artefacts import ConsortFlow, ScreenedCase
from pipeline.stages.case import screened_cases
from pipeline.stages.decisions import decided, series_name, use_inputs, withdrawal_inputs
from pipeline.stages.intake import scan_sources, source_inputs
from pipeline.stages.kept import keep_screened, keep_series, kept_series, remove_others
from pipeline.stages.privacy import remember_sources
from pipeline.workspace import Stage, Work, Workspace

if TYPE_CHECKING:
    from pipeline.cohort.inclusion import Candidate, Inclusion

VERDICT_COLUMNS = ("series", "phase", "kind", "confidence", "kept", "reason", "chosen_for", "modality")
GRID_COLUMNS = (
    *("slices", "slice_spacing_mm", "kernel", "rows", "columns", "row_spacing_mm"),
    *("column_spacing_mm", "manufacturer", "model", "evidence", "reasons"),
)
"""What stands in `reports/series.csv` besides what tells one series from another."""
ARRIVING = "arriving"
EXCLUSION_COLUMNS = ("patient", "series", "phase", "rule", "message")


def series_columns() -> tuple[str, ...]:
    """The columns of `reports/series.csv`."""
    from pipeline.dicom.describe import FACT_COLUMNS, PLACE_COLUMNS

    return (*PLACE_COLUMNS, *VERDICT_COLUMNS, *FACT_COLUMNS, *GRID_COLUMNS)


def first_study_date(series: Sequence[Series]) -> str:
    """The earliest StudyDate of a patient's series, as "YYYYMMDD"; "" when none has one. Private."""
    return min((date for one in series if (date := one.first.text("StudyDate"))), default="")


def _sections(config: Config) -> tuple[Section, ...]:
    return config.source.without_places, config.phases, config.inclusion, config.dataset, config.labels


def _screen_inputs(ws: Workspace, case_id: str | None) -> dict[str, str]:
    clinical = ws.config.source.clinical
    inputs = {**source_inputs(ws, case_id), **use_inputs(ws), **withdrawal_inputs(ws), **arrival_inputs(ws)}
    if clinical is None:
        return inputs
    path = ws.root / clinical
    if not path.is_file():
        raise ConfigError(f"[source] clinical: {clinical} not found; add the table or delete the line")
    return {**inputs, "clinical": sha256_of(path)}


@dataclass(frozen=True, slots=True)
class _Cohort:
    """What a screening is about.

    Attributes:
        candidates: what the rules are asked about.
        series: by key, of every patient.
        guesses: phases by key of series, as people decided them or else as recognised.
        waits: what is expected of a patient who waits, by keyed name.
        waiting: what was found of them; they become no case, or stay the case they were.
        standing: cases of patients who wait, as they were taken up before.
        withdrawn: how many series are still there of patients who withdrew.
        names: what tables and decisions call each series, those of patients who withdrew too.
    """

    candidates: tuple[Candidate, ...]
    series: Mapping[str, Series]
    guesses: Mapping[str, PhaseGuess]
    waits: Mapping[str, str]
    waiting: tuple[Candidate, ...]
    standing: Mapping[str, ScreenedCase]
    withdrawn: int
    names: frozenset[str]


def _screen(ws: Workspace, case_id: str | None) -> Work:
    from pipeline.cohort.inclusion import consort, screen_cohort

    now = arrivals(ws)
    cohort = _cohort(ws, now)
    patients = _patients(ws, [cohort.series[one.key] for one in cohort.candidates])
    inclusion = screen_cohort(cohort.candidates, patients, ws.config)
    cases = _numbered(ws, inclusion, cohort.series)
    outputs = _write_cases(ws, cases, cohort)
    names = _names(inclusion, cases)
    _write_series_table(ws, cohort, inclusion, names)
    _write_exclusions(ws, cohort.candidates, inclusion, names)
    ConsortFlow(steps=consort(inclusion)).save(ws.layout.consort)
    ws.crosswalk.save()
    keep_taken_up(ws, now)
    note = f"{counted(len(cases), 'case')} included, {counted(len(inclusion.left_out), 'patient')} excluded"
    waiting = f", {counted(len(cohort.waits), 'patient')} waiting" if cohort.waits else ""
    tables = (ws.layout.series_table, ws.layout.exclusions_table)
    problems = (
        *_waiting_problems(ws, cohort),
        *_screen_problems(inclusion, cases, waits=bool(cohort.waits)),
        *_withdrawn_problems(cohort.withdrawn),
        *_unknown_decisions(ws, cohort.names),
    )
    return Work((*outputs, ws.layout.harvest, *tables), problems, note + waiting)


def _cohort(ws: Workspace, now: Arrivals) -> _Cohort:
    """Everything that was found; a patient who waits takes part as the case that already stands."""
    from pipeline.dicom.group.people import contradicted_numbers
    from pipeline.dicom.group.series import group_series

    found = scan_sources(ws)
    remember_sources(ws, found.instances)
    grouped = group_series(found.instances, found.set_aside).series
    series = {one.key: one for one in grouped if not ws.crosswalk.is_withdrawn(one.first.text("PatientID"))}
    withdrawn = len(grouped) - len(series)
    doubtful = contradicted_numbers(one.first for one in series.values())
    everyone = _candidates(ws, tuple(series.values()), doubtful)
    waits = _waits(ws, everyone, series, now)
    standing = _standing(ws, [series[one.key] for one in everyone if one.case_id in waits])
    candidates = [candidate for candidate in everyone if candidate.case_id not in waits]
    for case_id, case in standing.items():
        for phase, key in case.series.items():
            series[key] = kept_series(ws, case_id, phase)
            candidates.append(_candidate(ws, series[key], case.guesses[phase], decided(ws).use, doubtful))
    known = {candidate.key for candidate in candidates}
    return _Cohort(
        candidates=tuple(_with_pixels(ws, candidate, series[candidate.key]) for candidate in candidates),
        series=series,
        guesses={one.key: one.agreed_phase for one in candidates},
        waits=waits,
        waiting=tuple(one for one in everyone if one.case_id in waits and one.key not in known),
        standing=standing,
        withdrawn=withdrawn,
        names=frozenset(series_name(ws, key) for key in (*series, *(one.key for one in grouped))),
    )


def _waits(
    ws: Workspace, candidates: Iterable[Candidate], series: Mapping[str, Series], now: Arrivals
) -> dict[str, str]:
    """What is expected of each patient of whom not all is there yet; a patient without a number is no case anyway."""
    from pipeline.cohort.rules import screen_series

    waits: dict[str, str] = {}
    for one in candidates:
        against = {reason.rule for reason in screen_series(one, ws.config)}
        expected = awaited(ws, series[one.key], now, against, is_decided=one.decision is not None)
        if expected and "no-patient" not in against:
            waits.setdefault(one.case_id, expected)
    return waits


def _standing(ws: Workspace, waiting: Iterable[Series]) -> dict[str, ScreenedCase]:
    """The cases that patients who wait are already."""
    given = {ws.crosswalk.given(one.first.text("PatientID")) for one in waiting} - {None}
    return {case_id: case for case_id, case in screened_cases(ws).items() if case_id in given} if given else {}


def _withdrawn_problems(count: int) -> Iterator[Problem]:
    """What is still there of patients who withdrew; none of it is used."""
    if count:
        found = counted(count, "series", "series")
        message = f"{found} of patients who withdrew consent found in the sources; none is used"
        yield Problem("withdrawn", Severity.FLAG, message)


def _unknown_decisions(ws: Workspace, names: Collection[str]) -> Iterator[Problem]:
    """Decisions that reach nothing, such as a series name with a typing error."""
    for name in sorted(decided(ws).use.keys() - names):
        yield Problem("unknown-series", Severity.FLAG, f"decisions.csv decides about series {name}, which is not there")


def screened_series(ws: Workspace, series: Sequence[Series]) -> tuple[tuple[Candidate, ...], Inclusion]:
    """Each series with what the rules ask about it, and the verdict of the rules; nothing is written."""
    from pipeline.cohort.inclusion import screen_cohort
    from pipeline.dicom.group.people import contradicted_numbers

    known = _candidates(ws, series, contradicted_numbers(one.first for one in series))
    candidates = tuple(_with_pixels(ws, candidate, one) for candidate, one in zip(known, series, strict=True))
    return candidates, screen_cohort(candidates, _patients(ws, series), ws.config)


def _candidates(ws: Workspace, series: Sequence[Series], doubtful: Mapping[str, str]) -> list[Candidate]:
    """What the headers of series tell the rules, in their order."""
    from pipeline.dicom.group.phase import recognise_phases

    guesses, decisions = recognise_phases(series, ws.config.phases), decided(ws).use
    return [_candidate(ws, one, guesses[one.key], decisions, doubtful) for one in series]


def _patient_name(ws: Workspace, series: Series) -> str:
    """What tables call a patient who may not become a case: a keyed name."""
    return ws.crosswalk.pseudonyms.patient(series.first.text("PatientID"))


def _candidate(
    ws: Workspace, series: Series, guess: PhaseGuess, decisions: Mapping[str, Decision], doubtful: Mapping[str, str]
) -> Candidate:
    from pipeline.cohort.rules import Candidate
    from pipeline.dicom.convert import series_facts
    from pipeline.dicom.deid.admission import admit

    against = admit(series.first, modality=ws.config.dataset.modality)
    refused = () if against is None else (Problem(against.rule, Severity.REFUSE, against.message),)
    patient = normalised_patient_id(series.first.text("PatientID"))
    nobodys = () if patient else (Problem("no-patient", Severity.REFUSE, "its files have no patient number"),)
    return Candidate(
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


def _with_pixels(ws: Workspace, candidate: Candidate, series: Series) -> Candidate:
    """What the pixels tell too, where a rule asks and no other rule speaks against the series."""
    from pipeline.cohort.rules import screen_series

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


def _names(inclusion: Inclusion, cases: Sequence[Case]) -> dict[str, str]:
    """What tables call each patient: the case it became, else its keyed name."""
    numbered = zip((case.case_id for case in inclusion.cases), (case.case_id for case in cases), strict=True)
    keyed = (*(screening.case_id or "" for screening in inclusion.screenings), *inclusion.left_out)
    return {**{name: name for name in keyed}, **dict(numbered)}


def _write_cases(ws: Workspace, cases: Sequence[Case], cohort: _Cohort) -> list[Path]:
    records = [
        ws.layout.series_record(case.case_id, phase)
        if case.case_id in cohort.standing
        else keep_series(ws, case.case_id, phase, cohort.series[key])
        for case in cases
        for phase, key in case.series.items()
    ]
    remove_others(ws, records)
    return [*records, keep_screened(ws, {case.case_id: _screened(ws, case, cohort) for case in cases})]


def _screened(ws: Workspace, case: Case, cohort: _Cohort) -> ScreenedCase:
    first = cohort.series[next(iter(case.series.values()))].first
    patient = normalised_patient_id(first.text("PatientID"))
    own = [one for one in cohort.series.values() if normalised_patient_id(one.first.text("PatientID")) == patient]
    before = cohort.standing.get(case.case_id)
    return ScreenedCase(
        series=dict(case.series),
        patient=case.patient,
        guesses={phase: replace(cohort.guesses[key], phase=phase) for phase, key in case.series.items()},
        first_study_date=before.first_study_date if before else first_study_date(own),
        site=ws.crosswalk.pseudonyms.token("site", first.text("InstitutionName"), digits=6),
    )


def _write_series_table(ws: Workspace, cohort: _Cohort, inclusion: Inclusion, names: Mapping[str, str]) -> None:
    from pipeline.dicom.deid.deidentify import scanner_facts
    from pipeline.dicom.describe import description_of, place_in_table, starts_s

    pseudonyms, starts = ws.crosswalk.pseudonyms, starts_s(cohort.series.values())
    judged = [
        (candidate, screening.kept, screening.reasons)
        for candidate, screening in zip(cohort.candidates, inclusion.screenings, strict=True)
    ]
    waiting = [(one, False, (Reason(ARRIVING, cohort.waits[one.case_id]),)) for one in cohort.waiting]
    rows = [
        description_of(cohort.series[candidate.key], pseudonyms)
        | scanner_facts(cohort.series[candidate.key], pseudonyms)
        | _series_row(ws, candidate, reasons)
        | {
            "patient": names.get(candidate.case_id, candidate.case_id),
            "kept": kept,
            "chosen_for": inclusion.won.get(candidate.key),
            "seconds_into_study": starts.get(candidate.key),
        }
        for candidate, kept, reasons in (*judged, *waiting)
    ]
    write_text(ws.layout.series_table, csv_text(series_columns(), sorted(rows, key=place_in_table)))


def _series_row(ws: Workspace, candidate: Candidate, reasons: Sequence[Reason]) -> dict[str, Any]:
    facts, guess = candidate.facts, candidate.agreed_phase
    rows, columns = facts.matrix or (None, None)
    row_mm, column_mm = facts.pixel_spacing_mm or (None, None)
    return {
        "series": series_name(ws, candidate.key),
        "phase": guess.phase,
        "kind": guess.kind,
        "confidence": guess.confidence,
        "reason": next((reason.message for reason in reasons), ""),
        "reasons": " ".join(reason.rule for reason in reasons),
        "modality": facts.modality,
        "slices": facts.slice_count,
        "rows": rows,
        "columns": columns,
        "slice_spacing_mm": facts.slice_spacing_mm,
        "row_spacing_mm": row_mm,
        "column_spacing_mm": column_mm,
        "evidence": "; ".join(guess.evidence),
    }


def _write_exclusions(
    ws: Workspace, candidates: Sequence[Candidate], inclusion: Inclusion, names: Mapping[str, str]
) -> None:
    rows = [
        {"patient": names[candidate.case_id], "series": series_name(ws, candidate.key),
         "phase": candidate.agreed_phase.phase, "rule": reason.rule, "message": reason.message}
        for candidate, screening in zip(candidates, inclusion.screenings, strict=True)
        for reason in screening.reasons
    ]  # fmt: skip
    rows += [
        {"patient": names[patient], "series": "", "phase": None, "rule": reason.rule, "message": reason.message}
        for patient, reasons in inclusion.left_out.items()
        for reason in reasons
    ]
    ordered = sorted(rows, key=lambda row: (row["patient"], row["series"], row["rule"]))
    write_text(ws.layout.exclusions_table, csv_text(EXCLUSION_COLUMNS, ordered))


def _waiting_problems(ws: Workspace, cohort: _Cohort) -> list[Problem]:
    """A note on each patient who waits, by case id where there is one already."""
    names = {
        one.case_id: ws.crosswalk.given(cohort.series[one.key].first.text("PatientID")) or one.case_id
        for one in (*cohort.waiting, *cohort.candidates)
    }
    stays = {name: f"; {names[name]} stays as it was" if names[name] in cohort.standing else "" for name in names}
    return [
        Problem(ARRIVING, Severity.NOTE, f"{names[name]} waits: {expected}{stays[name]}")
        for name, expected in sorted(cohort.waits.items())
    ]


def _screen_problems(inclusion: Inclusion, cases: Sequence[Case], *, waits: bool) -> tuple[Problem, ...]:
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
    if not cases and not waits:
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


def waiting(ws: Workspace) -> tuple[Problem, ...]:
    """A note on each patient who waits for files that are still arriving, as the last screening left it."""
    receipt = read_receipt(SCREEN.receipt(ws))
    return tuple(problem for problem in receipt.problems if problem.code == ARRIVING) if receipt else ()
