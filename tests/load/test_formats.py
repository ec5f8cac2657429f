"""One simulated study written as every format comes back identical."""

import importlib.util
import shutil
import subprocess

import numpy as np
import pandas as pd
import pyreadstat
import pytest

import alliance_stats as als
from alliance_stats.load import formats

ROLES = {"patient": "id", "session": "sess", "therapist": "ther", "date": "day"}


@pytest.fixture(scope="module")
def study():
    made = als.simulate_study(n_patients=25, seed=4)
    table = made.sessions[["patient", "therapist", "session", "date", "alliance", "phq9"]]
    table = table.merge(made.items, on=["patient", "session"], how="left")
    table = table.rename(columns={"patient": "id", "therapist": "ther", "session": "sess", "date": "day"})
    table["id"] = [f"{number:03d}" for number in pd.factorize(table["id"])[0] + 7]  # leading zeros
    table["ther"] = pd.factorize(table["ther"])[0] + 1
    table["day"] = pd.to_datetime(table["day"])
    numbers = [name for name in table if name not in ("id", "ther", "sess", "day")]
    table[numbers] = table[numbers].astype(float).round(4)
    return table.reset_index(drop=True)


def expected(study):
    table = study.rename(columns={new: old for old, new in ROLES.items()})
    table = table.assign(date=table["date"].astype("datetime64[ns]")).sort_values(["patient", "session"])
    first = ["patient", "session", "therapist", "date"]
    return table[[*first, *(name for name in table if name not in first)]].reset_index(drop=True)


def same(got, want):
    got = got.assign(date=got["date"].astype("datetime64[ns]"))
    pd.testing.assert_frame_equal(got, want, check_dtype=False, rtol=1e-12)
    for name in want:
        assert got[name].dtype.kind == want[name].dtype.kind, name


def as_csv(study, path):
    study.to_csv(path, index=False)


def as_utf16(study, path):
    study.to_csv(path, index=False, encoding="utf-16")


def as_german(study, path):
    study.to_csv(path, index=False, sep=";", decimal=",", encoding="utf-8-sig")


def as_quoted(study, path):
    study.to_csv(path, index=False, quoting=1, lineterminator="\r\n")


def as_r(study, path):
    study.to_csv(path, index=False, na_rep="NA")


def as_tabs(study, path):
    study.to_csv(path, index=False, sep="\t")


def as_excel(study, path):
    study.to_excel(path, index=False)


def as_spss(study, path):
    pyreadstat.write_sav(study, str(path))


def as_stata(study, path):
    study.to_stata(path, write_index=False, version=118)


def as_transport(study, path):
    pyreadstat.write_xport(study.assign(day=study["day"].dt.strftime("%Y-%m-%d")), str(path), file_format_version=8)


def as_parquet(study, path):
    study.to_parquet(path)


def as_feather(study, path):
    study.to_feather(path)


WRITERS = {
    "a.csv": as_csv,
    "utf16.csv": as_utf16,
    "german.csv": as_german,
    "quoted.csv": as_quoted,
    "r.csv": as_r,
    "a.tsv": as_tabs,
    "a.xlsx": as_excel,
    "a.sav": as_spss,
    "a.zsav": as_spss,
    "a.dta": as_stata,
    "a.xpt": as_transport,
    "a.parquet": as_parquet,
    "a.feather": as_feather,
}


@pytest.mark.parametrize("name", WRITERS)
def test_round_trip(study, tmp_path, name):
    path = tmp_path / name
    WRITERS[name](study, path)
    same(als.read_sessions(path, **ROLES), expected(study))


@pytest.mark.parametrize("name", ["a.csv", "a.xlsx", "a.sav"])
def test_row_order_of_the_file_does_not_matter(study, tmp_path, name):
    path = tmp_path / name
    WRITERS[name](study.sample(frac=1, random_state=1), path)
    same(als.read_sessions(path, **ROLES), expected(study))


def test_round_trip_through_wide(study, tmp_path):
    long = study[["id", "sess", "alliance", "phq9", "wai_1", "wai_2"]]
    wide = long.pivot_table(index="id", columns="sess", values=["alliance", "phq9", "wai_1", "wai_2"], dropna=False)
    wide.columns = [f"{measure}_s{session}" for measure, session in wide.columns]
    wide.reset_index().to_csv(tmp_path / "wide.csv", index=False)
    got = als.read_sessions(tmp_path / "wide.csv", patient="id", wide="{measure}_s{session}")
    want = long.rename(columns={"id": "patient", "sess": "session"}).sort_values(["patient", "session"])
    joined = got.merge(want, on=["patient", "session"], suffixes=("", "_want"))
    # Sessions that were missed altogether after the last rating cannot be seen in a wide file.
    assert len(joined) == len(got)
    lost = want[~want.set_index(["patient", "session"]).index.isin(got.set_index(["patient", "session"]).index)]
    assert lost[["alliance", "phq9", "wai_1", "wai_2"]].isna().all(axis=None)
    for name in ("alliance", "phq9", "wai_1", "wai_2"):
        assert np.allclose(joined[name], joined[f"{name}_want"], equal_nan=True)


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="needs R with haven")
@pytest.mark.slow
def test_files_that_r_wrote(study, tmp_path):
    """haven and base R write the study; the same SESSIONS come back."""
    as_csv(study, tmp_path / "in.csv")
    code = f"""
    library(haven)
    d <- read.csv("{tmp_path}/in.csv", colClasses = c(id = "character"))
    d$day <- as.Date(d$day)
    write_sav(d, "{tmp_path}/r.sav"); write_dta(d, "{tmp_path}/r.dta")
    write.csv(d, "{tmp_path}/r.csv", row.names = FALSE)
    """
    done = subprocess.run(["Rscript", "-e", code], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(done.stderr[-200:])
    for name in ("r.sav", "r.dta", "r.csv"):
        same(als.read_sessions(tmp_path / name, **ROLES), expected(study))


# -- what statistics files carry -------------------------------------------------------------------------------
def spss_with_labels(path):
    table = pd.DataFrame({"id": [1, 1, 2], "sess": [1, 2, 1], "wai": [5.0, 9, -9], "att": [1.0, 2, 1]})
    pyreadstat.write_sav(
        table,
        str(path),
        variable_value_labels={"att": {1: "attended", 2: "no-show"}, "wai": {9: "not asked"}},
        missing_ranges={"wai": [9, -9]},
        column_labels={"wai": "Working alliance"},
    )


def test_spss_user_missing_is_missing_and_labels_can_be_read(tmp_path):
    path = tmp_path / "study.sav"
    spss_with_labels(path)
    got = als.read_sessions(
        path, patient="id", session="sess", attendance="att", labelled=["att"], ranges={"wai": [1, 7]}
    )
    assert got["attendance"].tolist() == ["attended", "no-show", "attended"]
    assert got["wai"].isna().tolist() == [False, True, True]
    codes = als.read_sessions(path, patient="id", session="sess")
    assert codes["att"].tolist() == [1, 2, 1]
    with pytest.raises(als.DataError, match="no value labels"):
        als.read_sessions(path, patient="id", session="sess", labelled=["sess"])


def test_stata_labels(tmp_path):
    path = tmp_path / "study.dta"
    table = pd.DataFrame({"id": [1, 1], "sess": [1, 2], "att": pd.Categorical(["attended", "late"])})
    table.to_stata(path, write_index=False)
    got = als.read_sessions(path, patient="id", session="sess", attendance="att", labelled=["att"])
    assert got["attendance"].tolist() == ["attended", "late"]


def test_a_missing_package_names_the_extra(tmp_path, monkeypatch):
    path = tmp_path / "study.sav"
    spss_with_labels(path)
    real = importlib.util.find_spec
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None if name == "pyreadstat" else real(name))
    with pytest.raises(ImportError, match=r"alliance_stats\[spss\]"):
        als.read_sessions(path, patient="id", session="sess")


def test_a_sheet_by_name_and_position(tmp_path):
    path = tmp_path / "study.xlsx"
    with pd.ExcelWriter(path) as book:
        pd.DataFrame({"id": [1, 1], "sess": [1, 2], "wai": [5, 4]}).to_excel(book, sheet_name="patients", index=False)
        pd.DataFrame({"id": [1, 1], "sess": [1, 2], "wai": [3, 2]}).to_excel(book, sheet_name="therapists", index=False)
    for sheet, wai in (("patients", [5, 4]), ("therapists", [3, 2]), (2, [3, 2])):
        assert als.read_sessions(path, patient="id", session="sess", sheet=sheet)["wai"].tolist() == wai


def test_nested_cells_ride_along_as_text(tmp_path):
    path = tmp_path / "study.parquet"
    pd.DataFrame({"id": [1, 1], "sess": [1, 2], "tags": [["a", "b"], []], "wai": [5.0, 4.0]}).to_parquet(path)
    got = als.read_sessions(path, patient="id", session="sess")
    assert got["wai"].tolist() == [5, 4]
    assert isinstance(got["tags"].iloc[0], str)


def test_rows_of_a_sheet_are_counted_over_gaps(tmp_path):
    import openpyxl

    book = openpyxl.Workbook()
    for row, cells in {1: ["id", "sess", "wai"], 2: [1, 1, 5], 6: [1, 2, "x"]}.items():
        for column, cell in enumerate(cells, start=1):
            book.active.cell(row, column, cell)
    book.save(tmp_path / "study.xlsx")
    with pytest.raises(als.DataError, match="row 6"):
        als.read_sessions(tmp_path / "study.xlsx", patient="id", session="sess", measures=["wai"])


def test_a_nullable_and_a_categorical_column(tmp_path):
    path = tmp_path / "study.parquet"
    table = pd.DataFrame({"id": ["a", "a"], "sess": [1, 2], "wai": pd.array([5, None], dtype="Int64")})
    table.assign(arm=pd.Categorical(["x", "y"])).to_parquet(path)
    got = als.read_sessions(path, patient="id", session="sess")
    assert got["wai"].isna().tolist() == [False, True]
    assert got["arm"].tolist() == ["x", "y"]


def test_codes_that_spss_declares_missing_are_counted(tmp_path):
    path = tmp_path / "study.sav"
    spss_with_labels(path)
    got = als.read_sessions(path, patient="id", session="sess")
    assert "2 cell(s) of 'wai' hold a code that SPSS declares missing (9, -9)" in str(got.attrs["report"]["notes"])


def test_a_code_without_label_is_not_made_missing(tmp_path):
    path = tmp_path / "study.sav"
    table = pd.DataFrame({"id": [1, 1, 2], "sess": [1, 2, 1], "arm": [1.0, 2, 3], "wai": [5.0, 4, 3]})
    pyreadstat.write_sav(table, str(path), variable_value_labels={"arm": {1: "a", 2: "b"}})
    with pytest.raises(als.DataError, match=r"1 cell.*'arm' hold a code without a value label.*row 3.*3"):
        als.read_sessions(path, patient="id", session="sess", labelled=["arm"])
    got = als.read_sessions(path, patient="id", session="sess", labelled=["arm"], missing_codes={"arm": [3]})
    assert got["arm"].fillna("").tolist() == ["a", "b", ""]


def test_an_impossible_date_in_an_unused_column_does_not_refuse_the_file(tmp_path):
    path = tmp_path / "study.sav"
    table = pd.DataFrame(
        {"id": [1, 1], "sess": [1, 2], "wai": [5.0, 4], "born": [1e16, 1.3e10], "day": [1.39e10, 1.3901e10]}
    )
    pyreadstat.write_sav(table, str(path), variable_format={"born": "DATE11", "day": "DATETIME20"})
    got = als.read_sessions(path, patient="id", session="sess", date="day")
    assert got["born"].isna().tolist() == [True, False]
    assert got["date"].dt.year.tolist() == [2023, 2023]
    assert "1 cell(s) of 'born' hold an impossible date" in str(got.attrs["report"]["warnings"])


def test_permission_and_paths(tmp_path, monkeypatch):
    path = tmp_path / "study.csv"
    path.write_text("id,sess,wai\n1,1,5\n")

    def forbidden(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(formats.Path, "read_bytes", forbidden)
    with pytest.raises(als.DataError, match=r"may not read.*permission denied.*Ask for the right"):
        als.read_sessions(path, patient="id", session="sess")
    with pytest.raises(als.DataError, match=r"cannot be opened|no file"):
        als.read_sessions(tmp_path / ("x" * 5000 + ".csv"), patient="id", session="sess")


def test_missing_for_a_reason_in_stata_is_counted(tmp_path):
    """8.98846567431158e307 + 2^1011 is how Stata stores .a in a double (Stata file formats, dta 118)."""
    path = tmp_path / "study.dta"
    table = pd.DataFrame({"id": [1, 1, 2], "sess": [1, 2, 1], "wai": [5.0, 7777.0, 4.0]})
    table.to_stata(path, write_index=False)
    content = path.read_bytes()
    code = bytes.fromhex("000000000001e07f")
    assert content.count(np.float64(7777).tobytes()) == 1
    path.write_bytes(content.replace(np.float64(7777).tobytes(), code))
    got = als.read_sessions(path, patient="id", session="sess")
    assert got["wai"].isna().tolist() == [False, True, False]
    assert "1 cell(s) of 'wai' hold a code that Stata declares missing (.a)" in str(got.attrs["report"]["notes"])
