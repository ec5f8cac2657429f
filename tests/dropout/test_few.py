"""Few events: what the fit counts, what it refuses to print, and what it offers."""

import numpy as np
import pandas as pd
import pytest

from alliance_stats.dropout.fit import fit_dropout
from alliance_stats.dropout.paths import predict_paths, rupture_path
from alliance_stats.tables.schema import DataError


@pytest.fixture(scope="module")
def trial():
    """A twin of a small trial: 64 patients, 11 therapists, one dropout in 95 rows of 5 patients after a repair."""
    random = np.random.default_rng(11)
    rows = []
    for patient in range(64):
        therapist, repaired = patient % 11, patient < 5
        last = 22 if repaired else int(random.integers(3, 25))
        for session in range(1, last + 1):
            rows.append((patient, therapist, session, int(repaired and session > 3), session == last))
    table = pd.DataFrame(rows, columns=["patient", "therapist", "session", "repaired_before", "last"])
    gone = table["last"] & (table["patient"].between(5, 40) | (table["patient"] == 2))
    table = table.assign(ending=np.where(gone, "dropout", np.where(table["last"], "completed", "")))
    table.loc[table["patient"] < 5, "therapist"] = [3] * 88 + [4] * 22  # four of the five see one therapist
    return table.assign(start=table["session"], stop=table["session"] + 1, x=random.normal(size=len(table)))


def test_counts(trial):
    fit = fit_dropout("repaired_before + x", trial, cluster="therapist")
    counted = fit.diagnostics["events_by_state"].set_index(["term", "state"])
    on = trial[trial["repaired_before"] == 1]
    assert len(on) == 95
    assert counted.loc[("repaired_before", "on")].tolist() == [95, 1, 1]
    assert counted.loc[("repaired_before", "off"), "n_events"] == 36
    assert counted.loc[("", "all"), "n_events"] == 37
    assert "x" not in counted.index.get_level_values("term")


@pytest.mark.parametrize("model", ["discrete", "cox"])
def test_no_sandwich_error_is_given(trial, model):
    fit = fit_dropout("repaired_before + x", trial, model=model, cluster="therapist", adjust="groups")
    terms = fit.tidy().set_index("term")
    assert terms.loc["repaired_before", ["std_error", "p_value", "ci_low"]].isna().all()
    assert terms.loc["x"].notna().all()
    note = "few events: 1 event with repaired_before (95 intervals, in 1 of the clusters by therapist)"
    for text in (fit.summary(), fit._repr_html_(), " ".join(fit.diagnostics["notes"])):
        assert note in text
    # A path that does not use the term keeps its interval.
    paths = {"plain": rupture_path(5, x=0.0), "repaired": rupture_path(5, onset=1, repaired_at=2, x=0.0)}
    found = predict_paths(fit, paths).groupby("path")["hazard_low"].apply(lambda low: low.isna().any())
    # (in a Cox model the baseline hazard, and with it every path, depends on all coefficients)
    assert found.to_dict() == {"plain": model == "cox", "repaired": True}


@pytest.mark.parametrize("model", ["discrete", "cox"])
def test_what_is_offered_does_not_find_an_effect(trial, model):
    plain = fit_dropout("repaired_before + x", trial, model=model, cluster="therapist").tidy().set_index("term")
    firth = fit_dropout("repaired_before + x", trial, model=model, penalty="firth")
    terms = firth.tidy().set_index("term")
    assert plain.loc["repaired_before", "p_value"] > 0.1
    assert terms.loc["repaired_before", "ci_low"] < terms.loc["repaired_before", "estimate"]
    assert any("few events" in note for note in firth.diagnostics["notes"])
    narrow, wide = (firth.tidy(level=level).set_index("term").loc["repaired_before"] for level in (0.5, 0.99))
    assert wide["ci_low"] < narrow["ci_low"] < narrow["ci_high"] < wide["ci_high"]


def test_a_state_without_events(trial):
    none = trial.assign(ending=trial["ending"].where(trial["patient"] != 2, "completed").where(trial["last"], ""))
    with pytest.raises(DataError, match=r"infinite.*penalty='firth'"):
        fit_dropout("repaired_before + x", none)
    found = fit_dropout("repaired_before + x", none, penalty="firth").tidy().set_index("term")
    assert np.isfinite(found.to_numpy(dtype=float)[:, [0, 1, 4, 5, 6]]).all()


def test_the_two_sides_of_a_factor_are_level_and_reference(trial):
    table = trial.assign(arm=np.where(trial["patient"] % 3 == 0, "a", np.where(trial["patient"] % 3 == 1, "b", "c")))
    counted = fit_dropout("arm", table, baseline="dummies", penalty="firth").diagnostics["events_by_state"]
    event = table[table["ending"] == "dropout"]
    sides = counted.set_index(["term", "state"])["n_events"]
    assert sides[("arm[T.b]", "on")] == (event["arm"] == "b").sum()
    assert sides[("arm[T.b]", "off")] == sides[("arm[T.c]", "off")] == (event["arm"] == "a").sum()
    assert not counted["term"].str.contains("session").any()


def test_refusals(trial):
    with pytest.raises(ValueError, match="leave cluster= and random= out"):
        fit_dropout("repaired_before", trial, penalty="firth", cluster="therapist")
    with pytest.raises(ValueError, match="penalty='fith'"):
        fit_dropout("repaired_before", trial, penalty="fith")


def test_a_state_without_an_event_is_named_whether_known_or_probable(trial):
    """Nobody drops out after a repair: the same words for 0/1 and for probabilities; Firth answers for both terms."""
    none = trial.assign(ending=trial["ending"].where(trial["repaired_before"] == 0, ""))
    for on in (1.0, 0.8):
        rows = none.assign(repaired_before=on * none["repaired_before"])
        with pytest.raises(DataError, match="infinite: 'repaired_before' separate"):
            fit_dropout("repaired_before + x", rows, cluster="therapist")
        terms = fit_dropout("repaired_before + x", rows, penalty="firth").tidy().set_index("term")
        assert np.isfinite(terms[["estimate", "ci_high"]]).all(axis=None)
        plain = fit_dropout("x", rows, cluster="therapist").tidy().set_index("term")
        assert terms.loc["x", "estimate"] == pytest.approx(plain.loc["x", "estimate"], abs=0.1)
