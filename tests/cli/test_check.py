"""`alliance-stats check` as a dry run: every mistake in one round, each cause once, in the words of the study file."""

import re

import pandas as pd
import pytest

from alliance_stats.cli import main
from alliance_stats.report.checking import check_study
from alliance_stats.report.numbers import in_keys
from alliance_stats.report.sections import all_keys
from alliance_stats.report.writing import demo_study

DATA = demo_study().parent
GOOD = demo_study().read_text(encoding="utf-8").replace('"simulated_', f'"{DATA.as_posix()}/simulated_')


def check(folder, *changes):
    toml = GOOD
    for old, new in changes:
        assert old in toml, old
        toml = toml.replace(old, new)
    (folder / "study.toml").write_text(toml, encoding="utf-8")
    return check_study(folder / "study.toml")


MISTAKES = {
    "a section": (("[growth]", "[grwoth]"), ["'growth'"]),
    "the section that the others need": (("[detect]", "[detcet]"), ["'detect'"]),
    "a key": (('therapist = "therapist"', 'therapists = "therapist"'), ["'therapist'"]),
    "a key that is needed": (("rule = ", "rul = "), ["'rule'"]),
    "two columns": (
        ('patient = "patient"\nsession = "session"', 'patient = "id"\nsession = "sesion"'),
        ["patient = 'id'", "'session'"],
    ),
    "optional columns": (('date = "date"', 'date = "datum"'), ["'date'"]),
    "capitals": (('symptom = "phq9"\n\n[next', 'symptom = "PHQ9"\n\n[next'), ["Did you mean 'phq9'"]),
    "a column of a formula": (("rupture_open + ", "rupture_opne + "), ["'rupture_open'"]),
    "a measure not asked for": (("+ session", "+ alliance"), ["measures = [...]"]),
    "a two-sided formula": (('"rupture_open', '"dropout ~ rupture_open'), ["'rupture_open + repaired_before"]),
    "an instrument": (('"WAI-SR"', '"WAI-RS"'), ["'WAI-S'", "own.toml"]),
    "items": (('"wai_{item}"', '"WAI_{item}"'), ["12 of 12 items"]),
    "the wrong range": (('into = "alliance"', 'into = "alliance"\nanswers = [0, 4]'), ["outside 0 to 4"]),
    "a rule": (('"running_mean_2pooled"', '"running mean 2pooled"'), ["'running_mean_2pooled'"]),
    "a file": (("simulated_endings.csv", "simulated_ending.csv"), ["'simulated_endings.csv'"]),
    "options of two models": (
        ('model = "discrete"', 'model = "cocks"\npenalty = "frith"'),
        ["'cocks'", "Did you mean 'firth'"],
    ),
    "a cluster": (('cluster = "therapist"', 'cluster = "site"'), ["cluster = 'site'"]),
    "a covariate": (("[next_session] ", 'covariates = ["age"]\n[next_session] '), ["[patients]"]),
    "what [[keep]] keeps": (
        ("[detect] ", '[[keep]]\ncolumn = "attendence"\nequals = 1\nbecause = "came"\n[detect] '),
        ["'attendance'"],
    ),
    "one column for both": (
        ('symptom = "phq9"\n\n[next', 'symptom = "alliance"\n\n[next'),
        ["the same column, 'alliance'"],
    ),
    "too few draws": (("draws = 1000", "draws = 50"), ["draws=50 must be", "100 or more"]),
    "a question": (('question = "next_session"', 'question = "next session"'), ["'next_session'"]),
    "one question of two": (
        ('question = "next_session"', 'question = "dropout"\n[[multiverse]]\nquestion = "outcom"'),
        ["Did you mean 'outcome'"],
    ),
    "the file of codes": (("simulated_codes.csv", "simulated_code.csv"), ["'simulated_codes.csv'"]),
    "a code book": (("[codes] ", '[codes] \nbook = "4RS"\n'), ["3RS"]),
    "a way to repair": (("[codes] ", '[codes] \nrepair = "resolutoin"\n'), ["'resolution'"]),
    "a column of reports": (('"rupture_patient"', '"rupture_pat"'), ["'rupture_patient'"]),
    "whose reports": (("{ patient = ", "{ client = "), ["reports = {", "client"]),
    "an option of the model of repair": (("[codes] ", '[codes] \npenalty = "frith"\n'), ["'firth'"]),
    "a covariate of repair": (("[codes] ", '[codes] \nformula = "used_expresive"\n'), ["'used_expressive'"]),
    "no endings": (("[endings] ", "[figures2] "), ["[dropout] needs [endings]"]),
    "a key above the first section": (("[study]", "seed = 3\n[study]"), ["below [study]"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_with_what_to_do_and_without_its_consequences(name, tmp_path):
    change, says = MISTAKES[name]
    found = check(tmp_path, change)
    errors = found.loc[found["severity"] == "error"]
    said = " ".join(errors["problem"] + " " + errors["remedy"].map(lambda text: in_keys(text, all_keys())))
    for part in says:
        assert part in said
    assert len(errors) == (2 if name in ("two columns", "options of two models", "no endings") else 1)


def test_mistakes_of_all_kinds_come_in_one_round(tmp_path, capsys):
    changes = [change for name, (change, _) in MISTAKES.items() if name in ("a section", "capitals", "a file", "a key")]
    check(tmp_path, *changes)
    assert main(["check", str(tmp_path / "study.toml")]) == 2
    said = capsys.readouterr().out
    for part in ("'growth'", "'phq9'", "'simulated_endings.csv'", "'therapist'", "4 error(s)"):
        assert part in said


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("score = “alliance”", "typographic quotes"),
        ("score = alliance", "Text goes in quotes"),
        ("log = True", "small letters"),
        (r'file = "C:\data\s.csv"', "single quotes"),
    ],
)
def test_what_usually_breaks_toml_is_named(line, says, tmp_path, capsys):
    (tmp_path / "study.toml").write_text(f"[detect]\n{line}\n", encoding="utf-8")
    assert main(["check", str(tmp_path / "study.toml")]) == 2
    assert says in capsys.readouterr().err


def test_reading_alone_is_enough_and_a_cause_is_one_line(tmp_path, capsys):
    rows = [f"p{p},{s},{'n/q' if s == 3 else 5 + s % 2}" for p in range(40) for s in range(1, 6)]
    (tmp_path / "s.csv").write_text("\n".join(["id,sess,wai", *rows]))
    (tmp_path / "study.toml").write_text('[read]\nfile = "s.csv"\npatient = "id"\nsession = "sess"\nmeasures = ["wai"]')
    assert main(["check", str(tmp_path / "study.toml")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert re.search(r"40 cells of 'wai'.*Row 4 \(patient p0, session 3\): 'n/q'.*and 37 more", lines[0])
    assert "missing_codes = ['n/q']" in lines[0]


def test_all_that_is_wrong_with_the_endings(tmp_path):
    (tmp_path / "e.csv").write_text("patient,ending\np001,gone\np002,dropout\np002,dropout\nzz,completed\n")
    found = check(tmp_path, (f'"{DATA.as_posix()}/simulated_endings.csv"', '"e.csv"'))
    said = " ".join(found["problem"] + found["remedy"])
    for part in ("must be one of", "codes={'gone': ...}", "a patient twice", "does not have", "118 patient(s)"):
        assert part in said


def test_a_rule_that_looks_ahead_is_said_before_the_report(tmp_path):
    found = check(tmp_path, ('"running_mean_2pooled"', '"own_mean_2sd"'))
    assert "prediction_rule" in " ".join(found["remedy"])


def test_what_looks_wrong_with_symptoms_endings_and_therapists_is_said(tmp_path):
    sessions = pd.read_csv(DATA / "simulated_sessions.csv", dtype={"session": int})
    sessions.loc[7, "phq9"] = 31
    sessions.loc[[3, 9], "therapist"] = None
    sessions.to_csv(tmp_path / "s.csv", index=False)
    endings = pd.read_csv(DATA / "simulated_endings.csv")
    endings.loc[1, "last_session"] += 50
    endings.to_csv(tmp_path / "e.csv", index=False)
    files = [(f'"{DATA.as_posix()}/simulated_{name}.csv"', f'"{name[0]}.csv"') for name in ("sessions", "endings")]
    found = check(tmp_path, *files).set_index("problem")
    assert not found["severity"].eq("error").any()
    said = {
        "'phq9' leaves 0 to 27, the range": "session 8: 31",
        "'last_session' lies after the last row of 1 patient, by up to 50 sessions": "patient p002",
        "2 row(s) have no therapist": "row 5 (patient p001, session 4)",
    }
    for problem, place in said.items():
        row = found.loc[found.index.str.startswith(problem)]
        assert len(row) == 1, problem
        assert place in row["places"].iloc[0]
