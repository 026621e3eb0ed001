"""Invented people: everything of them that an export gives away and a dataset must not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from pipeline.synth.scanners import Scanner

_LATIN_NAMES = (
    "Brandstätter^Jürgen",
    "Okonkwo^Adaeze",
    "Lindqvist^Märta",
    "Åkesson^Håkan",
    "Haverkamp^Ingeborg^Maria",
    "O'Sullivan^Fionn^^Dr",
    "Castellanos^Núria",
    "Achterberg^Willem",
    "Béranger^Hélène",
    "Ferreira^João",
)
_CHINESE_NAMES = (
    "Ouyang^Zhenhua=欧阳^振华",
    "Situ^Meiling=司徒^美玲",
    "Zhuge^Guodong=诸葛^国栋",
    "Shangguan^Yulan=上官^玉兰",
    "Huangfu^Jianjun=皇甫^建军",
    "Xiahou^Shufen=夏侯^淑芬",
    "Gongsun^Haitao=公孙^海涛",
    "Murong^Xiuying=慕容^秀英",
    "Dongfang^Weimin=东方^卫民",
    "Nangong^Lihua=南宫^丽华",
)
_LATIN_DOCTORS = ("Wolkenstein^Theodora", "Abernathy^Cornelius")
_CHINESE_DOCTORS = ("Linghu^Wenbin=令狐^文斌", "Zhongli^Qiuyue=钟离^秋月")
_FIRST_STUDY = date(2021, 3, 1)


@dataclass(frozen=True, slots=True)
class Person:
    """One invented patient; all of it private.

    Attributes:
        patient_id: PatientID as the export has it.
        sex: "M" or "F".
        age_years: on the day of the study.
        referring, operator: doctors' names.
    """

    name: str
    patient_id: str
    sex: str
    age_years: int
    birth_date: date
    study_date: date
    accession: str
    telephone: str
    address: str
    referring: str
    operator: str

    @property
    def family_name(self) -> str:
        """Family name in Latin letters."""
        return self.name.split("^")[0]

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must be found nowhere in a dataset: names, numbers, days and places of the patient, names of doctors."""
        names = (part for name in (self.name, self.referring, self.operator) for part in name_parts(name))
        days = (f"{day:%Y%m%d}" for day in (self.birth_date, self.study_date))
        return (*names, *days, self.patient_id, self.accession, self.telephone, self.address)


def name_parts(name: str) -> tuple[str, ...]:
    """What tells who it is in a DICOM person name: Latin parts of three letters or more, the Chinese ones joined."""
    latin, _, chinese = name.partition("=")
    parts = (part for part in latin.split("^") if len(part) > 2)
    return (*parts, chinese.replace("^", "")) if chinese else tuple(parts)


def make_person(rng: np.random.Generator, number: int, scanner: Scanner, age_years: int) -> Person:
    """The invented patient of a number at a site; days, numbers and sex are drawn."""
    is_chinese = scanner.charset == "GB18030"
    names = _CHINESE_NAMES if is_chinese else _LATIN_NAMES
    doctors = _CHINESE_DOCTORS if is_chinese else _LATIN_DOCTORS
    study_date = _FIRST_STUDY + timedelta(days=97 * number + int(rng.integers(0, 60)))
    birthday = study_date.replace(year=study_date.year - age_years, day=min(study_date.day, 28))
    serial = int(rng.integers(100_000, 1_000_000))
    mobile = int(rng.integers(10**7, 10**8))
    house = int(rng.integers(10, 900))
    return Person(
        name=names[number // 2 % len(names)],
        patient_id=f"{scanner.site}{serial}{number:02d}" if is_chinese else f"{serial}-{number:02d}",
        sex="MF"[int(rng.integers(2))],
        age_years=age_years,
        birth_date=birthday - timedelta(days=int(rng.integers(1, 300))),
        study_date=study_date,
        accession=f"ACC{int(rng.integers(10**8, 10**9))}",
        telephone=f"139{mobile}" if is_chinese else f"+43-555-{mobile}",
        address=f"江东市桃源路{house}号" if is_chinese else f"{house} Kestrel Lane",
        referring=doctors[0],
        operator=doctors[1],
    )
