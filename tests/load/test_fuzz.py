"""Whatever the bytes or the table, reading ends in SESSIONS or a DataError; ten minutes in all, `slow`.

Set FUZZ_SECONDS to run each fuzzer longer or shorter.
"""

import os
import random
import time

import numpy as np
import openpyxl
import pandas as pd
import pyreadstat
import pytest

import alliance_stats as als

SECONDS = float(os.environ.get("FUZZ_SECONDS", "300"))
SEED_FILES = [
    "id,sess,wai,th,day\n1,1,5,a,2024-01-03\n1,2,4,a,2024-01-10\n2,1,6,b,2024-01-03\n2,2,7,b,2024-01-12\n",
    'id;sess;wai;note\n"007";1;5,5;"late; angry"\n"007";2;4;"a\nb"\n"008";1;6;""\n',
    "id\tsess\twai\nZoë\t1\t5\nZoë\t2\t-9\n🙂\t1\t99\n",
    "id,wai_s1,wai_s2,wai_s3\n1,5,4,-9\n2,6,,\n3,,,\n",
]
OPTIONS = [
    {"patient": "id", "session": "sess"},
    {"patient": "id", "session": "sess", "measures": ["wai"], "ranges": {"wai": [1, 7]}, "missing_codes": [-9, "99"]},
    {"patient": "id", "session": "sess", "therapist": "th", "date": "day"},
    {"patient": "id", "date": "day"},
    {"patient": "id", "wide": "{measure}_s{session}"},
    {"patient": "id", "session": "sess", "encoding": "cp1252", "duplicates": "last"},
    {"patient": "id", "session": "sess", "session_format": "S{session}", "header_row": 2},
    {"patient": "id", "session": "sess", "only": {"th": ["a", ""]}, "not_sessions": [""]},
    {"patient": "id", "session": "sess", "duplicates": "merge", "date": "day", "date_format": "excel"},
    {"patient": "id", "session": "sess", "duplicates": "merge", "therapist": "th"},
    {"patient": "id", "session": "sess", "duplicates": "first"},
]
FITTING = [2, 0, 1, 4]  # the options that suit each of the files
PIECES = [
    b",",
    b";",
    b"\t",
    b'"',
    b"\n",
    b"\r",
    b"\r\n",
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"1e999",
    b"-9",
    b"nan",
]
PIECES += [
    b"NA",
    b"inf",
    b"007",
    b"99999999999999999999999",
    b"0x1f",
    b"1_0",
    b" ",
    b"id",
    b"sess",
    "ë🙂".encode(),
    b"2024-13-45",
]
CELLS = [
    None,
    float("nan"),
    float("inf"),
    -9,
    99,
    1,
    2.5,
    1e300,
    -(2**63),
    "7",
    "007",
    "",
    " ",
    "NA",
    "a,b",
    '"',
    "ë",
    True,
]
CELLS += [pd.Timestamp("2024-01-03"), pd.NaT, 2**70, "1,5", "2024-01-03", "x" * 300, pd.NA, b"raw", (1, 2)]


def survives(path, options):
    """Read and check; anything but SESSIONS or a DataError is a failure. True where it could be read."""
    found = als.check_file(path, **options)
    refused = bool((found["severity"] == "error").any())
    sessions = outcome(path, options)
    assert refused == (sessions is None), "read_sessions and check_file disagree"
    if sessions is None:
        return False
    assert not sessions.duplicated(["patient", "session"]).any()
    assert sessions["session"].dtype == np.int64
    return True


def outcome(path, options):
    """SESSIONS, or None where a DataError of bearable length was raised."""
    try:
        return als.read_sessions(path, **options)
    except als.DataError as error:
        return None if len(str(error)) < 5000 else str(error)


def mutated(content, rng):
    data = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        at = rng.randint(0, len(data))
        kind = rng.randint(0, 4)
        if kind == 0:
            data[at:at] = rng.choice(PIECES)
        elif kind == 1 and data:
            del data[at : at + rng.randint(1, 12)]
        elif kind == 2 and at < len(data):
            data[at] = rng.randint(0, 255)
        elif kind == 3:
            end = min(len(data), at + rng.randint(1, 30))
            data[at:at] = data[at:end]
        else:
            data[at : at + 3] = rng.choice(PIECES)
    return bytes(data)


def fuzz_bytes(folder, seconds, seed):
    rng = random.Random(seed)
    path = folder / "fuzz.csv"
    read = tried = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        which = rng.randrange(len(SEED_FILES))
        content = SEED_FILES[which].encode(rng.choice(["utf-8"] * 6 + ["utf-16", "latin-1"]), "replace")
        path.write_bytes(mutated(content, rng))
        options = OPTIONS[FITTING[which]] if rng.random() < 0.7 else rng.choice(OPTIONS)
        read += survives(path, options)
        tried += 1
    return tried, read


def fuzz_tables(folder, seconds, seed):
    rng = random.Random(seed)
    path = folder / "fuzz.xlsx"
    read = tried = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        names = ["id", "sess", "wai", "th", "day"]
        rows = [
            [rng.randint(1, 3), number, rng.randint(1, 7), "a", pd.Timestamp("2024-01-03")] for number in range(1, 7)
        ]
        for _ in range(rng.randint(0, 5)):
            rng.choice(rows)[rng.randint(0, 4)] = rng.choice(CELLS)
        if rng.random() < 0.3:
            tried += 1
            read += survives_table(pd.DataFrame(rows, columns=names), folder, rng)
            continue
        book = openpyxl.Workbook()
        for row in [names, *rows]:
            book.active.append([cell_for_sheet(cell) for cell in row])
        book.save(path)
        read += survives(path, rng.choice([*OPTIONS[:4], *OPTIONS[-3:]]))
        tried += 1
    return tried, read


def cell_for_sheet(cell):
    if (
        cell is pd.NaT
        or cell is pd.NA
        or isinstance(cell, bytes | tuple)
        or (isinstance(cell, float) and not np.isfinite(cell))
    ):
        return None
    return str(cell) if isinstance(cell, int) and abs(cell) > 2**53 else cell


def survives_table(table, folder, rng):
    """The same table by way of Parquet, Stata or SPSS where these formats can hold it."""
    for name in table.columns:
        kinds = {type(cell) for cell in table[name]}
        if len(kinds) > 1:
            table[name] = table[name].map(
                lambda cell: None if pd.api.types.is_scalar(cell) and pd.isna(cell) else str(cell)
            )
    path = folder / ("fuzz.parquet" if rng.random() < 0.5 else "fuzz.sav")
    try:
        if path.suffix == ".parquet":
            table.to_parquet(path)
        else:
            pyreadstat.write_sav(table, str(path))
    except (ValueError, OverflowError, TypeError, pyreadstat.PyreadstatError):
        return False  # not a table this format can hold
    return survives(path, rng.choice([*OPTIONS[:4], *OPTIONS[-3:]]))


def test_a_few_seconds_of_bytes(tmp_path):
    tried, read = fuzz_bytes(tmp_path, 2, seed=1)
    assert tried > 20
    assert 0 < read < tried


@pytest.mark.slow
@pytest.mark.parametrize("seed", [11])
def test_bytes(tmp_path, seed):
    tried, read = fuzz_bytes(tmp_path, SECONDS, seed)
    print(f"{tried} files, {read} readable")
    assert 0 < read < tried


@pytest.mark.slow
@pytest.mark.parametrize("seed", [12])
def test_tables(tmp_path, seed):
    tried, read = fuzz_tables(tmp_path, SECONDS, seed)
    print(f"{tried} tables, {read} readable")
    assert 0 < read < tried
