from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.mime.filename import safe_filename


@pytest.mark.parametrize(
    ("raw", "safe"),
    [
        ("report.pdf", "report.pdf"),
        ("Bericht über Öl.pdf", "Bericht über Öl.pdf"),
        ("../../etc/passwd", "passwd"),
        ("/etc/cron.d/x", "x"),
        (r"C:\Users\me\invoice.doc", "invoice.doc"),
        ("..\\..\\x", "x"),
        ("a/", "a"),
        ("..", ""),
        (".", ""),
        ("///", ""),
        ("", ""),
        (".bashrc", "bashrc"),
        ("name. . .", "name"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("a\u2066b\u2069c\u200bd\ufeff.txt", "abcd.txt"),
        ("nul\x00l\x1b[31m.txt", "null[31m.txt"),
        ("two\r\nlines\u2028.txt", "two lines .txt"),
        ('a<b>c:d"e|f?g*.txt', "a_b_c_d_e_f_g_.txt"),
        ("CON", "_CON"),
        ("con.txt", "_con.txt"),
        ("Lpt1 .pdf", "_Lpt1 .pdf"),
        ("console.txt", "console.txt"),
        ("a  b.txt", "a b.txt"),
        ("\ud800.txt", "txt"),
    ],
)
def test_names_are_made_safe(raw: str, safe: str) -> None:
    assert safe_filename(raw) == safe


def test_a_long_name_keeps_its_suffix() -> None:
    name = safe_filename("ä" * 500 + ".docx")
    assert name.endswith("ä.docx")
    assert 198 <= len(name.encode()) <= 200


def test_a_long_suffix_is_cut() -> None:
    assert safe_filename("a." + "b" * 500) == "a." + "b" * 198


@given(st.text(max_size=400))
def test_any_name_is_safe_and_stays_what_it_is(raw: str) -> None:
    name = safe_filename(raw)
    assert len(name.encode()) <= 200
    assert not set(name) & set('/\\<>:"|?*\0\r\n')
    assert name == name.strip(". ")
    assert name.isprintable()
    assert safe_filename(name) == name
