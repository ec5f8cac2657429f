"""Sheets of OpenDocument and of old Excel files read as those of new ones."""

import base64
import datetime
import zipfile
import zlib

import pandas as pd
import pytest

import alliance_stats as als
from alliance_stats.load import formats

OLD = (
    b"eNrtWE1oE0EU/mY3aX7Iv6nYCiUUrFpTafWglzYqaEGwVC9KKWhqcgg1aUkCEi9Wa46C4MnqpVAPXqpe/EEFvXkQInoQBCHRoydB"
    b"wUOb9c3bXZvUFBpoC5H9lnkz82bevLfz3vzsvi8Fy/OPOytYhSGoqGoutNXwBCWXWQmA2jVNFs3cSUmz0FJwOcmRbXa88L5zSB9K"
    b"f1eg4JHtDVHgK6VxTGNkKpOMbCGOsQ1xIW0YFDaKPQX3KPnQwXaFmF5kuo3pQ+77kukR5txkOkh9y2IMpdhI72Ejjs8p3dzmIyrw"
    b"lGU+M2cA7Xgr4/jqLaH3teNoNhW/1GINXTYPFkAuHU5mkllZ9+M+3ECB0JdO9yUSZYTJ3Qv4pUWAn+a6fh2x+FvLFyD+73q+Yw2+"
    b"k5y4mn9bsQEz0C4IGcxFeNBjky02JOL5eBFejPEubkcyPZ0vLCEq44JXOkV8KkGdc8lcTgX1LxC9HE8R7e8/JOnAAbfc9XmXCNTt"
    b"El5eOx6iCfi5HOQVFCAjlx78+HBqYjR2njkzfDLo58cuaSw0XJMSJOyDbqpJe1liH9PrPOpOLncyDdNLUN4z2m4UTsxynxvc2kN6"
    b"DjI+xnbXlPdQufj99LOu4rfYXiovDleuhBc/xebRTedZguTlM4uoiIq5OxLPY2YujJ3mC9OOf3YdpxIwbNeMQ9KPZbnOCEGmek3O"
    b"jvhbU4y50msq1VRjLNFgLMFjydl5hR1sa5A9EML+khzprlOOIaUVHq1eWqmRDhl+crP0SZJWWE5toFVlObuhVa3ROsdaQ6xrSAnh"
    b"iVRBe+4KNi5msGbMrKDVYobnDI3mzIIFCxYsWLBgYfMh9K8A4wYIvu/Jm5rD+K+zTKlq/Sb5b3EGU/Tk6ZPyODKUZ1FoKn62wy7M"
    b"scQ6Zcz/hRJnSXsWk5hgOyabjl+6aYva91m3YGDjllCz+qvN2LnJ+v8AzJ0H3A=="
)
"""Written by xlwt 1.3: ids as text, a date cell, an empty cell, and a second sheet without cells."""
ROWS = [
    ["id", "sess", "day", "wai"],
    ["007", 1, datetime.date(2026, 1, 5), 5.5],
    ["007", 2, datetime.date(2026, 1, 12), None],
    ["012", 1, datetime.date(2026, 2, 1), 4],
]
ROLES = {"patient": "id", "session": "sess", "date": "day"}


def ods_cell(value):
    if value is None:
        return "<table:table-cell/>"
    if isinstance(value, datetime.date):
        return f'<table:table-cell office:value-type="date" office:date-value="{value}"/>'
    if isinstance(value, str):
        return f'<table:table-cell office:value-type="string"><text:p>{value}</text:p></table:table-cell>'
    return f'<table:table-cell office:value-type="float" office:value="{value}"/>'


def write_ods(path, sheets):
    urn = "urn:oasis:names:tc:opendocument:xmlns"
    spaces = " ".join(f'xmlns:{name}="{urn}:{name}:1.0"' for name in ("office", "table", "text"))
    tables = "".join(
        f'<table:table table:name="{name}">'
        + "".join(f"<table:table-row>{''.join(map(ods_cell, row))}</table:table-row>" for row in rows)
        + "</table:table>"
        for name, rows in sheets.items()
    )
    content = (
        f"<office:document-content {spaces}><office:body><office:spreadsheet>{tables}</office:spreadsheet>"
        "</office:body></office:document-content>"
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("content.xml", content)
        archive.writestr("META-INF/manifest.xml", f'<manifest:manifest xmlns:manifest="{urn}:manifest:1.0"/>')


@pytest.fixture(params=[".xls", ".ods", ".xlsx"])
def workbook(request, tmp_path):
    path = tmp_path / f"study{request.param}"
    if request.param == ".xls":
        path.write_bytes(zlib.decompress(base64.b64decode(OLD)))
    elif request.param == ".ods":
        write_ods(path, {"data": ROWS, "empty": []})
    else:
        with pd.ExcelWriter(path) as book:
            pd.DataFrame(ROWS[1:], columns=ROWS[0]).to_excel(book, sheet_name="data", index=False)
            pd.DataFrame().to_excel(book, sheet_name="empty", index=False)
    return path


def test_every_workbook_gives_the_same_sessions(workbook):
    sessions = als.read_sessions(workbook, **ROLES)
    assert sessions["patient"].tolist() == ["007", "007", "012"]
    assert sessions["session"].tolist() == [1, 2, 1]
    assert sessions["date"].tolist() == [pd.Timestamp(row[2]) for row in ROWS[1:]]
    assert sessions["wai"].fillna(-1).tolist() == [5.5, -1, 4]


def test_a_sheet_is_named_or_numbered(workbook):
    for sheet in ("data", 1):
        assert len(als.read_sessions(workbook, **ROLES, sheet=sheet)) == 3
    for sheet, says in (("dat", "Did you mean 'data'"), (3, "must be 1 to 2"), ("empty", "empty")):
        with pytest.raises(als.DataError, match=says):
            als.read_sessions(workbook, **ROLES, sheet=sheet)


def test_two_sheets_with_data_are_a_question(tmp_path):
    write_ods(tmp_path / "s.ods", {"a": ROWS, "b": ROWS})
    with pytest.raises(als.DataError, match=r"2 sheets with data: 'a', 'b'"):
        als.read_sessions(tmp_path / "s.ods", **ROLES)


def test_the_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    write_ods(tmp_path / "s.ods", {"a": ROWS})
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'alliance_stats\[sheets\]'"):
        als.read_sessions(tmp_path / "s.ods", **ROLES)
