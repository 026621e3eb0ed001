"""The check before anything leaves: no identifier of the sources in it, no image unsearched for burned-in text.

What the sources hold is harvested whenever they are read and kept sealed in `private/`, so that it is sought also when
an export is no longer there. What cannot be sought stops the gate like a match.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.config import PATIENT_ID, DeidentificationOption
from pipeline.core.errors import LeakError, PrivacyError
from pipeline.core.files import json_text
from pipeline.core.records import Instance, Phase
from pipeline.core.words import counted
from pipeline.stages.arrival import Arrivals, arrivals
from pipeline.stages.artefacts import ConvertedVolume, VolumeKey
from pipeline.stages.case import case_ids, screened
from pipeline.stages.decisions import decided, series_name, text_decision
from pipeline.stages.intake import index_seal, scan_sources, source_roots
from pipeline.workspace import Workspace

if TYPE_CHECKING:
    from pipeline.dataset.exceptions import LeakException
    from pipeline.dataset.sealed import Seal
    from pipeline.leaks.harvest import Harvest
    from pipeline.leaks.search import Leak

PLACES_SHOWN = 5
LEAK_DIGITS = 32
THE_SOURCES = "the sources"
_HARVEST_KIND = "harvest 1"
_REFUSED_KIND = "refused-leaks 1"


def remember_sources(ws: Workspace, instances: Iterable[Instance] = ()) -> Harvest:
    """What the sources ever held; what is there and was not read yet is read now and kept for good.

    Args:
        ws: the dataset.
        instances: objects whose patients may stand in their paths only.

    Raises:
        PrivacyError: when what was kept cannot be opened.
    """
    from pipeline.dataset.sealed import Seal
    from pipeline.leaks.harvest import Harvest, gather

    seal, kept = Seal(_HARVEST_KIND, ws.crosswalk.pseudonyms), ws.layout.harvest
    before = Harvest.from_bytes(seal.read(kept)) if kept.exists() else None
    there = [path for path in _all_sources(ws) if path.exists()]
    now = gather(there, before or Harvest(), unsettled=_arriving(ws).places)
    if ws.config.source.patient != PATIENT_ID:
        now = now.with_patients(instance.text("PatientID") for instance in instances)
    if now != before:
        seal.write(kept, now.to_bytes())
    return now


def places_of_leaks(ws: Workspace, paths: Sequence[Path]) -> tuple[str, ...]:
    """Where identifiers of this dataset's sources stand in files about to leave; never what they are.

    Places that a person accepted are left out; what is named can be accepted until the next search.

    Raises:
        PrivacyError: when not all that the sources hold is known, so that nothing can be said.
    """
    harvest = remember_sources(ws)
    _require_complete(ws, harvest)
    accepted = {exception.match for exception in accepted_leaks(ws)}
    left = [leak for leak in _leaks(ws, harvest, paths) if (leak.where, leak.kind, leak.name) not in accepted]
    if left:
        content = json_text([[leak.where, leak.kind, leak.name] for leak in left])
        _refused_seal(ws).write(ws.layout.refused_leaks, content.encode())
    return tuple(dict.fromkeys(f"{leak.where} ({leak.kind})" for leak in left))


def require_clean(ws: Workspace, paths: Sequence[Path], *, what: str) -> None:
    """Remove the files and raise a `LeakError` when one of them holds an identifier of the sources, or may hold one."""
    try:
        places = places_of_leaks(ws, paths)
    except PrivacyError:
        _remove(paths)
        raise
    if places:
        from pipeline.dataset.release import ACCEPT_LEAK

        _remove(paths)
        shown = "; ".join(places[:PLACES_SHOWN])
        raise LeakError(
            f"source identifiers found in {what}, at {counted(len(places), 'place')}; deleted: {shown}. {ACCEPT_LEAK}"
        )


def accepted_leaks(ws: Workspace) -> tuple[LeakException, ...]:
    """What a person looked at and found to be no leak.

    Raises:
        PrivacyError: when a row was changed by hand.
    """
    from pipeline.dataset.exceptions import read_exceptions

    return read_exceptions(ws.layout.leak_exceptions, ws.crosswalk.pseudonyms)


def accept_leaks(ws: Workspace, place: str, kind: str, *, by: str, why: str, when: str) -> tuple[LeakException, ...]:
    """Accept what the last refusal found at a place; what was accepted, with who, why and when.

    Args:
        ws: the dataset.
        place: as the refusal named it; `*` stands for any part of it.
        kind: of identifier, as the refusal named it.
        by: who looked.
        why: what it is instead of an identifier.
        when: the day.

    Raises:
        PrivacyError: when nothing was refused there, or the words themselves hold an identifier.
    """
    from pipeline.dataset.exceptions import LeakException, write_exceptions
    from pipeline.leaks.search import search_text

    if search_text(remember_sources(ws).identifiers, f"{by}\n{why}", "the reason"):
        raise PrivacyError("who and why must not hold an identifier of the sources; use a code and other words")
    refused = json.loads(_refused_seal(ws).read(ws.layout.refused_leaks)) if ws.layout.refused_leaks.exists() else []
    new = tuple(
        LeakException(where, found, name, by, why, when)
        for where, found, name in refused
        if found == kind and fnmatchcase(where, place)
    )
    if not new:
        raise PrivacyError(
            f"the last search refused nothing of kind {kind} there; give place and kind as the refusal printed them"
        )
    write_exceptions(ws.layout.leak_exceptions, (*accepted_leaks(ws), *new), ws.crosswalk.pseudonyms)
    return new


def require_searched_for_text(ws: Workspace, volumes: Iterable[VolumeKey]) -> None:
    """Raise a `PrivacyError` unless each volume that lies there was searched for burned-in text, where that is asked.

    Asked of the images themselves and not of receipts: what leaves is what was searched.
    """
    if DeidentificationOption.CLEAN_PIXELS not in ws.config.deidentification.options:
        return
    faults = [f"{case_id} {phase} {fault}" for case_id, phase in volumes if (fault := _unseen(ws, case_id, phase))]
    if faults:
        raise PrivacyError(f"{'; '.join(faults)}; run `liverset build`")


def _leaks(ws: Workspace, harvest: Harvest, paths: Sequence[Path]) -> Iterator[Leak]:
    """What was found in the files and in what a person typed, and what could never be sought."""
    from pipeline.leaks.search import Kind, Leak, search, search_text
    from pipeline.stages.neutral import own_text

    name_of = partial(_name_of, ws)
    if harvest.unreadable:
        yield Leak(THE_SOURCES, Kind.UNREADABLE, name_of(",".join(sorted(map(bytes.hex, harvest.unreadable)))))
    for key in ("description", "license"):
        typed = getattr(ws.config.dataset, key)
        yield from search_text(harvest.identifiers, typed, f"{ws.layout.config.name}: {key}", name_of=name_of)
    yield from search(harvest.identifiers, paths, own=partial(own_text, ws.config), name_of=name_of)


def _name_of(ws: Workspace, identifier: str) -> str:
    return ws.crosswalk.pseudonyms.token("leak", identifier.casefold(), digits=LEAK_DIGITS)


def _require_complete(ws: Workspace, harvest: Harvest) -> None:
    """Raise a `PrivacyError` unless every file and patient that the dataset was made of was harvested."""
    from pipeline.dicom.read.index import known_stamps
    from pipeline.leaks.harvest import stamp_of

    if not ws.layout.dicom_index.exists() and all(root.exists() for root in source_roots(ws)):
        scan_sources(ws)
    known = known_stamps(ws.layout.dicom_index, index_seal(ws))
    if known is None:
        raise PrivacyError(_cannot_search(f"the index {ws.layout.dicom_index.name} cannot be read"))
    arriving = {stamp for folder in _arriving(ws).restless for _, stamp in folder.files}
    missed = sum(stamp_of(*stamp) not in harvest.seen for stamp in known if stamp not in arriving)
    if missed:
        raise PrivacyError(_cannot_search(f"{missed} files of the index were never searched for identifiers"))
    unknown = ws.crosswalk.cases_without(harvest.patients, case_ids(ws))
    if unknown:
        raise PrivacyError(_cannot_search(f"the identifiers of {len(unknown)} cases are not known"))


def _cannot_search(why: str) -> str:
    return (
        f"nothing may leave, because leaks cannot be searched for: {why}. Put the exports back where [source] paths "
        "names them and run `liverset build`; what is gone for good leaves the index when private/dicom-index.sqlite "
        "is removed first"
    )


def _unseen(ws: Workspace, case_id: str, phase: Phase) -> str | None:
    """Why the search for text says nothing of the image that lies there; None when it does."""
    from pipeline.image.nifti import stored_sha256

    search = ConvertedVolume.load(ws.layout.header(case_id, phase)).text_search
    key = screened(ws, case_id)[1].series[phase]
    decision, use = text_decision(ws, key), decided(ws).use.get(series_name(ws, key))
    if use and use.phase is None:
        return "is excluded by a decision"
    if search is None:
        return "was not searched for burned-in text"
    if search.decision != str(decision or "") or (search.found and not (decision and decision.publishes)):
        return "has another decision about its text now"
    if search.content_sha256 != stored_sha256(ws.layout.image(case_id, phase)):
        return "is another image than the one that was searched for burned-in text"
    return None


def _arriving(ws: Workspace) -> Arrivals:
    """What is still being copied below sources that are there; nothing of it is in a case yet."""
    return arrivals(ws) if all(root.exists() for root in source_roots(ws)) else Arrivals((), ())


def _all_sources(ws: Workspace) -> tuple[Path, ...]:
    clinical = () if ws.config.source.clinical is None else (ws.root / ws.config.source.clinical,)
    return (*source_roots(ws), *clinical)


def _refused_seal(ws: Workspace) -> Seal:
    from pipeline.dataset.sealed import Seal

    return Seal(_REFUSED_KIND, ws.crosswalk.pseudonyms)


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
