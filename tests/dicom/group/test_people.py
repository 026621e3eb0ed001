"""Two people under one number are told from one person whose export is untidy."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.core.records import Instance, SourceFile
from pipeline.dicom.group.people import contradicted_numbers


def study(**header: str) -> Instance:
    return Instance(SourceFile(Path("a.dcm")), {"PatientID": "0077", **header})


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ({"PatientBirthDate": "19540312"}, {"PatientBirthDate": "19610101"}, "2 dates of birth"),
        ({"PatientSex": "M"}, {"PatientSex": "F"}, "2 sexes"),
        ({"IssuerOfPatientID": "North"}, {"IssuerOfPatientID": "South"}, "2 issuers of the number"),
        ({"PatientName": "NOWAK^ANNA"}, {"PatientName": "KLEIN^PAUL"}, "names with nothing in common"),
        ({"PatientName": "王^伟"}, {"PatientName": "李^静"}, "names with nothing in common"),
        ({"PatientName": "Wang^Wei=王^伟"}, {"PatientName": "Li^Jing=李^静"}, "names with nothing in common"),
    ],
)
def test_what_one_person_cannot_have_is_told(one, other, told):
    assert contradicted_numbers([study(**one), study(**other), study()]) == {"0077": told}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"PatientBirthDate": "19540312"}, {"PatientBirthDate": ""}),
        ({"PatientBirthDate": "19540312"}, {"PatientBirthDate": "19000101"}),
        ({"PatientSex": "M"}, {"PatientSex": "O"}),
        ({"IssuerOfPatientID": "North"}, {"IssuerOfPatientID": "NORTH"}),
        ({"PatientName": "NOWAK^ANNA"}, {"PatientName": "Klein^Anna Maria"}),
        ({"PatientName": "NOWAK^ANNA"}, {"PatientName": "Nowak, A."}),
        ({"PatientName": "Wang^Wei"}, {"PatientName": "王^伟"}),
        ({"PatientName": "WANG^WEI"}, {"PatientName": "Ｗａｎｇ^Ｗｅｉ"}),
        ({"PatientName": "ПЕТРОВ^ИВАН"}, {"PatientName": "Petrov^Ivan"}),
        ({"PatientName": "^^"}, {"PatientName": "NOWAK^ANNA"}),
    ],
)
def test_one_person_in_two_spellings_is_left_alone(one, other):
    assert contradicted_numbers([study(**one), study(**other)]) == {}


def test_spellings_of_one_number_meet_and_other_numbers_do_not():
    studies = [study(PatientSex="M"), study(PatientID=" 0077", PatientSex="F"), study(PatientID="0078", PatientSex="F")]
    assert contradicted_numbers(studies) == {"0077": "2 sexes"}
    assert contradicted_numbers([]) == {}
