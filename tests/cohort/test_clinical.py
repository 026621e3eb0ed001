"""Clinical tables as hospitals export them: headers, encodings, spellings and contradictions."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.cohort.clinical import known_diagnoses, read_clinical
from pipeline.cohort.rules import screen_patient
from pipeline.core.config import Config
from pipeline.core.errors import ConfigError
from pipeline.core.records import UNLISTED, Patient

KINDS = ("HCC", "ICC", "cyst", "normal")


def written(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "clinical.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_each_patient_gets_age_sex_diagnosis_and_site(tmp_path):
    path = written(tmp_path, "patient_id,age,sex,diagnosis,site\nA-1,59,M,HCC,North\nA-2,,female,,\n")
    assert read_clinical(path, KINDS) == {
        "A-1": Patient(59, "M", "HCC", "North"),
        "A-2": Patient(None, "F", None, None),
    }


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_chinese_tables_are_read_in_the_encodings_hospitals_use(tmp_path, encoding):
    path = written(tmp_path, "患者编号\t年龄\t性别\t诊断\n００７\t59岁\t女\tICC\n", encoding)
    assert read_clinical(path, KINDS) == {"007": Patient(59, "F", "ICC", None)}


@pytest.mark.parametrize("code", ["M81700/3", "8170/3", "M8170/3"])
def test_missing_diagnosis_is_taken_from_the_pathology_code(tmp_path, code):
    path = written(tmp_path, f"id;age;diagnosis;pathology code\nx;61;;{code}\ny;61;cyst;\n")
    assert [patient.diagnosis for patient in read_clinical(path, KINDS).values()] == ["HCC", "cyst"]


def test_all_faults_are_named_by_line_and_never_by_patient(tmp_path):
    path = written(
        tmp_path,
        "patient_id,age,sex,diagnosis,pathology_code\nSecret1,old,M,HCC,\nSecret2,130,X,HCC,M81600/3\n,50,M,HCC,\n"
        "Secret3,50,M,HCC,\nsecret3 ,51,M,HCC,\n",
    )
    with pytest.raises(ConfigError) as caught:
        read_clinical(path, KINDS)
    message = str(caught.value)
    assert "line 2: age" in message
    assert "line 3: age" in message
    assert "line 3: sex" in message
    assert "line 3: diagnosis is HCC, but the pathology code means ICC" in message
    assert "line 4: no patient id" in message
    assert "lines 5 and 6" in message
    assert "ecret" not in message


def test_repeated_lines_that_agree_count_once(tmp_path):
    path = written(tmp_path, "patient_id,age\nA,50\n a ,50\n")
    assert read_clinical(path, KINDS) == {"A": Patient(50)}


@pytest.mark.parametrize("text", ["", "name,age\nA,50\n", "id,mrn,age\n1,1,50\n"])
def test_tables_without_one_patient_column_are_refused(tmp_path, text):
    with pytest.raises(ConfigError):
        read_clinical(written(tmp_path, text), KINDS)


def test_missing_table_is_one_clear_line(tmp_path):
    with pytest.raises(ConfigError, match=r"clinical.csv cannot be read"):
        read_clinical(tmp_path / "clinical.csv", KINDS)


FREE_TEXT = "HCC (ref. Dr. Oberhuber, Tel 06641234567, 3.4.2019)"


def test_a_diagnosis_that_nobody_listed_is_not_repeated(tmp_path):
    path = written(tmp_path, f'id;age;diagnosis\nx;61;"{FREE_TEXT}"\ny;61;hcc\nz;61;Normal\n')
    assert [patient.diagnosis for patient in read_clinical(path, KINDS).values()] == [UNLISTED, "HCC", "normal"]
    path = written(tmp_path, f'id;age;diagnosis;icd_o\nx;61;"{FREE_TEXT}";M81700/3\n')
    with pytest.raises(ConfigError, match="line 2: diagnosis is none of those") as caught:
        read_clinical(path, KINDS)
    assert "Oberhuber" not in str(caught.value)


@pytest.mark.parametrize("asked", [None, ("HCC",)])
def test_a_patient_with_a_diagnosis_that_nobody_listed_stays_out(asked):
    config = Config.model_validate(
        {"dataset": {"name": "x"}, "labels": {"lesion_kinds": ["ICC"]}, "inclusion": {"diagnosis": asked}}
    )
    assert [reason.rule for reason in screen_patient(Patient(60, diagnosis=UNLISTED), config)] == ["diagnosis"]
    assert known_diagnoses(config) >= {"ICC", "HCC", "normal"}
