"""The report on the shipped study: the same bytes twice, every number from a table, every sentence from the fit."""

import dataclasses
import hashlib
import html
import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import alliance_stats as als
from alliance_stats.cli import main
from alliance_stats.report import numbers as printing
from alliance_stats.report import part_answers, part_ruptures
from alliance_stats.report.writing import demo_study
from alliance_stats.rupture.chance.fit_check import MISFIT

ROOT = Path(__file__).parents[2]
DATA_FILES = ("simulated_sessions.csv", "simulated_endings.csv", "simulated_codes.csv")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report on the shipped study, made once."""
    out = tmp_path_factory.mktemp("report") / "out"
    assert main(["report", str(demo_study()), "--out", str(out)]) == 0
    return out


def methods(folder):
    page_text = (folder / "report.html").read_text(encoding="utf-8")
    text = re.search(r'<div class="methods">(.*?)</div>', page_text, re.DOTALL)[1]
    return html.unescape(re.sub(r"</?p>", " ", text)).replace("\N{NO-BREAK SPACE}", " ")


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_second_run_in_another_process_gives_the_same_bytes(report, tmp_path):
    environment = {**os.environ, "PYTHONHASHSEED": "7", "MPLBACKEND": "svg", "COLUMNS": "40"}
    command = [sys.executable, "-m", "alliance_stats", "report", str(demo_study()), "--out", "again", "--jobs", "2"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    first, second = files(report), files(tmp_path / "again")
    assert set(first) == set(second)
    assert [name for name in first if first[name] != second[name]] == []


def test_the_page_needs_nothing_from_outside(report):
    text = (report / "report.html").read_text(encoding="utf-8")
    assert re.findall(r'(?:src|href)="(?!#|data:image/svg)', text) == []
    assert not re.search(r"url\(|@import|<script|<link", text)
    assert text.count("<img ") == len(list((report / "figures").glob("*.svg")))
    assert all(re.findall(r'<img [^>]*alt="(.*?)"', text)), "every figure says in words what it shows"


def test_the_manifest_lists_every_file_as_it_is(report):
    manifest = json.loads((report / "manifest.json").read_text(encoding="utf-8"))
    found = files(report)
    listed = {output["file"]: output["sha256"] for output in manifest["outputs"]}
    assert listed == {
        name: hashlib.sha256(content).hexdigest() for name, content in found.items() if name != "manifest.json"
    }
    inputs = {entry["file"]: entry["sha256"] for entry in manifest["inputs"]}
    for name in ("simulated_study.toml", *DATA_FILES):
        assert inputs[name] == hashlib.sha256((ROOT / "data" / name).read_bytes()).hexdigest()
    assert manifest["seed"] == 1
    assert {"numpy", "pandas", "matplotlib"} <= set(manifest["packages"])
    assert manifest["flow"][0]["sessions"] == 1651
    for name, n_rows in manifest["rows_out"].items():
        assert len(pd.read_csv(report / "tables" / f"{name}.csv")) == n_rows


MODELS = ["repair", "outcome", "next_session", "next_session_marked", "growth", "dynamics", "dropout", "dropout_marked"]
PRINTERS = (
    printing.number,
    printing.percent,
    printing.p_value,
    printing.brief,
    printing.tally,
    printing.one_decimal,
    printing.two_decimals,
    printing.correlation,
    printing.whole,
    lambda share: printing.percent(share, 0),
    *(partial(printing.number, places=places) for places in (2, 3, 4)),
)


def test_every_cited_number_is_that_cell_of_its_table(report):
    cited = pd.read_csv(report / "tables/cited_numbers.csv", dtype=str, keep_default_na=False)
    assert len(cited) > 60
    for text, table, row, column in cited.itertuples(index=False, name=None):
        kept = pd.read_csv(report / f"tables/{table}.csv")
        cells = kept.loc[kept.iloc[:, 0].astype(str) == row, column]
        cell = pd.to_numeric(cells).item()
        whole = [int(cell)] if cell == cell and float(cell).is_integer() else []
        assert text in {show(value) for show in PRINTERS for value in (cell, *whole)}, (text, table, row, column)


def test_every_number_of_the_methods_paragraph_comes_from_a_table_or_the_settings(report):
    text = methods(report)
    cited = pd.read_csv(report / "tables/cited_numbers.csv", dtype=str, keep_default_na=False)["text"]
    for name in ("phq9", "running_mean_2pooled", "(Cranford et al., 2006)", "Simonsohn et al., 2020", "5% false"):
        text = text.replace(name, "")
    text = re.sub(r"tests: t, [^;]*;|clustered by therapist \([^)]*\)", "", text)  # words of models.csv
    from_settings = {"95%", "2", "1,000", "1", "3"}  # level, the rule's size, draws, lag, sessions to repair
    numbers_in = re.findall(r"(?<![\w.])−?[\d,]*\.?\d+%?(?![\w])", text)
    unexplained = {one for one in numbers_in if one.strip(",") not in set(cited) | from_settings}
    assert {one for one in unexplained if f"< {one}" not in set(cited)} == set()


def test_the_paragraph_is_alive(report, tmp_path):
    """Another study file gives other numbers: nothing is written into the text."""
    toml = demo_study().read_text(encoding="utf-8")
    toml = toml.replace('rule = "running_mean_2pooled"', 'rule = "previous_2pooled"').replace(
        "draws = 1000", "draws = 200"
    )
    (tmp_path / "study.toml").write_text(toml, encoding="utf-8")
    for name in DATA_FILES:
        lines = (ROOT / "data" / name).read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if line[:4] not in {"p001", "p002", "p003"}]
        (tmp_path / name).write_text("\n".join(kept), encoding="utf-8")
    assert main(["report", str(tmp_path / "study.toml"), "--out", str(tmp_path / "out")]) == 0
    text = methods(tmp_path / "out")
    assert "117 patients" in text
    assert "previous_2pooled" in text
    assert "200 simulated studies" in text
    assert "120 patients" not in text


def test_few_events_are_said_before_the_numbers_and_in_the_text(report):
    """One dropout of the shipped study happens with a rupture open; by the probabilities no effect can be known."""
    page = html.unescape((report / "report.html").read_text(encoding="utf-8")).replace("\N{NO-BREAK SPACE}", " ")
    warned = page[page.index("Before you trust these numbers") : page.index("Methods and main results")]
    assert "few events: 1 event with open rupture" in warned
    assert "few events: the effect of open rupture cannot be known" in warned
    terms = pd.read_csv(report / "tables/dropout_terms.csv", index_col="term")
    assert terms.loc["rupture_open", ["estimate", "p_value", "ci_low"]].isna().all()
    assert "open rupture (cannot be known: " in page
    assert "open rupture, cannot be known: " in methods(report)
    assert "21 events for 3 coefficients" in warned
    assert "few events: do not rest a conclusion on it" in methods(report)


def test_the_answers_lead_and_are_cells_of_the_tables(report):
    answers = pd.read_csv(report / "tables/answers.csv", index_col="question", keep_default_na=False, na_values=[""])
    for question, table, row, column in (
        ("marked ruptures beyond chance, at least", "chance", "ruptures", "at_least"),
        ("patients with a rupture", "probable", "patients with a rupture", "estimate"),
        ("ruptures repaired in therapy", "rupture_endings", "repaired", "estimate"),
        ("alliance → later phq9", "dynamics_paths", "alliance → later phq9", "estimate"),
        ("alliance → next phq9", "next_session_terms", "alliance_within", "estimate"),
        ("open rupture → next phq9", "next_session_terms", "rupture_open", "estimate"),
        ("earlier repair → dropout", "dropout_ratios", "repaired_before", "ratio"),
    ):
        kept = pd.read_csv(report / f"tables/{table}.csv", index_col=0)
        assert answers.loc[question, "estimate"] == kept.loc[row, column]
    unknown = answers.loc["open rupture → dropout"]
    assert pd.isna(unknown["estimate"])
    assert unknown["remark"] == "cannot be known: too few dropouts in that state"
    page = html.unescape((report / "report.html").read_text(encoding="utf-8"))
    assert page.index("What this study answers") < page.index("Before you trust these numbers")


def test_an_interval_wider_than_the_symptoms_is_no_answer():
    """As in a study of 43 patients with seven sessions in a rupture: -309 points of a scale of 63."""
    terms = pd.DataFrame({"term": ["rupture_open"], "estimate": [-309.0], "ci_low": [-905.0], "ci_high": [287.0]})
    sections = {"outcome": {"symptom": "bdi"}, "next_session": {}}
    study = SimpleNamespace(has=sections.__contains__, section=sections.__getitem__)
    sessions = pd.DataFrame({"alliance": [1.0, 2.0, 3.0], "bdi": [0.0, np.nan, 63.0]})
    run = SimpleNamespace(study=study, tables={"next_session_terms": terms}, sessions=sessions)
    run.score, run.trusted = "alliance", True
    found = pd.DataFrame(part_answers._answers(run)).set_index("question").loc["open rupture → next bdi"]
    assert np.isnan(found["estimate"])
    assert found["remark"] == "cannot be known: the interval is wider than all that bdi can change"
    terms["ci_low"], terms["ci_high"] = -5.0, 3.0
    found = pd.DataFrame(part_answers._answers(run)).set_index("question").loc["open rupture → next bdi"]
    assert found["estimate"] == -309


def test_where_nothing_is_vouched_for_no_number_passes_for_an_answer(tmp_path, monkeypatch):
    """The marks of the rule are in tables of their own name; the other answers say why they are unknown."""

    def misfitting(*args, **options):
        chance = als.chance_level(*args, **options)
        return dataclasses.replace(chance, verdict=MISFIT, table=chance.table.assign(verdict=MISFIT))

    monkeypatch.setattr(part_ruptures, "chance_level", misfitting)
    world = {"rupture_rate": 0.0, "n_therapists": 5, "dropout": 0.4}
    study = als.simulate_study(n_patients=40, seed=4, **world)
    study.sessions.to_csv(tmp_path / "sessions.csv", index=False)
    study.endings.to_csv(tmp_path / "endings.csv", index=False)
    (tmp_path / "study.toml").write_text(
        '[read]\nfile = "sessions.csv"\npatient = "patient"\nsession = "session"\ntherapist = "therapist"\n'
        '[endings]\nfile = "endings.csv"\n[detect]\nscore = "alliance"\nrule = "previous_2pooled"\n'
        '[chance]\ndraws = 100\n[outcome]\nsymptom = "phq9"\n[next_session]\n'
        '[dropout]\nformula = "rupture_open + session"\n',
        encoding="utf-8",
    )
    main(["report", str(tmp_path / "study.toml"), "--out", str(tmp_path / "out")])
    tables = {path.stem: pd.read_csv(path) for path in (tmp_path / "out/tables").iterdir()}
    assert {"next_session_marked_terms", "dropout_marked_terms", "dropout_marked_ratios"} <= set(tables)
    assert not {"next_session_terms", "dropout_terms", "dropout_ratios", "rupture_endings"} & set(tables)
    of_ruptures = tables["probable"].loc[tables["probable"]["note"].notna()]
    assert of_ruptures[["count", "estimate", "ci_low", "ci_high"]].isna().all(axis=None)
    assert of_ruptures["note"].str.startswith("cannot be known. ").all()
    answers = tables["answers"].set_index("question")
    assert answers.index.tolist() == [
        "marked ruptures beyond chance, at least",
        "patients with a rupture", "ruptures repaired in therapy", "open rupture → next phq9", "open rupture → dropout"
    ]  # fmt: skip
    assert answers["estimate"].isna().all()
    why = "cannot be known: " + pd.Series(["the model without ruptures does not fit"] + 4 * ["no sign of ruptures"])
    assert answers["remark"].tolist() == why.tolist()
    assert tables["chance"]["at_least"].isna().all()
    assert "How many are more than chance cannot be known." in methods(tmp_path / "out")
    assert "95% sure" not in methods(tmp_path / "out")
    assert tables["ruptures_beside"]["by_chance"].isna().all()
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert page.count("<dd>not known</dd>") == 2, "neither the expected ruptures nor what chance gives"
    assert methods(tmp_path / "out").count("which show a part of an effect") == 2


def test_every_rule_at_once_and_how_ruptures_end_are_said(report):
    text = methods(report)
    joint = pd.read_csv(report / "tables/multiverse_next_session_joint.csv", index_col="name")
    assert f"joint p = {joint.loc['open rupture, mean z', 'p_value']:.3f}".replace("0.", ".") in text
    shares = pd.read_csv(report / "tables/recovery_shares.csv")
    assert shares["share"].sum() == pytest.approx(1)
    assert f"past the level before in {100 * shares['share'][0]:.1f}%" in text
    assert pd.read_csv(report / "tables/rupture_endings.csv")["estimate"].sum() == pytest.approx(1)
    assert "Of all ruptures, found or not" in text


def test_terms_are_words_and_numbers_have_the_decimals_of_their_interval(report):
    text = html.unescape((report / "report.html").read_text(encoding="utf-8")).split("The study file's settings")[0]
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", text)
    assert not [cell for cell in cells if re.fullmatch(r"[a-z]+_\w+(:\w+)?", cell)]
    intervals = [re.fullmatch(r"\[(−?[\d,]*\.\d+), (−?[\d,]*\.\d+)\]", cell) for cell in cells]
    assert all(len(one[1].split(".")[1]) == len(one[2].split(".")[1]) for one in intervals if one)


def test_ids_stay_out_unless_asked_for(report):
    for name, content in files(report).items():
        if name.endswith((".csv", ".html", ".svg")):
            assert not re.search(rb"\bp\d{3}\b", content), name
    patients = pd.read_csv(report / "tables/patients.csv")
    assert patients["patient"].str.fullmatch(r"P\d{3}").all()
    assert patients["therapist"].str.fullmatch(r"T\d{2}").all()


def test_pseudonyms_are_the_same_in_every_table(report):
    patients = pd.read_csv(report / "tables/patients.csv").set_index("patient")
    events = pd.read_csv(report / "tables/events.csv")
    assert events.groupby("patient").size().to_dict() == patients["n_ruptures"].loc[lambda n: n > 0].to_dict()


# -- parts that the data do not allow --------------------------------------------------------------------------


def test_a_part_that_cannot_be_done_is_said_and_the_rest_is_there(tmp_path, capsys):
    rows = [f"p{p},{s},{5 + (p + s) % 2},{10 + s}" for p in range(4) for s in range(1, 7)]
    (tmp_path / "s.csv").write_text("\n".join(["patient,session,alliance,phq9", *rows]))
    (tmp_path / "study.toml").write_text(
        '[read]\nfile = "s.csv"\npatient = "patient"\nsession = "session"\n'
        '[detect]\nscore = "alliance"\nrule = "own_median_2pooled"\n[outcome]\nsymptom = "phq9"\n'
    )
    assert main(["report", str(tmp_path / "study.toml"), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert "could not be done" in said.err
    assert "could not be done" in (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "could not be done" in (tmp_path / "out/manifest.json").read_text(encoding="utf-8")
    assert (tmp_path / "out/tables/ruptures.csv").exists()


def test_columns_may_have_any_name(tmp_path, capsys):
    for name in DATA_FILES:
        text = (ROOT / "data" / name).read_text(encoding="utf-8").replace("phq9", "PHQ 9 (Summe) $", 1)
        (tmp_path / name).write_text(text, encoding="utf-8")
    toml = demo_study().read_text(encoding="utf-8").replace('"phq9"', '"PHQ 9 (Summe) $"')
    toml = toml.replace('into = "alliance"', 'into = "Allianz, gesamt"')
    toml = toml.replace('score = "alliance"', 'score = "Allianz, gesamt"').replace("draws = 1000", "draws = 100")
    (tmp_path / "study.toml").write_text(toml, encoding="utf-8")
    assert main(["report", str(tmp_path / "study.toml"), "--out", str(tmp_path / "out")]) == 0
    assert "could not be done" not in capsys.readouterr().err
    assert (tmp_path / "out/figures/next_session.svg").exists()


def test_the_coded_ruptures_are_those_of_the_functions(report):
    sessions = als.read_sessions(ROOT / "data/simulated_sessions.csv", patient="patient", session="session")
    codes = als.load.read_codes(ROOT / "data/simulated_codes.csv", sessions)
    coded = als.coding.consensus(als.coding.code_sessions(codes))
    events = als.events_from_codes(coded, sessions)
    kept = pd.read_csv(report / "tables/coded_events.csv")
    assert sorted(kept["onset"]) == sorted(events["onset"])
    rows = als.coding.repair_intervals(sessions, events, coded=coded)
    fit = als.fit_dropout(
        " + ".join(name for name in rows if name.startswith("used_")),
        rows,
        ending="repaired",
        baseline="dummies",
        cluster="patient",
    )
    terms = pd.read_csv(report / "tables/repair_terms.csv").set_index("term")["estimate"]
    assert terms["used_expressive"] == pytest.approx(fit.tidy().set_index("term")["estimate"]["used_expressive"])
    page = html.unescape(re.sub("<[^>]+>", " ", (report / "report.html").read_text(encoding="utf-8")))
    for heading in ("Coded ruptures", "The coders", "Codes beside scores", "What goes with repair", "Who noticed"):
        assert heading in page
    assert f"{len(events)} ruptures began in them" in page


def test_a_covariate_of_the_sessions_may_be_in_the_formula_of_repair(shipped):
    status, out = shipped(('file = "simulated_codes.csv"', 'file = "simulated_codes.csv"\nformula = "phq9"\nlag = 1'))
    assert status == 0
    terms = pd.read_csv(out / "tables/repair_terms.csv")["term"]
    assert "phq9" in set(terms)
    assert not terms.str.startswith("used_").any()


# -- sentences come from the fitted models -------------------------------------------------------------------------


@pytest.fixture
def shipped(tmp_path):
    """A function that writes the report on the shipped study with changes of its study file, and returns its text."""

    def run(*changes, out="out"):
        toml = demo_study().read_text(encoding="utf-8").replace("draws = 1000", "draws = 100")
        for old, new in changes:
            assert old in toml
            toml = toml.replace(old, new)
        (tmp_path / "study.toml").write_text(toml, encoding="utf-8")
        for name in DATA_FILES:
            (tmp_path / name).write_bytes((ROOT / "data" / name).read_bytes())
        status = main(["report", str(tmp_path / "study.toml"), "--out", str(tmp_path / out)])
        return status, tmp_path / out

    return run


def test_the_methods_name_only_what_was_fitted(report, shipped):
    text = methods(report)
    assert "the number of rated sessions" not in text.split("The last")[0]
    assert "in 114 patients of 12 therapists (linear mixed model, REML, with random intercepts for therapists" in text
    assert "1,084 sessions of" in text
    assert "random intercepts and slopes of session number for patients" in text
    assert "Satterthwaite df" in text
    assert "clustered by therapist" in text
    bare = (
        (
            "[next_session]                        # fit_next_session",
            "[next_session]\nslope = false\ncentre = 'so_far'\ninitial = false\ntherapist = 'none'",
        ),
        (
            'symptom = "phq9"\n\n[next_session]',
            'symptom = "phq9"\nexposure = "n_rated"\ntherapist = "none"\n\n[next_session]',
        ),
        ('cluster = "therapist"', ""),
    )
    status, out = shipped(*bare)
    assert status == 0
    text = methods(out)
    assert "slopes of session number for patients" not in text.split("Change of the")[0]
    assert "relative to the patient's own mean so far" in text
    assert "first phq9, alliance" not in text, "initial = false: the first score is not among the predictors"
    assert "(ordinary least squares; tests: t, n − p df; standard errors: model-based)" in text
    assert "clustered by therapist" not in text


def test_numbers_of_each_model_are_in_its_sentence(report):
    models = pd.read_csv(report / "tables/models.csv", index_col="name")
    text = methods(report)
    assert models.index.tolist() == MODELS
    for name in ("next_session", "growth", "dropout"):
        one = models.loc[name]
        counts = (
            f"{one['sessions']:,.0f} sessions of {one['patients']:.0f} patients of {one['therapists']:.0f} therapists"
        )
        assert counts in text
    low, high = pd.read_csv(report / "tables/dropout_terms.csv")["df"].agg(["min", "max"])
    assert models.loc["dropout", "tests"] in {f"t, {low:.3g} df", f"t, {low:.3g}–{high:.3g} df"}
    assert f"tests: {models.loc['dropout', 'tests']}; standard errors: {models.loc['dropout', 'errors']}" in text


def test_one_flipped_series_is_not_regressed_on_itself(shipped, capsys):
    flip = '[[flip]]\ncolumn = "phq9"\ninto = "wellbeing"\nlow = 0\nhigh = 27\n\n[endings]'
    formula = ('formula = "rupture_open + repaired_before + session"', 'formula = "session"')
    status, out = shipped(("[endings]", flip), ('score = "alliance"', 'score = "wellbeing"'), formula)
    said = capsys.readouterr().err
    assert status == 1
    assert said.count("is a linear function of 'wellbeing'") == 4
    tables = {path.stem for path in (out / "tables").iterdir()}
    assert not tables & {"outcome_terms", "next_session_terms", "growth_terms"}
    assert {"chance", "dropout_terms"} <= tables, "what can be asked of one series is there"
    assert "reversed within its range" in methods(out)


def test_events_too_few_to_draw_are_in_the_tables_only(tmp_path):
    course = [5, 5, 5, 2, 5, 5]
    rows = [f"p{p},{s},{course[s - 1] if p < 2 else 5 + 0.1 * (s % 2)}" for p in range(8) for s in range(1, 7)]
    (tmp_path / "s.csv").write_text("\n".join(["patient,session,alliance", *rows]))
    (tmp_path / "e.csv").write_text(
        "\n".join(["patient,ending", *(f"p{p},{'dropout' if p == 0 else 'completed'}" for p in range(8))])
    )
    (tmp_path / "study.toml").write_text(
        '[read]\nfile = "s.csv"\npatient = "patient"\nsession = "session"\n[endings]\nfile = "e.csv"\n'
        '[detect]\nscore = "alliance"\nrule = "previous_2pooled"\n[chance]\ndraws = 100\n'
    )
    main(["report", str(tmp_path / "study.toml"), "--out", str(tmp_path / "out")])
    assert len(pd.read_csv(tmp_path / "out/tables/events.csv")) == 2
    drawn = {path.stem for path in (tmp_path / "out/figures").iterdir()}
    assert not drawn & {"prevalence", "onset_aligned"}


# -- ids and spreadsheets ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["score", "detect"])
def test_score_and_detect_keep_the_promise_of_pseudonyms(command, report, shipped, tmp_path, capsys):
    out = tmp_path / "table.csv"
    assert main([command, str(demo_study()), "--out", str(out)]) == 0
    table = pd.read_csv(out)
    assert table["patient"].str.fullmatch(r"P\d{3}").all()
    assert not re.search(r"\b[pt]\d{2,3}\b", out.read_text(encoding="utf-8"))
    if command == "detect":
        inside = pd.read_csv(report / "tables/events.csv")
        assert table["patient"].tolist() == inside["patient"].tolist(), "the same pseudonyms as in the report"
    toml = demo_study().read_text(encoding="utf-8").replace("show_ids = false", "show_ids = true")
    for name in DATA_FILES:
        (tmp_path / name).write_bytes((ROOT / "data" / name).read_bytes())
    (tmp_path / "study.toml").write_text(toml, encoding="utf-8")
    assert main([command, str(tmp_path / "study.toml"), "--out", str(out)]) == 0
    assert pd.read_csv(out)["patient"].str.fullmatch(r"p\d{3}").all()
