"""Text whose character set the header does not declare: the bytes themselves say which it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dicom.read.header import decode_text
from pipeline.vocabulary import vocabulary


def forms(section: Any) -> Iterator[str]:
    if isinstance(section, str):
        yield section
    else:
        for part in section.values() if isinstance(section, dict) else section:
            yield from forms(part)


FORMS = sorted(set(forms(vocabulary())))
CHINESE = [form for form in FORMS if len(form) > 1 and all("\u4e00" <= letter <= "\u9fff" for letter in form)]
"""Of a single letter the two bytes may be Greek as well."""


def as_gb2312(text: str) -> bytes | None:
    try:
        return text.encode("gb2312")
    except UnicodeEncodeError:
        return None


@pytest.mark.parametrize("charset", ["", "ISO_IR 6", "ISO_IR 100"])
@pytest.mark.parametrize("text", ["平扫", "平扫 5mm", "CT平扫", "平扫期", "上腹部平扫 B30f"])
def test_a_plain_scan_in_gbk_is_no_latin_text(text, charset):
    assert decode_text(text.encode("gbk"), charset) == text


@given(st.sampled_from(FORMS))
def test_words_of_every_language_are_read_from_undeclared_utf_8(form):
    assert decode_text(form.encode(), "ISO_IR 100") == form


@given(st.sampled_from([form for form in CHINESE if as_gb2312(form)]), st.sampled_from(["", " 5mm", "_ABD"]))
def test_chinese_words_are_read_from_undeclared_gbk(form, rest):
    assert decode_text((form + rest).encode("gb2312"), "ISO_IR 100") == form + rest


@pytest.mark.parametrize(
    "text", ["Müller", "Ärzte", "équilibre", "Țepeș", "Əliyev", "Phương", "до", "без", "фаза", "Ωμέγα"]
)
def test_european_words_in_utf_8_are_not_taken_for_chinese(text):
    assert decode_text(text.encode(), "") == text
